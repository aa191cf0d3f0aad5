#!/usr/bin/env python3
"""Proves that schedules do with the real programs what they say: runs when they are due, snapshots of
the machines that are chosen, retention that touches nothing else, and each due time exactly once
although hozond is killed at every step of a run.

Method: the schedules' clock is moved ahead through a file (HOZON_TEST_CLOCK), so that days pass in
seconds. What a schedule does over a year is src/control/schedule_runner_test.cc.
usage: schedule_test.py BIN_DIRECTORY [unittest arguments]
"""
import datetime
import os
import subprocess
import sys
import time
import unittest

CLOCK = f"/tmp/hozon-clock-{os.getpid()}"
STOPS = f"/tmp/hozon-stops-{os.getpid()}"
os.environ["HOZON_TEST_CLOCK"] = CLOCK
os.environ["HOZON_TEST_STOPS"] = STOPS
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import instance  # noqa: E402

DAY = 24 * 3600
STEPS_MAX = 30


class Schedules(instance.InstanceCase):
    pool_bytes = 1 << 30
    ahead = 0

    @classmethod
    def prepare(cls):
        cls.set_clock(0)

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        os.unlink(CLOCK)

    @classmethod
    def set_clock(cls, ahead):
        cls.ahead = ahead
        with open(CLOCK + ".new", "w") as file:
            file.write(str(ahead))
        os.rename(CLOCK + ".new", CLOCK)

    def setUp(self):
        for schedule in self.get("/v1/schedules")["items"]:
            self.do("DELETE", f"/v1/schedules/{schedule['name']}")
        # Noon of a day that has not been yet, so that no run is near.
        now = time.time() + self.ahead
        self.set_clock(int(self.ahead + (DAY * 1.5 - now % DAY) % DAY + DAY))

    def now(self):
        return time.time() + self.ahead

    def to_next_run(self, name):
        """Moves the clock to just after the next run, and waits until that has ended."""
        shown = self.get(f"/v1/schedules/{name}")
        due = shown["next_ns"]
        self.set_clock(int(self.ahead + due / 1e9 - self.now()) + 1)
        return self.ended(name, due)

    def ended(self, name, due):
        end = time.time() + 40
        while time.time() < end:
            try:
                runs = self.call("GET", f"/v1/schedules/{name}")[1]["runs"]
            except (ConnectionError, TimeoutError, OSError, KeyError, TypeError):
                runs = []
            for run in runs:
                if run["due_ns"] == due and run["ended_ns"]:
                    return run
            time.sleep(0.05)
        self.fail(f"the run of {due} does not end: {self.get(f'/v1/schedules/{name}')}")

    def make(self, name, **settings):
        return self.do("POST", "/v1/schedules", {"name": name, "zone": "UTC", "rule": "daily at 02:00"}
                       | settings)

    def test_days_pass_and_only_what_the_schedule_made_is_dropped(self):
        machine = self.new_machine(start=False)
        path = f"/v1/machines/{machine}/snapshots"
        self.do("POST", path, {"name": "by-hand"})
        made = self.make("nightly", machines={"names": [machine]}, retention={"last": 2})
        self.assertTrue(made["enabled"])
        names = []
        for day in range(4):
            run = self.to_next_run("nightly")
            self.assertEqual([t["state"] for t in run["tasks"]], ["done"], run)
            names.append(run["tasks"][0]["snapshot"])
            if day == 0:
                self.do("POST", f"{path}/{names[0]}/pin", {"reason": "keep"})
        self.assertEqual(self.names(machine), ["by-hand", names[0], names[2], names[3]])
        shown = self.get("/v1/schedules/nightly")
        self.assertEqual(shown["snapshot_count"], 3)
        self.assertEqual(shown["runs"][0]["tasks"][0]["removed"], [names[1]])
        due = datetime.datetime.fromtimestamp(shown["runs"][0]["due_ns"] / 1e9, datetime.timezone.utc)
        self.assertEqual((due.hour, due.minute), (2, 0))
        self.assertEqual(names[3], due.strftime("nightly-%Y%m%dT020000Z"))
        snapshot = self.get(f"{path}/{names[3]}")
        self.assertEqual(snapshot["schedule"], "nightly")
        # What was dropped can come back for a day.
        self.assertIn(names[1], [s["name"] for s in self.get(f"/v1/machines/{machine}/trash")["items"]])
        self.check_pool()

    def test_a_schedule_that_was_missed_runs_once_when_hozond_is_back(self):
        machine = self.new_machine(start=False)
        self.make("nightly", machines={"names": [machine]})
        self.set_clock(self.ahead + 5 * DAY)
        end = time.time() + 20
        while time.time() < end and not self.names(machine):
            time.sleep(0.05)
        time.sleep(2.5)
        self.assertEqual(len(self.names(machine)), 1)
        run = self.get("/v1/schedules/nightly")["runs"][0]
        self.assertEqual((run["cause"], run["missed"]), ("catch-up", 4))

    def test_machines_by_tag_and_state_and_kinds(self):
        down, up, other = (self.new_machine(start=False) for _ in range(3))
        self.do("POST", f"/v1/machines/{up}/start", {"paused": True})
        for machine in (down, up):
            self.do("POST", f"/v1/machines/{machine}/tag", {"tags": ["production"]})
        self.assertEqual(self.machine(up)["tags"], ["production"])
        self.make("memories", machines={"tags": ["production"]}, kind="memory")
        result = self.do("POST", "/v1/schedules/memories/run", {})
        self.assertEqual(sorted(t["machine"] for t in result["tasks"]), sorted([down, up]))
        snapshots = {m: self.get(f"/v1/machines/{m}/snapshots")["items"] for m in (down, up)}
        self.assertIsNone(snapshots[down][0]["memory"])
        self.assertIsNotNone(snapshots[up][0]["memory"])
        self.make("running", machines={"tags": ["production"], "states": ["paused"]})
        self.assertEqual([t["machine"] for t in
                          self.do("POST", "/v1/schedules/running/run", {})["tasks"]], [up])
        self.assertEqual(self.names(other), [])
        self.do("POST", f"/v1/machines/{up}/kill", {})

    def test_failures_are_said_and_tried_again(self):
        machine = self.new_machine(start=False)
        path = f"/v1/machines/{machine}"
        self.do("POST", path + "/snapshots", {"name": "one"})
        self.do("POST", path + "/snapshots/one/preview", {})  # nothing can be made meanwhile
        self.make("nightly", machines={"names": [machine]})
        due = self.get("/v1/schedules/nightly")["next_ns"]
        self.set_clock(int(self.ahead + due / 1e9 - self.now()) + 1)
        end = time.time() + 20
        task = None
        while time.time() < end and not (task and task["message"]):
            runs = self.get("/v1/schedules/nightly")["runs"]
            task = runs[0]["tasks"][0] if runs else None
            time.sleep(0.05)
        self.assertEqual((task["state"], task["code"]), ("waiting", "wrong_state"))
        self.assertIn("preview", task["message"])
        self.do("POST", path + "/preview/undo", {})
        run = self.ended("nightly", due)
        self.assertEqual(run["tasks"][0]["state"], "done")
        self.assertGreater(run["tasks"][0]["attempts"], 0)

    def test_a_kill_at_every_step_neither_doubles_nor_loses_a_run(self):
        machines = [self.new_machine(start=False) for _ in range(2)]
        self.make("nightly", machines={"names": machines}, retention={"last": 2})
        for _ in range(2):
            self.to_next_run("nightly")
        steps = 0
        for number in range(2, STEPS_MAX):  # the first one is passed at the start
            self.kill_hozond()
            self.wait_for_api()
            with open(STOPS + ".new", "w") as file:
                file.write(f"kill schedule {number}\n")
            os.rename(STOPS + ".new", STOPS)
            before = {m: self.names(m) for m in machines}
            run = self.to_next_run("nightly")
            self.assertEqual([t["state"] for t in run["tasks"]], ["done", "done"], (number, run))
            for machine in machines:
                now = self.names(machine)
                self.assertEqual(now[:-1], before[machine][1:], number)
                self.assertEqual(len(now), 2, number)
            if os.path.exists(STOPS):
                os.unlink(STOPS)
                break
            steps = number
        self.assertGreater(steps, 5)
        print(f"killed at {steps} steps of a run")
        self.check_pool()

    def wait_for_api(self):
        end = time.time() + 20
        while time.time() < end:
            try:
                if self.call("GET", "/v1/schedules")[0] == 200:
                    return
            except (ConnectionError, OSError):
                time.sleep(0.02)
        self.fail("hozond does not come back")

    def test_what_people_can_do_with_a_schedule(self):
        machine = self.new_machine(start=False)
        self.make("nightly", machines={"names": [machine]})
        for body, words in (({"name": "nightly"}, "exists"),):
            self.refused("already_exists", words, "POST", "/v1/schedules",
                         {"rule": "hourly", "machines": {"all": True}} | body)
        for body, words in (({}, "needs machines"), ({"rule": "now and then"}, "a schedule is"),
                            ({"machines": {"all": True}, "zone": "Mars"}, "time zone"),
                            ({"machines": {"all": True}, "kind": "x"}, "kind"),
                            ({"machines": {"all": True}, "colour": "x"}, "colour"),
                            ({"machines": {"all": True}, "retention": {"last": "x"}}, "last")):
            self.refused("invalid_argument", words, "POST", "/v1/schedules",
                         {"name": "bad", "rule": "hourly"} | body)
        self.refused("not_found", "no schedule 'bad'", "DELETE", "/v1/schedules/bad")
        self.refused("wrong_state", "enabled already", "POST", "/v1/schedules/nightly/enable", {})
        edited = self.do("POST", "/v1/schedules/nightly/edit", {"rule": "weekly on sun at 03:00",
                                                                "retention": {"weekly": 4}})
        self.assertEqual(edited["rule"], "weekly on sun at 03:00")
        self.assertEqual(edited["machines"]["names"], [machine])
        preview = self.get(f"/v1/schedules/nightly/preview?runs=3&until_ns="
                           f"{int((self.now() + 60 * DAY) * 1e9)}")
        self.assertEqual(len(preview["runs"]), 3)
        self.assertEqual(len(preview["machines"][0]["kept"]), 4)
        self.assertEqual(preview["machines"][0]["kept"][0]["reasons"], ["weekly"])
        disabled = self.do("POST", "/v1/schedules/nightly/disable", {})
        self.assertEqual(disabled["next_ns"], 0)
        self.assertIn("enable", disabled["allowed_operations"])
        plan = self.get_plan("DELETE", "/v1/schedules/nightly")
        self.assertEqual(plan["removes"], ["schedule nightly"])
        plan = self.get_plan("POST", "/v1/schedules/nightly/run", {})
        self.assertEqual(len(plan["makes"]), 1)
        self.assertEqual(self.names(machine), [])
        self.do("POST", "/v1/schedules/nightly/run", {})
        self.assertEqual(len(self.names(machine)), 1)
        gone = self.do("DELETE", "/v1/schedules/nightly")
        self.assertEqual(gone["snapshots_left"], 1)
        self.assertEqual(len(self.names(machine)), 1)

    def get_plan(self, method, path, body=None):
        status, plan = self.call(method, path + "?plan=true", body)
        self.assertEqual(status, 200, plan)
        return plan

    def test_the_command_line(self):
        machine = self.new_machine(start=False)

        def hozon(*words, code=0):
            run = subprocess.run([instance.BIN + "/hozon", *words, "--dir", self.dir],
                                 capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
            self.assertEqual(run.returncode, code, run.stderr)
            return run.stdout + run.stderr

        hozon("machine", "tag", machine, "lab")
        made = hozon("schedule", "create", "lab", "--when", "hourly at :30", "--tags", "lab",
                     "--zone", "Europe/Berlin", "--keep", "last=3,within=2d,monthly=1", "--jitter", "5m")
        self.assertIn("Its next run is at", made)
        shown = hozon("schedule", "show", "lab")
        for words in ("hourly at :30", "Europe/Berlin", "tagged lab", "last=3,monthly=1,within=2d"):
            self.assertIn(words, shown)
        self.assertIn("hourly at :30", hozon("schedule", "list"))
        self.assertIn(f"{machine}: done", hozon("schedule", "run", "lab"))
        hozon("schedule", "preview", "lab", "--at", "tomorrow", code=2)
        at = (datetime.datetime.fromtimestamp(self.now()) + datetime.timedelta(days=3))
        preview = hozon("schedule", "preview", "lab", "--at", at.strftime("%Y-%m-%d"))
        self.assertIn("kept: last", preview)
        self.assertIn("dropped at", preview)
        hozon("schedule", "edit", "lab", "--keep", "all")
        hozon("schedule", "edit", "lab", code=2)
        hozon("schedule", "disable", "lab")
        self.assertIn("disabled", hozon("schedule", "list"))
        self.assertIn("1 snapshots of it stay", hozon("schedule", "delete", "lab"))
        hozon("schedule", "create", "x", "--when", "hourly", "--all", "--keep", "weakly=2", code=2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
