"""Writing: steady, just after a snapshot, with a snapshot every second, and each write flushed."""
import contextlib
import threading

from depth import COSTS
from measure import Spent, fio, fio_verify
from report import Goal, cheaper, faster

WRITES = "4k random write"
VERIFY_BYTES = 128 << 20


@contextlib.contextmanager
def snapshots_every(system, seconds):
    """One snapshot after the other while the body runs. A raw file has none."""
    end = threading.Event()
    failed = []

    def work():
        while not end.wait(seconds):
            try:
                system.snapshot()
            except Exception as error:  # told by the main thread
                failed.append(error)
                return

    thread = threading.Thread(target=work)
    if system.name != "raw":
        thread.start()
    try:
        yield
    finally:
        end.set()
        if system.name != "raw":
            thread.join()
    if failed:
        raise failed[0]


def run(bench, systems):
    for system in systems:
        bench.log(f"writes: filling {system.name}")
        system.fill()
    steady(bench, [system for system in systems if system.name != "qcow2_internal"])
    first_touch(bench, systems)
    beside_snapshots(bench, systems)
    flushed(bench, systems)
    verify(bench, next(system for system in systems if system.name == "hozon"))


def steady(bench, systems):
    for number in range(bench.plan.rounds):
        bench.log(f"steady writes: round {number + 1}")
        for system in bench.turns(systems, number):
            with Spent(system.pid) as spent:
                jobs = fio(system, "randwrite", "4k", bench.plan.seconds, system.span,
                           bench.plan.in_flight, ["--norandommap=1"])
            for count, job in jobs.items():
                bench.report.section(WRITES).cell(
                    f"write.steady.qd{count}", f"steady, qd {count}", "IOPS",
                    faster(0.95)).add(system.name, job["iops"])
            total = sum(job["total_ios"] for job in jobs.values())
            bench.report.section(COSTS).cell(
                "cpu.write", "processor time per 4k write, steady", "us", cheaper(1.0)).add(
                    system.name, spent.cpu_s * 1e6 / total)


def first_touch(bench, systems):
    """fio's random map lets each block be written once, so every write is the first one since the
    snapshot. (In qcow2 it is the first one to its cluster in the beginning only; that favours qcow2.)"""
    section = bench.report.section(WRITES)
    for number in range(bench.plan.rounds):
        bench.log(f"first touch: round {number + 1}")
        for system in bench.turns(systems, number):
            if system.name != "raw":
                system.snapshot()
            job = fio(system, "randwrite", "4k", bench.plan.burst, system.span)[16]
            section.cell("write.first.qd16", "first touch after a snapshot, qd 16", "IOPS",
                         faster(0.95)).add(system.name, job["iops"])
            before = section.cell("write.steady.qd16", "", "").median(system.name)
            if before:
                section.cell("write.first.own", "first touch, as part of the system's own steady",
                             "x", Goal(True, 0.95)).add(system.name, job["iops"] / before)


def beside_snapshots(bench, systems):
    cell = bench.report.section(WRITES).cell(
        "write.snapshots.qd16", "with a snapshot every second, qd 16", "IOPS", faster(0.9))
    for number in range(bench.plan.rounds):
        bench.log(f"a snapshot every second: round {number + 1}")
        for system in bench.turns([system for system in systems
                                   if system.name in ("raw", "hozon", "qcow2_external")], number):
            with snapshots_every(system, 1.0):
                job = fio(system, "randwrite", "4k", bench.plan.long_seconds, system.span, (16,),
                          ["--norandommap=1"])[16]
            cell.add(system.name, job["iops"])


def flushed(bench, systems):
    chosen = [system for system in systems if system.name in ("raw", "hozon", "qcow2_external")]
    for kind, name in (("steady", "steady"), ("first", "first touch after a snapshot")):
        cell = bench.report.section(WRITES).cell(
            f"write.flush.{kind}", f"each followed by a flush, qd 1, {name}", "IOPS", faster(0.9))
        for number in range(bench.plan.rounds):
            bench.log(f"write and flush, {name}: round {number + 1}")
            for system in bench.turns(chosen, number):
                if kind == "first" and system.name != "raw":
                    system.snapshot()
                cell.add(system.name, fio(system, "randwrite", "4k", bench.plan.seconds, system.span,
                                          (1,), ["--fsync=1"])[1]["iops"])


def verify(bench, hozon):
    """The server that was measured, not another one, keeps what it is given."""
    bench.log("fio verify")
    with snapshots_every(hozon, 0.1):
        checked = fio_verify(hozon, min(VERIFY_BYTES, hozon.span), 7)
    bench.log("check of the pool, with data")
    hozon.judge()
    bench.report.remark(f"fio verify on the server of the write cells, with a snapshot every 100 ms: "
                        f"{checked >> 20} MiB right; check of the whole pool with data: no error")
