#!/usr/bin/env python3
"""Proves: a machine can be returned to any of its states, sleeps and wakes with its memory, and clones of a
memory live beside the original; a memory that cannot be loaded is refused and the disks are offered; what
is done to a guest that comes back is told as it is.

Method: a real guest whose stamper judges memory and disks after every way back; its small agent answers.
usage: sleep_test.py --programs DIR --guest DIR
"""
import json
import sqlite3
import sys
import time

from snapshot_case import Failed, SnapshotCase, main, wait_for


def outcomes(result):
    return {renewal["step"]: renewal["outcome"] for renewal in result["renewed"]}


class SleepTest(SnapshotCase):
    def test_every_final_state(self):
        self.boot()
        self.start_stamper()
        self.stamps(5)
        self.snapshot("s")
        for state, shown in (("paused", "paused"), ("suspended", "suspended"), ("down", "down"),
                             ("running", "up"), ("as-captured", "up")):
            result = self.returned("s", "--state", state)
            self.assertEqual(self.state(), shown, state)
            self.assertEqual(result["machine"]["state"], shown)
            if state == "suspended":
                self.hozon("machine", "resume", self.name)
                self.assertEqual(self.state(), "up")
            if shown == "paused":
                self.hozon("machine", "resume", self.name)
            if self.state() == "up":
                self.stamps(9)
        with self.assertRaisesRegex(Failed, "use one of as-captured"):
            self.returned("s", "--state", "asleep")
        self.hozon("snapshot", "create", self.name, "d")
        with self.assertRaisesRegex(Failed, "only a return with memory"):
            self.returned("d", "--state", "suspended")
        self.returned("d", "--state", "paused")
        self.assertEqual(self.state(), "paused")
        self.returned("d", "--state", "down")
        self.assertEqual(self.state(), "down")
        self.returned("d", "--state", "running")
        self.assertEqual(self.state(), "up")

    def test_sleep_and_wake(self):
        self.boot()
        self.start_stamper()
        for _ in range(2):
            before = self.stamps(9)
            self.hozon("machine", "suspend", self.name)
            shown = self.machine()
            self.assertEqual((shown["state"], shown["pid"]), ("suspended", 0))
            with self.assertRaisesRegex(Failed, "machine resume"):
                self.hozon("machine", "start", self.name)
            self.kill("hozond")
            wait_for("hozond", lambda: self.state() == "suspended")
            time.sleep(3)
            result = self.ask("machine", "resume", self.name)
            self.assertEqual(outcomes(result), {"clock": "done", "network": "done"}, result)
            self.assertGreaterEqual(self.stamp(), before)
            behind = time.time() - int(self.run_in_guest("date +%s"))
            self.assertLess(abs(behind), 5)
            self.stamps(9)
            self.assertEqual(self.names(), [])
            self.assertNotIn(self.name + ".ram", self.volumes())
        self.assertEqual(self.leftovers(), [])

    def test_it_sleeps_on_while_hozon_is_down(self):
        self.boot()
        self.start_stamper()
        before = self.stamps(3)
        self.hozon("machine", "suspend", self.name)
        self.instance.down()
        self.instance.up()
        self.assertEqual(self.state(), "suspended")
        self.hozon("machine", "resume", self.name)
        self.assertGreaterEqual(self.stamp(), before)

    def test_a_return_while_it_sleeps_keeps_what_it_dreamt(self):
        self.boot()
        self.start_stamper()
        self.snapshot("s")
        at_sleep = self.stamps(100)
        self.hozon("machine", "suspend", self.name)
        slept = next(n for n in self.names() if n.startswith("suspended-"))
        self.returned("s")
        self.stamps(9)
        self.assertEqual(self.state(), "up")
        self.hozon("machine", "kill", self.name, "--yes")
        self.assertEqual(self.state(), "down")
        self.returned(slept)
        self.assertGreaterEqual(self.stamp(), at_sleep)
        self.stamps(9)

    def test_the_trash_and_a_sleeping_machine(self):
        self.boot()
        self.start_stamper()
        at_sleep = self.stamps(50)
        self.hozon("machine", "suspend", self.name)
        self.hozon("snapshot", "create", self.name, "d")
        self.hozon("snapshot", "delete", self.name, "--all", "--yes")
        slept, = self.names()
        self.assertEqual(self.state(), "suspended")
        self.hozon("snapshot", "delete", self.name, slept, "--yes")
        self.assertEqual(self.state(), "down")
        self.hozon("snapshot", "trash", "restore", self.name, slept)
        self.assertEqual(self.state(), "down")
        self.returned(slept)
        self.assertGreaterEqual(self.stamp(), at_sleep)
        self.stamps(9)

    def test_clones_of_a_memory(self):
        self.boot()
        self.start_stamper()
        self.stamps(5)
        self.snapshot("s")
        used = self.pool_used()
        clone = self.name + "c"
        self.hozon("snapshot", "clone", self.name, "s", clone, "--memory")
        self.assertLess(self.pool_used() - used, 1 << 20, "the clone does not share")
        self.assertEqual(self.machine(clone)["state"], "suspended")
        self.assertNotEqual(self.machine(clone)["nics"][0]["mac"], self.machine()["nics"][0]["mac"])
        result = self.ask("machine", "resume", clone)
        self.assertEqual(outcomes(result), {"clock": "done", "network": "not possible"})
        self.assertEqual(self.run_in_guest("cat /sys/class/net/eth0/carrier", name=clone), "0")
        self.hozon("machine", "connect", clone)
        wait_for("the link", lambda: self.run_in_guest("cat /sys/class/net/eth0/carrier",
                                                       name=clone) == "1")
        words = self.run_in_guest("sleep 2; cat /run/stamper", name=clone)
        self.assertIn("ok", words)
        self.stamps(9)  # the original does not notice
        self.hozon("snapshot", "delete", self.name, "s", "--yes")
        self.assertIn("ok", self.run_in_guest("sleep 1; cat /run/stamper", name=clone))

    def test_what_cannot_be_loaded_is_refused_and_the_disks_offered(self):
        self.boot()
        self.snapshot("s")
        database = sqlite3.connect(self.scratch + "/hozon.db", timeout=30)
        text, = database.execute("SELECT environment FROM snapshots WHERE name = 's'").fetchone()
        for change, words in ((("cpu qemu64", "cpu Nehalem"), "cpu Nehalem"),
                              (('"7.2', '"97.2'), "newer than QEMU"),
                              (("pc-q35-", "pc-q35-9"), "pc-q35-9"),
                              (('"0x10\\', '"0x11\\'), "virtio-blk")):
            changed = text.replace(*change)
            self.assertNotEqual(changed, text, change)
            json.loads(changed)
            with database:
                database.execute("UPDATE snapshots SET environment = ? WHERE name = 's'", (changed,))
            with self.assertRaisesRegex(Failed, f"(?s){words}.*--disk-only"):
                self.returned("s")
            self.assertEqual(self.state(), "up")
        result = self.returned("s", "--disk-only")
        self.assertIn("started from its disks, as after a power cut", result["steps"])
        with database:
            database.execute("UPDATE snapshots SET environment = ? WHERE name = 's'", (text,))
        database.close()
        self.returned("s")
        self.run_in_guest("true")

    def test_without_an_agent_the_clock_is_said_to_stay(self):
        self.boot()
        self.run_in_guest("killall -9 hozon-agent")
        self.snapshot("s")
        self.assertEqual(outcomes(self.returned("s")), {"clock": "not possible", "network": "done"})


if __name__ == "__main__":
    main(sys.modules["__main__"])
