#!/usr/bin/env python3
"""Whether cost stays flat when there is much of everything: 10,000 points on one volume, 1,000 volumes, a
volume of 16 TiB, 100,000 points in a pool. Each operation is measured when there is little and again when
there is much, in the same run; the ratio of the lower quartiles, which other work on
the machine disturbs least, must stay below 2 (listing: for each item listed).
Opening is given as it is, after a stop and after a kill, and for each point. The server must stay within its budget of memory: the node
cache, and what it keeps for every point.

  scale.py --programs DIR [--quick] [--only NAME ...]     one line per number: NAME VALUE UNIT
exit status 1 when something is not flat.
"""
import argparse
import pathlib
import random
import re
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/support"))
from stored import Scratch, Stored, create_pool  # noqa: E402

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
FLAT = 2.0
NODE_CACHE_BYTES = 64 * MIB  # src/store/pool.h
BASE_BYTES = 64 * MIB        # program, journal ring at opening, buffers of connections
POINT_BYTES = 2 * KIB        # what may be kept in memory for each point
KILLED_POINTS = 100          # made before a kill


class Scale:
    def __init__(self, program, directory, pool_bytes):
        create_pool(program, directory / "pool", pool_bytes)
        self.server = Stored(program, directory).start()
        self.link = self.server.link()
        self.random = random.Random(4711)
        self.faults = []

    # --- measuring ---
    def show(self, name, value, unit):
        print(f"{name:<52} {value:>12.3f} {unit}", flush=True)

    def timed(self, op, **parameters):
        begin = time.perf_counter()
        result = self.link.call(op, **parameters)
        return (time.perf_counter() - begin) * 1000, result

    def flat(self, name, few, many, unit="ms"):
        """few, many: measurements of one operation with little and with much around it."""
        little, much = (statistics.quantiles(times, n=4)[0] for times in (few, many))
        self.show(f"{name}.with_few", little, unit)
        self.show(f"{name}.with_many", much, unit)
        self.show(f"{name}.ratio", much / little, "")
        # Below a tenth of a millisecond the ratio is of the machine's moods.
        if much / little > FLAT and much - little > 0.1:
            self.faults.append(f"{name}: {little:.3f} {unit} with few, {much:.3f} with many")

    def open_again(self, name, points):
        if self.server.stop() != 0:
            self.faults.append(f"{name}: hozon-stored did not stop in peace")
        took = self.start(f"{name}.open")
        self.memory(name, points)
        # After a kill there is a journal to replay: what was made since the opening.
        volume = self.link.call("volume.list")["volumes"][0]["name"]
        for number in range(KILLED_POINTS):
            self.link.call("volume.snapshot", volumes=[volume], point=f"killed{self.server.starts}-{number}")
        self.server.kill()
        self.start(f"{name}.open_killed")
        return took

    def start(self, name):
        self.link.close()
        begin = time.perf_counter()
        self.server.start_again()
        took = (time.perf_counter() - begin) * 1000
        self.link = self.server.link()
        self.show(name, took, "ms")
        return took

    def memory(self, name, points):
        status = pathlib.Path(f"/proc/{self.server.process.pid}/status").read_text()
        peak, now = (int(re.search(rf"{key}:\s+(\d+)", status)[1]) * KIB for key in ("VmHWM", "VmRSS"))
        budget = BASE_BYTES + NODE_CACHE_BYTES + points * POINT_BYTES
        self.show(f"{name}.rss", now / MIB, "MiB")
        self.show(f"{name}.rss_peak", peak / MIB, "MiB")
        if peak > budget:
            self.faults.append(f"{name}: {peak >> 20} MiB of memory, more than {budget >> 20}")

    def check(self, name):
        took, report = self.timed("pool.check", data=False)
        self.show(f"{name}.check", took, "ms")
        if report["errors"] or report["lost_blocks"]:
            self.faults.append(f"{name}: check: {report['errors'][:3]} {report['lost_blocks']} lost")

    def touch(self, client, size):
        client.write(self.random.randrange(size // 4096) * 4096, self.random.randbytes(4096))

    # --- the four ---
    def points_on_one_volume(self, count):
        name, size = "points_on_one_volume", 64 * MIB
        self.link.call("volume.create", name="deep", size_bytes=size)
        client = self.server.nbd("deep")
        took, write = [], []
        few = count // 10
        for number in range(count):
            begin = time.perf_counter()
            self.touch(client, size)
            write.append((time.perf_counter() - begin) * 1000)
            took.append(self.timed("volume.snapshot", volumes=["deep"], point=f"p{number}")[0])
            if number == few:
                list_few = [self.timed("point.list", volume="deep")[0] / few for _ in range(9)]
                open_few = [self.timed("point.delete", volume="deep", point=f"p{n}")[0]
                            for n in range(0, 50)]
        self.flat(f"{name}.snapshot", took[:few], took[-few:])
        self.flat(f"{name}.write_4k", write[:few], write[-few:])
        self.flat(f"{name}.list_each", list_few,
                  [self.timed("point.list", volume="deep")[0] / count for _ in range(9)])
        self.flat(f"{name}.delete", open_few,
                  [self.timed("point.delete", volume="deep", point=f"p{n}")[0]
                   for n in self.random.sample(range(100, count), 50)])
        client.close()
        self.link.call("pool.drain")
        self.check(name)
        self.open_again(name, count)

    def many_volumes(self, count):
        name, size = "volumes", 16 * MIB
        made, snapped, listed = [], [], {}
        for number in range(count):
            made.append(self.timed("volume.create", name=f"v{number}", size_bytes=size)[0])
            snapped.append(self.timed("volume.snapshot", volumes=[f"v{number}"], point="p")[0])
            if number + 1 in (count // 10, count):
                listed[number + 1] = [self.timed("volume.list")[0] / (number + 1) for _ in range(9)]
        few = count // 10
        self.flat(f"{name}.create", made[:few], made[-few:])
        self.flat(f"{name}.snapshot", snapped[:few], snapped[-few:])
        self.flat(f"{name}.list_each", listed[few], listed[count])
        deleted = [self.timed("volume.delete", name=f"v{n}", with_points=True)[0]
                   for n in range(count // 2)]
        self.flat(f"{name}.delete", deleted[-few:], deleted[:few])
        self.check(name)
        self.open_again(name, count)

    def huge_volume(self, terabytes):
        """The same work on a volume of 1 GiB and on a huge one."""
        name, took = "huge_volume", {}
        for volume, size in (("small", GIB), ("huge", terabytes * TIB)):
            self.link.call("volume.create", name=volume, size_bytes=size)
            client = self.server.nbd(volume)
            took[volume] = snapped, deleted, written = [], [], []
            for number in range(100):
                for _ in range(8):
                    begin = time.perf_counter()
                    self.touch(client, size)
                    written.append((time.perf_counter() - begin) * 1000)
                snapped.append(self.timed("volume.snapshot", volumes=[volume], point=f"p{number}")[0])
            for number in range(0, 100, 2):
                deleted.append(self.timed("point.delete", volume=volume, point=f"p{number}")[0])
            client.close()
            self.show(f"{name}.space_back_{volume}", self.timed("pool.drain")[0], "ms")
        for index, what in enumerate(("snapshot", "delete", "write_4k")):
            self.flat(f"{name}.{what}", took["small"][index], took["huge"][index])
        self.check(name)
        self.open_again(name, 200)

    def points_in_the_pool(self, count):
        name, volumes = "points_in_the_pool", [f"m{n}" for n in range(100)]
        for volume in volumes:
            self.link.call("volume.create", name=volume, size_bytes=16 * MIB)
        clients = [self.server.nbd(volume) for volume in volumes]
        rounds, took, opened, one = count // len(volumes), [], {}, {}
        for number in range(rounds):
            for client in clients[number % 7::7]:
                self.touch(client, 16 * MIB)
            took.append(self.timed("volume.snapshot", volumes=volumes, point=f"r{number}")[0])
            if number + 1 in (rounds // 10, rounds):
                for client in clients:
                    client.close()
                one[number + 1] = [self.timed("volume.snapshot", volumes=["m0"], point=f"x{number}-{n}")[0]
                                   for n in range(50)]
                deleted = [self.timed("point.delete", volume="m0", point=f"x{number}-{n}")[0]
                           for n in range(50)]
                opened[number + 1] = (self.open_again(f"{name}.{(number + 1) * 100}", (number + 1) * 100),
                                      deleted)
                clients = [self.server.nbd(volume) for volume in volumes]
        few = rounds // 10
        self.flat(f"{name}.snapshot_of_100", took[:few], took[-few:])
        self.flat(f"{name}.snapshot_of_one", one[few], one[rounds])
        self.flat(f"{name}.delete", opened[few][1], opened[rounds][1])
        self.show(f"{name}.open_for_each_point", opened[rounds][0] * 1000 / count, "us")
        for client in clients:
            client.close()
        self.check(name)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", required=True)
    parser.add_argument("--quick", action="store_true", help="a twentieth of everything")
    names = {"points": ("points_on_one_volume", 10_000, 500), "volumes": ("many_volumes", 1000, 50),
             "huge": ("huge_volume", 16, 16), "pool": ("points_in_the_pool", 100_000, 5000)}
    parser.add_argument("--only", nargs="+", choices=names, default=list(names))
    args = parser.parse_args()
    faults = []
    for key in args.only:
        method, full, quick = names[key]
        with Scratch("scale") as directory:
            scale = Scale(pathlib.Path(args.programs) / "hozon-stored", directory, 32 * GIB)
            try:
                getattr(scale, method)(quick if args.quick else full)
            except BaseException:
                print(scale.server.last_words())
                raise
            finally:
                scale.server.close()
            faults += scale.faults
    for fault in faults:
        print(f"NOT FLAT: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
