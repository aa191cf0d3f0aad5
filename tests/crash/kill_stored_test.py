#!/usr/bin/env python3
"""Proves P1 and P4 for hozon-stored: it is killed with SIGKILL in the middle of writes, again and
again, and started again on the same sockets. After every kill each unit that had a request without an
answer holds its old or its new content; every few kills everything is read back and must be exactly
what was answered; points that were made on the way must not change; the pool's check finds nothing
and no lost block.

  kill_stored_test.py --stored PROGRAM [--kills N] [--seed N]
"""
import argparse
import pathlib
import random
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from ledger import Events, Ledger, judge_set  # noqa: E402
from stored import Scratch, Stored, create_pool  # noqa: E402
from writer import Writer  # noqa: E402

MIB = 1 << 20
# name -> (MiB, unit): whole blocks, and units smaller than a block, which read, merge and redirect.
VOLUMES = {"blocks": (24, 4096), "sectors": (6, 512)}


class Torture:
    def __init__(self, program, directory, seed):
        self.random = random.Random(seed)
        self.events = Events()
        create_pool(program, directory / "pool", 512 * MIB)
        self.server = Stored(program, directory).start()
        self.writers, self.points = {}, {}
        for number, (name, (mebibytes, unit)) in enumerate(VOLUMES.items(), 1):
            size = mebibytes * MIB
            self.server.call("volume.create", name=name, size_bytes=size)
            ledger = Ledger(self.events, number, size // unit, unit)
            self.writers[name] = Writer(self.random, lambda name=name: self.server.nbd(name), ledger)

    def write_for(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for writer in self.writers.values():
                writer.step()

    def kill_and_return(self):
        """Kills while requests are in flight, starts again, settles; the seconds to the first answer."""
        for writer in self.writers.values():
            writer.step()
        self.server.kill()
        begin = time.monotonic()
        self.server.start_again()
        for writer in self.writers.values():
            writer.reconnect()
        return time.monotonic() - begin

    def make_point(self, name):
        """One point of all volumes while writes are in flight."""
        for writer in self.writers.values():
            writer.step()
        begin = self.events.next()
        self.server.call("volume.snapshot", volumes=list(VOLUMES), point=name)
        self.points[name] = (begin, self.events.next())

    def delete_point(self):
        name = self.random.choice(list(self.points))
        for volume in VOLUMES:
            self.server.call("point.delete", volume=volume, point=name)
        del self.points[name]

    def judge_heads(self):
        for writer in self.writers.values():
            writer.finish()
        now = self.events.next()
        judge_set([(writer.ledger, writer.client.read) for writer in self.writers.values()],
                  now, now + 1)

    def judge_point(self, name):
        clients = [(writer.ledger, self.server.nbd(f"{volume}@{name}"))
                   for volume, writer in self.writers.items()]
        judge_set([(ledger, client.read) for ledger, client in clients], *self.points[name])
        for _, client in clients:
            client.close()

    def check(self):
        report = self.server.call("pool.check", data=True)
        if report["errors"] or report["lost_blocks"]:
            raise AssertionError(f"check: {report}")

    def delete_all_and_count(self):
        """With everything deleted nothing but the pool's own blocks is live."""
        for writer in self.writers.values():
            writer.close()
        for volume in VOLUMES:
            self.server.call("volume.delete", name=volume, with_points=True)
        self.server.call("pool.drain")
        self.server.call("pool.checkpoint")
        stats = self.server.call("pool.stats")
        if stats["live_bytes"] > MIB or stats["points"]:
            raise AssertionError(f"space is not given back: {stats}")


def run(torture, kills):
    slowest = 0.0
    for kill in range(1, kills + 1):
        torture.write_for(torture.random.uniform(0.02, 0.4))
        if kill % 3 == 0:
            torture.make_point(f"p{kill}")
        if kill % 7 == 0:
            torture.delete_point()  # the walk is still running when the kill comes
        slowest = max(slowest, torture.kill_and_return())
        if kill % 5 == 0:
            torture.judge_heads()
            torture.check()
    torture.judge_heads()
    for name in torture.points:
        torture.judge_point(name)
    torture.check()
    assert torture.server.stop() == 0, "a polite stop exits with 0"
    torture.server.start()
    for writer in torture.writers.values():
        writer.close()
        writer.reconnect()
    torture.judge_heads()
    torture.check()
    torture.delete_all_and_count()
    torture.check()
    assert torture.server.stop() == 0
    writes = sum(writer.writes for writer in torture.writers.values())
    print(f"{kills} kills, {writes} writes, {len(torture.points)} points kept, "
          f"slowest return to service {slowest:.3f} s")
    if writes < 20 * kills:
        raise AssertionError("too few writes: the kills hit nothing")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--stored", required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print(f"seed={args.seed}")
    with Scratch("kill") as directory:
        torture = Torture(args.stored, directory, args.seed)
        try:
            run(torture, args.kills)
        except BaseException:
            print(torture.server.last_words())
            raise
        finally:
            torture.server.close()


if __name__ == "__main__":
    sys.exit(main())
