#!/usr/bin/env python3
"""Proves that every collection has pages and filters that lose and repeat nothing, that entity tags tell
what changed and keep a change from meeting another state, and that a key stands for one job.
usage: collections_test.py BIN_DIRECTORY
"""
import json
import os
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "control"))
from instance import InstanceCase, Unix


class CollectionsTest(InstanceCase):
    pool_bytes = 256 << 20

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        make = cls("runTest").do
        for name in ("m0", "m1", "m2"):
            make("POST", "/v1/machines", {"name": name, "memory_bytes": 64 << 20,
                                          "disks": [{"size_bytes": 1 << 20}]})
        for number in range(7):
            make("POST", "/v1/machines/m0/snapshots",
                 {"name": f"s{number}", "tags": ["odd" if number % 2 else "even", "all"]})
            make("POST", "/v1/volumes", {"name": f"v{number}", "size_bytes": 1 << 20})
            make("POST", "/v1/volumes/v0/snapshot", {"name": f"p{number}"})
        for number in range(2):
            make("POST", "/v1/groups", {"name": f"g{number}", "machines": ["m2"]})
            make("POST", "/v1/templates", {"name": f"t{number}", "machine": "m2"})
            make("POST", "/v1/schedules", {"name": f"h{number}", "zone": "UTC", "rule": "hourly",
                                           "machines": {"names": ["m2"]}})
        for number in (1, 3, 5):
            make("DELETE", f"/v1/machines/m0/snapshots/s{number}")

    def ask(self, method, path, body=None, headers=()):
        """Status, headers, text."""
        connection = Unix(self.dir + "/run/api.sock")
        headers = dict(headers) | ({"Content-Type": "application/json"} if body is not None else {})
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, answer.headers, text

    def collections(self):
        document = self.get("/v1/openapi.json")
        for path, methods in document["paths"].items():
            words = {p["name"] for p in methods.get("get", {}).get("parameters", ())
                     if p["in"] == "query"}
            if "limit" in words and "{snapshot}" not in path:  # those: files.files
                yield path.replace("{machine}", "m0").replace("{volume}", "v0")

    def pages(self, path, limit):
        sign = "&" if "?" in path else "?"
        page = self.get(f"{path}{sign}limit={limit}")
        items = page["items"]
        while page["next"]:
            self.assertEqual(len(page["items"]), limit)
            page = self.get(f"{path}{sign}limit={limit}&after={page['next']}")
            self.assertTrue(page["items"], "a page that follows has something")
            items += page["items"]
        self.assertEqual(len(items), page["total"])
        return items

    def test_pages_of_every_collection_are_the_whole(self):
        paths = list(self.collections())
        self.assertGreaterEqual(len(paths), 7, paths)
        for path in paths:
            whole = self.get(path)["items"]
            self.assertTrue(whole or path in ("/v1/tokens", "/v1/peers"), path)
            for limit in (1, 2, 5, 1000):
                self.assertEqual(self.pages(path, limit), whole, path)

    def test_fields_of_every_collection_are_the_whole_without_the_rest(self):
        for path in self.collections():
            whole = self.get(path)["items"]
            for names in {tuple(sorted(whole[0])[::3]), ("name",), ("id",)} if whole else ():
                if not set(names) <= set(whole[0]):
                    continue
                part = self.get(f"{path}?fields={','.join(names)}")
                self.assertEqual(part, {"items": [{n: item[n] for n in names} for item in whole]}, path)
        one = self.get("/v1/machines/m0/snapshots?fields=name,settings&kind=user&limit=1")
        self.assertEqual([sorted(item) for item in one["items"]], [["name", "settings"]])
        for wrong in ("nme", "", "name,", "name,,uuid"):
            status, headers, text = self.ask("GET", "/v1/machines?fields=" + wrong)
            self.assertEqual((status, json.loads(text)["code"]), (400, "invalid_argument"), wrong)

    def test_a_list_and_its_records_say_the_same(self):
        for path in ("/v1/machines", "/v1/machines/m0/snapshots"):
            for item in self.get(path)["items"]:
                record = self.get(f"{path}/{item['name']}")
                if "exclusive_bytes" in item:  # a record has its sizes
                    sized = {i["name"]: i for i in self.get(path + "?sizes=true")["items"]}
                    self.assertEqual(record, sized[item["name"]])
                    self.assertIsNotNone(record["exclusive_bytes"])
                    self.assertEqual(record["exclusive_bytes"],
                                     sum(d["exclusive_bytes"] for d in record["disks"]))
                    record["exclusive_bytes"] = None
                    for disk in record["disks"]:
                        disk["exclusive_bytes"] = None
                self.assertEqual(record, item)

    def test_a_page_goes_on_when_its_last_item_is_gone(self):
        self.do("POST", "/v1/machines/m1/snapshots", {"name": "a"})
        self.do("POST", "/v1/machines/m1/snapshots", {"name": "b"})
        self.do("POST", "/v1/machines/m1/snapshots", {"name": "c"})
        page = self.get("/v1/machines/m1/snapshots?limit=2")
        self.do("DELETE", "/v1/machines/m1/snapshots/a")
        rest = self.get(f"/v1/machines/m1/snapshots?after={page['next']}")
        self.assertEqual([s["name"] for s in rest["items"]], ["c"])

    def test_filters(self):
        def names(path):
            return [item["name"] for item in self.get(path)["items"]]
        self.assertEqual(names("/v1/machines?name=m1"), ["m1"])
        self.assertEqual(names("/v1/machines?name=m*&state=down"), ["m0", "m1", "m2"])
        self.assertEqual(names("/v1/machines?state=up"), [])
        self.do("POST", "/v1/machines/m1/tag", {"tags": ["db", "nightly"]})
        self.assertEqual(names("/v1/machines?tags=night*&fields=name"), ["m1"])
        self.do("POST", "/v1/machines/m1/tag", {"tags": []})
        self.assertEqual(names("/v1/machines/m0/snapshots?tags=even&limit=2"), ["s0", "s2"])
        self.assertEqual(names("/v1/machines/m0/snapshots?tags=odd"), [])
        self.do("POST", "/v1/machines/m0/snapshots/s4/pin", {"reason": "r"})
        self.assertEqual(names("/v1/machines/m0/snapshots?pinned=true"), ["s4"])
        self.do("POST", "/v1/machines/m0/snapshots/s4/unpin", {})
        self.assertEqual(sorted(names("/v1/volumes?machine=m2")), ["m2.vda"])
        self.assertEqual(names("/v1/machines/m0/trash"), ["s1", "s3", "s5"])
        jobs = self.get("/v1/jobs?kind=machine.create")["items"]
        self.assertEqual(sorted(job["object"] for job in jobs), ["m0", "m1", "m2"])
        self.assertEqual(self.get("/v1/jobs?state=running")["items"], [])

    def test_a_reader_is_told_when_nothing_changed(self):
        path = "/v1/machines/m2"
        status, headers, text = self.ask("GET", path)
        tag = headers["ETag"]
        self.assertRegex(tag, r'^"[0-9a-f]{32}"$')
        for match in (tag, f'"other", {tag}', "*", "W/" + tag):
            status, headers, text = self.ask("GET", path, headers={"If-None-Match": match})
            self.assertEqual((status, text, headers["ETag"]), (304, "", tag))
        self.do("POST", path + "/quota", {"snapshots": 3})
        status, headers, text = self.ask("GET", path, headers={"If-None-Match": tag})
        self.assertEqual(status, 200)
        self.assertNotEqual(headers["ETag"], tag)
        self.do("POST", path + "/quota", {"snapshots": 0})
        self.assertEqual(self.ask("GET", path)[1]["ETag"], tag, "the same state has the same tag")

    def test_a_change_meets_only_the_state_that_was_seen(self):
        path = "/v1/machines/m0/snapshots/s0"
        tag = self.ask("GET", path)[1]["ETag"]
        changed = self.ask("POST", path + "/describe?wait=true", {"description": "one"},
                           {"If-Match": tag})
        self.assertEqual(changed[0], 200, changed[2])
        status, headers, text = self.ask("POST", path + "/describe?wait=true",
                                         {"description": "two"}, {"If-Match": tag})
        self.assertEqual((status, json.loads(text)["code"]), (412, "precondition_failed"))
        self.assertEqual(self.ask("DELETE", path, headers={"If-Match": tag})[0], 412)
        self.assertEqual(self.get(path)["description"], "one")
        for verb, body in (("/v1/machines/m0/quota", {"snapshots": 9}), ("/v1/machines/m0/start", {}),
                           ("/v1/volumes/v1/resize", {"size_bytes": 2 << 20})):
            self.assertEqual(self.ask("POST", verb, body, {"If-Match": '"0"'})[0], 412, verb)
        self.assertEqual(self.ask("POST", "/v1/machines/none/start", {}, {"If-Match": '"0"'})[0], 404)
        self.do("POST", path + "/describe", {"description": ""})

    def test_of_two_who_saw_the_same_state_one_is_refused(self):
        path = "/v1/machines/m0/snapshots/s0"
        for number in range(40):
            tag = self.ask("GET", path)[1]["ETag"]
            ready, answers = threading.Barrier(4), []

            def change(text):
                ready.wait()
                answers.append(self.ask("POST", path + "/describe?wait=true", {"description": text},
                                        {"If-Match": tag})[0])
            clients = [threading.Thread(target=change, args=(f"{number} of {n}",)) for n in range(4)]
            for client in clients:
                client.start()
            for client in clients:
                client.join()
            self.assertEqual(sorted(answers), [200, 412, 412, 412])
        self.do("POST", path + "/describe", {"description": ""})

    def test_a_key_stands_for_one_job(self):
        body, key = {"name": "keyed", "size_bytes": 1 << 20}, {"Idempotency-Key": "key-1"}
        first = json.loads(self.ask("POST", "/v1/volumes", body, key)[2])
        again = json.loads(self.ask("POST", "/v1/volumes", body, key)[2])
        self.assertEqual(first["id"], again["id"])
        other = self.ask("POST", "/v1/volumes", body | {"name": "other"}, key)
        self.assertEqual((other[0], json.loads(other[2])["code"]), (400, "invalid_argument"))
        self.get(f"/v1/jobs/{first['id']}?wait_ms=10000")
        self.do("DELETE", "/v1/volumes/keyed")


if __name__ == "__main__":
    unittest.main()
