#!/usr/bin/env python3
"""Proves: what is deleted comes back from the trash byte for byte and in its place, until its time to
live ends; pinned snapshots stay; tags, expiry and quota hold; `undo` undoes the last return or
deletion; and what a record says about its operations is what the operations do.

Method: one instance of every real program, spoken to over REST.
usage: marks_test.py BIN_DIRECTORY
"""
import os
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from instance import InstanceCase  # noqa: E402


class MarksTest(InstanceCase):
    pool_bytes = 1 << 30

    def with_snapshots(self, *names):
        name = self.new_machine(start=False, disks=1)
        for byte, snapshot in enumerate(names, 1):
            self.fill(name + ".vda", byte)
            self.do("POST", f"/v1/machines/{name}/snapshots", {"name": snapshot})
        return name, f"/v1/machines/{name}"

    def tree(self, path):
        return {s["name"]: s["parent_name"] for s in self.get(path + "/snapshots")["items"]}

    def delete(self, path, *names, **more):
        return self.do("POST", path + "/delete-snapshots", {"snapshots": names, **more})

    def points(self, name):
        return len(self.get(f"/v1/volumes/{name}.vda/points")["items"])

    def test_deleted_snapshots_come_back_in_their_place(self):
        name, path = self.with_snapshots("a", "b", "c", "d")
        before = self.tree(path)
        self.delete(path, "b", "c")
        self.assertEqual(self.tree(path), {"a": "", "d": "a"})
        self.assertEqual([t["name"] for t in self.get(path + "/trash")["items"]], ["b", "c"])
        self.assertEqual(self.points(name), 4)
        self.refused("not_found", "no snapshot 'b'", "POST", path + "/snapshots/b/return", {})
        uuid = self.get(path + "/trash")["items"][0]["uuid"]
        for verb, body in (("return", {}), ("rename", {"new_name": "x"}), ("clone", {"new_name": "x"}),
                           ("pin", {"reason": "r"})):
            self.refused("not_found", "in the trash", "POST", f"{path}/snapshots/{uuid}/{verb}", body)
        self.assertEqual(self.do("POST", path + "/undo", {})["restored"], ["c", "b"])
        self.assertEqual(self.tree(path), before)
        self.do("POST", path + "/snapshots/b/return", {})
        self.assertTrue(self.holds(self.uri(name + ".vda"), 2))
        self.check_pool()

    def test_the_machines_position_comes_back(self):
        name, path = self.with_snapshots("a", "b")
        self.delete(path, "b")
        self.assertEqual(self.machine(name)["current_parent_name"], "a")
        self.do("POST", path + "/trash/b/restore", {})
        self.assertEqual(self.machine(name)["current_parent_name"], "b")

    def test_a_name_in_the_trash_is_free(self):
        name, path = self.with_snapshots("a")
        self.delete(path, "a")
        self.do("POST", path + "/snapshots", {"name": "a"})
        self.assertEqual(self.do("POST", path + "/trash/a/restore", {})["restored"], ["a-2"])
        self.refused("not_found", "trash", "POST", path + "/trash/zz/restore", {})

    def test_emptied_trash_is_gone(self):
        name, path = self.with_snapshots("a", "b")
        self.delete(path, "a")
        self.do("DELETE", path + "/trash")
        self.assertEqual(self.get(path + "/trash")["items"], [])
        self.assertEqual(self.points(name), 1)
        self.delete(path, "b", ttl_s=0)
        self.assertEqual(self.points(name), 0)
        self.refused("wrong_state", "nothing", "POST", path + "/undo", {})
        self.check_pool()

    def test_trash_and_expiry_end_by_themselves(self):
        name, path = self.with_snapshots("a", "b", "c")
        self.delete(path, "a", ttl_s=1)
        self.do("POST", path + "/snapshots/b/expire", {"in_s": 1})
        self.do("POST", path + "/snapshots/c/expire", {"in_s": 1})
        self.do("POST", path + "/snapshots/c/pin", {"reason": "needed"})
        end = time.time() + 20
        while time.time() < end and (self.points(name) > 2 or "b" in self.names(name)):
            time.sleep(0.2)
        self.assertEqual(self.names(name), ["c"])
        self.assertEqual([t["name"] for t in self.get(path + "/trash")["items"]], ["b"])
        self.assertEqual(self.points(name), 2)

    def test_pinned_snapshots_stay(self):
        name, path = self.with_snapshots("a", "b", "c")
        self.refused("invalid_argument", "reason", "POST", path + "/snapshots/b/pin", {"reason": ""})
        self.do("POST", path + "/snapshots/b/pin", {"reason": "the auditors"})
        self.refused("wrong_state", "pinned (the auditors)", "DELETE", path + "/snapshots/b")
        self.refused("wrong_state", "pinned", "POST", path + "/delete-snapshots",
                     {"snapshots": ["a"], "subtree": True})
        self.assertEqual(self.names(name), ["a", "b", "c"])
        self.delete(path, all_unpinned=True)
        self.assertEqual(self.names(name), ["b"])
        self.do("POST", path + "/snapshots/b/unpin", {})
        self.refused("wrong_state", "not pinned", "POST", path + "/snapshots/b/unpin", {})
        self.delete(path, "b")

    def test_a_subtree_goes_and_comes_back_whole(self):
        name, path = self.with_snapshots("a", "b", "c")
        self.do("POST", path + "/snapshots/a/return", {})
        self.do("POST", path + "/snapshots", {"name": "x"})
        before = self.tree(path)
        self.delete(path, "b", subtree=True)
        self.assertIn("x", self.tree(path))
        self.assertNotIn("c", self.tree(path))
        self.do("POST", path + "/undo", {})
        self.assertEqual(self.tree(path), before)

    def test_undo_of_a_return(self):
        name, path = self.with_snapshots("a", "b")
        self.fill(name + ".vda", 9)
        self.do("POST", path + "/snapshots/a/return", {})
        self.assertTrue(self.holds(self.uri(name + ".vda"), 1))
        self.do("POST", path + "/undo", {})
        self.assertTrue(self.holds(self.uri(name + ".vda"), 9))
        kept = [s for s in self.get(path + "/snapshots")["items"] if s["kind"] == "system"]
        self.assertTrue(all(s["expires_ns"] > s["created_ns"] for s in kept))

    def test_tags_and_creation_with_marks(self):
        name, path = self.with_snapshots("a")
        made = self.do("POST", path + "/snapshots",
                       {"name": "b", "tags": ["nightly", "db"], "expires_in_s": 3600})
        self.assertEqual(made["tags"], ["nightly", "db"])
        self.assertIn("return", made["allowed_operations"])  # not busy with the job that made it
        self.assertEqual(made["expires_ns"] - made["created_ns"], 3600 * 10**9)
        self.do("POST", path + "/snapshots/a/tag", {"tags": ["x"]})
        self.assertEqual(self.get(path + "/snapshots/a")["tags"], ["x"])
        self.refused("invalid_argument", "tag", "POST", path + "/snapshots/a/tag", {"tags": ["b/d"]})
        self.assertEqual(self.get(path + "/snapshots/a")["tags"], ["x"])

    def test_a_quota_counts_everything_and_says_so(self):
        name, path = self.with_snapshots("a", "b")
        self.do("POST", path + "/snapshots/a/return", {})
        self.do("POST", path + "/quota", {"snapshots": 3})
        self.assertEqual(self.machine(name)["snapshot_quota"], 3)
        self.refused("resource_exhausted", "3 snapshots (2 made by people, 1 by the system)", "POST",
                     path + "/snapshots", {"name": "c"})
        self.delete(path, "b")
        self.do("POST", path + "/snapshots", {"name": "c"})
        self.do("POST", path + "/quota", {"snapshots": 0})
        self.do("POST", path + "/snapshots", {"name": "d"})

    def test_records_say_what_is_possible_and_why_not(self):
        name, path = self.with_snapshots("a")
        for state in ("down", "up", "paused"):
            if state == "up":
                self.do("POST", path + "/start", {})
            if state == "paused":
                self.do("POST", path + "/pause", {})
            machine = self.machine(name)
            self.assertEqual(machine["state"], state)
            self.assertEqual(machine["status"], state)
            blocked = {b["operation"]: b for b in machine["blocked_operations"]}
            self.assertFalse(set(blocked) & set(machine["allowed_operations"]))
            for verb, (method, place) in {"start": ("POST", "/start"), "pause": ("POST", "/pause"),
                                          "resume": ("POST", "/resume"), "kill": ("POST", "/kill"),
                                          "shutdown": ("POST", "/shutdown"),
                                          "delete": ("DELETE", "")}.items():
                if verb not in blocked:
                    self.assertIn(verb, machine["allowed_operations"])
                    continue
                body = {} if method == "POST" else None
                status, answer = self.call(method, path + place, body)
                self.assertEqual((status, answer["code"]), (409, blocked[verb]["code"]), (verb, answer))
                self.assertEqual(answer["object"], {"machine": name})
        blocked = {b["operation"]: b for b in self.machine(name)["blocked_operations"]}
        self.assertEqual(blocked["delete"]["remedy"], f"hozon machine kill {name}")
        self.do("POST", path + "/kill", {})
        self.do("POST", path + "/snapshots/a/pin", {"reason": "why"})
        snapshot = self.get(path + "/snapshots/a")
        entry = [b for b in snapshot["blocked_operations"] if b["operation"] == "delete"][0]
        answer = self.call("DELETE", path + "/snapshots/a")[1]
        self.assertEqual((answer["code"], answer["remedy"]), (entry["code"], entry["remedy"]))
        self.assertEqual(entry["remedy"], f"hozon snapshot unpin {name} a")


if __name__ == "__main__":
    unittest.main(verbosity=2)
