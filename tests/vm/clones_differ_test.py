#!/usr/bin/env python3
"""Proves: two clones of one memory snapshot draw different random bytes, because each is told that it is a new
generation of its machine; so is a machine that was returned; and the clock of all of them is right.

Method: a guest whose kernel knows the generation device (Linux 6.12) says in its log when it renewed its
random numbers for that reason. The bytes are drawn by the first command after the way back.
usage: clones_differ_test.py --programs DIR --guest DIR
"""
import sys
import time

from snapshot_case import SnapshotCase, main

RENEWED = "crng reseeded due to virtual machine fork"


class ClonesDifferTest(SnapshotCase):
    def draw(self, name):
        return self.run_in_guest("head -c 16 /dev/urandom | hexdump -v -e '1/1 \"%02x\"'", name=name)

    def renewals(self, name):
        return int(self.run_in_guest(f"dmesg | grep -c '{RENEWED}' || true", name=name))

    def check_clock(self, name, result):
        clock, = [r for r in result["renewed"] if r["step"] == "clock"]
        self.assertEqual(clock["outcome"], "done", clock)
        asked = time.time()
        behind = asked - int(self.run_in_guest("date +%s", name=name))
        self.assertLess(abs(behind), 5)

    def test_random_bytes_generation_and_clock(self):
        self.boot(disks=1)
        self.assertEqual(self.renewals(self.name), 0)
        self.snapshot("s")
        time.sleep(6)  # a clock that is not stepped is wrong by more than it may be
        drawn = []
        clones = [self.name + "a", self.name + "b", self.name + "c"]
        for clone, how in zip(clones, ([], [], ["--instant"])):
            self.hozon("snapshot", "clone", self.name, "s", clone, "--memory")
            result = self.ask("machine", "resume", clone, *how)
            drawn.append(self.draw(clone))
            self.assertEqual(self.renewals(clone), 1, clone)
            self.check_clock(clone, result)
            self.hozon("machine", "kill", clone, "--yes")
        for count in (1, 1):
            result = self.returned("s")
            drawn.append(self.draw(self.name))
            self.assertEqual(self.renewals(self.name), count)
            self.check_clock(self.name, result)
        self.assertEqual(len(set(drawn)), len(drawn), drawn)
        self.assertTrue(all(len(text) == 32 for text in drawn), drawn)


if __name__ == "__main__":
    main(sys.modules["__main__"])
