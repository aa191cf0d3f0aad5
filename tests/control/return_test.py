#!/usr/bin/env python3
"""Proves: a return takes back exactly the parts that were named, and no other; the settings that
change are told beforehand; what grew from the snapshot stays unless it is discarded in so many words;
and one undo brings everything forward again.

Method: one instance of every real program. Each disk holds a byte that tells which state it is of.
usage: return_test.py BIN_DIRECTORY
"""
import os
import sqlite3
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from instance import BIN, StatesCase  # noqa: E402


class ReturnTest(StatesCase):
    def go(self, snapshot, **how):
        return self.do("POST", f"{self.path}/snapshots/{snapshot}/return", how)

    def plan(self, snapshot, **how):
        status, plan = self.call("POST", f"{self.path}/snapshots/{snapshot}/return?plan=true", how)
        self.assertEqual(status, 200, plan)
        return plan

    def bytes_are(self, vda, vdb):
        self.assertTrue(self.holds(self.uri(self.name + ".vda"), vda))
        self.assertTrue(self.holds(self.uri(self.name + ".vdb"), vdb))

    def mib(self):
        return self.machine(self.name)["memory_bytes"] >> 20

    def test_one_disk_comes_back_alone(self):
        self.new_states("a", "b")
        self.set_memory_size(96)
        result = self.go("a", parts={"disks": ["vdb"]})
        self.bytes_are(99, 1)
        self.assertEqual(self.mib(), 96)
        self.assertEqual(result["settings_changes"], [])
        self.assertEqual(self.machine(self.name)["current_parent_name"], "b")
        self.do("POST", self.path + "/undo", {})
        self.bytes_are(99, 99)
        self.check_pool()

    def test_settings_come_back_alone_and_are_told_before(self):
        self.new_states("a")
        self.set_memory_size(96)
        expected = [{"setting": "memory_bytes", "now": 96 << 20, "then": 64 << 20}]
        self.assertEqual(self.plan("a", parts={"settings": True})["settings_changes"], expected)
        self.assertEqual(self.plan("a", parts={"disks": ["all"]})["settings_changes"], [])
        self.assertEqual(self.mib(), 96)
        self.assertEqual(self.go("a", parts={"settings": True})["settings_changes"], expected)
        self.assertEqual(self.mib(), 64)
        self.bytes_are(99, 99)
        self.do("POST", self.path + "/undo", {})
        self.assertEqual(self.mib(), 96)
        self.bytes_are(99, 99)

    def test_all_parts_together_and_none(self):
        self.new_states("a", "b")
        self.set_memory_size(96)
        self.go("a", parts={"disks": ["all"], "settings": True})
        self.bytes_are(1, 1)
        self.assertEqual(self.mib(), 64)
        self.assertEqual(self.machine(self.name)["current_parent_name"], "a")
        one = self.path + "/snapshots/a/return"
        self.refused("invalid_argument", "at least one part", "POST", one, {"parts": {}})
        self.refused("invalid_argument", "no disk 'vdc'; it has vda, vdb", "POST", one,
                     {"parts": {"disks": ["vdc"]}})
        self.refused("wrong_state", "has no memory", "POST", one, {"parts": {"memory": True}})
        self.refused("invalid_argument", "unknown field 'nics' in 'parts'", "POST", one, {"parts": {"nics": 1}})

    def test_memory_comes_back_with_everything_or_not_at_all(self):
        self.name = self.new_machine()
        self.path = f"/v1/machines/{self.name}"
        self.do("POST", self.path + "/snapshots", {"name": "m", "with_memory": True})
        one = self.path + "/snapshots/m/return"
        for parts in ({"memory": True}, {"memory": True, "settings": True},
                      {"memory": True, "settings": True, "disks": ["vda"]},
                      {"memory": True, "disks": ["all"]}):
            self.refused("invalid_argument", "--disks all --settings", "POST", one, {"parts": parts})
        plan = self.plan("m", parts={"disks": ["all"]})
        self.assertEqual(plan["guest"], "restart")
        result = self.go("m", parts={"memory": True, "settings": True, "disks": ["all"]})
        self.assertTrue(any("memory loaded" in step for step in result["steps"]), result["steps"])
        result = self.go("m", parts={"disks": ["vda"]})
        self.assertTrue(any("as after a power cut" in step for step in result["steps"]))
        self.do("POST", self.path + "/kill", {})

    def test_the_guest_sees_the_generation_id_that_is_on_record(self):
        self.name = self.new_machine()
        self.path = f"/v1/machines/{self.name}"
        self.do("POST", self.path + "/snapshots", {"name": "m", "with_memory": True})
        seen = []
        for _ in range(2):
            self.go("m")
            with open(f"/proc/{self.machine(self.name)['pid']}/cmdline", "rb") as command:
                words = command.read().decode()
            with sqlite3.connect(self.dir + "/hozon.db", timeout=10) as database:
                on_record = database.execute("SELECT vmgenid FROM machines WHERE name = ?",
                                             (self.name,)).fetchone()[0]
            self.assertRegex(words, f'vmgenid[^\0]*{on_record}')
            seen.append(on_record)
        self.assertNotEqual(seen[0], seen[1])
        self.do("POST", self.path + "/kill", {})

    def test_what_grew_from_it_is_discarded_only_when_asked_and_comes_back(self):
        self.new_states("a", "b", "c")
        before = self.tree()
        self.go("a")
        self.assertEqual({"b", "c"} & set(self.tree()), {"b", "c"})
        self.do("POST", self.path + "/undo", {})
        self.do("POST", self.path + "/snapshots/c/pin", {"reason": "audit"})
        self.refused("wrong_state", "pinned (audit)", "POST", self.path + "/snapshots/a/return",
                     {"discard_newer": True})
        self.bytes_are(99, 99)
        self.do("POST", self.path + "/snapshots/c/unpin", {})
        plan = self.plan("b", discard_newer=True)
        result = self.go("b", discard_newer=True)
        self.assertEqual(sorted(plan["removes"]),
                         sorted(f"snapshot {self.name}@{name}" for name in result["discarded"]))
        self.assertIn("c", result["discarded"])
        self.assertNotIn("c", self.tree())
        self.bytes_are(2, 2)
        self.do("POST", self.path + "/undo", {})
        self.bytes_are(99, 99)
        self.assertEqual({n: p for n, p in self.tree().items() if n in before}, before)
        self.check_pool()

    def tree(self):
        return {s["name"]: s["parent_name"] for s in self.get(self.path + "/snapshots")["items"]}

    def test_a_snapshot_of_the_settings_only(self):
        self.new_states("a")
        made = self.do("POST", self.path + "/snapshots", {"name": "s", "settings_only": True})
        self.assertEqual((made["disks"], made["consistency"]), ([], "settings"))
        self.set_memory_size(96)
        self.go("s")
        self.assertEqual(self.mib(), 64)
        self.bytes_are(99, 99)
        self.refused("invalid_argument", "neither disks nor memory", "POST", self.path + "/snapshots",
                     {"settings_only": True, "disks": ["vda"]})
        self.do("DELETE", self.path + "/snapshots/s")

    def hozon(self, *words):
        return subprocess.run([BIN + "/hozon", *words, "--dir", self.dir], capture_output=True,
                              text=True, timeout=60)

    def test_the_command_line_shows_what_changes_and_takes_parts(self):
        self.new_states("a", "b")
        self.set_memory_size(96)
        told = self.hozon("snapshot", "return", self.name, "a", "--settings", "--discard-newer")
        self.assertEqual(told.returncode, 0, told.stderr)
        self.assertIn("setting memory_bytes: 96.0 MiB now, 64.0 MiB then", told.stderr)
        self.assertIn("snapshot", told.stderr)
        self.assertIn("in the trash: b", told.stdout)
        self.bytes_are(99, 99)
        wrong = self.hozon("snapshot", "return", self.name, "a", "--memory")
        self.assertEqual(wrong.returncode, 4)
        self.assertIn("has no memory", wrong.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
