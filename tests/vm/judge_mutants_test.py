#!/usr/bin/env python3
"""Proves: the judge of one instant (one_instant_test.py) is no ornament. It convicts a snapshot whose disks
were cut before the guest was stopped, one whose disks were cut afterwards, and one whose memory was written
behind the save; and under the same conditions it acquits what is right.

Method: the wrong order is planted by giving a memory snapshot's record the disks' points of another instant.
The writer behind the save is this process: QEMU is started with its memory in a file that can be mapped a
second time, as a vhost-user device does, and pages are changed there while the save is under way.
usage: judge_mutants_test.py --programs DIR --guest DIR
"""
import mmap
import os
import pathlib
import re
import sqlite3
import struct
import sys
import threading
import time

from snapshot_case import OwnQemu, SnapshotCase, main, wait_for

PAGE = 4096
VICTIMS = 64
SHARED_QEMU = """#!/usr/bin/env python3
import os, sys
words = [word.replace("memory-backend-ram,id=m0", "memory-backend-memfd,id=m0,share=on")
         for word in sys.argv[1:]]
os.execv("{qemu}", ["{qemu}", *words])
"""


class JudgeCase(SnapshotCase):
    def verdict(self):
        """What the guest's stamper says, once it has looked at everything that came back."""
        first = self.look_until("a line of the stamper", lambda number, verdict: True)[0]
        return self.look_until("a verdict", lambda number, verdict: "VIOLATION" in verdict or
                               number >= first + 9)[1]

    def look_until(self, what, enough):
        def found():
            seen = self.look()
            return seen if seen and enough(*seen) else None
        return wait_for(what, found)


class WrongOrder(JudgeCase):
    def take_disks_of(self, other):
        """The memory snapshot `s` gets the disks of the disk snapshot `other`."""
        database = sqlite3.connect(self.scratch + "/hozon.db", timeout=30)
        with database:
            changed = database.execute(
                "UPDATE snapshot_disks SET point = (SELECT uuid FROM snapshots WHERE name = ?) "
                "WHERE disk LIKE 'vd_' AND snapshot = (SELECT uuid FROM snapshots WHERE name = 's')",
                (other,)).rowcount
        database.close()
        self.assertEqual(changed, 2)

    def test_disks_of_another_instant_are_convicted(self):
        self.boot()
        self.start_stamper()
        self.stamps(20)
        self.hozon("snapshot", "create", self.name, "before", "--quiesce", "skip")
        self.stamps(3)
        self.snapshot("s")
        self.stamps(3)
        self.hozon("snapshot", "create", self.name, "after", "--quiesce", "skip")
        self.returned("s")
        self.assertEqual(self.verdict(), "ok")
        for other in ("before", "after"):
            self.take_disks_of(other)
            self.returned("s")
            self.assertRegex(self.verdict(), "VIOLATION /dev/vd[ab]")


class WriterBehindTheSave(JudgeCase):
    @classmethod
    def setUpClass(cls):
        cls.qemu = OwnQemu(SHARED_QEMU)
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.qemu.close()

    def memory(self):
        """A second mapping of the guest's memory."""
        for entry in pathlib.Path(f"/proc/{self.machine()['pid']}/fd").iterdir():
            if "memory-backend-memfd" in os.readlink(entry):
                with open(entry, "r+b") as file:
                    return mmap.mmap(file.fileno(), 0)
        raise AssertionError("QEMU has no shared memory")

    @staticmethod
    def stamped_pages(memory):
        """Offsets of the stamper's pages, highest first."""
        for at in range(len(memory) - PAGE, 0, -PAGE):
            stamp, place, first, second = struct.unpack_from("<4Q", memory, at)
            if stamp and first == second == (stamp * 2654435761 + place) % (1 << 64):
                yield at

    def write_behind_the_save(self, memory, victims):
        """Once the first page was read, so after the cut."""
        directory = pathlib.Path(self.machine()["directory"])
        def flows():
            return any(re.search(r'"first_page_ns": *[1-9]', f.read_text())
                       for f in directory.glob("save-*.json") if f.exists())
        end = time.monotonic() + 60
        while not flows() and time.monotonic() < end:
            time.sleep(0.001)
        for at in victims:
            memory[at + 100] ^= 0xff

    def test_a_page_that_changes_behind_the_save_is_convicted(self):
        self.boot()
        self.start_stamper()
        self.stamps(300)
        self.snapshot("clean")
        memory = self.memory()
        victims = [at for at, _ in zip(self.stamped_pages(memory), range(VICTIMS))]
        self.assertEqual(len(victims), VICTIMS)
        writer = threading.Thread(target=self.write_behind_the_save, args=(memory, victims))
        writer.start()
        made = self.snapshot("torn")
        writer.join()
        self.assertEqual(made["memory"]["mode"], "live", made["memory"])
        self.returned("clean")
        self.assertEqual(self.verdict(), "ok")
        self.returned("torn")
        self.assertRegex(self.verdict(), "VIOLATION (RAM|a page that only the device)")


if __name__ == "__main__":
    main(sys.modules["__main__"])
