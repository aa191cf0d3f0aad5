"""The engine alone, on maps that no disk here could fill: what engine_bench prints, NAME VALUE UNIT."""
import re
import subprocess

from report import below

ENGINE = "The engine's own operations, by size of the map and number of points"
SPACE = "Getting space back"
OPEN = "Opening a pool"
GOALS = {"snapshot": below(5), "clone": below(10), "return": below(10), "delete": below(5)}
OPENINGS = {"open": ("after a clean stop", below(200)),
            "open_after_kill": ("after kill -9 in the middle of writes", below(2000))}
OPENING_JUDGED = "1tib_10000points_"  # the goal speaks of this shape; the others show how it grows
SHAPE = re.compile(r"(?P<size>\d+[gt]ib)(?:_(?P<volumes>\d+)volumes)?_(?P<points>\d+)points_"
                   r"(?P<what>\w+)")


def run(bench):
    program = bench.programs / "engine_bench"
    if not program.exists():
        for what in ("snapshot", "open", "open_after_kill"):
            cell_of(bench.report, f"1tib_10000points_{what}", "ms")
        return
    for number in range(bench.plan.engine_runs):
        bench.log(f"the engine on large maps: run {number + 1}")
        directory = bench.scratch / "engine"
        directory.mkdir()
        lines = subprocess.run([program, directory, "--rounds", str(bench.plan.engine_calls)],
                               check=True, capture_output=True, text=True).stdout.splitlines()
        directory.rmdir()
        for line in lines:
            name, value, unit = line.split()
            cell_of(bench.report, name, unit).add("hozon", float(value))


def cell_of(report, name, unit):
    match = SHAPE.fullmatch(name)
    if match is None:
        raise RuntimeError(f"engine_bench: what is '{name}'?")
    what = match["what"]
    size = f"{match['size'][:-3]} {match['size'][-3].upper()}iB mapped"
    if match["volumes"]:
        size += f" in each of {int(match['volumes']):,} volumes"
    where = f"{size}, {int(match['points']):,} points"
    if what in OPENINGS:
        words, goal = OPENINGS[what]
        goal = goal if name.startswith(OPENING_JUDGED) else None
        section, text = report.section(OPEN), f"{where}, {words} (engine)"
    elif what in GOALS:
        section, text, goal = report.section(ENGINE), f"{what}: {where}", GOALS[what]
    elif what == "reclaim_2gib":
        section, text, goal = report.section(SPACE), f"2 GiB among {where} (engine)", below(1000)
    elif what.endswith("_memory"):
        words = what.removesuffix("_memory").replace("_", " ")
        section, text, goal = report.section(OPEN), f"{where}: memory taken by '{words}'", None
    else:
        section, text, goal = report.section(ENGINE), f"{what.replace('_', ' ')}: {where}", None
    return section.cell(f"engine.{name}", text, unit, goal)
