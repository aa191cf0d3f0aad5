#!/usr/bin/env python3
"""Proves that points are what was there at their instant, and that deleting is safe and total.

While two volumes are written without pause (whole blocks and sectors, zeroes, discards, FUA, flushes)
and, with --fio, fio writes and verifies a third one, all are snapshotted together every 100 ms. Then
every point is read back: each unit must hold a value that was legal at that instant, in the order in
which the writer sent and was answered, across the volumes. Half of the points are deleted in random
order while writing goes on; the others must still be the same. Clones and returns are judged like the
points they came from. In the end the pool must be empty but for its own blocks.

  points_test.py --stored PROGRAM [--seconds N] [--interval-ms N] [--fio] [--seed N]
"""
import argparse
import hashlib
import json
import pathlib
import random
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from ledger import Events, Ledger, Sequel, Wrong, judge_set  # noqa: E402
from stored import Scratch, Stored, create_pool  # noqa: E402
from writer import Writer  # noqa: E402

MIB = 1 << 20
VOLUMES = {"blocks": (16, 4096), "sectors": (2, 512)}
FIO_MIB = 32


class Fio:
    """fio writes random blocks and verifies them, on a volume of its own."""

    def __init__(self, server, seconds):
        uri = f"nbd+unix:///fio?socket={server.nbd_path}"
        self.process = subprocess.Popen(
            ["fio", "--name=verify", "--ioengine=nbd", f"--uri={uri}", "--rw=randwrite", "--bs=4k",
             f"--size={FIO_MIB}M", "--iodepth=16", "--verify=crc32c", "--verify_fatal=1",
             "--do_verify=1", "--verify_state_save=0", "--time_based=1", f"--runtime={seconds}",
             "--rate=24m", "--output-format=json"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def wait(self):
        output, _ = self.process.communicate(timeout=600)
        if self.process.returncode != 0:
            raise Wrong(f"fio: {output[-2000:]}")
        job = json.loads(output[output.index("{"):])["jobs"][0]
        return job["write"]["io_bytes"], job["read"]["io_bytes"]

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Trial:
    def __init__(self, program, directory, args):
        self.args, self.random, self.events = args, random.Random(args.seed), Events()
        create_pool(program, directory / "pool", args.pool_mib * MIB)
        self.server = Stored(program, directory).start()
        self.link = self.server.link()
        self.writers, self.points, self.fio = {}, {}, None
        for number, (name, (mebibytes, unit)) in enumerate(VOLUMES.items(), 1):
            size = mebibytes * MIB
            self.link.call("volume.create", name=name, size_bytes=size)
            ledger = Ledger(self.events, number, size // unit, unit)
            self.writers[name] = Writer(self.random, lambda name=name: self.server.nbd(name), ledger)
        self.names = list(VOLUMES)
        if args.fio:
            self.link.call("volume.create", name="fio", size_bytes=FIO_MIB * MIB)
            self.names.append("fio")

    def make_point(self, name):
        begin = self.events.next()
        start = time.monotonic()
        self.link.call("volume.snapshot", volumes=self.names, point=name)
        seconds = time.monotonic() - start
        self.points[name] = (begin, self.events.next())
        return seconds

    def step(self):
        for writer in self.writers.values():
            writer.step()

    def make_points(self):
        """Writes all the time; a point every interval. Returns how long each took."""
        took = []
        now = time.monotonic()
        end, due = now + self.args.seconds, now
        while now < end:
            self.step()
            now = time.monotonic()
            if now >= due:
                took.append(self.make_point(f"p{len(took)}"))
                due += self.args.interval_ms / 1000
        return took

    def judge(self, name, window, volumes=None, judges=None):
        """`volumes`: ledger name -> export that should show this point. `judges`: of each volume,
        its ledger if not given."""
        parts, clients = [], []
        for volume, writer in self.writers.items():
            client = self.server.nbd((volumes or {}).get(volume, f"{volume}@{name}"))
            clients.append(client)
            parts.append(((judges or {}).get(volume, writer.ledger), client.read))
        try:
            judge_set(parts, *window)
        except Wrong as wrong:
            raise Wrong(f"point {name}: {wrong}") from wrong
        finally:
            for client in clients:
                client.close()

    def judge_points(self):
        """All points, each read to its last byte; a few once more by the judge without a memory."""
        judges = {volume: Sequel(writer.ledger) for volume, writer in self.writers.items()}
        for name, window in self.points.items():
            self.step()  # the volumes go on changing while their past is read
            self.judge(name, window, judges=judges)
        for name in self.random.sample(list(self.points), min(10, len(self.points))):
            self.judge(name, self.points[name])

    def digest(self, name):
        """Of the point's bytes on fio's volume, which no ledger knows."""
        client = self.server.nbd(f"fio@{name}")
        whole = hashlib.sha256()
        for offset in range(0, FIO_MIB * MIB, 4 * MIB):
            whole.update(client.read(offset, 4 * MIB))
        client.close()
        return whole.hexdigest()

    def delete_half(self):
        victims = self.random.sample(list(self.points), len(self.points) // 2)
        for name in victims:
            self.step()
            for volume in self.names:
                self.link.call("point.delete", volume=volume, point=name)
            del self.points[name]

    def clone_and_return(self):
        """A clone shows its point; so does a volume after its return, and the way back exists."""
        name = self.random.choice(list(self.points))
        clones = {volume: f"{volume}-clone" for volume in VOLUMES}
        for volume, clone in clones.items():
            self.link.call("volume.clone", volume=volume, point=name, new_name=clone)
        self.judge(name, self.points[name], clones)
        for writer in self.writers.values():
            writer.finish()
        left = (self.events.next(), self.events.next())
        items = [{"volume": volume, "point_volume": volume, "point": name} for volume in VOLUMES]
        self.link.call("volume.return", items=items, keep="left")
        self.judge(name, self.points[name], {volume: volume for volume in VOLUMES})
        self.points["left"] = left
        self.judge("left", left)
        items = [item | {"point": "left"} for item in items]
        self.link.call("volume.return", items=items, keep="")
        self.judge("left", left, {volume: volume for volume in VOLUMES})
        for clone in clones.values():
            self.link.call("volume.delete", name=clone, with_points=True)

    def check(self):
        report = self.link.call("pool.check", data=True)
        if report["errors"] or report["warnings"] or report["lost_blocks"]:
            raise Wrong(f"check: {report}")

    def delete_everything(self):
        for writer in self.writers.values():
            writer.close()
        for name in self.names:
            self.link.call("volume.delete", name=name, with_points=True)
        self.link.call("pool.drain")
        self.link.call("pool.checkpoint")
        stats = self.link.call("pool.stats")
        own = MIB + stats["size_bytes"] // (8 * 4096)  # catalog and the like, and the bitmap
        if stats["live_bytes"] > own or stats["points"]:
            raise Wrong(f"space is not given back: {stats}")

    def run(self):
        if self.args.fio:
            self.fio = Fio(self.server, self.args.seconds)
        took = sorted(self.make_points())
        if self.fio:
            written, verified = self.fio.wait()
            print(f"fio wrote {written >> 20} MiB and verified {verified >> 20} MiB")
            if min(written, verified) < self.args.seconds * MIB:
                raise Wrong("fio did too little")
            digests = {name: self.digest(name) for name in self.points}
        self.judge_points()
        self.delete_half()
        self.link.call("pool.drain")
        self.judge_points()
        if self.fio and any(self.digest(name) != digests[name] for name in self.points):
            raise Wrong("a point of fio's volume changed while others were deleted")
        self.clone_and_return()
        self.check()
        kept, writes = len(self.points), sum(w.writes for w in self.writers.values())
        self.delete_everything()
        self.check()
        if self.server.stop() != 0:
            raise Wrong("hozon-stored did not stop in peace")
        print(f"{len(took)} points in {self.args.seconds} s, {writes} writes, {kept} kept and judged "
              f"twice; making one took {took[len(took) // 2] * 1000:.1f} ms (median), "
              f"{took[-1] * 1000:.1f} ms (longest)")
        if writes < 100 or len(took) < 5:
            raise Wrong("nothing much happened: too few writes or points")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--stored", required=True)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--interval-ms", type=int, default=100)
    parser.add_argument("--pool-mib", type=int, default=2048)
    parser.add_argument("--fio", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.fio and not shutil.which("fio"):
        print("fio is not installed")
        return 77
    print(f"seed={args.seed}")
    with Scratch("points") as directory:
        trial = Trial(args.stored, directory, args)
        try:
            trial.run()
        except BaseException:
            print(trial.server.last_words())
            raise
        finally:
            if trial.fio:
                trial.fio.end()
            trial.server.close()


if __name__ == "__main__":
    sys.exit(main())
