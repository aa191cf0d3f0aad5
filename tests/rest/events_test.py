#!/usr/bin/env python3
"""Proves that GET /v1/events shows every change of every kind of object, in order; that a client that
comes back misses nothing or is told that it did; and that filters take what they name.
usage: events_test.py BIN_DIRECTORY
"""
import json
import os
import sqlite3
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "control"))
from instance import BIN, InstanceCase, Unix


class Stream:
    def __init__(self, case, query="", after=None):
        self.connection = Unix(case.dir + "/run/api.sock")
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        self.connection.request("GET", "/v1/events" + query, headers=headers)
        self.answer = self.connection.getresponse()
        self.connection.sock = None
        assert self.answer.status == 200, self.answer.read()
        assert self.answer.headers["Content-Type"] == "text/event-stream"
        self.first = self.next()

    def next(self):
        fields = {}
        for line in self.answer:
            line = line.decode().rstrip("\n")
            if not line and "data" in fields:
                event = json.loads(fields["data"])
                assert event["id"] == int(fields["id"]), fields
                return event | {"event": fields["event"]}
            name, colon, value = line.partition(": ")
            if name:
                fields[name] = value
        raise AssertionError("the stream ended")

    def until(self, **wanted):
        """All events up to the first that has these members."""
        seen = []
        while True:
            seen.append(self.next())
            if all(seen[-1].get(key) == value for key, value in wanted.items()):
                return seen

    def close(self):
        self.answer.close()


class EventsTest(InstanceCase):
    pool_bytes = 256 << 20

    def new_down_machine(self, name):
        self.do("POST", "/v1/machines", {"name": name, "memory_bytes": 64 << 20,
                                         "disks": [{"size_bytes": 4 << 20}]})

    def test_a_machine_and_its_snapshots_from_beginning_to_end(self):
        stream = Stream(self)
        self.assertEqual(stream.first["event"], "hello")
        self.new_down_machine("one")
        self.do("POST", "/v1/machines/one/snapshots", {"name": "s"})
        self.do("POST", "/v1/machines/one/snapshots/s/pin", {"reason": "because"})
        self.do("POST", "/v1/machines/one/snapshots/s/unpin", {})
        self.do("POST", "/v1/machines/one/quota", {"snapshots": 5})
        self.do("DELETE", "/v1/machines/one/snapshots/s")
        self.do("DELETE", "/v1/machines/one")
        seen = stream.until(kind="job", detail="machine.delete", status="done")
        self.assertEqual([e["id"] for e in seen],
                         list(range(seen[0]["id"], seen[0]["id"] + len(seen))))

        def told(kind, name):
            return [(e["change"], e["status"]) for e in seen
                    if e["kind"] == kind and e["name"] == name]
        snapshot = told("snapshot", "s")
        self.assertEqual(snapshot[0], ("created", "locked"))
        self.assertIn(("changed", "ok"), snapshot)
        self.assertIn(("changed", "trashed"), snapshot)
        self.assertTrue(all(e["parent"] == "one" for e in seen
                            if e["kind"] == "snapshot" and e["name"] == "s"))
        machine = told("machine", "one")
        self.assertEqual(machine[-1][0], "deleted")
        self.assertEqual(machine[0][0], "created")
        # requirement R17: image_locked, then down, for every job
        words = [status for change, status in machine if change == "changed"]
        self.assertIn("image_locked", words)
        self.assertEqual(words[words.index("image_locked"):].count("down") > 0, True)
        jobs = [e for e in seen if e["kind"] == "job"]
        for number in {e["uuid"] for e in jobs}:
            states = [(e["change"], e["status"]) for e in jobs if e["uuid"] == number]
            self.assertEqual((states[0], states[-1]), (("created", "running"), ("changed", "done")))
        self.assertIn(("created", ""), told("volume", "one.vda"))
        self.assertIn(("deleted", ""), told("volume", "one.vda"))

    def test_volumes_points_and_pools(self):
        stream = Stream(self, "?kind=volume,point,pool")
        self.do("POST", "/v1/volumes", {"name": "v", "size_bytes": 1 << 20})
        self.do("POST", "/v1/volumes/v/snapshot", {"name": "p"})
        self.do("POST", "/v1/volumes/v/clone", {"point": "p", "new_name": "w"})
        self.do("POST", "/v1/volumes/v/return", {"point": "p"})
        self.do("POST", "/v1/volumes/w/resize", {"size_bytes": 2 << 20})
        self.do("DELETE", "/v1/volumes/w")
        self.do("DELETE", "/v1/volumes/v?with_points=true")
        self.do("POST", "/v1/pools", {"name": "second", "size_bytes": 128 << 20})
        seen = [(e["kind"], e["change"], e["name"]) for e in stream.until(kind="pool", change="created")]
        for wanted in (("volume", "created", "v"), ("point", "created", "p"),
                       ("volume", "created", "w"), ("volume", "changed", "v"),
                       ("volume", "changed", "w"), ("volume", "deleted", "w"),
                       ("volume", "deleted", "v"), ("pool", "created", "second")):
            self.assertIn(wanted, seen)
        self.do("DELETE", "/v1/pools/second")
        self.assertEqual(stream.until(kind="pool", change="deleted")[-1]["name"], "second")

    def test_who_comes_back_misses_nothing(self):
        whole, cut = Stream(self), Stream(self)
        self.new_down_machine("two")
        part = [cut.next() for _ in range(3)]
        cut.close()
        self.do("DELETE", "/v1/machines/two")
        rest = Stream(self, after=part[-1]["id"]).until(kind="job", detail="machine.delete",
                                                       status="done")
        self.assertEqual(part + rest,
                         whole.until(kind="job", detail="machine.delete", status="done"))
        again = Stream(self, f"?after={part[-1]['id']}")
        self.assertEqual(again.next(), rest[0])

    def test_who_cannot_be_given_everything_is_told(self):
        before = Stream(self).first["id"]
        self.assertEqual(Stream(self, after=5).first["event"], "reset")
        self.kill_hozond()
        time.sleep(0.2)
        stream = Stream(self, after=before)
        self.assertEqual(stream.first["event"], "reset")
        self.do("POST", "/v1/volumes", {"name": "later", "size_bytes": 1 << 20})
        self.assertGreater(stream.next()["id"], before)
        self.do("DELETE", "/v1/volumes/later")

    def test_who_comes_back_is_told_though_the_clock_was_set_back(self):
        # As if the run before had seen a later time: its numbers are larger than those of now.
        ahead = int(time.time() * 1e6) + 3600 * 10**6
        with sqlite3.connect(self.dir + "/hozon.db", timeout=30) as database:
            database.execute("UPDATE settings SET value = ? WHERE name = 'events_begin'", (str(ahead),))
        self.kill_hozond()
        time.sleep(0.2)
        stream = Stream(self, after=ahead - 5)
        self.assertEqual(stream.first["event"], "reset")
        self.do("POST", "/v1/volumes", {"name": "after", "size_bytes": 1 << 20})
        self.assertGreaterEqual(stream.next()["id"], ahead)
        self.do("DELETE", "/v1/volumes/after")

    def test_filters(self):
        stream = Stream(self, "?kind=job&object=three")
        self.new_down_machine("other")
        self.new_down_machine("three")
        seen = stream.until(status="done")
        self.assertEqual({(e["kind"], e["name"]) for e in seen}, {("job", "three")})
        for query, words in (("?kind=job,nonsense", "nonsense"), ("?after=x", "number"),
                             ("?kin=job", "kin")):
            status, answer = self.call("GET", "/v1/events" + query)
            self.assertEqual((status, answer["code"]), (400, "invalid_argument"))
            self.assertIn(words, answer["detail"])

    def test_the_command_follows_across_a_restart(self):
        environment = os.environ | {"HOZON_DIR": self.dir}
        begin = Stream(self).first["id"]
        run = subprocess.Popen([BIN + "/hozon", "events", "--kind", "volume", "--count", "3", "-o",
                                "json", "--after", str(begin)], env=environment, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.do("POST", "/v1/volumes", {"name": "x", "size_bytes": 1 << 20})
        self.assertEqual(json.loads(run.stdout.readline())["name"], "x")
        self.kill_hozond()
        self.assertEqual(json.loads(run.stdout.readline())["kind"], "reset")
        self.do("DELETE", "/v1/volumes/x")
        last = json.loads(run.stdout.readline())
        self.assertEqual((last["change"], last["name"]), ("deleted", "x"))
        self.assertEqual(run.wait(30), 0, run.stderr.read())
        run.stdout.close(), run.stderr.close()


if __name__ == "__main__":
    unittest.main()
