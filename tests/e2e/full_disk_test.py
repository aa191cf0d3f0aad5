#!/usr/bin/env python3
"""Proves that a full filesystem below the pool only makes guests wait (P12): the pool's file is sparse,
so the pool still has room when the filesystem has none.

Method: a small real filesystem; a pool that promises much more. A writer fills the volume until its
requests stay without an answer. Meanwhile reading, discarding, deleting a point, check, a kill and a
polite restart must work; when space comes back, from a deleted point, from a discard, or because
somebody else deleted a file, the waiting writes are answered. No request ever gets an error, and in the
end every answered write is there.

  full_disk_test.py --stored PROGRAM --fs tmpfs|ext4|xfs
"""
import argparse
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import nbd  # noqa: E402
from ledger import Events, Ledger, Wrong, judge_set  # noqa: E402
from small_disk import SmallDisk, enter_namespace  # noqa: E402
from stored import Scratch, Stored, create_pool, wait_for  # noqa: E402

KIB, MIB = 1 << 10, 1 << 20
UNIT = 4096
VOLUME_MIB = 1024
UNITS = VOLUME_MIB * MIB // UNIT
REQUEST_UNITS = 16
DEPTH = 8
QUIET_S = 1.5  # no answer for so long: the requests are parked


class Filler:
    """Writes forward, DEPTH requests in flight, on a connection of its own."""

    def __init__(self, server):
        self.server = server
        self.ledger = Ledger(Events(), 1, UNITS, UNIT)
        self.client = server.nbd("disk")
        self.at = 0
        self.answers = 0

    def send_more(self):
        while len(self.client.waiting) < DEPTH:
            tag, data = self.ledger.send(self.at, REQUEST_UNITS)
            self.client.submit(nbd.WRITE, self.at * UNIT, len(data), data, tag=tag)
            self.at = (self.at + REQUEST_UNITS) % UNITS

    def take(self, seconds):
        """True when an answer came. An error is a failure of the test."""
        self.client.timeout = seconds
        try:
            done = self.client.collect(1)
        except TimeoutError:
            return False
        for tag, error, _ in done:
            if error:
                raise nbd.Refused(f"write of units {tag}", error)
            self.ledger.answered(tag)
            self.answers += 1
        return True

    def until_parked(self, bytes_max=None):
        goal = self.answers + bytes_max // (REQUEST_UNITS * UNIT) if bytes_max else None
        while goal is None or self.answers < goal:
            self.send_more()
            if not self.take(QUIET_S):
                return True
        return False

    def finish(self, within):
        end = time.monotonic() + within
        while self.client.waiting:
            if not self.take(1) and time.monotonic() > end:
                raise Wrong(f"{len(self.client.waiting)} parked writes were not answered within "
                            f"{within} s although there is space: {self.server.call('pool.stats')}")

    def reconnect(self):
        tags = [tag for tag in self.client.abandon() if tag is not None]
        self.client = self.server.nbd("disk")
        self.ledger.settle(tags, self.client.read)

    def discard(self, first, count):
        """On another connection, as another user of the pool would."""
        client = self.server.nbd("disk")
        tag, _ = self.ledger.send(first, count, zero=True)
        client.trim(first * UNIT, count * UNIT)
        self.ledger.answered(tag)
        client.close()

    def judge(self):
        client = self.server.nbd("disk")
        now = self.ledger.events.next()
        judge_set([(self.ledger, client.read)], now, now + 1)
        client.close()


class Trial:
    def __init__(self, program, directory, disk):
        self.disk = disk
        create_pool(program, directory / "pool", 2 * VOLUME_MIB * MIB)
        self.server = Stored(program, directory).start()
        self.server.call("volume.create", name="disk", size_bytes=VOLUME_MIB * MIB)
        self.filler = Filler(self.server)
        self.began = time.monotonic()

    def say(self, text):
        print(f"{time.monotonic() - self.began:6.1f} s  {text}; {self.disk.free_bytes() // KIB} KiB "
              "free below the pool", flush=True)

    def expect_parked(self, parked):
        wait_for(f"parked is {parked}", lambda: self.server.call("pool.stats")["parked"] == parked, 10)
        stats = self.server.call("pool.stats")
        if stats["read_only"] or stats["failure"]:
            raise Wrong(f"the pool gave up: {stats}")

    def fill_up(self):
        if not self.filler.until_parked():
            raise Wrong("the writer was never parked")
        self.expect_parked(True)

    def check(self):
        report = self.server.call("pool.check", data=True)
        if report["errors"] or report["lost_blocks"]:
            raise Wrong(f"check: {report}")

    def works_while_full(self):
        """Of what the promise names, all that frees nothing."""
        client = self.server.nbd("disk")
        if client.read(0, 64 * KIB) != client.read(0, 64 * KIB):
            raise Wrong("reading changes")
        client.close()
        self.server.call("volume.snapshot", volumes=["disk"], point="while-full")
        self.server.call("point.delete", volume="disk", point="while-full")
        self.server.call("volume.create", name="empty", size_bytes=MIB)
        self.server.call("volume.delete", name="empty", with_points=True)
        self.check()

    def a_deleted_point_frees(self):
        self.filler.until_parked(16 * MIB)
        self.filler.finish(10)
        self.server.call("volume.snapshot", volumes=["disk"], point="p")
        self.filler.at = 0  # rewrites what the point holds: deleting it gives space back
        self.fill_up()
        self.say("full by writing over a point")
        self.works_while_full()
        self.say("snapshot, delete, check worked")
        self.server.call("point.delete", volume="disk", point="p")
        self.filler.finish(30)
        self.expect_parked(False)
        self.say("deleting the point let the waiting writes go on")

    def a_discard_frees(self):
        self.fill_up()
        self.say("full again")
        self.filler.discard(0, 8 * MIB // UNIT)
        self.filler.finish(30)
        self.say("a discard let them go on")

    def a_kill_and_a_restart_change_nothing(self):
        for end in ("kill", "stop"):
            self.fill_up()
            if end == "kill":
                self.server.kill()
            elif self.server.stop() != 0:
                raise Wrong("hozon-stored did not stop in peace on a full filesystem")
            begin = time.monotonic()
            self.server.start_again()
            took = time.monotonic() - begin
            self.filler.reconnect()
            self.filler.judge()
            self.check()
            self.works_while_full()
            self.say(f"{end}: opened again in {took:.2f} s and as it was")

    def space_comes_back_from_outside(self, others):
        self.fill_up()
        self.say("full once more")
        others.unlink()
        self.filler.finish(30)
        self.expect_parked(False)
        self.say("somebody else's file was deleted, the waiting writes went on")

    def run(self):
        # The pool may have prepared up to 32 MiB of its file by now: less than the volume in all.
        others = self.disk.fill("others", leave=24 * MIB)
        self.a_deleted_point_frees()
        self.a_discard_frees()
        self.a_kill_and_a_restart_change_nothing()
        self.space_comes_back_from_outside(others)
        self.filler.judge()
        self.check()
        if self.server.stop() != 0:
            raise Wrong("hozon-stored did not stop in peace")
        self.server.start()
        self.filler.judge()
        print(f"{self.filler.answers} writes of 64 KiB answered, no error")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--stored", required=True)
    parser.add_argument("--fs", default="tmpfs", choices=("tmpfs", "ext4", "xfs"))
    args = parser.parse_args()
    if args.fs == "tmpfs":
        enter_namespace()
    with Scratch("full") as scratch:
        disk = SmallDisk(args.fs, scratch, 192 if args.fs != "xfs" else 400)
        trial = None
        try:
            trial = Trial(args.stored, disk.path, disk)
            trial.run()
        except BaseException:
            if trial:
                print(trial.server.last_words(30))
            raise
        finally:
            if trial:
                trial.server.close()
            disk.close()


if __name__ == "__main__":
    sys.exit(main())
