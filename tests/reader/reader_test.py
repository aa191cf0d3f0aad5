#!/usr/bin/env python3
"""Proves that docs/format.md is enough to read a pool, and that the engine keeps to it.

tools/hozon-read was written from that page and shares no code with the engine. Here both read the same
pools: the sample pools of tests/golden, and pools that a real hozon-stored made with random operations
(points, clones, returns, deletions, renames, discards, new sizes), closed in peace or killed in the
middle of writes. Every volume and point that hozon-read extracts must equal, byte by byte, what the
server then shows over NBD, and the two listings must be the same. After some kills the medium "loses" what
no flush covered, the data of a journal record; then both must drop the same frames.

  reader_test.py --stored PROGRAM --reader PROGRAM [--rounds N] [--seed N]
"""
import argparse
import hashlib
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import random
import subprocess
import sys
import tarfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
import nbd  # noqa: E402
from stored import LinkError, Scratch, Stored, create_pool  # noqa: E402

MIB = 1 << 20
WHOLE_BYTES_MAX = 256 * MIB  # above that only what is mapped is compared, and how much is


class Wrong(Exception):
    """The two readings differ."""


def read(reader, *arguments, within=30.0):
    """A killed server gives up its lock on the pool a moment after its end."""
    end = time.monotonic() + within
    while True:
        run = subprocess.run([reader, *map(str, arguments)], capture_output=True)
        if run.returncode != 4 or time.monotonic() > end:
            return run
        time.sleep(0.05)


def must_read(reader, *arguments):
    run = read(reader, *arguments)
    if run.returncode != 0:
        raise Wrong(f"hozon-read {' '.join(map(str, arguments))}: exit {run.returncode}\n"
                    f"{(run.stdout[-2000:] + run.stderr[-2000:]).decode(errors='replace')}")
    return run.stdout


class Reading:
    """What hozon-read says of a pool that nobody serves."""

    def __init__(self, reader, pool, directory):
        self.directory = directory / "extracted"
        self.directory.mkdir(exist_ok=True)
        must_read(reader, "--verify", pool)
        self.list = json.loads(must_read(reader, pool, "-o", "json"))
        self.volumes = {v["id"]: v["name"] for v in self.list["volumes"]}
        self.points = {p["id"]: p for p in self.list["points"]}
        self.files = {}
        for point in self.list["points"]:
            if point["kind"] not in ("head", "snapshot") or point["volume_id"] not in self.volumes:
                continue
            name = self.volumes[point["volume_id"]]
            if point["kind"] == "snapshot":
                name += f"@{point['name']}"
            path = self.directory / f"{len(self.files)}.raw"
            must_read(reader, pool, name, path)
            self.files[name] = path

    def remove(self):
        for path in self.files.values():
            path.unlink()

    def ancestors(self, point_id):
        """Snapshots above a point. What is between them may be gone after the next opening."""
        found, at = [], self.points[point_id]["parent_id"]
        while at:
            point = self.points[at]
            if point["kind"] == "snapshot":
                found.append(at)
            at = point["parent_id"]
        return found


def extents_of(path):
    """[(start, end)] of a sparse file."""
    fd, at, found = os.open(path, os.O_RDONLY), 0, []
    try:
        while True:
            try:
                start = os.lseek(fd, at, os.SEEK_DATA)
            except OSError:
                return found
            at = os.lseek(fd, start, os.SEEK_HOLE)
            found.append((start, at))
    finally:
        os.close(fd)


def compare_bytes(server, export, path):
    size = path.stat().st_size
    client = server.nbd(export)
    if client.size != size:
        raise Wrong(f"{export}: {size} bytes extracted, {client.size} served")
    whole = [(0, size)] if size <= WHOLE_BYTES_MAX else extents_of(path)
    with open(path, "rb") as file:
        for start, end in whole:
            for at in range(start, end, 4 * MIB):
                length = min(4 * MIB, end - at)
                file.seek(at)
                ours, theirs = file.read(length), client.read(at, length)
                if ours != theirs:
                    first = next(i for i in range(length) if ours[i] != theirs[i])
                    raise Wrong(f"{export}: byte {at + first} differs: hozon-read {ours[first]}, "
                                f"served {theirs[first]}")
    client.close()
    if size > WHOLE_BYTES_MAX:
        volume, _, point = export.partition("@")
        mapped = server.call("volume.mapped", volume=volume, point=point)["bytes"]
        extracted = sum(end - start for start, end in whole)
        if mapped != extracted:
            raise Wrong(f"{export}: {extracted} bytes extracted, {mapped} bytes mapped")


def compare(server, reading):
    """`server` has just opened the pool that was read."""
    served = server.call("volume.list")["volumes"]
    ours = {v["name"]: (v["id"], v["size_bytes"], v["created_ns"], v["head_point_id"])
            for v in reading.list["volumes"]}
    theirs = {v["name"]: (v["id"], v["size_bytes"], v["created_ns"], v["head_point_id"]) for v in served}
    if ours != theirs:
        raise Wrong(f"volumes: hozon-read {ours}, served {theirs}")
    fields = ("id", "volume_id", "kind", "name", "size_bytes", "created_ns", "set_id")
    exports = set()
    for volume in served:
        exports.add(volume["name"])
        points = server.call("point.list", volume=volume["name"], all=False)["points"]
        exports |= {f"{volume['name']}@{p['name']}" for p in points}
        for point in points:
            mine = reading.points.get(point["id"])
            if mine is None or any(mine[f] != point[f] for f in fields):
                raise Wrong(f"point {point}: hozon-read {mine}")
        for number in [volume["head_point_id"], *(p["id"] for p in points)]:
            above = [p["id"] for p in server.call("point.ancestors", id=number)["points"]
                     if p["kind"] == "snapshot"]
            if above != reading.ancestors(number):
                raise Wrong(f"above point {number}: hozon-read {reading.ancestors(number)}, served {above}")
    if exports != set(reading.files):
        raise Wrong(f"exports: hozon-read {sorted(reading.files)}, served {sorted(exports)}")
    for export, path in reading.files.items():
        compare_bytes(server, export, path)
    return len(exports)


def program_as_module(path):
    """hozon-read, to find the places where a pool can be hurt."""
    loader = importlib.machinery.SourceFileLoader("hozon_read", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("hozon_read", loader))
    loader.exec_module(module)
    return module


def lose_data(module, directory, choose):
    """As a power cut after a kill: a block that a record after the last mark maps never reached the
    medium. False when there is none."""
    pool = module.Pool(str(directory))
    frames = pool.scan()
    pool.close()
    mark = max((mark for _, mark, _ in frames), default=0)
    maps = [values for sequence, _, records in frames if sequence > mark
            for kind, values in records if kind == 1]
    if not maps:
        return False
    _, _, block, count, _, _ = choose.choice(maps)
    with open(directory / "data", "r+b") as file:
        file.seek((block + choose.randrange(count)) * module.BLOCK)
        file.write(choose.randbytes(module.BLOCK))
    return True


class Trial:
    """Random operations on one pool; some clients write all the time and do not wait for answers."""

    def __init__(self, server, seed):
        self.server, self.random, self.serial = server, random.Random(seed), 0
        self.clients = []

    def fresh(self, stem):
        self.serial += 1
        return f"{stem}{self.serial}"

    def volumes(self):
        return {v["name"]: v["size_bytes"] for v in self.server.call("volume.list")["volumes"]}

    def some_point(self, volume):
        points = self.server.call("point.list", volume=volume, all=False)["points"]
        return self.random.choice(points)["name"] if points else None

    def create(self):
        low = self.random.choice((1, 3, 1000, 2048, 9000))  # sectors: heights 1 to 3, odd ends
        size = (low if self.random.random() < 0.8 else 1 << 19) * 512
        if self.random.random() < 0.1:
            size = 70 << 30  # height 4
        self.server.call("volume.create", name=self.fresh("v"), size_bytes=size)

    def write(self, volume, size, count):
        client = self.server.nbd(volume)
        window = self.random.randrange(max(1, size // MIB)) * MIB
        for _ in range(count):
            offset = self.random.randrange(window, min(size, window + 2 * MIB))
            length = min(self.random.choice((1, 512, 700, 4096, 5000, 16384, 200000)), size - offset)
            kind = self.random.random()
            if kind < 0.75:
                data = self.random.randbytes(64) * (length // 64 + 1)
                client.submit(nbd.WRITE, offset, length, data[:length])
            elif kind < 0.95:
                client.submit(nbd.TRIM if kind < 0.85 else nbd.ZEROES, offset, length)
            else:
                client.submit(nbd.FLUSH, 0, 0)
        client._push()
        self.clients.append(client)
        if len(self.clients) > 6:
            self.finish(self.clients.pop(0))

    @staticmethod
    def finish(client):
        while client.waiting:
            client.collect()
        client.close()

    def change(self, volume, size):
        """One operation on the volume or its points; the server may have a reason to refuse it."""
        call, point = self.server.call, self.some_point(volume)
        others = [v for v in self.volumes() if v != volume]
        choices = [
            lambda: call("volume.snapshot", point=self.fresh("点 "),
                         volumes=[volume, *self.random.sample(others, min(len(others), 2))]),
            lambda: call("volume.snapshot", volumes=[volume], point=self.fresh("p")),
            lambda: call("volume.clone", volume=volume, point=point or "", new_name=self.fresh("c")),
            lambda: call("volume.clone", volume=volume, point="", new_name=self.fresh("f")),
            lambda: call("volume.resize", name=volume, size_bytes=size + self.random.choice(
                (512, 300 * 512, 3 * MIB, 300 * MIB))),
            lambda: call("volume.resize", name=volume, allow_shrink=True,
                         size_bytes=max(512, size - self.random.choice((512, 40 * 512, 3 * MIB)))),
            lambda: call("volume.rename", name=volume, new_name=self.fresh("r")),
        ]
        if point is not None:
            items = [{"volume": volume, "point_volume": volume, "point": point}]
            choices += [
                lambda: call("volume.return", items=items, keep=self.fresh("left ")),
                lambda: call("volume.return", items=items, keep=""),
                lambda: call("point.delete", volume=volume, point=point),
                lambda: call("point.rename", volume=volume, point=point, new_name=self.fresh("n")),
            ]
        if len(others) > 6:
            choices += [lambda: call("volume.delete", name=volume, with_points=True)] * 3
        try:
            self.random.choice(choices)()
        except LinkError as error:
            if error.code not in ("wrong_state", "invalid_argument", "already_exists"):
                raise

    def discard_end(self, volume, size):
        """So that a volume may shrink."""
        client = self.server.nbd(volume)
        start = self.random.randrange(0, size)
        client.trim(start, min(size - start, 64 * MIB))
        client.close()

    def run(self, steps):
        for _ in range(3):
            self.create()
        for _ in range(steps):
            volumes = self.volumes()
            name = self.random.choice(list(volumes))
            what = self.random.random()
            if what < 0.5:
                self.write(name, volumes[name], self.random.randint(1, 30))
            elif what < 0.92:
                self.change(name, volumes[name])
            elif what < 0.95:
                self.discard_end(name, volumes[name])
            elif what < 0.97:
                self.server.call("pool.checkpoint")
            elif len(volumes) < 9:
                self.create()

    def end(self, in_peace):
        if in_peace:
            for client in self.clients:
                self.finish(client)
            if self.server.stop() != 0:
                raise Wrong("hozon-stored did not stop in peace")
        else:
            self.server.kill()
            for client in self.clients:
                client.abandon()
        self.clients = []


def random_pools(args, directory):
    create_pool(args.stored, directory / "pool", 256 * MIB)
    server = Stored(args.stored, directory).start()
    trial, module = Trial(server, args.seed), program_as_module(args.reader)
    exports = replayed = dropped = lost = 0
    try:
        for number in range(args.rounds):
            trial.run(args.steps)
            in_peace = number % 4 == 3
            trial.end(in_peace)
            if number % 2 == 1 and not in_peace:
                must_read(args.reader, server.pool)  # waits for the lock
                lost += lose_data(module, server.pool, trial.random)
            reading = Reading(args.reader, server.pool, directory)
            if in_peace and reading.list["frames_replayed"]:
                raise Wrong("a pool that was closed in peace has a journal to replay")
            replayed += reading.list["frames_replayed"]
            dropped += reading.list["frames_dropped"]
            server.start_again()
            if read(args.reader, server.pool, within=0).returncode != 4:
                raise Wrong("hozon-read reads a pool that is being served")
            exports += compare(server, reading)
            reading.remove()
        if server.stop() != 0:
            raise Wrong("hozon-stored did not stop in peace")
    except BaseException:
        print(server.last_words())
        raise
    finally:
        server.close()
    if not replayed or (lost > 0) != (dropped > 0):
        raise Wrong(f"{replayed} frames replayed, {lost} losses, {dropped} frames dropped")
    return (f"{args.rounds} rounds, {exports} exports, {replayed} frames replayed, {lost} losses, "
            f"{dropped} frames dropped")


def golden_pools(args, directory):
    """Read, then opened by the server of today."""
    exports = 0
    for archive_path in sorted((HERE.parent / "golden").glob("v*.tar.xz")):
        pool = directory / "pool"
        pool.mkdir()
        with tarfile.open(archive_path) as archive:
            for member in archive:
                (pool / member.name).write_bytes(archive.extractfile(member).read())
        before = {p.name: hashlib.sha256(p.read_bytes()).digest() for p in pool.iterdir()}
        reading = Reading(args.reader, pool, directory)
        if before != {p.name: hashlib.sha256(p.read_bytes()).digest() for p in pool.iterdir()}:
            raise Wrong("hozon-read wrote to the pool")
        server = Stored(args.stored, directory).start()
        try:
            exports += compare(server, reading)
        finally:
            server.close()
        subprocess.run(["rm", "-rf", pool, *directory.glob("*.sock")], check=True)
        reading.remove()
    if not exports:
        raise Wrong("no sample pool")
    return f"{exports} exports of sample pools"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--stored", required=True)
    parser.add_argument("--reader", required=True)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print(f"seed={args.seed}")
    for what in (golden_pools, random_pools):
        with Scratch("reader") as directory:
            print(what(args, directory))


if __name__ == "__main__":
    sys.exit(main())
