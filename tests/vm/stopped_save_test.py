#!/usr/bin/env python3
"""Proves: where the host does not let QEMU protect the guest's memory, `machine show` says so before, and a
snapshot with memory stops the guest for the save, says why and for how long, and is good.

Method: the instance runs without the capability CAP_SYS_PTRACE, which userfaultfd asks for.
usage: stopped_save_test.py --programs DIR --guest DIR
"""
import os
import pathlib
import sys
import unittest

import snapshot_case
from snapshot_case import Instance, SnapshotCase, main


class WithoutPrivilege(Instance):
    """Every program of the instance, QEMU too, inherits what the command line may not do."""

    def run(self, *words, timeout=120, **options):
        programs, self.programs = self.programs, pathlib.Path(self.directory) / "bin"
        if not self.programs.exists():
            self.programs.mkdir(parents=True)
            wrapper = self.programs / "hozon"
            drop = "-sys_ptrace"
            wrapper.write_text(f"#!/bin/sh\nexec setpriv --bounding-set={drop} --inh-caps={drop} "
                               f"{programs}/hozon \"$@\"\n")
            wrapper.chmod(0o755)
        try:
            return super().run(*words, timeout=timeout, **options)
        finally:
            self.programs = programs


class StoppedSaveTest(SnapshotCase):
    @classmethod
    def setUpClass(cls):
        sysctl = pathlib.Path("/proc/sys/vm/unprivileged_userfaultfd")
        if os.getuid() != 0 or sysctl.exists() and sysctl.read_text().strip() != "0":
            raise unittest.SkipTest("this user's right to userfaultfd cannot be taken away")
        snapshot_case.Instance = WithoutPrivilege
        super().setUpClass()

    def test_it_stops_the_guest_and_says_so(self):
        self.boot()
        self.start_stamper()
        self.stamps(5)
        self.assertIn("userfaultfd", " ".join(self.machine()["live_memory_obstacles"]))
        memory = self.snapshot("s")["memory"]
        self.assertEqual(memory["mode"], "stopped")
        self.assertIn("userfaultfd", memory["mode_reason"])
        self.assertGreater(memory["stop_us"], 10_000)
        self.assertEqual(self.state(), "up")
        self.stamps(9)
        self.returned("s")
        self.stamps(9)


if __name__ == "__main__":
    main(sys.modules["__main__"])
