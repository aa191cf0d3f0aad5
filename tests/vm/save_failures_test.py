#!/usr/bin/env python3
"""Proves: whatever dies, ends or fills up during a snapshot with memory, the guest runs on (or is down
because its QEMU was killed), nothing of the save is left behind, and the job says what happened.

Method: a real guest under load in a real instance; each test strikes at several moments of a save. The
guest's stamper (tools/guest/stamper.cc) judges memory and disks all the while.
usage: save_failures_test.py --programs DIR --guest DIR
"""
import json
import os
import signal
import subprocess
import sys
import threading
import time

from snapshot_case import SnapshotCase, main, wait_for

MOMENTS = (0.0, 0.03, 0.1, 0.25, 0.5)  # seconds after the memory helper has appeared


class SaveFailuresTest(SnapshotCase):
    pool_size = "1G"

    def setUp(self):
        super().setUp()
        self.boot()
        self.start_stamper()

    def strike(self, name, moment, blow):
        """A save during which `blow` is called; the command's exit status."""
        result = []
        save = threading.Thread(target=lambda: result.append(
            self.instance.run("snapshot", "create", self.name, name, "--memory", timeout=240)))
        save.start()
        wait_for("the memory helper", lambda: self.pid_of("hozon-ram") or not save.is_alive(), 60)
        time.sleep(moment)
        blow()
        save.join()
        return result[0]

    def no_trace(self, name, run):
        """The snapshot is there whole, or nothing of it is."""
        self.assertEqual(name in self.names(), run.returncode == 0, run.stderr)
        self.assertEqual(self.leftovers(), [])
        self.assertEqual(self.pid_of("hozon-ram"), 0)
        self.assertIsNone(self.machine()["lock"])
        if not self.names():
            self.assertNotIn(self.name + ".ram", self.volumes())
        points = json.loads(self.call("GET", f"/v1/volumes/{self.name}.vda/points"))["items"]
        self.assertEqual(len(points), len(self.names()))

    def settled(self):
        wait_for("an end of the job", lambda: (self.job() or {}).get("state") != "running", 120)

    def run_all(self, blow, words):
        for number, moment in enumerate(MOMENTS):
            run = self.strike(f"x{number}", moment, blow)
            self.settled()
            if run.returncode != 0:
                self.assertRegex(run.stderr, words)
            self.no_trace(f"x{number}", run)
            self.assertEqual(self.state(), "up")
            self.stamps(9)
        self.snapshot("after")
        self.stamps(9)
        self.returned("after")
        self.stamps(9)

    def test_the_memory_helper_is_killed(self):
        self.run_all(lambda: self.pid_of("hozon-ram") and self.kill("hozon-ram"),
                     "could not save the memory|ended without a verdict|stored")

    def test_hozon_stored_is_killed(self):
        self.run_all(lambda: self.kill("hozon-stored"), ".")

    def test_the_job_is_cancelled(self):
        def cancel():
            job = self.job()
            if job and job["state"] == "running":
                self.call("POST", f"/v1/jobs/{job['id']}/cancel")
        self.run_all(cancel, "cancelled")

    def test_hozond_is_killed(self):
        self.run_all(lambda: self.kill("hozond"), "hozond ended while the job ran")

    def test_qemu_is_killed(self):
        def blow():
            os.kill(self.machine()["pid"], signal.SIGKILL)
        run = self.strike("x", 0.1, blow)
        self.settled()
        self.no_trace("x", run)
        self.assertNotEqual(run.returncode, 0)
        self.assertIn("ended during the save", run.stderr)
        self.assertEqual(self.state(), "down")

    def test_the_pool_fills_up(self):
        self.pool_used()  # waits until what earlier tests deleted has been given back
        free = self.ask("pool", "show", "main")
        room = free["free_bytes"] - free["reserve_bytes"] - (8 << 20)  # less than the memory needs
        self.hozon("volume", "create", "ballast", "--size", f"{room >> 20}M")
        uri = self.hozon("volume", "uri", "ballast").strip()
        self.fill(uri, room)
        run = self.strike("x", 0, lambda: None)
        self.settled()
        self.assertNotEqual(run.returncode, 0)
        self.assertIn("full", run.stderr)
        self.no_trace("x", run)
        self.stamps(9)
        self.hozon("volume", "delete", "ballast", "--yes")
        self.snapshot("after")

    def fill(self, uri, length):
        subprocess.run(["nbdcopy", "--", "-", uri], check=True,
                       stdin=subprocess.Popen(["head", "-c", str(length >> 20 << 20), "/dev/urandom"],
                                              stdout=subprocess.PIPE).stdout)


if __name__ == "__main__":
    main(sys.modules["__main__"])
