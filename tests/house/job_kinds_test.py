#!/usr/bin/env python3
"""Proves that every kind of job has its kill grid: each kind that src/control begins is in
tests/control/kill_grid_test.py, as a grid or among those that say what stands in for it.

Method: the kind is the first "noun.verb" among the arguments of the calls that begin jobs. A call
without one has to be in one of the functions that are given it, which are named here.
usage: job_kinds_test.py SOURCE_DIRECTORY
"""
import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(sys.argv.pop(1))
KIND = r'"([a-z]+\.[a-z_]+)"'
# How a job is begun, and the functions of src/control that hand a kind on.
CALL = re.compile(r"(?:jobs\.begin|begin_machine|begin_volume|change_marks|change_row|(?<![\w.:>])begin)\(")
HANDED_ON = {"core.cc": 2, "machines.cc": 1, "schedules.cc": 2, "snapshot_marks.cc": 1}


def call_text(text, start):
    depth, at = 1, start
    while depth:
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        at += 1
    return text[start:at - 1]


def begun():
    """The kinds, and for each file how many calls have none."""
    kinds, without = set(), {}
    for path in sorted((ROOT / "src/control").glob("*.cc")):
        if path.name.endswith("_test.cc") or path.name == "job_board.cc":
            continue
        text = path.read_text()
        constants = dict(re.findall(rf"constexpr const char\* (\w+) = {KIND};", text))
        for call in CALL.finditer(text):
            inside = call_text(text, call.end())
            line = text[text.rfind("\n", 0, call.start()) + 1:call.start()]
            if re.match(r"(Result|Status|template)", line):
                continue  # its declaration
            inside = re.split(r"\[[^\]]*\]\(JobRun", inside)[0]  # what the job does is not how it is begun
            found = re.search(KIND, inside)
            named = [value for name, value in constants.items() if re.search(rf"\b{name}\b", inside)]
            if found:
                kinds.add(found.group(1))
            elif named:
                kinds.add(named[0])
            else:
                without[path.name] = without.get(path.name, 0) + 1
    return kinds, without


class JobKindsTest(unittest.TestCase):
    def test_every_kind_has_its_grid(self):
        kinds, without = begun()
        self.assertGreater(len(kinds), 45)
        self.assertEqual(without, HANDED_ON, "a job is begun in a way that this test does not read")
        grid = (ROOT / "tests/control/kill_grid_test.py").read_text()
        told = set(re.findall(KIND, grid))
        self.assertEqual(sorted(kinds - told), [], "add a grid to tests/control/kill_grid_test.py")
        elsewhere = re.search(r"ELSEWHERE = \{(.*?)\}", grid, re.S).group(1)
        without_grid = set(re.findall(KIND + ":", elsewhere))
        self.assertEqual(sorted(without_grid - kinds), [], "there is no such kind")


if __name__ == "__main__":
    unittest.main(verbosity=2)
