#!/usr/bin/env python3
"""Proves: a full clone has every byte of the snapshot, shares no block with the original (so that it
survives it, in another pool too), says its progress in bytes, and leaves nothing when it is cancelled
or the pool has no room.

Method: one instance of every real program with a second, small pool.
usage: clone_test.py BIN_DIRECTORY
"""
import os
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from instance import BIN, InstanceCase  # noqa: E402


class CloneTest(InstanceCase):
    pool_bytes = 2 << 30

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        made = cls.call("POST", "/v1/pools?wait=true", {"name": "side", "size_bytes": 128 << 20})
        assert made[0] == 200, made

    def with_snapshot(self, size=8 << 20, mib=1):
        type(self).counter += 1
        name = f"m{self.counter}"
        self.do("POST", "/v1/machines", {"name": name, "memory_bytes": 64 << 20,
                                         "disks": [{"size_bytes": size}] * 2})
        for byte, disk in ((3, "vda"), (4, "vdb")):
            subprocess.run(["qemu-io", "-f", "raw", "-c", f"write -P {byte} 0 {mib}M", "-c", "flush",
                            self.uri(f"{name}.{disk}")], check=True, capture_output=True, timeout=60)
        self.do("POST", f"/v1/machines/{name}/snapshots", {"name": "a"})
        self.fill(name + ".vda", 9)
        return name

    def clone(self, name, new, **how):
        return self.do("POST", f"/v1/machines/{name}/snapshots/a/clone", {"new_name": new, **how})

    def test_a_full_clone_survives_the_original(self):
        name = self.with_snapshot()
        plan = self.call("POST", f"/v1/machines/{name}/snapshots/a/clone?plan=true",
                         {"new_name": "x", "full": True})[1]
        self.assertEqual(plan["writes_bytes"], 2 << 20)
        used = self.get("/v1/pools/main")["used_bytes"]
        made = self.clone(name, name + "f", full=True, description="a copy")
        self.assertEqual(made["machine"]["description"], "a copy")
        self.assertIn("it shares no block with the original", made["notes"])
        grown = self.get("/v1/pools/main")["used_bytes"] - used
        self.assertAlmostEqual(grown, 2 << 20, delta=1 << 19)
        self.do("DELETE", f"/v1/machines/{name}")
        self.assertTrue(self.holds(self.uri(name + "f.vda"), 3))
        self.assertTrue(self.holds(self.uri(name + "f.vdb"), 4))
        self.do("POST", f"/v1/machines/{name}f/start", {})
        self.do("POST", f"/v1/machines/{name}f/kill", {})
        self.check_pool()

    def test_into_another_pool_by_the_command_line(self):
        name = self.with_snapshot()
        done = subprocess.run([BIN + "/hozon", "snapshot", "clone", name, "a", name + "s", "--full",
                               "--pool", "side", "--dir", self.dir], capture_output=True, text=True,
                              timeout=120)
        self.assertEqual(done.returncode, 0, done)
        self.assertEqual({d["pool"] for d in self.machine(name + "s")["disks"]}, {"side"})
        self.assertTrue(self.holds(self.uri(name + "s.vda"), 3))
        one = f"/v1/machines/{name}/snapshots/a/clone"
        self.refused("invalid_argument", "--pool needs --full", "POST", one,
                     {"new_name": "y", "pool": "side"})
        self.refused("invalid_argument", "memory is shared", "POST", one,
                     {"new_name": "y", "full": True, "with_memory": True})
        self.do("DELETE", f"/v1/machines/{name}s")

    def test_without_room_nothing_is_left(self):
        name = self.with_snapshot(size=128 << 20, mib=100)
        status, answer = self.call("POST", f"/v1/machines/{name}/snapshots/a/clone?wait=true",
                                   {"new_name": name + "n", "full": True, "pool": "side"})
        self.assertEqual((status, answer["code"]), (507, "resource_exhausted"), answer)
        self.assertEqual(self.call("GET", f"/v1/machines/{name}n")[0], 404)
        self.assertEqual(self.get("/v1/volumes?pool=side")["items"], [])

    def test_cancelled_it_leaves_nothing(self):
        name = self.with_snapshot(size=512 << 20, mib=400)
        status, job = self.call("POST", f"/v1/machines/{name}/snapshots/a/clone",
                                {"new_name": name + "c", "full": True})
        self.assertEqual(status, 202)
        end = time.time() + 30
        while time.time() < end and not self.get(f"/v1/jobs/{job['id']}")["progress_done"]:
            time.sleep(0.02)
        self.call("POST", f"/v1/jobs/{job['id']}/cancel")
        while self.get(f"/v1/jobs/{job['id']}")["state"] == "running":
            time.sleep(0.05)
        self.assertEqual(self.get(f"/v1/jobs/{job['id']}")["state"], "cancelled")
        self.assertEqual(self.call("GET", f"/v1/machines/{name}c")[0], 404)
        self.assertNotIn(name + "c.vda", [v["name"] for v in self.get("/v1/volumes")["items"]])
        self.check_pool()


if __name__ == "__main__":
    unittest.main(verbosity=2)
