#!/usr/bin/env python3
"""Proves that the table of docs/errors.md is what the code does: every code of base/result.cc with the
HTTP status of api/problem.cc and the exit code of cli/context.cc, and no other row.
usage: errors_test.py SOURCE_DIRECTORY
"""
import re
import sys
import unittest

ROOT = sys.argv.pop(1)
EXITS = {"kOk": 0, "kFailed": 1, "kUsage": 2, "kNotFound": 3, "kConflict": 4}


def text(path):
    with open(f"{ROOT}/{path}", encoding="utf-8") as file:
        return file.read()


def switch(path, function, value):
    """{code: value} of a switch whose cases may fall through to a return."""
    body = text(path).split(function, 1)[1].split("\n}", 1)[0]
    found, waiting, default = {}, [], None
    for line in body.splitlines():
        case = re.match(r"\s*case Code::(\w+):", line)
        if case:
            waiting.append(case.group(1))
        answer = re.search(r"return ([\w:]+);", line)
        if not answer:
            continue
        if "default:" in line:
            default = value(answer.group(1))
        for code in waiting:
            found[code] = value(answer.group(1))
        waiting = []
    return found, default


class ErrorsTest(unittest.TestCase):
    def test_the_table_is_the_code(self):
        names = dict(re.findall(r"CodeName\{Code::(\w+), \"(\w+)\"\}", text("src/base/result.cc")))
        self.assertGreater(len(names), 10)
        statuses, _ = switch("src/api/problem.cc", "int http_status(Code code)", int)
        exits, other = switch("src/cli/context.cc", "ExitCode exit_code_of(Code code)",
                              lambda word: EXITS[word.rsplit("::", 1)[1]])
        wanted = {name: (str(statuses[code]), str(exits.get(code, other)))
                  for code, name in names.items()}
        rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \|", text("docs/errors.md"), re.M)
        self.assertEqual({name: (status, code) for name, status, code in rows}, wanted)


if __name__ == "__main__":
    unittest.main(verbosity=2)
