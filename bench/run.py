#!/usr/bin/env python3
"""The benchmark: what snapshots cost, beside a raw file and the snapshots of qcow2, all in one run.

  run.py --programs DIR [--quick] [--only SECTION...] [--out DIR] [--scratch DIR] [--publish]

Prints a table, and writes results.json, table.md and depth.svg to --out. docs/performance.md explains
how it measures. The scratch directory needs room (the start says how much) on the disk to be measured.
"""
import argparse
import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/support"))
import depth  # noqa: E402
import engine  # noqa: E402
import images  # noqa: E402
import machine  # noqa: E402
import opening  # noqa: E402
import plot  # noqa: E402
import points  # noqa: E402
import publish  # noqa: E402
import stall  # noqa: E402
import transfer  # noqa: E402
import writes  # noqa: E402
from report import Report  # noqa: E402
from systems import (GIB, MIB, Hozon, Physical, Qcow2Internal, Raw, qcow2_external,  # noqa: E402
                     qcow2_external_l2)

SECTIONS = ("depth", "writes", "transfer", "points", "stall", "images", "engine")
YOUNG = 2 * points.TIMES  # points of a pool that has few
ROOM_USED = 0.8  # of what is free


@dataclasses.dataclass(frozen=True)
class Plan:
    size: int              # of the volume
    span: int              # of it that is written
    depths: tuple          # snapshots at which reads are measured
    qcow2_depth: int       # the deepest of them for qcow2
    rewrite_bytes: int     # between two snapshots, up to qcow2_depth,
    rewrite_deep_bytes: int  # and from there on
    in_flight: tuple       # queue depths of the random cells
    seconds: float         # of one measurement
    burst: float           # of one first touch
    long_seconds: float    # with snapshots beside it
    rounds: int
    stalls: int            # snapshots per round
    engine_runs: int
    engine_calls: int      # of each operation, per run; engine_bench gives their median

    def rewrite(self, depth):
        return self.rewrite_bytes if depth <= self.qcow2_depth else self.rewrite_deep_bytes

    def room(self, qcow2_depth):
        """Bytes on the disk when all systems are at their deepest."""
        one = self.span + qcow2_depth * self.rewrite_bytes
        rest = (self.depths[-1] - self.qcow2_depth) * self.rewrite_deep_bytes * 1.2
        alone = self.span + self.qcow2_depth * self.rewrite_bytes + rest
        return self.span + max(4 * one, alone)


FULL = Plan(size=8 * GIB, span=2 * GIB, depths=(0, 30, 300, 1000, 10000), qcow2_depth=300,
            rewrite_bytes=32 * MIB, rewrite_deep_bytes=MIB, in_flight=(1, 16, 64), seconds=1.0,
            burst=1.0, long_seconds=4.0, rounds=5, stalls=60, engine_runs=1, engine_calls=15)
QUICK = Plan(size=2 * GIB, span=256 * MIB, depths=(0, 30, 100), qcow2_depth=30,
             rewrite_bytes=8 * MIB, rewrite_deep_bytes=MIB, in_flight=(1, 16), seconds=0.25, burst=0.25,
             long_seconds=1.5, rounds=3, stalls=12, engine_runs=1, engine_calls=3)


class Bench:
    """What every section needs: the plan, the place, the report."""

    def __init__(self, args, plan, scratch):
        self.plan, self.scratch = plan, scratch
        self.programs = pathlib.Path(args.programs).resolve()
        self.report = Report()
        self.started = time.monotonic()
        self.qcow2_depth = plan.qcow2_depth

    def log(self, text):
        print(f"[{time.monotonic() - self.started:5.0f} s] {text}", file=sys.stderr, flush=True)

    @staticmethod
    def turns(systems, number):
        """Everybody is first once."""
        first = number % len(systems)
        return systems[first:] + systems[:first]

    def hozon(self):
        plan = self.plan
        pool = 4 * plan.span + 1.5 * plan.room(plan.qcow2_depth) / 4 + plan.room(0)
        return Hozon(self.programs, self.scratch, int(pool) // MIB * MIB, plan.size, plan.span)

    def fit_to_room(self):
        """qcow2 goes only as deep as the disk allows."""
        free = shutil.disk_usage(self.scratch).free * ROOM_USED
        for candidate in reversed([at for at in self.plan.depths if at <= self.plan.qcow2_depth]):
            self.qcow2_depth = candidate
            if self.plan.room(candidate) <= free:
                break
        self.log(f"needs {self.plan.room(self.qcow2_depth) / GIB:.1f} GiB in {self.scratch}, "
                 f"{free / ROOM_USED / GIB:.1f} GiB are free")
        if self.qcow2_depth < self.plan.qcow2_depth:
            self.report.remark(f"qcow2 was measured to depth {self.qcow2_depth} only: the disk has no "
                               f"room for depth {self.plan.qcow2_depth}")


def close_all(systems):
    for system in systems:
        system.close()


def run_depth(bench):
    plan = bench.plan
    raw = Raw(bench.scratch, plan.size, plan.span)
    hozon = bench.hozon()
    systems = [raw, Physical(raw), *(make(bench.scratch, plan.size, plan.span) for make in
                                     (qcow2_external, qcow2_external_l2, Qcow2Internal)), hozon]
    try:
        depth.run(bench, systems)
        points.calls(bench, hozon, plan.depths[-1])
        opening.run(bench, hozon, plan.depths[-1])
    finally:
        close_all(systems)
    if plan.rewrite_deep_bytes != plan.rewrite_bytes:
        bench.report.remark(
            f"between two snapshots {plan.rewrite_bytes // MIB} MiB of random 64 KiB blocks are "
            f"rewritten up to depth {plan.qcow2_depth}, {plan.rewrite_deep_bytes // MIB} MiB beyond, "
            f"where qcow2 takes no part")


def run_writes(bench):
    plan = bench.plan
    systems = [make(bench.scratch, plan.size, plan.span) for make in
               (Raw, qcow2_external, qcow2_external_l2, Qcow2Internal)] + [bench.hozon()]
    try:
        writes.run(bench, systems)
    finally:
        close_all(systems)


def run_transfer(bench):
    systems = [Raw(bench.scratch, bench.plan.size, bench.plan.span), bench.hozon()]
    try:
        transfer.run(bench, systems)
    finally:
        close_all(systems)


def run_points(bench):
    hozon = bench.hozon()
    try:
        hozon.fill()
        for _ in range(YOUNG):
            hozon.snapshot()
        points.calls(bench, hozon, YOUNG)
        points.space(bench, hozon)
        hozon.judge()
    finally:
        hozon.close()


def run_stall(bench):
    systems = [Raw(bench.scratch, bench.plan.size, bench.plan.span), bench.hozon()]
    try:
        for system in systems:
            system.fill()
        stall.run(bench, systems)
    finally:
        close_all(systems)


RUNNERS = {"depth": run_depth, "writes": run_writes, "transfer": run_transfer,
           "points": run_points, "stall": run_stall, "images": images.run, "engine": engine.run}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=float, help="of one measurement, instead of the plan's")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--out", default="build/bench", type=pathlib.Path)
    parser.add_argument("--publish", action="store_true", help="put the results into docs/ as well")
    parser.add_argument("--scratch", default="/var/tmp", help="a short path on the disk to measure")
    return parser.parse_args()


def main():
    args = arguments()
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="hz-bench-", dir=args.scratch))
    plan = QUICK if args.quick else FULL
    if args.seconds:
        plan = dataclasses.replace(plan, seconds=args.seconds)
    bench = Bench(args, plan, scratch)
    try:
        bench.report.machine = machine.describe(scratch)
        warning = machine.warning(bench.report.machine)
        if warning:
            bench.report.remark("WARNING: " + warning)
            bench.log("WARNING: " + warning)
        bench.fit_to_room()
        for section in SECTIONS:
            if section in args.only:
                RUNNERS[section](bench)
                write(bench, args)  # so that a run that is cut short is not lost
        print((args.out / "table.md").read_text())
        if args.publish:
            publish.publish(args.out)
        bench.log(f"written to {args.out}")
    finally:
        subprocess.run(["rm", "-rf", scratch], check=False)
    return 0


def write(bench, args):
    report = bench.report
    report.machine["seconds"] = round(time.monotonic() - bench.started)
    report.machine["load_at_end"] = [round(value, 2) for value in os.getloadavg()]
    args.out.mkdir(parents=True, exist_ok=True)
    lines = [f"{name}: {value}" for name, value in report.machine.items()]
    (args.out / "table.md").write_text("\n".join([*lines, "", report.markdown(), ""]))
    (args.out / "results.json").write_text(report.as_json() + "\n")
    plot.draw(report, args.out / "depth.svg")


if __name__ == "__main__":
    sys.exit(main())
