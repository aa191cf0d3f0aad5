#!/usr/bin/env python3
"""Proves C2 for every kind of job: hozond killed with SIGKILL before and after every journalled step
(src/control/stop_point.h), and again while it takes a job back, leaves after its restart the state
before the job or the state after it; nothing is locked, half-made or orphaned.

Method: one instance with two small machines. For each kind of job and N = 1, 2, ... the instance is
put into a known state, hozond is told to die at point N of the job, and the world is judged:
the job has ended, its end agrees with what is there, records and points agree, the pool is clean. The
grid of a kind ends when a job passes all its points alive.
usage: kill_grid_test.py BIN_DIRECTORY [unittest arguments]
"""
import json
import os
import signal
import sys
import threading
import time
import unittest

os.environ["HOZON_TEST_STOPS"] = f"/tmp/hozon-stops-{os.getpid()}"
STOPS = os.environ["HOZON_TEST_STOPS"]
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from instance import InstanceCase  # noqa: E402

POINTS_MAX = 60
UNCHANGING = ("pool.check", "pool.scrub", "volume.defragment", "machine.connect")  # done looks like not done
# Kinds of jobs without a grid, and what stands in for it (tests/house/job_kinds_test.py).
ELSEWHERE = {"machine.freeze": "needs a guest with an agent: tests/vm/quiesce_test.py",
             "machine.thaw": "needs a guest with an agent: tests/vm/quiesce_test.py"}


class KillGrid(InstanceCase):
    pool_bytes = 1 << 30

    def order(self, *lines):
        with open(STOPS + ".new", "w") as file:
            file.write("".join(line + "\n" for line in lines))
        os.rename(STOPS + ".new", STOPS)

    def take_order_back(self):
        """True when an order was not reached."""
        try:
            os.unlink(STOPS)
            return True
        except FileNotFoundError:
            return False

    def tearDown(self):
        self.take_order_back()

    def begin(self, method, path, body=None):
        """The job, found again by its key when hozond died before it answered."""
        key = f"k{time.time_ns()}"
        for _ in range(100):
            try:
                status, job = self.call(method, path, body, {"Idempotency-Key": key})
            except (ConnectionError, TimeoutError, OSError):
                time.sleep(0.02)
                continue
            if status == 503:
                time.sleep(0.02)
                continue
            self.assertEqual(status, 202, job)
            return job
        self.fail("hozond does not answer")

    def settled(self, job):
        end = time.time() + 60
        while time.time() < end:
            try:
                now = self.call("GET", f"/v1/jobs/{job['id']}")[1]
                if now["state"] != "running":
                    return now
            except (ConnectionError, TimeoutError, OSError):
                pass
            time.sleep(0.02)
        self.fail(f"job {job} does not end")

    # ---- the judge ----

    def world(self):
        """What a person sees, without what changes by itself."""
        self.wait_for_runs()
        seen = {"file": os.path.exists(self.exported())}
        for machine in self.get("/v1/machines")["items"]:
            name = machine["name"]
            self.assertIsNone(machine["lock"], machine)
            snapshots = self.all_snapshots(name)
            for snapshot in snapshots:
                wanted = machine["preview"] and machine["preview"]["snapshot"] == snapshot["name"]
                self.assertEqual(snapshot["status"], "in_preview" if wanted else "ok", snapshot)
            seen[name] = (machine["state"], machine["preview"] is None, machine["current_parent_name"], machine["description"],
                          machine["snapshot_quota"], machine["tags"], machine["initial_snapshot"],
                          sorted((s["name"], s["description"], s["pinned"], tuple(s["tags"]),
                                  s["expires_ns"] != 0) for s in snapshots if s["kind"] == "user"),
                          sorted(t["name"] for t in self.trash(name)))
        volumes = self.get("/v1/volumes")["items"]
        seen["volumes"] = sorted((v["name"], v["size_bytes"]) for v in volumes
                                 if not v["name"].endswith(".ram"))
        seen["points"] = sorted((v["name"], len(self.get(f"/v1/volumes/{v['name']}/points")["items"]))
                                for v in volumes if not v["name"].startswith("m"))
        seen["templates"] = sorted(t["name"] for t in self.get("/v1/templates")["items"])
        seen["groups"] = sorted((g["name"], len(g["members"])) for g in self.get("/v1/groups")["items"])
        seen["schedules"] = sorted((s["name"], s["enabled"], s["rule"], len(s["runs"]))
                                   for s in map(self.schedule, self.get("/v1/schedules")["items"]))
        seen["pools"] = sorted(p["name"] for p in self.get("/v1/pools")["items"])
        return seen

    def exported(self):
        return self.dir + "-exported.raw"

    def wait_for_runs(self):
        """A run goes on when the job that began it has ended."""
        end = time.time() + 60
        while time.time() < end:
            runs = [r for s in map(self.schedule, self.get("/v1/schedules")["items"]) for r in s["runs"]]
            if all(r["ended_ns"] for r in runs):
                return
            time.sleep(0.05)
        self.fail(f"runs that do not end: {runs}")

    def schedule(self, listed):
        return self.get(f"/v1/schedules/{listed['name']}")

    def no_orphans(self):
        """Every point of a machine's volume belongs to a record, and every record has its points."""
        owned, found, homes = set(), set(), []
        for machine in self.get("/v1/machines")["items"]:
            homes.append(machine["directory"])
            self.assertTrue(os.path.isdir(machine["directory"]), machine)
            for snapshot in self.all_snapshots(machine["name"]) + self.trash(machine["name"]):
                for disk in snapshot["disks"]:
                    owned.add((disk["volume"], disk["point"]))
        # A template is kept as a machine; what it has is told by its volumes only.
        for template in self.get("/v1/templates")["items"]:
            homes.append(template["uuid"])
            for disk in template["disks"]:
                points = self.get(f"/v1/volumes/{disk['volume']}/points")["items"]
                self.assertEqual(len(points), 1, points)
        for volume in self.get("/v1/volumes")["items"]:
            for point in self.get(f"/v1/volumes/{volume['name']}/points")["items"]:
                if volume["name"].endswith(".ram") and point["name"] == "empty":
                    continue  # what the head returns to between saves
                if volume["name"].startswith("m"):
                    found.add((volume["name"], point["name"]))
        self.assertEqual(owned, found)
        places = os.listdir(self.dir + "/machines")
        self.assertEqual(sorted(places), sorted(os.path.basename(h) for h in homes))
        self.assertEqual(sorted(os.listdir(self.dir + "/pools")),
                         sorted(p["name"] for p in self.get("/v1/pools")["items"]))

    def trash(self, machine):
        return self.get(f"/v1/machines/{machine}/trash")["items"]

    def all_snapshots(self, machine):
        return self.get(f"/v1/machines/{machine}/snapshots")["items"]

    def grid(self, kind, prepare, request, judge=lambda: None):
        """`prepare` brings the state before; `request` gives (method, path, body); `judge` looks at
        the world after a job that is done."""
        self.judge = judge
        ends = {}
        number = 0
        while self.one(kind, prepare, request, ends, number + 1, f"kill {kind} {number + 1}"):
            number += 1
        self.assertGreater(number, 3)
        # Now die twice: in the job, and while it is taken back or finished.
        failed = [n for n, state in ends.items() if state == "failed"]
        first = max(failed or [number // 2])
        again = 0
        while self.one(kind, prepare, request, {}, again + 1, f"kill {kind} {first}",
                       f"kill undo {kind} {again + 1}"):
            again += 1
        self.assertGreater(again, 1)
        self.check_pool()
        self.assertIn("done", ends.values())
        print(f"{kind}: {number} points, {again} in undoing")

    def one(self, kind, prepare, request, ends, number, *orders):
        """False when it went through without reaching the last order."""
        self.assertLess(number, POINTS_MAX)
        prepare()
        before = self.world()
        self.order(*orders)
        ended = self.settled(self.begin(*request()))
        alive = self.take_order_back()
        after = self.world()
        ends[number] = ended["state"]
        with self.subTest(orders=orders, ended=ended):
            self.assertIn(ended["state"], ("done", "failed"))
            if ended["state"] == "failed" or kind in UNCHANGING:
                self.assertEqual(after, before)
            else:
                self.assertNotEqual(after, before)
                self.judge()
            self.no_orphans()
        return not alive

    # ---- one grid per kind of job ----

    def fresh(self, start=None):
        """A new machine "mN" with two snapshots; the old one goes."""
        def prepare():
            for noun in ("schedules", "templates", "groups"):
                for item in self.get(f"/v1/{noun}")["items"]:
                    self.do("DELETE", f"/v1/{noun}/{item['name']}")
            for machine in self.get("/v1/machines")["items"]:
                if machine["pid"]:
                    self.do("POST", f"/v1/machines/{machine['name']}/kill", {})
                if machine["preview"]:
                    self.do("POST", f"/v1/machines/{machine['name']}/preview/undo", {})
                self.do("DELETE", f"/v1/machines/{machine['name']}")
            self.name = self.new_machine(start=False)
            path = f"/v1/machines/{self.name}"
            self.do("POST", path + "/snapshots", {"name": "one"})
            self.do("POST", path + "/snapshots", {"name": "two"})
            if start:
                self.do("POST", path + "/start", {"paused": start == "paused"})
        return prepare

    def on_machine(self, method, path, body=None):
        return lambda: (method, f"/v1/machines/{self.name}{path}", body)

    def test_snapshot_create(self):
        self.grid("snapshot.create", self.fresh(), self.on_machine("POST", "/snapshots", {"name": "new"}))

    def test_snapshot_with_memory(self):
        self.grid("snapshot.create", self.fresh("up"),
                  self.on_machine("POST", "/snapshots", {"name": "new", "with_memory": True}))

    def test_snapshot_return(self):
        self.grid("snapshot.return", self.fresh(), self.on_machine("POST", "/snapshots/one/return", {}))

    def test_snapshot_return_of_a_running_machine(self):
        self.grid("snapshot.return", self.fresh("up"),
                  self.on_machine("POST", "/snapshots/one/return", {}))

    def test_snapshot_return_of_settings_that_discards(self):
        self.grid("snapshot.return", self.fresh(),
                  self.on_machine("POST", "/snapshots/one/return",
                                  {"parts": {"settings": True}, "discard_newer": True}))

    def test_snapshot_clone(self):
        self.grid("snapshot.clone", self.fresh(),
                  lambda: ("POST", f"/v1/machines/{self.name}/snapshots/one/clone",
                           {"new_name": self.name + "c"}))

    def test_snapshot_full_clone(self):
        self.grid("snapshot.clone", self.fresh(),
                  lambda: ("POST", f"/v1/machines/{self.name}/snapshots/one/clone",
                           {"new_name": self.name + "c", "full": True}))

    def in_preview(self):
        self.fresh()()
        self.do("POST", f"/v1/machines/{self.name}/snapshots/one/preview", {})

    def test_snapshot_preview(self):
        self.grid("snapshot.preview", self.fresh(), self.on_machine("POST", "/snapshots/one/preview", {}))

    def test_snapshot_commit(self):
        self.grid("snapshot.commit", self.in_preview,
                  self.on_machine("POST", "/preview/commit", {"discard_newer": True}))

    def test_snapshot_undo(self):
        self.grid("snapshot.undo", self.in_preview, self.on_machine("POST", "/preview/undo", {}))

    def test_snapshot_delete(self):
        self.grid("snapshot.delete", self.fresh(), self.on_machine("DELETE", "/snapshots/one"))

    def test_snapshot_rename(self):
        self.grid("snapshot.rename", self.fresh(),
                  self.on_machine("POST", "/snapshots/one/rename", {"new_name": "uno"}))

    def test_snapshot_describe(self):
        self.grid("snapshot.describe", self.fresh(),
                  self.on_machine("POST", "/snapshots/one/describe", {"description": "words"}))

    def test_snapshot_delete_for_good(self):
        self.grid("snapshot.delete", self.fresh(),
                  self.on_machine("POST", "/delete-snapshots", {"snapshots": ["one", "two"], "ttl_s": 0}))

    def test_snapshot_marks(self):
        for kind, path, body in (("snapshot.tag", "tag", {"tags": ["x"]}),
                                 ("snapshot.keep_for", "expire", {"in_s": 9999}),
                                 ("snapshot.pin", "pin", {"reason": "why"})):
            self.grid(kind, self.fresh(), self.on_machine("POST", "/snapshots/one/" + path, body))

    def pinned(self):
        self.fresh()()
        self.do("POST", f"/v1/machines/{self.name}/snapshots/one/pin", {"reason": "why"})

    def test_snapshot_unpin(self):
        self.grid("snapshot.unpin", self.pinned, self.on_machine("POST", "/snapshots/one/unpin", {}))

    def test_snapshot_expire(self):
        """Nobody asks for this job, and one that was taken back is followed by another."""
        kind = "snapshot.expire"
        for number in range(1, POINTS_MAX):
            self.fresh()()
            self.order(f"kill {kind} {number}")
            self.do("POST", f"/v1/machines/{self.name}/snapshots/one/expire", {"in_s": 1})
            end = time.time() + 60
            names = ["one", "two"]
            while time.time() < end and names != ["two"]:
                time.sleep(0.1)
                try:
                    names = self.names(self.name)
                except (ConnectionError, TimeoutError, OSError, AssertionError):
                    continue
            alive = self.take_order_back()
            self.wait_for_no_jobs()
            self.assertEqual(self.names(self.name), ["two"], number)
            self.assertEqual([t["name"] for t in self.trash(self.name)], ["one"], number)
            self.world()
            self.no_orphans()
            if alive:
                break
        self.assertGreater(number, 3)
        self.check_pool()

    def wait_for_no_jobs(self):
        end = time.time() + 60
        while time.time() < end:
            try:
                if all(j["state"] != "running" for j in self.get("/v1/jobs")["items"]):
                    return
            except (ConnectionError, TimeoutError, OSError, AssertionError):
                pass
            time.sleep(0.05)
        self.fail("jobs do not end")

    def test_machine_quota(self):
        self.grid("machine.quota", self.fresh(), self.on_machine("POST", "/quota", {"snapshots": 9}))

    def trashed(self):
        self.fresh()()
        self.do("DELETE", f"/v1/machines/{self.name}/snapshots/one")

    def test_trash(self):
        self.grid("snapshot.restore", self.trashed, self.on_machine("POST", "/trash/one/restore", {}))
        self.grid("machine.undo", self.trashed, self.on_machine("POST", "/undo", {}))
        self.grid("trash.empty", self.trashed, self.on_machine("DELETE", "/trash"))

    def test_machine_create(self):
        self.grid("machine.create", self.fresh(),
                  lambda: ("POST", "/v1/machines", {"name": self.name + "n", "memory_bytes": 64 << 20,
                                                    "disks": [{"size_bytes": 8 << 20}] * 2}))

    def test_machine_delete(self):
        self.grid("machine.delete", self.fresh(), self.on_machine("DELETE", ""))

    def test_machine_start(self):
        self.grid("machine.start", self.fresh(), self.on_machine("POST", "/start", {}))

    def test_machine_shutdown(self):
        """The guest, which has no system to do it, switches itself off unless hozond died before."""
        def request():
            pid = self.machine(self.name)["pid"]

            def switch_off():
                time.sleep(0.7)
                if os.path.exists(STOPS):
                    os.kill(pid, signal.SIGKILL)
            threading.Thread(target=switch_off).start()
            return "POST", f"/v1/machines/{self.name}/shutdown", {"timeout_ms": 3000}
        self.grid("machine.shutdown", self.fresh("up"), request)

    def test_machine_suspend(self):
        self.grid("machine.suspend", self.fresh("up"), self.on_machine("POST", "/suspend", {}))

    def asleep(self):
        self.fresh("up")()
        self.do("POST", f"/v1/machines/{self.name}/suspend", {})

    def test_machine_resume_of_one_that_sleeps(self):
        self.grid("machine.resume", self.asleep, self.on_machine("POST", "/resume", {}))

    def test_machine_connect(self):
        self.grid("machine.connect", self.fresh("up"), self.on_machine("POST", "/connect", {}))

    def test_machine_pause(self):
        self.grid("machine.pause", self.fresh("up"), self.on_machine("POST", "/pause", {}))

    def test_machine_resume(self):
        self.grid("machine.resume", self.fresh("paused"), self.on_machine("POST", "/resume", {}))

    def test_machine_kill(self):
        self.grid("machine.kill", self.fresh("up"), self.on_machine("POST", "/kill", {}))

    def test_machine_marks(self):
        self.grid("machine.tag", self.fresh(), self.on_machine("POST", "/tag", {"tags": ["x"]}))
        self.grid("machine.initial", self.fresh(), self.on_machine("POST", "/initial", {"snapshot": "one"}))

    def templated(self):
        self.fresh()()
        self.do("POST", "/v1/templates", {"name": "t", "machine": self.name, "snapshot": "one"})

    def test_template_create(self):
        self.grid("template.create", self.fresh(),
                  lambda: ("POST", "/v1/templates", {"name": "t", "machine": self.name}))

    def test_template_delete(self):
        self.grid("template.delete", self.templated, lambda: ("DELETE", "/v1/templates/t", None))

    def test_machine_from_a_template(self):
        self.grid("machine.create", self.templated,
                  lambda: ("POST", "/v1/machines", {"name": self.name + "n", "template": "t",
                                                    "return_on_shutdown": "clean"}))

    def two(self):
        self.fresh()()
        self.other = self.new_machine(start=False)
        self.machines = [self.name, self.other]

    def grouped(self):
        self.two()
        self.do("POST", "/v1/groups", {"name": "g", "machines": self.machines})

    def test_group_create(self):
        self.grid("group.create", self.two,
                  lambda: ("POST", "/v1/groups", {"name": "g", "machines": self.machines}))

    def test_group_delete(self):
        self.grid("group.delete", self.grouped, lambda: ("DELETE", "/v1/groups/g", None))

    def left(self):
        """Both machines have gone on from the group's snapshots."""
        self.grouped()
        for name in self.machines:
            self.do("POST", f"/v1/machines/{name}/snapshots", {"name": "later"})

    def all_are_back(self):
        self.assertEqual({self.machine(name)["current_parent_name"] for name in self.machines}, {"g"})

    def test_group_return(self):
        self.grid("group.return", self.left, lambda: ("POST", "/v1/groups/g/return", {}),
                  self.all_are_back)

    def left_and_up(self):
        self.left()
        self.do("POST", f"/v1/machines/{self.name}/start", {})

    def both_run(self):
        self.all_are_back()
        self.assertEqual({self.machine(name)["state"] for name in self.machines}, {"up"})

    def test_group_return_of_a_running_machine_and_one_to_start(self):
        self.grid("group.return", self.left_and_up,
                  lambda: ("POST", "/v1/groups/g/return", {"state": "running"}), self.both_run)

    def scheduled(self):
        self.fresh()()
        self.do("POST", "/v1/schedules", {"name": "s", "rule": "daily", "machines": {"all": True}})

    def disabled(self):
        self.scheduled()
        self.do("POST", "/v1/schedules/s/disable", {})

    def test_schedule_enable(self):
        self.grid("schedule.enable", self.disabled, lambda: ("POST", "/v1/schedules/s/enable", {}))

    def one_new_snapshot(self):
        made = [name for name in self.names(self.name) if name not in ("one", "two")]
        self.assertEqual(len(made), 1, made)

    def test_schedule_run(self):
        self.grid("schedule.run", self.scheduled, lambda: ("POST", "/v1/schedules/s/run", {}),
                  self.one_new_snapshot)

    def test_schedules(self):
        self.grid("schedule.create", self.fresh(),
                  lambda: ("POST", "/v1/schedules", {"name": "s", "rule": "daily", "machines": {"all": True}}))
        self.grid("schedule.edit", self.scheduled,
                  lambda: ("POST", "/v1/schedules/s/edit", {"rule": "hourly"}))
        self.grid("schedule.disable", self.scheduled, lambda: ("POST", "/v1/schedules/s/disable", {}))
        self.grid("schedule.delete", self.scheduled, lambda: ("DELETE", "/v1/schedules/s", None))

    def volumes(self):
        for volume in self.get("/v1/volumes")["items"]:
            if not volume["machine"] and not volume["name"].startswith("m"):
                self.do("DELETE", f"/v1/volumes/{volume['name']}?with_points=true")
        self.do("POST", "/v1/volumes", {"name": "v", "size_bytes": 4 << 20})
        self.do("POST", "/v1/volumes/v/snapshot", {"name": "p"})

    def test_volume_create(self):
        self.grid("volume.create", self.volumes,
                  lambda: ("POST", "/v1/volumes", {"name": "w", "size_bytes": 4 << 20}))

    def nothing_exported(self):
        self.volumes()
        if os.path.exists(self.exported()):
            os.unlink(self.exported())

    def test_volume_export(self):
        self.addCleanup(lambda: os.path.exists(self.exported()) and os.unlink(self.exported()))
        self.grid("volume.export", self.nothing_exported,
                  lambda: ("POST", "/v1/volumes/v/export", {"path": self.exported()}))

    def test_volume_resize(self):
        self.grid("volume.resize", self.volumes,
                  lambda: ("POST", "/v1/volumes/v/resize", {"size_bytes": 8 << 20}))

    def test_volume_defragment(self):
        self.grid("volume.defragment", self.volumes,
                  lambda: ("POST", "/v1/volumes/v/defragment", {}))

    def test_volume_snapshot(self):
        self.grid("volume.snapshot", self.volumes,
                  lambda: ("POST", "/v1/volumes/v/snapshot", {"name": "q"}))

    def test_volume_clone(self):
        self.grid("volume.clone", self.volumes,
                  lambda: ("POST", "/v1/volumes/v/clone", {"point": "p", "new_name": "w"}))

    def test_volume_return(self):
        self.grid("volume.return", self.volumes,
                  lambda: ("POST", "/v1/volumes/v/return", {"point": "p"}))

    def test_volume_delete(self):
        self.grid("volume.delete", self.volumes,
                  lambda: ("DELETE", "/v1/volumes/v?with_points=true", None))

    def test_point_delete(self):
        self.grid("point.delete", self.volumes, lambda: ("DELETE", "/v1/volumes/v/points/p", None))

    def pools(self):
        for pool in self.get("/v1/pools")["items"]:
            if pool["name"] != "main":
                self.do("DELETE", f"/v1/pools/{pool['name']}?force=true")
        self.do("POST", "/v1/pools", {"name": "spare", "size_bytes": 64 << 20})

    def test_pool_create(self):
        self.grid("pool.create", self.pools,
                  lambda: ("POST", "/v1/pools", {"name": "other", "size_bytes": 64 << 20}))

    def test_pool_delete(self):
        self.grid("pool.delete", self.pools, lambda: ("DELETE", "/v1/pools/spare", None))

    def test_pool_check(self):
        self.grid("pool.check", self.pools, lambda: ("POST", "/v1/pools/main/check", {}))

    def test_pool_scrub(self):
        self.grid("pool.scrub", self.pools, lambda: ("POST", "/v1/pools/main/scrub", {}))


if __name__ == "__main__":
    unittest.main(verbosity=2)
