#!/usr/bin/env python3
"""Proves: `?plan=true` and --plan change nothing at all, refuse what the change refuses, and predict
what the change then does: the bytes it stores and gives back, what it makes and removes, what becomes
of the guest, and which addresses and ids change.

Method: one instance of every real program. Each case is planned, the whole world is compared with
before, then the change is made and its outcome is compared with the plan.
usage: plan_test.py BIN_DIRECTORY
"""
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from instance import BIN, InstanceCase  # noqa: E402

METADATA = 1 << 20  # map nodes, catalog, bitmap of a small change


class PlanTest(InstanceCase):
    pool_bytes = 2 << 30

    def world(self):
        """Everything that people see and that the inventory holds."""
        with sqlite3.connect(self.dir + "/hozon.db", timeout=10) as database:
            dump = [line for line in database.iterdump() if "sqlite_sequence" not in line]
        database.close()
        machines = self.get("/v1/machines")["items"]
        points = {v["name"]: [p["name"] for p in
                              self.get(f"/v1/volumes/{v['name']}/points?all=true")["items"]]
                  for v in self.get("/v1/volumes")["items"]}
        return dump, machines, points, sorted(os.listdir(self.dir + "/pools"))

    def used(self):
        """When nothing is reclaimed any more and a checkpoint has been made."""
        self.do("POST", "/v1/pools/main/check", {})
        end = time.time() + 20
        last = None
        while time.time() < end:
            pool = self.get("/v1/pools/main")
            now = (pool["used_bytes"], pool["reclaiming"])
            if now == last and not pool["reclaiming"]:
                return pool["used_bytes"]
            last = now
            time.sleep(0.3)
        self.fail("the pool does not come to rest")

    def plan(self, method, path, body=None):
        before = self.world()
        status, plan = self.call(method, path + ("&" if "?" in path else "?") + "plan=true", body)
        self.assertEqual(status, 200, plan)
        self.assertEqual(self.world(), before)
        return plan

    def plan_and_do(self, method, path, body=None, at_most=False):
        plan = self.plan(method, path, body)
        self.assertTrue(plan["allowed"], plan)
        names, used = self.names_of_all(), self.used()
        result = self.do(method, path, body)
        after = self.names_of_all()
        if plan["makes"] or plan["removes"]:
            timed = {"snapshot": lambda n: "before-return-" in n or "snap-" in n}
            made = {n for n in after - names if not timed["snapshot"](n)}
            self.assertEqual(made, {n for n in map(self.bare, plan["makes"])
                                    if not timed["snapshot"](n)})
            self.assertFalse(set(plan["removes"]) & after)
        grown = self.used() - used
        if at_most:  # a first memory: how many of its touched pages are zero, nobody knows
            self.assertLess(grown, plan["writes_bytes"] + METADATA)
            self.assertGreater(plan["writes_bytes"], 0)
            return plan, result
        self.assertAlmostEqual(grown, plan["writes_bytes"] - plan["frees_bytes"],
                               delta=max(METADATA, plan["writes_bytes"] // 5))
        return plan, result

    @staticmethod
    def bare(words):
        return words.split(" (")[0]

    def names_of_all(self):
        names = set()
        for machine in self.get("/v1/machines")["items"]:
            names.add("machine " + machine["name"])
            names |= {f"snapshot {machine['name']}@{s}" for s in self.names(machine["name"])}
        volumes = self.get("/v1/volumes")["items"]
        names |= {"volume " + v["name"] for v in volumes if not v["name"].endswith(".ram")}
        for volume in volumes:
            if not volume["machine"]:
                points = self.get(f"/v1/volumes/{volume['name']}/points")["items"]
                names |= {f"point {volume['name']}@{p['name']}" for p in points}
        return names | {"pool " + p["name"] for p in self.get("/v1/pools")["items"]}

    def image(self, mib):
        file = tempfile.NamedTemporaryFile(dir=self.dir, suffix=".raw")
        file.write(os.urandom(mib << 20))
        file.truncate(4 * mib << 20)
        file.flush()
        return file

    def test_machines_and_their_snapshots(self):
        with self.image(8) as image:
            body = {"name": "p", "memory_bytes": 64 << 20, "disks": [{"image": image.name}]}
            plan, _ = self.plan_and_do("POST", "/v1/machines", body)
        self.assertEqual(plan["writes_bytes"], 8 << 20)
        path = "/v1/machines/p"
        self.plan_and_do("POST", path + "/snapshots", {"name": "a"})
        self.fill("p.vda", 5)
        self.plan_and_do("POST", path + "/snapshots", {"name": "b"})
        self.fill("p.vda", 6)
        self.plan_and_do("POST", path + "/snapshots/b/rename", {"new_name": "c"})
        plan, clone = self.plan_and_do("POST", path + "/snapshots/a/clone", {"new_name": "q"})
        self.assertIn("of its own", plan["identity"][0])
        self.assertNotEqual(clone["machine"]["nics"], self.machine("p")["nics"])
        nics = self.machine("p")["nics"]
        plan, _ = self.plan_and_do("POST", path + "/snapshots/a/return", {})
        self.assertEqual(plan["identity"], ["new VM generation id; uuid and MAC addresses stay"])
        self.assertEqual(self.machine("p")["nics"], nics)
        plan, _ = self.plan_and_do("POST", path + "/delete-snapshots", {"snapshots": ["c"]})
        later = plan["later_frees_bytes"]
        self.assertGreaterEqual(later, 1 << 20)
        plan, _ = self.plan_and_do("DELETE", path + "/trash")
        self.assertEqual(plan["frees_bytes"], later)
        self.assertEqual(plan["unreachable"], ["snapshot p@c"])
        plan, _ = self.plan_and_do("DELETE", "/v1/machines/q")
        self.assertIn("machine q", plan["unreachable"])
        self.do("DELETE", path)

    def test_volumes_points_and_pools(self):
        with self.image(4) as image:
            self.plan_and_do("POST", "/v1/volumes", {"name": "v", "from": image.name})
        self.plan_and_do("POST", "/v1/volumes/v/snapshot", {"name": "one"})
        self.fill("v", 7)
        self.plan_and_do("POST", "/v1/volumes/v/clone", {"point": "one", "new_name": "w"})
        plan, _ = self.plan_and_do("POST", "/v1/volumes/v/resize", {"size_bytes": 64 << 20})
        plan = self.plan("POST", "/v1/volumes/v/resize", {"size_bytes": 1 << 20})
        self.assertEqual(plan["refusal"]["code"], "wrong_state")
        self.plan_and_do("DELETE", "/v1/volumes/w")
        self.plan_and_do("DELETE", "/v1/volumes/v/points/one")
        plan = self.plan("POST", "/v1/volumes/v/export",
                         {"path": "/tmp/hozon-plan-out.raw", "format": "raw"})
        self.assertEqual(plan["makes"], ["file /tmp/hozon-plan-out.raw"])
        self.assertGreaterEqual(plan["file_bytes"], 4 << 20)
        self.assertFalse(os.path.exists("/tmp/hozon-plan-out.raw"))
        self.do("DELETE", "/v1/volumes/v?with_points=true")
        self.plan_and_do("POST", "/v1/pools", {"name": "spare", "size_bytes": 64 << 20})
        plan, _ = self.plan_and_do("DELETE", "/v1/pools/spare?force=true")
        self.assertEqual(plan["removes"], ["pool spare"])

    def test_what_becomes_of_a_guest(self):
        name = self.new_machine()
        path = f"/v1/machines/{name}"
        pid = self.machine(name)["pid"]
        plan, _ = self.plan_and_do("POST", path + "/snapshots", {"name": "d"})
        self.assertEqual((plan["guest"], self.machine(name)["pid"]), ("none", pid))
        plan, made = self.plan_and_do("POST", path + "/snapshots", {"name": "m", "with_memory": True},
                                      at_most=True)
        self.assertEqual((plan["guest"], self.machine(name)["pid"]), ("pause", pid))
        plan, _ = self.plan_and_do("POST", path + "/snapshots", {"name": "n", "with_memory": True})
        self.assertEqual(plan["guest_stop_us"], made["memory"]["stop_us"])
        plan, _ = self.plan_and_do("POST", path + "/snapshots/d/return", {})
        self.assertEqual(plan["guest"], "restart")
        self.assertNotEqual(self.machine(name)["pid"], pid)
        plan, _ = self.plan_and_do("POST", path + "/kill", {})
        self.assertEqual((plan["guest"], self.machine(name)["state"]), ("end", "down"))
        self.plan_and_do("POST", path + "/start", {})
        plan, _ = self.plan_and_do("POST", path + "/pause", {})
        self.assertEqual((plan["guest"], self.machine(name)["state"]), ("pause", "paused"))
        self.do("POST", path + "/kill", {})

    def test_refusals_are_those_of_the_change(self):
        name = self.new_machine(start=False)
        path = f"/v1/machines/{name}"
        self.do("POST", path + "/snapshots", {"name": "a"})
        self.do("POST", path + "/snapshots/a/pin", {"reason": "audit"})
        for method, place, body in (("POST", "/pause", {}), ("POST", "/kill", {}),
                                    ("DELETE", "/snapshots/a", None), ("POST", "/undo", {}),
                                    ("POST", "/snapshots", {"with_memory": True}),
                                    ("POST", "/snapshots/a/rename", {"new_name": "a"})):
            plan = self.plan(method, path + place, body)
            status, answer = self.call(method, path + place + "?wait=true", body)
            if plan["allowed"]:
                self.assertEqual(status, 200, (place, answer))
                continue
            refusal = plan["refusal"]
            self.assertEqual((refusal["code"], refusal["message"], refusal["remedy"]),
                             (answer["code"], answer["detail"], answer["remedy"]), place)
        for place, code in (("/snapshots/zz/return?plan=true", 404),
                            ("/snapshots/a/rename?plan=true", 400)):
            self.assertEqual(self.call("POST", path + place, {})[0], code)

    def hozon(self, *words):
        return subprocess.run([BIN + "/hozon", *words, "--dir", self.dir], capture_output=True,
                              text=True, timeout=60, stdin=subprocess.DEVNULL)

    def test_the_command_line_plans_every_change(self):
        name = self.new_machine(start=False)
        self.do("POST", f"/v1/machines/{name}/snapshots", {"name": "a"})
        self.do("POST", "/v1/volumes", {"name": "u", "size_bytes": 4 << 20})
        before = self.world()
        for line in (f"machine start {name}", f"machine delete {name}", "machine create z --disk 1G",
                     f"snapshot create {name} b", f"snapshot return {name} a --discard-newer",
                     f"snapshot clone {name} a z", f"snapshot delete {name} a",
                     f"snapshot tag {name} a x", "volume delete u", "volume resize u --size 8M",
                     "pool create z --size 64M", "pool check main", "pool delete main --force"):
            told = self.hozon(*line.split(), "--plan")
            expected = 4 if "pool delete" in line else 0
            self.assertEqual(told.returncode, expected, (line, told))
            self.assertIn("Plan:", told.stdout)
        told = self.hozon("machine", "pause", name, "--plan")
        self.assertEqual((told.returncode, told.stderr), (4, ""))
        self.assertIn("Refused:", told.stdout)
        self.assertEqual(self.world(), before)
        self.do("DELETE", "/v1/volumes/u")


if __name__ == "__main__":
    unittest.main(verbosity=2)
