#!/usr/bin/env python3
"""Proves: memory and two disks of a snapshot that is taken under load belong to one instant, and nothing
writes the guest's memory behind the save.

Method: the guest writes one increasing stamp to its memory and to both disks in turn, lets the disk's
device write further pages, and before each round compares all of them with the round before
(tools/guest/stamper.cc). After each return it therefore judges what the snapshot holds.
usage: one_instant_test.py --programs DIR --guest DIR [--rounds N]
"""
import sys

from snapshot_case import SnapshotCase, main

ROUNDS = 5


class OneInstantTest(SnapshotCase):
    def test_memory_and_disks_agree_after_every_return(self):
        self.boot()
        self.start_stamper()
        self.stamps(300)  # every page that only the device writes has been written
        for number in range(ROUNDS):
            if number % 20 == 0:
                print(f"{number} of {ROUNDS} rounds agree", file=sys.stderr, flush=True)
            before = self.stamps(number % 3)
            made = self.snapshot(f"s{number}")
            self.assertEqual(made["memory"]["mode"], "live", made["memory"])
            after = self.stamps(3)
            self.returned(f"s{number}")
            first = self.stamp()
            self.assertGreaterEqual(first, before)
            self.assertLess(first, after + 600, "it did not go back")
            self.stamps(9)  # every page of memory has been looked at
            self.hozon("snapshot", "delete", self.name, f"s{number}", "--for-good",
                       "--yes")
            for name in self.names():
                self.hozon("snapshot", "delete", self.name, name, "--for-good", "--yes")
        self.hozon("machine", "kill", self.name, "--yes")


if __name__ == "__main__":
    if "--rounds" in sys.argv:
        at = sys.argv.index("--rounds")
        ROUNDS = int(sys.argv[at + 1])
        del sys.argv[at:at + 2]
    main(sys.modules["__main__"])
