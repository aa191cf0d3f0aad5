#!/usr/bin/env python3
"""Judges one promise: 300 snapshots of a volume, each after 32 MiB of random 64 KiB rewrites, and its
4 KiB random reads are no slower than before the first. A raw file is read in turns with it, so that a
machine which drifts is not taken for a volume that slows. Exit 1 when the median at the end is slower
than every round at the beginning.

  snapshot_depth.py --programs DIR [--quick]      one line per number: NAME VALUE UNIT
"""
import argparse
import pathlib
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/support"))
from measure import fio  # noqa: E402
from stored import Scratch  # noqa: E402
from systems import GIB, MIB, Hozon, Raw  # noqa: E402

ROUNDS = 5
SLACK = 0.05  # below the slowest round of the beginning: that is noise


def show(name, value, unit):
    print(f"{name:<40} {value:>12.2f} {unit}", flush=True)


def reads(raw, hozon, seconds, when):
    """Hozon's speed as part of the raw file's, in each of several rounds."""
    ratios = []
    for _ in range(ROUNDS):
        iops = {system.name: fio(system, "randread", "4k", seconds, system.span, (16,),
                                 ["--norandommap=1"])[16]["iops"] for system in (raw, hozon)}
        ratios.append(iops["hozon"] / iops["raw"])
        show(f"hozon.read_4k.{when}", iops["hozon"], "IOPS")
        show(f"raw.read_4k.{when}", iops["raw"], "IOPS")
    return ratios


def judge(raw, hozon, snapshots, rewritten, seconds):
    raw.fill()
    hozon.fill()
    before = reads(raw, hozon, seconds, "begin")
    took = []
    for _ in range(snapshots):
        hozon.rewrite(rewritten)
        start = time.perf_counter()
        hozon.snapshot()
        took.append((time.perf_counter() - start) * 1000)
    after = reads(raw, hozon, seconds, "end")
    hozon.judge(data=False)
    show("hozon.snapshot.first_ten", statistics.median(took[:10]), "ms")
    show("hozon.snapshot.last_ten", statistics.median(took[-10:]), "ms")
    show("hozon.snapshot.longest", max(took), "ms")
    after = statistics.median(after)
    show(f"hozon.read_4k.depth_{snapshots}_to_0", after / statistics.median(before), "")
    return after >= min(before) * (1 - SLACK)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", required=True)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    span, rewritten, snapshots, seconds = GIB, 32 * MIB, 300, 3
    if args.quick:
        span, rewritten, snapshots, seconds = 256 * MIB, 8 * MIB, 40, 1
    with Scratch("depth") as directory:
        raw = Raw(directory, span, span)
        hozon = Hozon(args.programs, directory, 3 * span + 2 * snapshots * rewritten, span, span)
        try:
            as_fast = judge(raw, hozon, snapshots, rewritten, seconds)
        finally:
            raw.close()
            hozon.close()
    return 0 if as_fast else 1


if __name__ == "__main__":
    sys.exit(main())
