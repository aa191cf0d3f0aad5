#!/usr/bin/env python3
"""Proves: hozond killed at any step of a return that maps the saved memory (--instant), or that makes new
firmware variables (--reset-nvram), leaves the state before it, or finishes the return as it was asked for: the
memory still comes page by page, the variables are those of a new machine and never half of them.

Method: hozond is told to die at point N = 1, 2, ... of the job (src/control/stop_point.h) until a job passes
all of them. A guest's stamper judges memory and disks; the volume of the variables is compared byte by byte.
usage: return_kills_test.py --programs DIR --guest DIR
"""
import os
import pathlib
import subprocess
import sys
import tempfile

STOPS = tempfile.mktemp(prefix="hz-stops-")
os.environ["HOZON_TEST_STOPS"] = STOPS

from snapshot_case import SnapshotCase, main, wait_for  # noqa: E402

POINTS_MAX = 40
VARIABLES = pathlib.Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
MARK = b"a variable of the guest"
MARK_AT = 16 << 10


class ReturnKills(SnapshotCase):
    def tearDown(self):
        pathlib.Path(STOPS).unlink(missing_ok=True)
        super().tearDown()

    def killed_at(self, order, *words):
        """One return during which hozond dies as ordered; whether it came so far, and the job's state."""
        pathlib.Path(STOPS).write_text(f"kill {order}\n")
        before = {job["id"] for job in self.instance.list("job")}
        self.instance.run("snapshot", "return", self.name, "s", "--yes", *words, timeout=240)
        reached = not pathlib.Path(STOPS).exists()

        def ended():
            run = self.instance.run("job", "list", "-o", "json")
            if run.returncode != 0:
                return None
            job = next((j for j in self.instance.list("job")
                        if j["kind"] == "snapshot.return" and j["id"] not in before), None)
            return "none" if job is None else job["state"] if job["state"] != "running" else None
        return reached, wait_for("the end of the job", ended, 120)

    def kept(self):
        """The snapshots that returns have made of the state that was left."""
        return [name for name in self.names() if name != "s"]

    def forget_kept(self):
        for name in self.kept():
            self.hozon("snapshot", "delete", self.name, name, "--for-good", "--yes")


class InstantReturnKills(ReturnKills):
    def test_a_return_that_was_to_be_instant_is_finished_instantly(self):
        self.boot("96M")
        self.start_stamper()
        self.snapshot("s")
        finished = 0
        for number in range(1, POINTS_MAX):
            reached, state = self.killed_at(f"snapshot.return {number}", "--instant")
            returned = bool(self.kept())
            self.assertTrue(returned or reached, state)
            if returned:
                wait_for("the guest", lambda: self.state() == "up", 60)
                self.assertIn("--instant", " ".join(self.machine()["live_memory_obstacles"]),
                              f"killed at point {number}")
                self.stamps(3)
                finished += reached
            self.assertEqual(self.leftovers(), [], f"killed at point {number}")
            self.assertIsNone(self.machine()["lock"])
            self.forget_kept()
            if not reached:
                break
        self.assertFalse(reached, "more points than this test knows")
        self.assertGreater(finished, 2, "no kill struck after the disks were switched")


class ResetVariablesKills(ReturnKills):
    def variables(self):
        uri = self.hozon("volume", "uri", f"{self.name}.nvram").strip()
        return uri, subprocess.run(["nbdcopy", "--", uri, "-"], check=True,
                                   stdout=subprocess.PIPE).stdout

    def put_mark(self):
        uri, content = self.variables()
        content = content[:MARK_AT] + MARK + content[MARK_AT + len(MARK):]
        subprocess.run(["nbdcopy", "--", "-", uri], check=True, input=content)

    def test_variables_are_new_or_as_they_were_and_never_half(self):
        self.name = "uefi"
        self.hozon("machine", "create", "uefi", "--memory", "96M", "--disk", "1M", "--firmware", "uefi",
                   "--kernel", f"{self.guest}/vmlinuz")
        self.put_mark()
        self.hozon("snapshot", "create", "uefi", "s", "--quiesce", "skip")
        new = VARIABLES.read_bytes()
        finished = 0
        orders = ["firmware.reset 1", *(f"snapshot.return {n}" for n in range(1, POINTS_MAX))]
        for order in orders:
            reached, state = self.killed_at(order, "--reset-nvram")
            _, content = self.variables()
            if self.kept():
                self.assertEqual(content, new, f"killed at {order}: {state}")
                finished += reached
            else:
                self.assertTrue(reached, state)
                self.assertIn(MARK, content, f"killed at {order}: {state}")
            self.forget_kept()
            if not reached:
                break
            if content == new:
                self.put_mark()
        self.assertFalse(reached, "more points than this test knows")
        self.assertGreater(finished, 2, "no kill struck after the disks were switched")


if __name__ == "__main__":
    main(sys.modules["__main__"])
