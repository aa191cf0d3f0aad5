"""Reading at depth: 4 KiB random reads as snapshots pile up, and what each snapshot costs.

Between two snapshots random 64 KiB blocks are rewritten (not in the raw file, which has no snapshots
and would stay as it is). At each depth all systems that still take part are measured in turns.
"""
import time

from measure import Spent, fio, resident_bytes
from report import below, cheaper, faster

READS = "4k random read as snapshots pile up"
CREATES = "Snapshot create, durable, on the 8 GiB volume, called over the link"
COSTS = "What the server spends"
TIMED = 100  # the last snapshots before each depth


def run(bench, systems):
    """`systems` ends with Hozon alone; the others are closed as the depth passes theirs."""
    for system in systems:
        bench.log(f"depth 0: filling {system.name}")
        system.fill()
    at = 0
    for depth in bench.plan.depths:
        if depth > bench.qcow2_depth:
            retire(systems, "qcow2")
        pile_up(bench, systems, at, depth)
        at = depth
        measure(bench, systems, depth)
        retire(systems, "physical")


def retire(systems, prefix):
    for system in [system for system in systems if system.name.startswith(prefix)]:
        system.close()
        systems.remove(system)


def pile_up(bench, systems, at, depth):
    bench.log(f"snapshots {at} to {depth}")
    for system in systems:
        if depth == at or system.name in ("raw", "physical"):
            continue
        took = []
        for _ in range(at, depth):
            start = time.perf_counter()
            system.snapshot()
            took.append((time.perf_counter() - start) * 1000)
            system.rewrite(bench.plan.rewrite(depth))
        took = took[-TIMED:]
        cell = bench.report.section(CREATES).cell(
            f"create.{depth}", f"points {depth - len(took)} to {depth}", "ms", below(5))
        cell.values[system.name] = took


def measure(bench, systems, depth):
    for number in range(bench.plan.rounds):
        bench.log(f"depth {depth}: round {number + 1}")
        for system in bench.turns(systems, number):
            with Spent(system.pid) as spent:
                jobs = fio(system, "randread", "4k", bench.plan.seconds, system.span,
                           bench.plan.in_flight, ["--norandommap=1"])
            for count, job in jobs.items():
                bench.report.section(READS).cell(
                    f"read.{depth}.qd{count}", f"depth {depth}, qd {count}", "IOPS",
                    faster(0.95)).add(system.name, job["iops"])
            if system.name != "physical":
                note_costs(bench, system, depth, spent, jobs)


def note_costs(bench, system, depth, spent, jobs):
    section = bench.report.section(COSTS)
    total = sum(job["total_ios"] for job in jobs.values())
    section.cell(f"cpu.read.{depth}", f"processor time per 4k read, depth {depth}", "us",
                 cheaper(1.0)).add(system.name, spent.cpu_s * 1e6 / total)
    section.cell(f"rss.{depth}", f"resident memory, depth {depth}", "MiB", None,
                 "of hozon-stored, whose node cache may take 64 MiB"
                 ).add(system.name, resident_bytes(system.pid) / 2**20)
