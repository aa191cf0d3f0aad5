#!/usr/bin/env python3
"""Proves: the guest goes on after the cut of a snapshot with memory whether QEMU continues it by itself (up
to 8.2) or leaves that to us (from 9.0), and is never continued by us before its memory is protected, that is
before the first page stands on the stream. QEMU up to 7.2 prepares before the guest is stopped; one that then
does not answer, or does not wait for the cut, is no danger to the guest or to the snapshot.

Method: every real program of Hozon with a stand-in for QEMU (fake_qemu.py), whose log tells the order.
usage: qemu_versions_test.py --programs DIR --guest DIR
"""
import os
import pathlib
import sys

from snapshot_case import Failed, OwnQemu, SnapshotCase, main, wait_for

FAKE = pathlib.Path(__file__).with_name("fake_qemu.py")


class VersionCase:
    version, resumes, delay, held = "9.1.0", "no", "0.3", "waits"

    @classmethod
    def setUpClass(cls):
        cls.before = dict(os.environ)
        os.environ.update({"HOZON_ACCEL": "tcg", "FAKE_QEMU_VERSION": cls.version,
                           "FAKE_QEMU_RESUMES": cls.resumes, "FAKE_QEMU_DELAY": cls.delay,
                           "FAKE_QEMU_HELD": cls.held})
        cls.qemu = OwnQemu(FAKE.read_text())
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.qemu.close()
        os.environ.clear()
        os.environ.update(cls.before)

    def start(self):
        self.name = "fake"
        self.hozon("machine", "create", "fake", "--memory", "64M", "--disk", "1M", "--kernel",
                   f"{self.guest}/vmlinuz")
        self.hozon("machine", "start", "fake")

    def log(self):
        return pathlib.Path(self.machine()["directory"], "fake.log").read_text().split()

    def words(self):
        log = self.log()
        return log[log.index("stop"):] if "stop" in log else log

    def save(self):
        """The snapshot's memory record, and what QEMU was told and did from the stop on."""
        made = self.snapshot("s")["memory"]
        self.assertEqual(made["mode"], "live", made)
        self.assertEqual(made["zero_pages"], 0)
        self.assertEqual(made["unchanged_pages"], 0)
        self.assertEqual(self.state(), "up")
        return made, self.words()

    def check_load(self):
        self.assertEqual(self.returned("s")["load"]["mode"], "full")
        self.assertEqual(self.state(), "up")
        sizes = [int(w[7:]) for w in self.words() if w.startswith("loaded-")]
        self.assertGreater(sizes[-1], 2 << 20)


class LeftToUs(VersionCase, SnapshotCase):
    def test_it_is_continued_once_at_the_first_page(self):
        self.start()
        made, words = self.save()
        self.assertEqual(words.count("cont"), 1, words)
        self.assertLess(words.index("first-page"), words.index("cont"), words)
        self.assertLess(words.index("cont"), words.index("completed"), words)
        self.assertGreater(made["stop_us"], 300_000)  # the stand-in's delay
        self.assertLess(made["stop_us"], 300_000 + 700_000, "the first page was seen late")
        self.check_load()

    def test_a_guest_that_was_paused_stays_so(self):
        self.start()
        self.hozon("machine", "pause", "fake")
        made = self.snapshot("s")["memory"]
        self.assertEqual((made["mode"], self.state()), ("stopped", "paused"))
        self.assertNotIn("cont", self.words())


class LeftToUsAndDoneAtOnce(VersionCase, SnapshotCase):
    delay = "0"

    def test_a_save_that_is_over_before_it_is_seen_continues_too(self):
        self.start()
        _, words = self.save()
        self.assertEqual(words.count("cont"), 1, words)
        self.assertLess(words.index("first-page"), words.index("cont"), words)
        self.check_load()


class ByItself(VersionCase, SnapshotCase):
    version, resumes = "8.2.0", "yes"

    def test_it_is_not_continued_by_us(self):
        self.start()
        made, words = self.save()
        self.assertNotIn("cont", words)
        self.assertLess(made["stop_us"], 250_000)
        self.check_load()


class OldButLeftToUs(VersionCase, SnapshotCase):
    version, delay = "8.2.0", "2"

    def test_one_that_stays_paused_is_continued_after_a_while(self):
        self.start()
        _, words = self.save()
        self.assertEqual(words.count("cont"), 1, words)
        self.assertLess(words.index("first-page"), words.index("cont"), words)


class PreparesAhead(VersionCase, SnapshotCase):
    version, resumes = "7.2.22", "yes"

    def test_it_is_asked_to_save_before_the_stop_and_waits_for_the_cut(self):
        self.start()
        made, words = self.save()
        order = [self.log().index(word) for word in ("migrate", "stop", "active", "first-page")]
        self.assertEqual(order, sorted(order), self.log())
        self.assertNotIn("cont", words)
        self.assertLess(made["stop_us"], 250_000)
        self.check_load()


class DeafWhileHeld(VersionCase, SnapshotCase):
    version, resumes, held = "7.2.22", "yes", "deaf"

    def test_it_is_let_go_and_the_next_time_stopped_first(self):
        self.start()
        with self.assertRaisesRegex(Failed, "does not answer while it waits for the cut; try again"):
            self.snapshot("s")
        wait_for("the end of that save", lambda: self.state() == "up" and not self.leftovers())
        self.assertEqual(self.names(), [])
        self.assertNotIn("stop", self.log())
        self.save()
        self.assertLess(self.words().index("stop"), self.words().index("migrate"))
        self.check_load()


class LeavesWhileHeld(VersionCase, SnapshotCase):
    version, resumes, held = "7.2.22", "yes", "leaves"

    def test_a_save_that_went_ahead_of_the_cut_is_no_snapshot(self):
        self.start()
        with self.assertRaisesRegex(Failed, "did not wait for the cut"):
            self.snapshot("s")
        wait_for("the end of that save", lambda: self.state() == "up" and not self.leftovers())
        self.assertEqual(self.names(), [])


if __name__ == "__main__":
    main(sys.modules["__main__"])
