"""What return, clone and delete cost, in a young pool and in one with thousands of points; and what it
takes to get space back."""
import random
import time

from measure import Spent
from report import below
from systems import MIB

CALLS = "Clone, return, delete, called over the link (durable when answered)"
SPACE = "Getting space back"
TIMES = 30


def timed(call, *arguments, **parameters):
    start = time.perf_counter()
    call(*arguments, **parameters)
    return (time.perf_counter() - start) * 1000


def calls(bench, hozon, depth):
    """On the volume of `hozon`, which has the points p1 to p`depth`."""
    bench.log(f"clone, return and delete among {depth} points")
    rng = random.Random(depth)
    times = min(TIMES, depth // 2)
    chosen = [f"p{number}" for number in rng.sample(range(1, depth + 1), 2 * times)]
    section = bench.report.section(CALLS)
    for name in ("clone", "return", "delete volume", "delete point"):
        limit = 5 if name.startswith("delete") else 10
        section.cell(f"{name.replace(' ', '_')}.{depth}", f"{name}, {depth} points", "ms",
                     below(limit))
    add = {name: section.cell(f"{name}.{depth}", "", "").values.setdefault("hozon", [])
           for name in ("clone", "return", "delete_volume", "delete_point")}
    for index, point in enumerate(chosen[:times]):
        add["clone"].append(timed(hozon.call, "volume.clone", volume="disk", point=point,
                                  new_name=f"c{index}"))
    for point in chosen[times:]:
        add["return"].append(timed(hozon.call, "volume.return", keep="",
                                   items=[{"volume": "c0", "point_volume": "disk", "point": point}]))
    for index in range(times):
        add["delete_volume"].append(timed(hozon.call, "volume.delete", name=f"c{index}",
                                          with_points=True))
    for point in chosen[:times]:
        add["delete_point"].append(timed(hozon.call, "point.delete", volume="disk", point=point))
    hozon.call("pool.drain")
    names = {point["name"] for point in hozon.call("point.list", volume="disk")["points"]}
    if names & set(chosen[:times]) or len(names) != depth - times:
        raise RuntimeError("the deleted points are still there, or others are not")


def space(bench, hozon):
    """A point that alone holds the whole span is deleted."""
    section = bench.report.section(SPACE)
    gone = section.cell("reclaim.gone", "delete: until the name is gone", "ms", below(5))
    took = section.cell("reclaim.time", f"time to reclaim {hozon.span / 2**30:g} GiB", "s", below(1))
    longest = section.cell("reclaim.stall", "longest answer of the server meanwhile", "ms",
                           below(10))
    written = section.cell("reclaim.written", "bytes written per byte freed", "%", below(1))
    hozon.fill()  # so that no older point shares it
    for number in range(bench.plan.rounds):
        bench.log(f"reclaiming: round {number + 1}")
        hozon.snapshot()
        hozon.fill()
        hozon.call("pool.checkpoint")
        free = hozon.call("pool.stats")["free_bytes"]
        with Spent(hozon.pid) as spent:
            start = time.perf_counter()
            hozon.call("point.delete", volume="disk", point=f"p{hozon.snapshots}")
            gone.add("hozon", (time.perf_counter() - start) * 1000)
            freed, longest_s = wait_for_space(hozon, free)
            took.add("hozon", time.perf_counter() - start)
        longest.add("hozon", longest_s * 1000)
        written.add("hozon", 100 * spent.written / freed)


def wait_for_space(hozon, free):
    """Until 99 % of the span can be written again. Returns the bytes, and the seconds that the longest
    answer took."""
    end = time.monotonic() + 120
    longest_s = 0
    while True:
        asked = time.perf_counter()
        freed = hozon.call("pool.stats")["free_bytes"] - free
        longest_s = max(longest_s, time.perf_counter() - asked)
        if freed >= 0.99 * hozon.span:
            return freed, longest_s
        if time.monotonic() > end:
            raise RuntimeError(f"only {freed / MIB:.0f} MiB of {hozon.span / MIB:.0f} came back")
        time.sleep(0.002)
