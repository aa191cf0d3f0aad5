#!/usr/bin/env python3
"""Proves: a machine that goes on at once from a saved memory is the same machine; clones that do so share
their pages; whichever process behind the memory is killed, the guests do not notice; and nothing is left
when the last of them is gone.

Method: the guest's stamper judges memory and disks. Pages are pulled in from outside while processes are
killed (reading /proc/PID/mem makes QEMU's kernel ask for the page as the guest would).
usage: instant_test.py --programs DIR --guest DIR
"""
import os
import pathlib
import re
import signal
import sys
import threading
import time

from snapshot_case import Failed, SnapshotCase, main, wait_for

MIB = 1 << 20
RAM = 192
CLONES = 10


def mapping_of(pid):
    """Start and end of the guest's memory in QEMU, and what its smaps say in KiB."""
    text = pathlib.Path(f"/proc/{pid}/smaps").read_text()
    for part in re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", text, flags=re.M):
        if part.split("\n")[0].endswith("/mount/ram"):
            start, end = (int(word, 16) for word in part.split()[0].split("-"))
            sizes = {name: int(size) for name, size in re.findall(r"(\w+): +(\d+) kB", part)}
            return start, end, sizes
    raise AssertionError("QEMU maps no image")


def touch(pid, pause_s=0.0):
    """Reads the guest's whole memory."""
    start, end, _ = mapping_of(pid)
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    for at in range(start, end, MIB):
        os.pread(memory, MIB, at)
        time.sleep(pause_s)
    os.close(memory)


class InstantTest(SnapshotCase):
    def servers(self):
        """[keeper, worker] of the one image that is served."""
        parents = {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            if words[1:2] == [b"serve"] and any(self.scratch.encode() in w for w in words):
                parents[int(entry.name)] = parent
        worker = next((pid for pid, parent in parents.items() if parent in parents), 0)
        return [parents[worker], worker] if worker and len(parents) == 2 else []

    def images(self):
        place = pathlib.Path(self.scratch, "images")
        return [f.name for f in place.iterdir()] if place.exists() else []

    def nothing_is_left(self):
        def clean():
            volumes = [v["name"] for v in self.instance.list("volume")]
            mounts = pathlib.Path("/proc/mounts").read_text()
            return (not self.images() and not any(v.startswith("ram-image") for v in volumes)
                    and self.scratch not in mounts and not self.servers())
        wait_for("an end of the image", clean, 30)

    def tearDown(self):
        super().tearDown()
        self.nothing_is_left()

    def instantly(self, result):
        self.assertEqual(result["load"]["mode"], "instant", result["load"])
        self.assertLess(result["load"]["qemu_us"], 5_000_000)

    def test_what_goes_on_at_once_is_the_same_machine(self):
        self.boot(f"{RAM}M")
        self.start_stamper()
        before = self.stamps(20)
        self.snapshot("s")
        after = self.stamps(3)
        result = self.returned("s", "--instant")
        self.instantly(result)
        self.assertIn("page by page", " ".join(result["steps"]))
        self.assertTrue(before <= self.stamp() <= after + 300)
        self.stamps(9)
        self.assertIn("--instant", " ".join(self.machine()["live_memory_obstacles"]))
        second = self.snapshot("second")["memory"]
        self.assertEqual(second["mode"], "stopped")
        self.assertIn("suspend", second["mode_reason"])
        self.stamps(9)
        # The snapshot may go while its memory is mapped.
        self.hozon("snapshot", "delete", self.name, "s", "--for-good", "--yes")
        touch(self.machine()["pid"])
        self.stamps(9)
        self.returned("second", "--instant")
        self.stamps(9)
        self.hozon("machine", "suspend", self.name)
        self.instantly(self.ask("machine", "resume", self.name, "--instant"))
        self.stamps(9)
        self.hozon("machine", "suspend", self.name)
        self.assertEqual(self.ask("machine", "resume", self.name)["load"]["mode"], "full")
        self.assertEqual(self.machine()["live_memory_obstacles"], [])
        self.assertEqual(self.snapshot("third")["memory"]["mode"], "live")
        self.stamps(9)
        self.assertEqual(self.leftovers(), [])
        self.nothing_is_left()

    def test_what_loads_nothing_is_not_instant(self):
        self.boot("96M")
        self.snapshot("s")
        for words in (("--disk-only",), ("--state", "down"), ("--state", "suspended")):
            with self.assertRaisesRegex(Failed, "leave out --instant"):
                self.returned("s", "--instant", *words)
        with self.assertRaisesRegex(Failed, "leave out --instant"):
            self.hozon("machine", "resume", self.name, "--instant")

    def test_ten_clones_share_their_pages(self):
        self.boot(f"{RAM}M", disks=1)
        self.run_in_guest(f"(fillmemory {RAM // 2} >/dev/null 2>&1 &)")
        self.run_in_guest("while [ ! -e /run/filled ]; do sleep 0.2; done", 120)
        self.snapshot("s")
        self.hozon("machine", "kill", self.name, "--yes")
        clones = [f"{self.name}c{number}" for number in range(CLONES)]
        for clone in clones:
            self.hozon("snapshot", "clone", self.name, "s", clone, "--memory")
            self.instantly(self.ask("machine", "resume", clone, "--instant"))
            self.assertEqual(self.run_in_guest("echo hello", name=clone), "hello")
            self.hozon("machine", "pause", clone)
        self.assertEqual(len(self.images()), 1)
        pids = [self.machine(clone)["pid"] for clone in clones]
        for pid in pids:
            touch(pid)
        sizes = [mapping_of(pid)[2] for pid in pids]
        resident, proportional = (sum(size[name] for size in sizes) / 1024 for name in ("Rss", "Pss"))
        print(f"{CLONES} clones of {RAM} MiB: {resident:.0f} MiB resident, {proportional:.0f} MiB "
              "of this host's memory", file=sys.stderr)
        self.assertGreater(resident, CLONES * RAM * 0.95)
        self.assertLess(proportional, CLONES * RAM * 0.3)

    def test_kills_behind_the_memory_are_not_noticed(self):
        self.boot(f"{RAM}M")
        self.start_stamper()
        self.run_in_guest(f"(fillmemory {RAM // 3} >/dev/null 2>&1 &)")
        self.stamps(20)
        self.snapshot("s")
        for victim in ("keeper", "worker", "in turn", "hozon-stored", "hozond"):
            self.instantly(self.returned("s", "--instant"))
            pid = self.machine()["pid"]
            reader = threading.Thread(target=touch, args=(pid, 0.01))
            reader.start()
            for number in range(8):
                if victim.startswith("hozon"):
                    self.kill(victim)
                else:
                    pair = wait_for("both servers", self.servers, 20)
                    place = {"keeper": 0, "worker": 1}.get(victim, number % 2)
                    os.kill(pair[place], signal.SIGKILL)
                time.sleep(0.3)
                if victim == "hozond":
                    wait_for("hozond", lambda: not self.instance.run("machine", "list").returncode)
            reader.join()
            self.stamps(9)
            self.assertEqual((self.machine()["pid"], self.state()), (pid, "up"), victim)
            self.assertIn("--instant", " ".join(self.machine()["live_memory_obstacles"]))

    def test_without_any_server_the_machine_is_down_and_can_return(self):
        self.boot("96M")
        self.start_stamper()
        self.snapshot("s")
        self.returned("s", "--instant", "--state", "paused")
        pair = wait_for("both servers", self.servers, 20)
        os.kill(pair[1], signal.SIGSTOP)
        for pid in pair:
            os.kill(pid, signal.SIGKILL)
        wait_for("an end of both", lambda: not self.servers())
        self.run_quietly("machine", "resume", self.name)
        wait_for("the end of QEMU", lambda: self.state() == "down")
        self.nothing_is_left()
        self.instantly(self.returned("s", "--instant"))
        self.stamps(9)

    def run_quietly(self, *words):
        """Whatever becomes of it."""
        self.instance.run(*words)


if __name__ == "__main__":
    main(sys.modules["__main__"])
