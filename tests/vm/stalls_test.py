#!/usr/bin/env python3
"""Proves: a host that stands still for half a minute costs that time and nothing else: a job is followed to
its end, a QEMU that starts slowly is waited for; one that ends at once is told at once.

Method: hozond is stopped (SIGSTOP) while a command follows a job; QEMU is a script that waits first, or ends.
usage: stalls_test.py --programs DIR --guest DIR
"""
import os
import signal
import sys
import threading
import time

from snapshot_case import Failed, OwnQemu, SnapshotCase, main

SLOW = """#!/bin/sh
case "$*" in *-name*) {first} ;; esac
exec {qemu} "$@"
"""
STALL_S = 35


class StallsTest(SnapshotCase):
    @classmethod
    def setUpClass(cls):
        cls.qemu = OwnQemu("")
        cls.start_qemu_with("true")
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.qemu.close()

    @classmethod
    def start_qemu_with(cls, first):
        cls.qemu.write(SLOW.replace("{first}", first))

    def create(self):
        type(self).counter += 1
        self.name = f"vm{self.counter}"
        self.hozon("machine", "create", self.name, "--memory", "96M", "--kernel",
                   f"{self.guest}/vmlinuz", "--disk", "1M")

    def test_a_qemu_that_starts_slowly_is_waited_for(self):
        self.create()
        self.start_qemu_with("sleep 25")
        self.addCleanup(self.start_qemu_with, "true")
        self.hozon("machine", "start", self.name)
        self.assertEqual(self.state(), "up")

    def test_a_qemu_that_ends_is_told_at_once(self):
        self.create()
        self.start_qemu_with("echo it will not >&2; exit 1")
        self.addCleanup(self.start_qemu_with, "true")
        began = time.monotonic()
        with self.assertRaisesRegex(Failed, "ended at once: it will not"):
            self.hozon("machine", "start", self.name)
        self.assertLess(time.monotonic() - began, 10)

    def test_a_job_is_followed_through_a_stall(self):
        self.create()
        self.start_qemu_with("sleep 5")
        self.addCleanup(self.start_qemu_with, "true")
        pid = self.pid_of("hozond")
        ended = []
        follower = threading.Thread(
            target=lambda: ended.append(self.instance.run("machine", "start", self.name)))
        follower.start()
        time.sleep(2)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(STALL_S)
        os.kill(pid, signal.SIGCONT)
        follower.join()
        self.assertEqual(ended[0].returncode, 0, ended[0].stderr)
        self.assertEqual(self.state(), "up")


if __name__ == "__main__":
    main(sys.modules["__main__"])
