#!/usr/bin/env python3
"""Proves that /metrics is what Prometheus reads (a strict reader of format 0.0.4, below), that its figures are
those of the instance, and that /healthz answers.
usage: metrics_test.py BIN_DIRECTORY
"""
import os
import re
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "control"))
from instance import InstanceCase, Unix

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"^({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (-?[0-9.e+-]+|[+-]Inf|NaN)$")


def read(text):
    """{family: (type, {(suffix, labels): value})}; ValueError names the line that is wrong."""
    families, current = {}, None
    if not text.endswith("\n"):
        raise ValueError("the last line does not end")
    for line in text.split("\n")[:-1]:
        if help_line := re.match(rf"^# HELP ({NAME}) (\S.*)$", line):
            if help_line[1] in families:
                raise ValueError(f"{line}: there twice")
            current = help_line[1]
            families[current] = [None, {}]
            continue
        if type_line := re.match(rf"^# TYPE ({NAME}) (counter|gauge|histogram)$", line):
            if type_line[1] != current or families[current][0] or families[current][1]:
                raise ValueError(f"{line}: out of place")
            families[current][0] = type_line[2]
            continue
        sample = SAMPLE.match(line)
        if not sample or not sample[1].startswith(current):
            raise ValueError(f"{line}: no sample of {current}")
        suffix = sample[1].removeprefix(current)
        kind, samples = families[current]
        if suffix not in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",)):
            raise ValueError(f"{line}: not a {kind}")
        labels = tuple(sorted(re.findall(LABEL, sample[2] or "")))
        if (suffix, labels) in samples:
            raise ValueError(f"{line}: there twice")
        samples[suffix, labels] = float(sample[3].replace("Inf", "inf"))
    for family, (kind, samples) in families.items():
        if kind is None or (kind == "counter" and not family.endswith("_total")):
            raise ValueError(f"{family}: type or name")
        if kind == "histogram":
            buckets = [value for (suffix, _), value in samples.items() if suffix == "_bucket"]
            if buckets != sorted(buckets) or buckets[-1] != samples["_count", ()]:
                raise ValueError(f"{family}: buckets do not add up")
    return families


class MetricsTest(InstanceCase):
    pool_bytes = 128 << 20

    def metrics(self):
        connection = Unix(self.dir + "/run/api.sock")
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        self.assertEqual(answer.headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8")
        return read(text)

    def test_the_figures_are_those_of_the_instance(self):
        before = self.metrics()
        self.do("POST", "/v1/machines", {"name": "web", "memory_bytes": 64 << 20,
                                         "disks": [{"size_bytes": 1 << 20}]})
        for name in ("a", "b"):
            self.do("POST", "/v1/machines/web/snapshots", {"name": name})
        self.call("GET", "/v1/machines/none")
        now = self.metrics()
        self.assertEqual(now["hozon_machines"][1]["", ('state="down"',)], 1)
        self.assertEqual(now["hozon_machines"][1]["", ('state="up"',)], 0)
        self.assertEqual(now["hozon_snapshots"][1]["", ()], 2)
        done = ("", ('state="done"',))
        self.assertEqual(now["hozon_jobs"][1][done] - before["hozon_jobs"][1][done], 3)
        pool = self.get("/v1/pools/main")
        main = ("", ('pool="main"',))
        self.assertEqual(now["hozon_pool_size_bytes"][1][main], pool["size_bytes"])
        self.assertEqual(now["hozon_pool_points"][1][main], pool["points"])
        self.assertEqual(now["hozon_pool_state"][1]["", ('pool="main"', 'state="ok"')], 1)
        self.assertEqual(now["hozon_pool_state"][1]["", ('pool="main"', 'state="full"')], 0)
        missed = ("", ('method="GET"', 'status="404"'))
        self.assertEqual(now["hozon_http_requests_total"][1][missed], 1)
        self.assertGreaterEqual(now["hozon_http_request_seconds"][1]["_count", ()], 6)
        self.assertGreater(now["process_resident_memory_bytes"][1]["", ()], 1 << 20)
        self.do("DELETE", "/v1/machines/web")

    def test_health(self):
        self.assertEqual(self.call("GET", "/healthz"), (200, {"status": "ok"}))

    def test_the_reader_is_strict(self):
        good = "# HELP a_total Help.\n# TYPE a_total counter\na_total{b=\"c\"} 1\n"
        read(good)
        for bad in (good[:-1], good.replace(" 1\n", " one\n"), good.replace("b=", "1b="),
                    good + good, good.replace("counter", "thing"), good.replace("_total", ""),
                    good + "a_total{b=\"c\"} 2\n", good.replace("# TYPE a_total counter\n", "")):
            with self.assertRaises(ValueError, msg=bad):
                read(bad)


if __name__ == "__main__":
    unittest.main()
