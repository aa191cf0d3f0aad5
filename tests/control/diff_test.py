#!/usr/bin/env python3
"""Proves: a diff names exactly the ranges in which two points differ, whatever branches they are of, in
as many pages as it takes; and the settings that differ.

Method: one instance of every real program. Each state writes ranges that the test knows; the union of
what was written on the two ways from the common ancestor is what has to be told.
usage: diff_test.py BIN_DIRECTORY
"""
import json
import os
import random
import sqlite3
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from instance import BIN, InstanceCase  # noqa: E402

BLOCK = 4096


def blocks_of(ranges):
    blocks = set()
    for r in ranges:
        first = r["offset_bytes"] // BLOCK
        assert r["offset_bytes"] % BLOCK == 0 and r["length_bytes"] % BLOCK == 0, r
        blocks |= set(range(first, first + r["length_bytes"] // BLOCK))
    return blocks


class DiffTest(InstanceCase):
    pool_bytes = 1 << 30

    def write(self, volume, blocks, byte):
        commands = []
        for block in blocks:
            commands += ["-c", f"write -P {byte} {block * BLOCK} {BLOCK}"]
        subprocess.run(["qemu-io", "-f", "raw", *commands, "-c", "flush", self.uri(volume)],
                       check=True, capture_output=True, timeout=60)

    def machine_with_branches(self):
        """base -> a, base -> b; returns the blocks that each has written since base."""
        self.name = self.new_machine(start=False, disks=1)
        self.path = f"/v1/machines/{self.name}"
        volume = self.name + ".vda"
        chance = random.Random(7)
        self.write(volume, range(0, 64), 1)
        self.do("POST", self.path + "/snapshots", {"name": "base"})
        written = {}
        for byte, name in ((2, "a"), (3, "b")):
            written[name] = set(chance.sample(range(2048), 40))
            self.write(volume, sorted(written[name]), byte)
            self.do("POST", self.path + "/snapshots", {"name": name})
            self.do("POST", self.path + "/snapshots/base/return", {})
        return volume, written

    def diff(self, source, target=""):
        return self.get(f"{self.path}/diff?from={source}&to={target}")

    def test_ranges_between_any_two_points(self):
        _, written = self.machine_with_branches()
        for source, target, expected in (("base", "a", written["a"]), ("a", "base", written["a"]),
                                         ("base", "b", written["b"]), ("a", "a", set()),
                                         ("a", "b", written["a"] | written["b"]),
                                         ("b", "", written["b"]), ("base", "", set())):
            told = self.diff(source, target)["disks"][0]
            self.assertEqual(blocks_of(told["ranges"]), expected, (source, target))
            self.assertEqual(told["changed_bytes"], len(expected) * BLOCK)
            ends = [r["offset_bytes"] + r["length_bytes"] for r in told["ranges"]]
            for end, following in zip(ends, told["ranges"][1:]):
                self.assertLess(end, following["offset_bytes"])

    def test_pages_make_the_whole(self):
        volume, written = self.machine_with_branches()
        points = {s["name"]: s["uuid"] for s in self.get(self.path + "/snapshots")["items"]}
        found, offset, pages = [], 0, 0
        while offset is not None:
            page = self.get(f"/v1/volumes/{volume}/diff?point={points['a']}&base_point={points['b']}"
                            f"&most=5&offset={offset}")
            self.assertLessEqual(len(page["ranges"]), 5)
            found += page["ranges"]
            offset, pages = page["next_offset"], pages + 1
        self.assertEqual(blocks_of(found), written["a"] | written["b"])
        self.assertGreater(pages, 5)
        for query in ("most=0", "most=10001", "most=x", "offset=-1", "point=nope", "base_point=nope",
                      "base_volume=nope"):
            status = self.call("GET", f"/v1/volumes/{volume}/diff?{query}")[0]
            self.assertIn(status, (400, 404), query)

    def test_volumes_of_different_size_and_clones(self):
        self.do("POST", "/v1/volumes", {"name": "v", "size_bytes": 4 << 20})
        self.write("v", [1, 5], 1)
        self.do("POST", "/v1/volumes/v/snapshot", {"name": "p"})
        self.do("POST", "/v1/volumes/v/clone", {"point": "p", "new_name": "w"})
        self.do("POST", "/v1/volumes/w/resize", {"size_bytes": 8 << 20})
        self.write("w", [5, 1500], 2)
        for volume, base in (("w", "v"), ("v", "w")):
            told = self.get(f"/v1/volumes/{volume}/diff?base_volume={base}")
            self.assertEqual(blocks_of(told["ranges"]), {5, 1500})

    def test_settings_and_the_command_line(self):
        _, written = self.machine_with_branches()
        with sqlite3.connect(self.dir + "/hozon.db", timeout=10) as database:
            database.execute("UPDATE machines SET cpus = 3 WHERE name = ?", (self.name,))
        database.close()
        self.do("POST", self.path + "/snapshots", {"name": "s", "settings_only": True})
        told = self.diff("a", "s")
        self.assertEqual(told["settings_changes"], [{"setting": "cpus", "now": 1, "then": 3}])
        self.assertIn("not part of snapshot 's'", told["disks"][0]["note"])

        def hozon(*words):
            done = subprocess.run([BIN + "/hozon", *words, "--dir", self.dir], capture_output=True,
                                  text=True, timeout=60)
            self.assertEqual(done.returncode, 0, done)
            return done.stdout

        text = hozon("snapshot", "diff", self.name, "a")
        self.assertIn("setting cpus: 1 now, 3 then", text)
        self.assertIn(f"{len(written['a']) * 4}.0 KiB", text)
        parsed = json.loads(hozon("snapshot", "diff", self.name, "a", "b", "-o", "json"))
        self.assertEqual(blocks_of(parsed["disks"][0]["ranges"]), written["a"] | written["b"])
        uuid = self.get(self.path + "/snapshots/a")["uuid"]
        lines = hozon("volume", "diff", f"{self.name}.vda@{uuid}", self.name + ".vda", "--ranges")
        self.assertGreater(len(lines.splitlines()), 10)


if __name__ == "__main__":
    unittest.main(verbosity=2)
