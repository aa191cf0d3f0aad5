"""How long a guest would wait: a writer of 4 KiB with one request in flight, while snapshots are taken.

One thread does both: it sends the order for a snapshot on the link, writes on, and looks after each
write whether the answer is there. The stall of a snapshot is the longest write between its order and
20 ms after its answer. The same windows without snapshots, on Hozon and on raw, are the noise.
"""
import json
import random
import select
import statistics
import time

from report import below

STALL = "Longest stall of a 4k writer, qd 1, across a snapshot"
EVERY_S, AFTER_S = 0.05, 0.02


def run(bench, systems):
    section = bench.report.section(STALL)
    quiet = section.cell("stall.none", "no snapshots: p99 of the longest write per window", "ms",
                         None, "the noise of the machine")
    p99 = section.cell("stall.p99", "p99 over the snapshots", "ms", below(10))
    middle = section.cell("stall.median", "median over the snapshots", "ms")
    for number in range(bench.plan.rounds):
        bench.log(f"stalls: round {number + 1}")
        for system in bench.turns(systems, number):
            quiet.add(system.name, high(stalls(system, bench.plan.stalls, False)))
            if system.name == "hozon":
                found = stalls(system, bench.plan.stalls, True)
                p99.add(system.name, high(found))
                middle.add(system.name, statistics.median(found))


def high(values):
    return sorted(values)[max(0, round(len(values) * 0.99) - 1)]


def stalls(system, count, with_snapshots):
    """The longest write of each window, in ms."""
    client, rng = system.client(), random.Random(count)
    data = rng.randbytes(4096)
    blocks = system.span // 4096
    longest = []
    while len(longest) < count:
        begin = time.perf_counter()
        if with_snapshots:
            order(system)
        answered, worst, now = None if with_snapshots else begin, 0.0, begin
        while answered is None or now < answered + AFTER_S:
            start = time.perf_counter()
            client.write(rng.randrange(blocks) * 4096, data)
            now = time.perf_counter()
            worst = max(worst, now - start)
            if answered is None and select.select([system.link.socket], [], [], 0)[0]:
                check(system)
                answered = now
        longest.append(worst * 1000)
        while time.perf_counter() < begin + EVERY_S:
            client.write(rng.randrange(blocks) * 4096, data)
    return longest


def order(system):
    system.snapshots += 1
    line = {"id": 0, "op": "volume.snapshot", "volumes": ["disk"], "point": f"p{system.snapshots}"}
    system.link.socket.sendall(json.dumps(line).encode() + b"\n")


def check(system):
    answer = json.loads(system.link.file.readline())
    if not answer["ok"]:
        raise RuntimeError(f"snapshot: {answer['error']['message']}")
