#!/usr/bin/env python3
"""Proves what templates, groups, initial states and sizes promise, with the real programs.

Method: the state of a disk is told by the byte that it holds; what a set of snapshots would free is
compared with what the pool has after it is gone.
usage: collections_test.py BIN_DIRECTORY [unittest arguments]
"""
import os
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from instance import BIN, StatesCase  # noqa: E402

MIB = 1 << 20


class Collections(StatesCase):
    def hozon(self, *words, code=0):
        run = subprocess.run([BIN + "/hozon", *words, "--dir", self.dir], capture_output=True,
                             text=True, timeout=60, stdin=subprocess.DEVNULL)
        self.assertEqual(run.returncode, code, run.stderr)
        return run.stdout

    def both_hold(self, machine, byte):
        for disk in ("vda", "vdb"):
            self.assertTrue(self.holds(self.uri(f"{machine}.{disk}"), byte), (machine, disk, byte))

    # ---- templates ----

    def test_machines_from_a_template_share_until_they_write(self):
        self.new_states("one")
        made = self.do("POST", "/v1/templates", {"name": "t1", "machine": self.name, "snapshot": "one"})
        self.assertEqual(made["description"], f"made from {self.name}@one")
        self.do("POST", "/v1/templates", {"name": "t2", "machine": self.name})
        names = [t["name"] for t in self.get("/v1/templates")["items"]]
        self.assertEqual(names, ["t1", "t2"])
        self.assertNotIn("t1", [m["name"] for m in self.get("/v1/machines")["items"]])
        for template, byte in (("t1", 1), ("t2", 99)):
            plan = self.call("POST", "/v1/machines?plan=true",
                             {"name": template + "m", "template": template})[1]
            self.assertIn(f"machine {template}m", plan["makes"])
            machine = self.do("POST", "/v1/machines", {"name": template + "m", "template": template,
                                                       "memory_bytes": 32 * MIB, "tags": ["x"]})
            self.assertEqual((machine["memory_bytes"], machine["tags"]), (32 * MIB, ["x"]))
            self.both_hold(template + "m", byte)
        macs = [n["mac"] for m in ("t1m", "t2m", self.name) for n in self.machine(m)["nics"]]
        self.assertEqual(len(macs), len(set(macs)))
        self.fill("t1m.vda", 55)
        self.do("DELETE", "/v1/templates/t1")
        self.assertTrue(self.holds(self.uri("t1m.vdb"), 1))
        self.do("POST", "/v1/machines/t1m/start", {})
        self.do("POST", "/v1/machines/t1m/kill", {})
        for name in ("t1m", "t2m"):
            self.do("DELETE", f"/v1/machines/{name}")
        self.do("DELETE", "/v1/templates/t2")
        self.assertEqual([v["name"] for v in self.get("/v1/volumes")["items"]
                          if v["name"].startswith("t")], [])
        self.check_pool()

    def test_a_template_is_no_machine(self):
        self.new_states("one")
        self.do("POST", "/v1/templates", {"name": "t3", "machine": self.name, "snapshot": "one"})
        for path, body in (("start", {}), ("snapshots", {}), ("tag", {"tags": []})):
            self.refused("wrong_state", "is a template", "POST", f"/v1/machines/t3/{path}", body)
        self.refused("wrong_state", "is a template", "DELETE", "/v1/machines/t3")
        self.refused("not_found", "no template", "DELETE", f"/v1/templates/{self.name}")
        self.refused("not_found", "no template", "POST", "/v1/machines",
                     {"name": "x", "template": self.name})
        self.refused("invalid_argument", "are those of the template", "POST", "/v1/machines",
                     {"name": "x", "template": "t3", "disks": [{"size_bytes": MIB}]})
        self.refused("already_exists", "a template named 't3' exists", "POST", "/v1/templates",
                     {"name": "t3", "machine": self.name})
        self.refused("already_exists", "exists", "POST", "/v1/machines",
                     {"name": "t3", "disks": [{"size_bytes": MIB}]})
        self.assertIn("t3", self.hozon("template", "list"))
        self.assertIn("vda 8.0 MiB", self.hozon("template", "show", "t3"))
        self.hozon("machine", "create", "t3m", "--template", "t3", "--cpus", "2")
        self.assertEqual(self.machine("t3m")["cpus"], 2)
        self.hozon("machine", "delete", "t3m", "--yes")
        self.hozon("template", "delete", "t3", "--yes")

    # ---- initial states ----

    def wait_bytes(self, machine, byte):
        end = time.time() + 20
        while time.time() < end:
            shown = self.machine(machine)
            if shown["state"] == "down" and not shown["lock"] and \
                    self.holds(self.uri(f"{machine}.vda"), byte):
                return
            time.sleep(0.1)
        self.fail(f"{machine} did not return")

    def test_a_machine_returns_to_its_initial_state_when_it_goes_down(self):
        self.new_states("one")
        self.do("POST", "/v1/templates", {"name": "t4", "machine": self.name, "snapshot": "one"})
        made = self.do("POST", "/v1/machines", {"name": "kiosk", "template": "t4", "memory_bytes": 64 * MIB,
                                                "return_on_shutdown": "clean"})
        self.assertEqual(made["initial_snapshot"], "clean")
        self.refused("wrong_state", "pinned", "DELETE", "/v1/machines/kiosk/snapshots/clean")
        self.do("POST", "/v1/machines/kiosk/start", {})
        self.do("POST", "/v1/machines/kiosk/pause", {})
        self.fill("kiosk.vda", 66)
        # hozond is away when it goes down.
        pid = self.machine("kiosk")["pid"]
        self.kill_hozond()
        os.kill(pid, 9)
        end = time.time() + 20
        while time.time() < end:
            try:
                self.machine("kiosk")
                break
            except (ConnectionError, OSError):
                time.sleep(0.05)
        self.wait_bytes("kiosk", 1)
        kept = [s for s in self.get("/v1/machines/kiosk/snapshots")["items"] if s["kind"] == "system"]
        self.assertEqual(len(kept), 1)
        # Without a start in between nothing happens any more.
        time.sleep(3)
        self.assertEqual(len(self.names("kiosk")), 2)
        # Started again before it has gone back, it goes back first.
        self.do("POST", "/v1/machines/kiosk/start", {})
        self.do("POST", "/v1/machines/kiosk/pause", {})
        self.fill("kiosk.vda", 67)
        self.do("POST", "/v1/machines/kiosk/kill", {})
        self.wait_bytes("kiosk", 1)
        self.do("POST", "/v1/machines/kiosk/initial", {"snapshot": ""})
        self.do("POST", "/v1/machines/kiosk/start", {})
        self.fill("kiosk.vda", 68)
        self.do("POST", "/v1/machines/kiosk/kill", {})
        time.sleep(3)
        self.assertTrue(self.holds(self.uri("kiosk.vda"), 68))
        self.do("DELETE", "/v1/machines/kiosk/snapshots/clean")
        self.hozon("machine", "initial", "kiosk", "nothing", code=3)
        self.do("DELETE", "/v1/machines/kiosk")
        self.do("DELETE", "/v1/templates/t4")

    # ---- groups ----

    def test_a_group_is_of_one_instant_and_returns_as_a_set(self):
        machines = [self.new_machine(start=False) for _ in range(3)]
        for byte, machine in enumerate(machines, 1):
            for disk in ("vda", "vdb"):
                self.fill(f"{machine}.{disk}", byte)
        plan = self.call("POST", "/v1/groups?plan=true", {"name": "g", "machines": machines})[1]
        self.assertEqual(plan["makes"], [f"snapshot {m}@g" for m in machines])
        group = self.do("POST", "/v1/groups", {"name": "g", "machines": machines, "tags": ["x"]})
        self.assertEqual([m["machine"] for m in group["members"]], machines)
        sets = {point["set_id"] for m in machines for d in ("vda", "vdb")
                for point in self.get(f"/v1/volumes/{m}.{d}/points")["items"]}
        self.assertEqual(len(sets), 1)  # the data plane's word for one instant
        for machine in machines:
            self.assertEqual(self.get(f"/v1/machines/{machine}/snapshots/g")["group"], "g")
            for disk in ("vda", "vdb"):
                self.fill(f"{machine}.{disk}", 90)
        self.refused("already_exists", "exists", "POST", "/v1/groups", {"name": "g", "machines": machines})
        self.refused("invalid_argument", "name the machines", "POST", "/v1/groups",
                     {"name": "h", "machines": []})
        self.refused("not_found", "does not exist", "POST", "/v1/groups", {"name": "h", "machines": ["no"]})
        self.do("POST", f"/v1/machines/{machines[1]}/snapshots/g/preview", {})
        self.refused("wrong_state", "preview", "POST", "/v1/groups/g/return", {})
        self.do("POST", f"/v1/machines/{machines[1]}/preview/undo", {})
        result = self.do("POST", "/v1/groups/g/return", {})
        self.assertEqual(len(result["machines"]), 3)
        for byte, machine in enumerate(machines, 1):
            self.both_hold(machine, byte)
        self.do("POST", f"/v1/machines/{machines[0]}/undo", {})
        self.both_hold(machines[0], 90)
        self.assertIn("m", self.hozon("group", "list"))
        self.do("POST", f"/v1/machines/{machines[2]}/snapshots/g/pin", {"reason": "r"})
        self.refused("wrong_state", "pinned", "DELETE", "/v1/groups/g")
        self.do("POST", f"/v1/machines/{machines[2]}/snapshots/g/unpin", {})
        deleted = self.do("DELETE", "/v1/groups/g")
        self.assertEqual(len(deleted["deleted"]), 3)
        self.assertEqual(self.get("/v1/groups")["items"], [])
        self.do("POST", f"/v1/machines/{machines[1]}/trash/g/restore", {})
        self.hozon("group", "create", "g", "--machines", f"{machines[0]},{machines[2]}")
        self.check_pool()

    def set_memory_size_of(self, machine, mib):
        self.name = machine
        self.set_memory_size(mib)

    def seen(self, machines):
        """All that a return may change, of each machine."""
        return [(m["name"], m["state"], m["memory_bytes"], m["current_parent_name"], m["lock"],
                 self.names(m["name"]),
                 [p["name"] for d in m["disks"] for p in self.get(f"/v1/volumes/{d['volume']}/points")["items"]])
                for m in map(self.machine, machines)]

    def test_a_group_of_which_one_machine_cannot_start_stays_as_it_was(self):
        # Down, paused, the one that fails, up: two were started when it comes to the third.
        machines = [self.new_machine(start=False) for _ in range(4)]
        for machine in machines:
            self.fill(f"{machine}.vda", 7)
        self.set_memory_size_of(machines[2], 1 << 20)  # 1 TiB: no host of a test has it
        self.do("POST", "/v1/groups", {"name": "k", "machines": machines})
        self.set_memory_size_of(machines[2], 64)
        for machine in machines:
            self.fill(f"{machine}.vda", 90)
        self.do("POST", f"/v1/machines/{machines[1]}/start", {"paused": True})
        self.do("POST", f"/v1/machines/{machines[3]}/start", {})
        before = self.seen(machines)
        first = self.machine(machines[1])["pid"]
        status, answer = self.call("POST", "/v1/groups/k/return?wait=true", {"state": "running"})
        self.assertGreaterEqual(status, 400, answer)
        self.assertIn(f"group 'k' stays as it was: machine '{machines[2]}' cannot start", answer["detail"])
        self.assertEqual(self.seen(machines), before)
        self.assertNotEqual(self.machine(machines[1])["pid"], first)  # it did get that far
        for machine in machines:
            self.assertTrue(self.holds(self.uri(f"{machine}.vda"), 90), machine)
        # The same group returns when none of them has to start.
        result = self.do("POST", "/v1/groups/k/return", {"state": "down"})
        self.assertEqual([m["restarted"] for m in result["machines"]], [False] * 4)
        for machine in machines:
            self.assertTrue(self.holds(self.uri(f"{machine}.vda"), 7), machine)
        self.do("DELETE", "/v1/groups/k")
        self.check_pool()

    # ---- sizes ----

    def used(self):
        self.do("POST", "/v1/pools/main/check", {})
        return self.get("/v1/pools/main/sizes")["used_bytes"]

    def test_sizes_say_what_deleting_gives_back_and_add_up(self):
        self.name = self.new_machine(start=False)
        self.path = f"/v1/machines/{self.name}"
        for snapshot in ("a", "b", "c"):
            if snapshot != "b":
                self.fill_all(ord(snapshot))
            self.do("POST", self.path + "/snapshots", {"name": snapshot})
        self.fill_all(99)
        sizes = self.get(self.path + "/sizes")
        one = {s["name"]: s for s in sizes["snapshots"]}
        # a and b hold the same 2 MiB: neither alone frees them.
        self.assertLess(one["a"]["freed_bytes"], MIB)
        self.assertLess(one["b"]["freed_bytes"], MIB)
        self.assertGreaterEqual(one["c"]["freed_bytes"], 2 * MIB)
        self.assertEqual(one["a"]["referenced_bytes"], 2 * MIB)
        both = self.get(self.path + "/sizes?snapshots=a,b")
        self.assertGreaterEqual(both["set_bytes"], 2 * MIB)
        self.assertEqual(len(both["snapshots"]), 2)
        end = time.time() + 20
        while True:  # what was written a moment ago has no map in the pool yet
            pool = self.get("/v1/pools/main/sizes")
            parts = sum(o["freed_bytes"] for o in pool["owners"]) + pool["shared_bytes"] + pool["own_bytes"]
            if pool["used_bytes"] == parts or time.time() > end:
                break
            time.sleep(0.2)
        self.assertEqual(pool["used_bytes"], parts)
        self.assertLess(pool["own_bytes"], 2 * MIB)
        self.assertEqual({o["name"]: o["freed_bytes"] for o in pool["owners"]}[self.name],
                         sizes["machine_bytes"])
        before = self.used()
        self.do("POST", self.path + "/delete-snapshots", {"snapshots": ["a", "b"], "ttl_s": 0})
        end = time.time() + 20
        while time.time() < end and self.used() > before - both["set_bytes"] + 64 * 1024:
            time.sleep(0.2)
        freed = before - self.used()
        self.assertLess(abs(freed - both["set_bytes"]), 128 * 1024, (freed, both))
        self.assertIn("(these together)", self.hozon("snapshot", "sizes", self.name, "c"))
        self.assertIn(self.name, self.hozon("pool", "sizes", "main"))
        self.assertEqual(self.call("GET", self.path + "/sizes?snapshots=x")[0], 404)

    def test_snapshots_with_a_comma_have_sizes(self):
        self.name = self.new_machine(start=False)
        self.path = f"/v1/machines/{self.name}"
        for name in ("a,b", "b", "c\\"):
            self.do("POST", self.path + "/snapshots", {"name": name})
        one = self.get(self.path + "/sizes?snapshots=a%5C,b,c%5C%5C")
        self.assertEqual([s["name"] for s in one["snapshots"]], ["a,b", "c\\"])
        self.assertEqual(self.call("GET", self.path + "/sizes?snapshots=a,b")[0], 404)
        said = self.hozon("snapshot", "sizes", self.name, "a,b", "c\\")
        self.assertIn("a,b", said)
        self.assertEqual(self.hozon("snapshot", "sizes", self.name, "a,b", "-o", "json").count('"name"'), 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
