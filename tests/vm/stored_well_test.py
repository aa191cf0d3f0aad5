#!/usr/bin/env python3
"""Proves: a saved memory takes the space of what is in it and of what changed since the one before, its
size is told truly, and deleting gives all of it back, whatever the order.

Method: sizes that Hozon tells are compared with what the pool's use does.
usage: stored_well_test.py --programs DIR --guest DIR
"""
import sys

from snapshot_case import SnapshotCase, main, wait_for

MIB = 1 << 20


class StoredWellTest(SnapshotCase):
    def test_an_idle_guest_of_1_gib_stores_under_five_percent(self):
        self.boot(memory="1G")
        self.run_in_guest("(fillmemory 800 >/dev/null 2>&1 &)")
        self.run_in_guest("while [ ! -e /run/filled ]; do sleep 1; done", 240)
        first = self.snapshot("one")["memory"]
        self.assertGreater(first["written_bytes"], 800 * MIB)
        self.assertGreater(first["stream_bytes"], first["written_bytes"])
        self.assertGreater(first["zero_pages"], 0)
        for number in range(3):
            memory = self.snapshot(f"again{number}")["memory"]
            print(f"memory.successive_stored {memory['written_bytes'] / MIB:.1f} MiB of 1024")
            self.assertLess(memory["written_bytes"], 0.05 * (1 << 30))
            self.assertGreater(memory["unchanged_pages"], 800 * MIB // 4096)
            told = self.ask("snapshot", "show", self.name, f"again{number}")["exclusive_bytes"]
            self.assertLess(told, 0.06 * (1 << 30))
            self.assertGreater(told, memory["written_bytes"] / 4)

    def test_sizes_are_true_and_deleting_gives_all_back(self):
        self.boot()
        base = self.pool_used()
        self.run_in_guest("dd if=/dev/urandom of=/run/fill bs=1M count=16 2>/dev/null", 120)
        for name in ("a", "b", "c"):
            self.snapshot(name)
        self.returned("a")  # what is saved next resembles a, not c
        memory = self.snapshot("d")["memory"]
        self.assertLess(memory["written_bytes"], 12 * MIB, "d does not share with a")
        for name in ("c", "a", "d"):
            told = self.ask("snapshot", "show", self.name, name)["exclusive_bytes"]
            self.assertGreater(told, 100 * 1024, f"{name} is said to take nothing")
            before = self.pool_used()
            self.hozon("snapshot", "delete", self.name, name, "--for-good", "--yes")
            near = max(told // 10, MIB)
            wait_for(f"{told} bytes that {name} gives back",
                     lambda: abs(before - self.pool_used() - told) < near)
        self.returned("b")
        for name in self.names():
            self.hozon("snapshot", "delete", self.name, name, "--for-good", "--yes")
        self.assertNotIn(self.name + ".ram", self.volumes())
        wait_for("a pool as before", lambda: self.pool_used() - base < MIB)


if __name__ == "__main__":
    main(sys.modules["__main__"])
