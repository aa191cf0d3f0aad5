#!/usr/bin/env python3
"""Proves that the inventory of every released version still opens, with everything that was in it.

Method: tests/golden/inventory_v*.sql are dumps of real inventories of their versions. Each becomes the
hozon.db of an instance without pools, and hozond shows what it finds.
usage: inventory_versions_test.py BIN_DIRECTORY
"""
import glob
import os
import sqlite3
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import instance  # noqa: E402

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden")


class InventoryVersions(instance.InstanceCase):
    pool_bytes = 0

    @classmethod
    def prepare(cls):
        with open(os.path.join(GOLDEN, "inventory_v1.sql"), encoding="utf-8") as dump:
            text = dump.read()
        database = sqlite3.connect(cls.dir + "/hozon.db")
        database.executescript(text)
        database.close()

    def test_version_1(self):
        machines = {m["name"]: m for m in self.get("/v1/machines")["items"]}
        self.assertEqual(sorted(machines), ["copy", "web"])
        self.assertEqual(machines["web"]["description"], "the shop")
        self.assertEqual(machines["web"]["current_parent_name"], "live")
        snapshots = {s["name"]: s for s in self.get("/v1/machines/web/snapshots")["items"]}
        self.assertEqual(len(snapshots), 4)
        self.assertEqual(snapshots["first"]["description"], "最初")
        self.assertEqual(snapshots["live"]["memory"]["stop_us"], 5445)
        self.assertEqual([d["disk"] for d in snapshots["second"]["disks"]], ["vda"])
        jobs = self.get("/v1/jobs")["items"]
        self.assertEqual(len(jobs), 8)
        self.assertTrue(all(j["state"] in ("done", "failed") for j in jobs), jobs)
        with sqlite3.connect(self.dir + "/hozon.db") as database:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            self.assertGreater(version, 1)
            self.assertEqual(database.execute("PRAGMA foreign_key_check").fetchall(), [])

    def test_every_dump_is_looked_at(self):
        self.assertEqual(len(glob.glob(GOLDEN + "/inventory_v*.sql")), 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
