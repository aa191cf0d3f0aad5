"""How long a pool takes to open: from the start of hozon-stored to its first answer."""
import random
import time

from nbd import WRITE
from report import below

OPEN = "Opening a pool"


def run(bench, hozon, depth):
    section = bench.report.section(OPEN)
    clean = section.cell("open.clean", f"{depth} points, after a clean stop", "ms", below(200))
    killed = section.cell("open.killed", f"{depth} points, after kill -9 in the middle of writes",
                          "ms", below(2000))
    for number in range(bench.plan.rounds):
        bench.log(f"opening: round {number + 1}")
        hozon.hang_up()
        hozon.link.close()
        hozon.stored.stop()
        clean.add("hozon", open_once(hozon))
        kill_while_writing(bench, hozon)
        killed.add("hozon", open_once(hozon))
    hozon.judge(data=False)


def open_once(hozon):
    start = time.perf_counter()
    hozon.stored.start()
    hozon.link = hozon.stored.link()
    if hozon.call("pool.stats")["points"] < 1:
        raise RuntimeError("the pool has lost its points")
    return (time.perf_counter() - start) * 1000


def kill_while_writing(bench, hozon):
    client, end = hozon.client(), time.monotonic() + bench.plan.long_seconds
    data, blocks = random.randbytes(4096), hozon.span // 4096
    while time.monotonic() < end:
        client.submit(WRITE, random.randrange(blocks) * 4096, 4096, data)
        if len(client.waiting) >= 32:
            client.collect(1)
    hozon.link.close()
    hozon.stored.kill()
    hozon.hang_up()
