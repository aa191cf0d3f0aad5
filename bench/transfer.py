"""Large requests, on fresh volumes, and reading from end to end after everything was overwritten in
small random pieces, before and after the defragmenter."""
from measure import fio, overwrite_all
from report import faster
from systems import MIB

LARGE = "Large requests"
FRESH = (("randread", "64k"), ("read", "1M"), ("randwrite", "64k"), ("write", "1M"))
WORDS = {"randread": "random read", "read": "sequential read", "randwrite": "random write",
         "write": "sequential write"}


def run(bench, systems):
    for system in systems:
        bench.log(f"large requests: filling {system.name}")
        system.fill()
    for kind, block in FRESH:
        _measure(bench, systems, f"large.{kind}.{block}", f"{block} {WORDS[kind]}, qd 16", kind,
                 block, 0.95)
    for system in systems:
        bench.log(f"overwriting {system.name} in random 4 KiB blocks")
        overwrite_all(system)
    text = "1M sequential read after random 4k overwriting of all, "
    _measure(bench, systems, "large.scattered", text + "as it is", "read", "1M", 0.6)
    hozon = next(system for system in systems if system.name == "hozon")
    bench.log("defragmenting")
    hozon.call("volume.defragment", name="disk")
    _measure(bench, systems, "large.defragmented", text + "defragmented", "read", "1M", 0.9)
    hozon.judge()


def _measure(bench, systems, name, text, kind, block, goal):
    cell = bench.report.section(LARGE).cell(name, text, "MiB/s", faster(goal))
    for number in range(bench.plan.rounds):
        bench.log(f"{text}: round {number + 1}")
        for system in bench.turns(systems, number):
            options = ["--norandommap=1"] if kind.startswith("rand") else []
            job = fio(system, kind, block, bench.plan.seconds, system.span, (16,), options)[16]
            cell.add(system.name, job["bytes_per_s"] / MIB)
