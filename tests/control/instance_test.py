#!/usr/bin/env python3
"""Proves what the control plane promises with every real program: supervisor, hozond, hozon-stored,
hozon-ram, QEMU (its firmware is guest enough here, so no kernel is needed).

Method: one instance per class, spoken to over REST; hozond and QEMU are killed at bad moments.
usage: instance_test.py BIN_DIRECTORY
"""
import json
import os
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from instance import BIN, InstanceCase  # noqa: E402


class InstanceTest(InstanceCase):
    # ---- promises ----

    def test_life_of_a_machine(self):
        name = self.new_machine(start=False)
        path = f"/v1/machines/{name}"
        self.assertEqual(self.machine(name)["state"], "down")
        self.refused("wrong_state", "down", "POST", path + "/pause", {})
        self.do("POST", path + "/start", {})
        self.assertEqual(self.machine(name)["state"], "up")
        self.refused("wrong_state", "runs already", "POST", path + "/start", {})
        self.refused("wrong_state", "shut it down first", "DELETE", path)
        self.do("POST", path + "/pause", {})
        self.assertEqual(self.machine(name)["state"], "paused")
        self.do("POST", path + "/resume", {})
        self.wait_state(name, "up")
        os.kill(self.machine(name)["pid"], signal.SIGKILL)
        self.wait_state(name, "down")
        self.assertIn("died", self.machine(name)["state_reason"])
        self.do("POST", path + "/start", {})
        self.do("POST", path + "/kill", {})
        self.assertEqual(self.machine(name)["state"], "down")
        directory = self.machine(name)["directory"]
        self.do("DELETE", path)
        self.assertEqual(self.call("GET", path)[0], 404)
        self.assertFalse(os.path.exists(directory))
        self.assertFalse([v for v in self.get("/v1/volumes")["items"]
                          if v["name"].startswith(name + ".")])

    def test_machines_outlive_hozond(self):
        name = self.new_machine()
        pid = self.machine(name)["pid"]
        for _ in range(3):
            self.kill_hozond()
            after = self.machine(name)
            self.assertEqual((after["pid"], after["state"]), (pid, "up"))
        self.do("POST", f"/v1/machines/{name}/kill", {})

    def test_disk_snapshots_there_and_back(self):
        name = self.new_machine(start=False)
        path = f"/v1/machines/{name}/snapshots"
        self.fill(name + ".vda", 1)
        self.fill(name + ".vdb", 1)
        self.do("POST", path, {"name": "one"})
        self.fill(name + ".vda", 2)
        self.fill(name + ".vdb", 2)
        self.do("POST", path, {"name": "two", "disks": ["vda"]})
        self.fill(name + ".vda", 3)
        kept = self.do("POST", path + "/one/return", {})["kept"]
        self.assertTrue(self.holds(self.uri(name + ".vda"), 1))
        self.assertTrue(self.holds(self.uri(name + ".vdb"), 1))
        self.assertEqual(self.machine(name)["current_parent_name"], "one")
        self.do("POST", f"{path}/{kept}/return", {})
        self.assertTrue(self.holds(self.uri(name + ".vda"), 3))
        self.assertTrue(self.holds(self.uri(name + ".vdb"), 2))
        self.do("POST", path + "/two/return", {})  # vdb was not chosen: it stays
        self.assertTrue(self.holds(self.uri(name + ".vda"), 2))
        self.assertTrue(self.holds(self.uri(name + ".vdb"), 2))
        copy = self.do("POST", path + "/one/clone", {"new_name": name + "-copy"})["machine"]
        self.assertNotEqual(copy["uuid"], self.machine(name)["uuid"])
        self.assertNotEqual(copy["nics"][0]["mac"], self.machine(name)["nics"][0]["mac"])
        self.assertTrue(self.holds(self.uri(name + "-copy.vda"), 1))
        everything = self.names(name)
        self.do("POST", f"/v1/machines/{name}/delete-snapshots", {"snapshots": everything[1:]})
        self.assertEqual(self.names(name), everything[:1])
        self.assertTrue(self.holds(self.uri(name + "-copy.vda"), 1))
        self.do("DELETE", f"/v1/machines/{name}")
        self.assertTrue(self.holds(self.uri(name + "-copy.vda"), 1))
        self.check_pool()

    def test_a_disk_snapshot_of_a_running_machine_does_not_stop_it(self):
        name = self.new_machine()
        made = self.do("POST", f"/v1/machines/{name}/snapshots", {})
        self.assertTrue(made["name"].startswith("snap-"))
        self.assertEqual(made["machine_state"], "up")
        result = self.do("POST", f"/v1/machines/{name}/snapshots/{made['name']}/return", {})
        self.assertTrue(result["restarted"])
        self.wait_state(name, "up")
        self.do("POST", f"/v1/machines/{name}/kill", {})

    def test_memory_comes_back(self):
        name = self.new_machine()
        path = f"/v1/machines/{name}/snapshots"
        made = self.do("POST", path, {"name": "m", "with_memory": True})
        self.assertIn(made["memory"]["mode"], ("live", "stopped"))
        self.assertEqual(self.machine(name)["state"], "up")
        self.do("POST", f"/v1/machines/{name}/pause", {})
        paused = self.do("POST", path, {"name": "p", "with_memory": True})
        self.assertEqual(self.machine(name)["state"], "paused")
        self.assertEqual(paused["memory"]["stop_us"], 0)
        self.do("POST", path + "/m/return", {})
        self.wait_state(name, "up")
        self.do("POST", f"/v1/machines/{name}/kill", {})
        self.do("POST", path + "/p/return", {})
        self.assertEqual(self.machine(name)["state"], "paused")
        left = os.listdir(self.machine(name)["directory"])
        self.assertFalse([f for f in left if f.startswith(("save-", "load-"))], left)
        self.do("POST", f"/v1/machines/{name}/kill", {})
        self.refused("wrong_state", "no memory to save", "POST", path, {"with_memory": True})

    def test_a_killed_hozond_leaves_no_half_snapshot(self):
        name = self.new_machine()
        path = f"/v1/machines/{name}/snapshots"
        before = self.names(name)
        for delay in (0.02, 0.1, 0.2, 0.35, 0.6):
            status, job = self.call("POST", path, {"name": f"k{delay}", "with_memory": True})
            self.assertEqual(status, 202, job)
            time.sleep(delay)
            self.kill_hozond()
            end = time.time() + 60
            while self.get(f"/v1/jobs/{job['id']}")["state"] == "running" and time.time() < end:
                time.sleep(0.05)
            ended = self.get(f"/v1/jobs/{job['id']}")["state"]
            self.assertIn(ended, ("done", "failed"))
            self.assertEqual(f"k{delay}" in self.names(name), ended == "done")
            self.wait_state(name, "up")
            self.assertIsNone(self.machine(name)["lock"])
        points = self.get(f"/v1/volumes/{name}.vda/points")["items"]
        self.assertEqual(len(points), len(self.names(name)))
        self.do("POST", path, {"name": "after", "with_memory": True})
        self.do("POST", path + "/after/return", {})
        self.wait_state(name, "up")
        self.assertEqual(before, [])
        self.do("POST", f"/v1/machines/{name}/kill", {})
        self.check_pool()

    def test_a_return_interrupted_anywhere_is_before_or_after(self):
        name = self.new_machine()
        path = f"/v1/machines/{name}/snapshots"
        self.do("POST", path, {"name": "base"})
        for delay in (0.0, 0.03, 0.06, 0.1, 0.2):
            snapshots = len(self.names(name))
            job = self.call("POST", path + "/base/return", {})[1]
            time.sleep(delay)
            self.kill_hozond()
            end = time.time() + 60
            while self.get(f"/v1/jobs/{job['id']}")["state"] == "running" and time.time() < end:
                time.sleep(0.05)
            self.wait_state(name, "up")
            after = self.get(path)["items"]
            self.assertIn(len(after), (snapshots, snapshots + 1))
            self.assertTrue(all(s["status"] == "ok" for s in after), after)
            points = self.get(f"/v1/volumes/{name}.vda/points")["items"]
            self.assertEqual(len(points), len(after))
        self.do("POST", f"/v1/machines/{name}/kill", {})
        self.check_pool()

    def test_a_memory_return_interrupted_anywhere_ends_up_running(self):
        name = self.new_machine()
        path = f"/v1/machines/{name}/snapshots"
        self.do("POST", path, {"name": "base", "with_memory": True})
        for delay in (0.05, 0.1, 0.15, 0.25, 0.4):
            job = self.call("POST", path + "/base/return", {})[1]
            time.sleep(delay)
            self.kill_hozond()
            end = time.time() + 60
            while self.get(f"/v1/jobs/{job['id']}")["state"] == "running" and time.time() < end:
                time.sleep(0.05)
            self.wait_state(name, "up")
            self.assertTrue(all(s["status"] == "ok" for s in self.get(path)["items"]))
        self.do("POST", f"/v1/machines/{name}/kill", {})
        self.check_pool()

    def test_qemu_dying_in_a_save_leaves_nothing(self):
        name = self.new_machine()
        path = f"/v1/machines/{name}/snapshots"
        job = self.call("POST", path, {"name": "x", "with_memory": True})[1]
        time.sleep(0.15)
        os.kill(self.machine(name)["pid"], signal.SIGKILL)
        self.wait_state(name, "down")
        end = time.time() + 60
        while self.get(f"/v1/jobs/{job['id']}")["state"] == "running" and time.time() < end:
            time.sleep(0.05)
        if self.get(f"/v1/jobs/{job['id']}")["state"] == "failed":
            self.assertEqual(self.names(name), [])
            self.assertEqual(self.get(f"/v1/volumes/{name}.vda/points")["items"], [])
        self.do("POST", f"/v1/machines/{name}/start", {})
        self.do("POST", f"/v1/machines/{name}/kill", {})

    def test_refusals_change_nothing(self):
        name = self.new_machine(start=False)
        path = f"/v1/machines/{name}/snapshots"
        self.do("POST", path, {"name": "a"})
        self.refused("already_exists", "choose another name", "POST", path, {"name": "a"})
        self.refused("not_found", "no snapshot 'zz'", "POST", path + "/zz/return", {})
        self.refused("invalid_argument", "no disk 'vdz'", "POST", path, {"disks": ["vdz"]})
        self.refused("not_found", "no snapshot", "POST", f"/v1/machines/{name}/delete-snapshots",
                     {"snapshots": ["a", "zz"]})
        self.assertEqual(self.names(name), ["a"])
        self.refused("already_exists", "exists", "POST", "/v1/machines",
                     {"name": name, "disks": [{"size_bytes": 1 << 20}]})
        for body, code, words in (
                ({"name": "b/ad", "disks": [{"size_bytes": 512}]}, "invalid_argument", "letters"),
                ({"name": "b1", "disks": [{"size_bytes": 100}]}, "invalid_argument", "512"),
                ({"name": "b1", "disks": [{"image": "/nonexistent"}]}, "not_found", "nonexistent"),
                ({"name": "b1", "disks": []}, "invalid_argument", "nothing to boot"),
                ({"name": "b1", "disks": [{"size_bytes": 512}], "memory_bytes": 1},
                 "invalid_argument", "memory"),
                ({"name": "b1", "disks": [{"size_bytes": 512}], "pool": "no"}, "not_found", "no")):
            self.refused(code, words, "POST", "/v1/machines", body)
        self.refused("wrong_state", "belongs to machine", "DELETE", f"/v1/volumes/{name}.vda")
        self.refused("wrong_state", "machine", "DELETE", "/v1/pools/main?force=true")
        self.assertFalse([m for m in self.get("/v1/machines")["items"] if m["name"] == "b1"])
        self.do("DELETE", f"/v1/machines/{name}")

    def test_a_corrupt_image_leaves_no_volume(self):
        image = self.dir + "/bad.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "64M"], check=True)
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 7 0 32M", image], check=True,
                       capture_output=True)
        with open(image, "r+b") as file:  # an entry of the second-level map that is not aligned
            file.seek(4 * 65536 + 128)
            file.write(b"\x80\x00\x00\x00\x00\x05\x02\x00")
        self.refused("corruption", "could not be imported", "POST", "/v1/volumes",
                     {"name": "bad", "from": image})
        self.assertEqual(self.call("GET", "/v1/volumes/bad")[0], 404)

    def test_pools_come_and_go(self):
        self.do("POST", "/v1/pools", {"name": "second", "size_bytes": 256 << 20})
        self.do("POST", "/v1/volumes", {"name": "v", "pool": "second", "size_bytes": 1 << 20})
        self.refused("wrong_state", "volumes", "DELETE", "/v1/pools/second")
        self.do("POST", "/v1/volumes/v/snapshot", {"name": "p"})
        self.fill("v", 9)
        self.do("POST", "/v1/volumes/v/return", {"point": "p"})
        self.assertTrue(self.holds(self.uri("v"), 0))
        self.do("DELETE", "/v1/pools/second?force=true")
        self.assertFalse(os.path.exists(self.dir + "/pools/second"))
        self.assertEqual([p["name"] for p in self.get("/v1/pools")["items"]], ["main"])


if __name__ == "__main__":
    unittest.main()
