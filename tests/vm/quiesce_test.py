#!/usr/bin/env python3
"""Proves: a snapshot of disks says truly which order it holds; a frozen guest always writes again, within the
time of the freeze, whoever dies.

Method: a real guest writes to a file system all the time and counts in its memory; the count stands still
exactly while the file system is frozen. hozond is killed in the middle of a freeze: hozon-stored is stopped
meanwhile, so that the freeze lasts, and the guest freezes only after everybody has given up.
usage: quiesce_test.py --programs DIR --guest DIR
"""
import os
import signal
import sys
import threading
import time

from snapshot_case import Failed, SnapshotCase, main, wait_for

WRITER = ("(i=0; while :; do i=$((i+1)); echo $i > /data/count; sync -f /data/count 2>/dev/null || "
          "fsync /data/count 2>/dev/null || sync; echo $i > /run/count.new; "
          "mv /run/count.new /run/count; done >/dev/null 2>&1 &)")


class QuiesceTest(SnapshotCase):
    append = "hozon.mkfs"

    def setUp(self):
        super().setUp()
        self.boot(disks=1)
        self.run_in_guest("grep -q ' /data ' /proc/mounts")
        self.run_in_guest(WRITER)
        self.writes_again(30)

    def count(self):
        return int(self.run_in_guest("cat /run/count 2>/dev/null || echo 0"))

    def writes_again(self, seconds):
        before = self.count()
        wait_for("a write of the guest", lambda: self.count() > before + 1, seconds)

    def stands_still(self):
        time.sleep(0.5)  # what was under way
        before = self.count()
        time.sleep(1)
        return self.count() == before

    def create(self, name, *words):
        return self.ask("snapshot", "create", self.name, name, *words)

    def freeze_leftovers(self):
        return [f for f in os.listdir(self.machine()["directory"]) if f.startswith("freeze-")]

    def test_a_snapshot_says_what_it_holds(self):
        for word in ("require", "try", ""):
            made = self.create("f" + word, *(["--quiesce", word] if word else []))
            self.assertEqual(made["consistency"], "filesystem", made["consistency_reason"])
        self.assertEqual(self.create("c", "--quiesce", "skip")["consistency"], "crash")
        self.assertEqual(self.create("m", "--memory")["consistency"], "memory")
        for name in ("frequire", "ftry", "c", "m"):
            general = self.ask("snapshot", "show", self.name, name, "--details")["general"]
            self.assertEqual((general["os"], general["os_source"], general["hostname"]),
                             ("A small guest", "guest agent", "little"), name)
        self.writes_again(30)
        self.assertEqual(self.freeze_leftovers(), [])
        self.run_in_guest("killall -9 hozon-agent; sleep 1")
        began = time.monotonic()
        made = self.create("n")
        self.assertEqual(made["consistency"], "crash")
        self.assertIn("no agent", made["consistency_reason"])
        self.assertLess(time.monotonic() - began, 3, "a guest without agent is waited for")
        general = self.ask("snapshot", "show", self.name, "n", "--details")["general"]
        self.assertEqual((general["os"], general["hostname"]), ("", ""))
        before = self.names()
        with self.assertRaisesRegex(Failed, "no agent.*--quiesce try"):
            self.create("r", "--quiesce", "require")
        self.assertEqual(self.names(), before)
        with self.assertRaisesRegex(Failed, "use one of require"):
            self.create("r", "--quiesce", "maybe")

    def general(self, machine, snapshot):
        told = self.ask("snapshot", "show", machine, snapshot, "--details")["general"]
        return told["consistency"], told["os"], told["hostname"]

    def test_a_group_asks_all_of_its_guests_and_waits_for_none_that_hangs(self):
        hangs = self.name
        self.boot(disks=1)
        group = ("--machines", f"{hangs},{self.name}")
        self.hozon("group", "create", "g", *group)
        for machine in (hangs, self.name):
            self.assertEqual(self.general(machine, "g"), ("filesystem", "A small guest", "little"))
        self.run_in_guest("killall -STOP hozon-agent", name=hangs)
        self.hozon("group", "create", "h", *group)
        self.assertEqual(self.general(hangs, "h"), ("crash", "", ""))
        self.assertEqual(self.general(self.name, "h"), ("filesystem", "A small guest", "little"))
        reason = self.ask("snapshot", "show", hangs, "h")["consistency_reason"]
        self.assertIn("does not answer", reason)
        with self.assertRaisesRegex(Failed, "does not answer.*--quiesce try"):
            self.hozon("group", "create", "i", *group, "--quiesce", "require")
        wait_for("the thaw of the other", lambda: not self.pid_of("hozon-freeze"), 30)
        self.run_in_guest("killall -CONT hozon-agent", name=hangs)
        self.hozon("group", "create", "j", *group, "--quiesce", "require")
        self.assertEqual(self.general(hangs, "j"), ("filesystem", "A small guest", "little"))

    def test_nobody_goes_on_asking_a_guest_that_was_asked_nothing(self):
        self.run_in_guest("killall -STOP hozon-agent")
        self.assertEqual(self.create("s")["consistency"], "crash")
        wait_for("an end of the helper", lambda: not self.pid_of("hozon-freeze"), 30)
        self.assertEqual(self.freeze_leftovers(), [])
        self.run_in_guest("killall -CONT hozon-agent")
        self.assertEqual(self.create("t", "--quiesce", "require")["consistency"], "filesystem")

    def test_a_killed_hozond_leaves_no_frozen_guest(self):
        stored = self.pid_of("hozon-stored")
        os.kill(stored, signal.SIGSTOP)
        try:
            save = threading.Thread(target=lambda: self.instance.run(
                "snapshot", "create", self.name, "x", "--quiesce", "require", timeout=200))
            save.start()
            wait_for("a freeze", lambda: self.pid_of("hozon-freeze"), 30)
            time.sleep(1)
            self.kill("hozond")
            time.sleep(11)  # the freeze itself waits for the disk, and is given up
        finally:
            os.kill(stored, signal.SIGCONT)
        wait_for("the thaw", lambda: not self.pid_of("hozon-freeze"), 30)
        self.writes_again(20)
        save.join()
        wait_for("an end of the job", lambda: (self.job() or {}).get("state") != "running", 60)
        self.assertEqual(self.names(), [])
        self.assertEqual(self.freeze_leftovers(), [])

    def test_points_that_come_too_late_are_not_called_quiesced(self):
        stored = self.pid_of("hozon-stored")
        os.kill(stored, signal.SIGSTOP)
        result = []
        save = threading.Thread(target=lambda: result.append(self.instance.run(
            "snapshot", "create", self.name, "x", "--quiesce", "require", timeout=200)))
        save.start()
        wait_for("a freeze", lambda: self.pid_of("hozon-freeze"), 30)
        time.sleep(11)
        os.kill(stored, signal.SIGCONT)
        wait_for("the thaw", lambda: not self.pid_of("hozon-freeze"), 30)
        save.join()
        self.assertNotEqual(result[0].returncode, 0)
        self.writes_again(20)
        self.assertEqual(self.names(), [])

    def test_freeze_and_thaw_as_calls_of_their_own(self):
        frozen = self.ask("machine", "freeze", self.name, "--timeout", "60")
        self.assertEqual(frozen["filesystems"], 1)
        self.assertTrue(self.stands_still(), "it is not frozen")
        made = self.create("held", "--quiesce", "require")
        self.assertEqual(made["consistency"], "filesystem")
        self.kill("hozond")
        self.assertTrue(self.stands_still(), "a freeze of its own does not depend on hozond")
        self.assertEqual(self.ask("machine", "thaw", self.name)["filesystems"], 1)
        self.writes_again(20)
        self.hozon("machine", "freeze", self.name, "--timeout", "2")
        wait_for("a thaw by itself", lambda: not self.pid_of("hozon-freeze"), 20)
        self.writes_again(20)
        self.hozon("machine", "freeze", self.name, "--timeout", "60")
        self.kill("hozon-freeze")
        self.assertTrue(self.stands_still())
        self.hozon("machine", "thaw", self.name)
        self.writes_again(20)


if __name__ == "__main__":
    main(sys.modules["__main__"])
