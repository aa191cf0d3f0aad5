"""How long a pool takes to open: from the start of hozon-stored to its first answer."""
import threading
import time

from measure import FioFailed, fio
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
    def write():
        try:
            fio(hozon, "randwrite", "4k", bench.plan.long_seconds, hozon.span, (16,))
        except FioFailed:
            pass  # as was to be expected

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(bench.plan.long_seconds * 0.7)
    hozon.link.close()
    hozon.stored.kill()
    writer.join()
