#!/usr/bin/env python3
"""Proves: a preview stands the machine on exactly the parts that were chosen and leaves what was before
untouched; an undo brings back disks, settings, memory and the list of snapshots, byte for byte; a
commit keeps the preview, and newer snapshots unless told otherwise, and can be undone itself. What
cannot fit together is refused with the reason.

Method: one instance of every real program. Each disk holds a byte that tells which state it is of;
digests are of whole disks and of everything that people see.
usage: preview_test.py BIN_DIRECTORY
"""
import hashlib
import os
import sqlite3
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from instance import BIN, StatesCase  # noqa: E402


class PreviewTest(StatesCase):
    def digest(self, uri):
        raw = subprocess.run(["nbdcopy", uri, "-"], check=True, capture_output=True, timeout=60)
        return hashlib.sha256(raw.stdout).hexdigest()

    def everything(self):
        """Digests of the disks and of every point, and all that people see of the machine."""
        machine = {k: v for k, v in self.machine(self.name).items() if not k.startswith("started")}
        snapshots = self.get(self.path + "/snapshots")["items"]
        volumes = sorted(v["name"] for v in self.get("/v1/volumes")["items"]
                         if v["name"].startswith(self.name + "."))
        points = {(v, p["name"]): self.digest(self.uri(v, p["name"])) for v in volumes
                  for p in self.get(f"/v1/volumes/{v}/points")["items"]}
        heads = {v: self.digest(self.uri(v)) for v in volumes}
        with sqlite3.connect(self.dir + "/hozon.db", timeout=10) as database:
            row = database.execute("SELECT vmgenid, current_parent FROM machines WHERE name = ?",
                                   (self.name,)).fetchone()
        database.close()
        return machine, snapshots, points, heads, row, self.get(self.path + "/trash")["items"]

    def preview(self, snapshot, **parts):
        return self.do("POST", f"{self.path}/snapshots/{snapshot}/preview", parts)

    def undo(self):
        return self.do("POST", self.path + "/preview/undo", {})

    def statuses(self):
        return {s["name"]: s["status"] for s in self.get(self.path + "/snapshots")["items"]
                if s["kind"] == "user"}

    def bytes_are(self, vda, vdb):
        self.assertTrue(self.holds(self.uri(self.name + ".vda"), vda))
        self.assertTrue(self.holds(self.uri(self.name + ".vdb"), vdb))

    def test_preview_and_undo_leave_nothing(self):
        self.new_states("a", "b")
        self.set_memory_size(96)
        before = self.everything()
        result = self.preview("a")
        self.assertEqual(result["settings_changes"],
                         [{"setting": "memory_bytes", "now": 96 << 20, "then": 64 << 20}])
        self.assertEqual(self.statuses(), {"a": "in_preview", "b": "ok"})
        machine = self.machine(self.name)
        self.assertEqual((machine["state"], machine["preview"]["snapshot"]), ("down", "a"))
        self.bytes_are(1, 1)
        self.fill_all(50)
        self.undo()
        self.assertEqual(self.everything(), before)
        self.bytes_are(99, 99)
        self.check_pool()

    def test_a_previewed_machine_boots_and_undo_ends_it(self):
        self.new_states("a")
        before = self.everything()
        self.preview("a")
        self.do("POST", self.path + "/start", {})
        self.assertEqual(self.machine(self.name)["state"], "up")
        plan = self.call("POST", self.path + "/preview/undo?plan=true", {})[1]
        self.assertEqual(plan["guest"], "end")
        self.undo()
        self.assertEqual(self.everything(), before)

    def test_each_part_from_its_own_snapshot(self):
        self.new_states("a", "b", "c")
        self.set_memory_size(96)
        self.do("POST", self.path + "/snapshots", {"name": "s", "settings_only": True})
        self.set_memory_size(128)
        result = self.preview("a", settings="s", disks={"vdb": "c"})
        self.assertEqual(result["parts"], {"settings": "s", "memory": None,
                                           "disks": {"vda": "a", "vdb": "c"}})
        self.bytes_are(1, 3)
        self.assertEqual(self.machine(self.name)["memory_bytes"], 96 << 20)
        self.undo()
        self.preview("b", settings="current", disks={"vda": "current"})
        self.bytes_are(99, 2)
        self.assertEqual(self.machine(self.name)["memory_bytes"], 128 << 20)
        self.undo()
        self.bytes_are(99, 99)

    def test_impossible_mixes_are_refused_with_the_reason(self):
        self.name = self.new_machine()
        self.path = f"/v1/machines/{self.name}"
        self.do("POST", self.path + "/snapshots", {"name": "m", "with_memory": True})
        self.do("POST", self.path + "/snapshots", {"name": "d"})
        one = self.path + "/snapshots/m/preview"
        self.refused("wrong_state", "is up, and only one that is down", "POST", one, {})
        self.do("POST", self.path + "/kill", {})
        before = self.everything()
        for body, code, words in (
                ({"memory": "m", "disks": {"vdb": "d"}}, "invalid_argument", "disk vdb would be of 'd'"),
                ({"memory": "m", "disks": {"vda": "current"}}, "invalid_argument", "the present state"),
                ({"memory": "m", "settings": "d"}, "invalid_argument", "settings would be of 'd'"),
                ({"memory": "d"}, "wrong_state", "has no memory"),
                ({"disks": {"vdz": "m"}}, "invalid_argument", "no disk 'vdz'"),
                ({"disks": {"vda": "nope"}}, "not_found", "no snapshot 'nope'"),
                ({"disks": ["vda"]}, "invalid_argument", "disks")):
            self.refused(code, words, "POST", one, body)
        self.assertEqual(self.everything(), before)
        left_out = self.preview("m", disks={"vdb": "d"})["steps"]
        self.assertTrue(any("memory of 'm' is left out: disk vdb" in s for s in left_out), left_out)
        self.undo()
        self.assertEqual(self.everything(), before)

    def test_a_memory_is_previewed_and_a_sleeping_machine_comes_back_asleep(self):
        self.name = self.new_machine()
        self.path = f"/v1/machines/{self.name}"
        self.do("POST", self.path + "/snapshots", {"name": "m", "with_memory": True})
        self.do("POST", self.path + "/suspend", {})
        before = self.everything()
        self.preview("m")
        self.assertEqual(self.machine(self.name)["state"], "suspended")
        self.do("POST", self.path + "/resume", {})
        self.assertEqual(self.machine(self.name)["state"], "up")
        self.undo()
        self.assertEqual(self.everything(), before)
        self.preview("m")  # not woken
        self.undo()
        self.assertEqual(self.everything(), before)
        self.preview("m")
        self.do("POST", self.path + "/resume", {})
        self.do("POST", self.path + "/suspend", {})  # one more memory of the preview's
        self.undo()
        self.assertEqual(self.everything(), before)
        self.do("POST", self.path + "/resume", {})
        self.assertEqual(self.machine(self.name)["state"], "up")
        self.do("POST", self.path + "/kill", {})
        self.check_pool()

    def test_commit_keeps_newer_ones_unless_told(self):
        for discard in (False, True):
            self.new_states("a", "b", "c")
            self.preview("a")
            self.fill_all(50)
            result = self.do("POST", self.path + "/preview/commit", {"discard_newer": discard})
            self.bytes_are(50, 50)
            self.assertEqual(set(self.statuses()), {"a"} if discard else {"a", "b", "c"})
            self.assertEqual(set(self.statuses().values()), {"ok"})
            self.assertEqual(sorted(result["discarded"]), ["b", "c"] if discard else [])
            self.assertIsNone(self.machine(self.name)["preview"])
            self.do("POST", self.path + "/undo", {})
            self.bytes_are(99, 99)
            self.assertEqual(set(self.statuses()), {"a", "b", "c"})

    def test_meanwhile_the_list_of_snapshots_stands_still(self):
        self.new_states("a", "b")
        self.refused("wrong_state", "is not in preview", "POST", self.path + "/preview/undo", {})
        self.refused("wrong_state", "is not in preview", "POST", self.path + "/preview/commit", {})
        self.preview("a")
        for method, place, body in (("POST", "/snapshots", {"name": "x"}),
                                    ("POST", "/snapshots/b/return", {}),
                                    ("POST", "/snapshots/b/preview", {}),
                                    ("DELETE", "/snapshots/b", None), ("POST", "/undo", {}),
                                    ("DELETE", "/trash", None), ("DELETE", "", None)):
            status, answer = self.call(method, self.path + place + "?wait=true", body)
            self.assertEqual((status, answer["code"]), (409, "wrong_state"), (place, answer))
            if place != "/undo":  # where there is nothing to undo anyway
                self.assertIn("in preview of 'a'", answer["detail"])
                self.assertEqual(answer["remedy"], f"hozon snapshot undo {self.name}")
        machine = self.machine(self.name)
        self.assertLessEqual({"start", "snapshot.commit", "snapshot.undo"},
                             set(machine["allowed_operations"]))
        blocked = {b["operation"] for b in machine["blocked_operations"]}
        self.assertLessEqual({"delete", "snapshot.create", "snapshot.return"}, blocked)
        self.undo()

    def hozon(self, *words):
        done = subprocess.run([BIN + "/hozon", *words, "--dir", self.dir], capture_output=True,
                              text=True, timeout=60, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 0, done)
        return done.stdout

    def test_the_command_line(self):
        self.new_states("a", "b")
        told = self.hozon("snapshot", "preview", self.name, "a", "--disks", "vdb=b")
        self.assertIn("disk vda is that of 'a'", told)
        self.assertIn("disk vdb is that of 'b'", told)
        self.bytes_are(1, 2)
        self.assertIn("In preview of:", self.hozon("machine", "show", self.name))
        self.assertIn("[in_preview]", self.hozon("snapshot", "tree", self.name))
        self.hozon("snapshot", "undo", self.name, "--yes")
        self.bytes_are(99, 99)
        self.hozon("snapshot", "preview", self.name, "a")
        self.assertIn("in the trash: b",
                      self.hozon("snapshot", "commit", self.name, "--discard-newer", "--yes"))
        self.bytes_are(1, 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
