#!/usr/bin/env python3
"""Proves that no bad request gets a 5xx, changes an object, or is told a path or a secret: 400 and more
handwritten ones (bad_requests.txt), those that break each limit of the OpenAPI document, and bytes that
are no HTTP. Before and after, the inventory, the volumes and the pools are compared whole.
usage: bad_requests_test.py BIN_DIRECTORY
"""
import json
import os
import random
import re
import socket
import sqlite3
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "control"))
from instance import InstanceCase

HERE = os.path.dirname(os.path.abspath(__file__))
CODES = {"invalid_argument", "not_found", "already_exists", "busy", "wrong_state", "permission_denied",
         "resource_exhausted", "precondition_failed", "unauthenticated", "too_many_attempts", "timeout"}


class Wire:
    """One connection, kept as long as the server keeps it."""

    def __init__(self, path):
        self.path, self.socket, self.input = path, None, b""

    def send(self, data):
        if self.socket is None:
            self.socket, self.input = socket.socket(socket.AF_UNIX), b""
            self.socket.settimeout(30)
            self.socket.connect(self.path)
        self.socket.sendall(data)

    def fill(self):
        more = self.socket.recv(65536)
        self.input += more
        return bool(more)

    def answer(self, method=""):
        while b"\r\n\r\n" not in self.input:
            if not self.fill():
                self.socket.close()
                self.socket = None
                return 0, {}, b""
        head, _, self.input = self.input.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:])}
        length = 0 if method == "HEAD" else int(headers.get("content-length", 0))
        while len(self.input) < length and self.fill():
            pass
        body, self.input = self.input[:length], self.input[length:]
        if headers.get("connection") == "close":
            self.socket.close()
            self.socket = None
        return int(lines[0].split()[1]), headers, body

    def request(self, method, path, body=None, kind="application/json", headers=""):
        data = f"{method} {path} HTTP/1.1\r\nHost: h\r\n{headers}".encode()
        if body is not None:
            data += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n".encode()
        self.send(data + b"\r\n" + (body or b""))
        return self.answer(method)


class BadRequestsTest(InstanceCase):
    pool_bytes = 256 << 20

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        make = cls("runTest").do
        make("POST", "/v1/machines", {"name": "web", "memory_bytes": 64 << 20,
                                      "disks": [{"size_bytes": 4 << 20}]})
        for name in ("s1", "s2", "t1"):
            make("POST", "/v1/machines/web/snapshots", {"name": name})
        make("POST", "/v1/machines/web/snapshots/s2/pin", {"reason": "because"})
        make("DELETE", "/v1/machines/web/snapshots/t1")
        make("POST", "/v1/volumes", {"name": "data", "size_bytes": 1 << 20})
        make("POST", "/v1/volumes/data/snapshot", {"name": "p"})
        cls.wire = Wire(cls.dir + "/run/api.sock")

    @classmethod
    def tearDownClass(cls):
        if cls.wire.socket:
            cls.wire.socket.close()
        super().tearDownClass()

    def setUp(self):
        self.before = self.digest()

    def tearDown(self):
        self.assertEqual(self.before, self.digest(), "a bad request changed something")

    def digest(self):
        with sqlite3.connect(f"file:{self.dir}/hozon.db?mode=ro", uri=True) as database:
            tables = [name for name, in database.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'jobs' "
                "AND name NOT LIKE 'sqlite_%'")]
            rows = {table: sorted(map(repr, database.execute(f"SELECT * FROM {table}")))
                    for table in tables}
        database.close()
        volumes = self.get("/v1/volumes")["items"]
        points = [self.get(f"/v1/volumes/{v['name']}/points?all=true") for v in volumes]
        return rows, volumes, points, [p["name"] for p in self.get("/v1/pools")["items"]]

    def judge(self, what, status, headers, body, wanted=None):
        self.assertTrue(400 <= status < 500 or status == wanted, f"{what}: {status} {body[:300]}")
        if wanted:
            self.assertEqual(status, wanted, f"{what}: {body[:300]}")
        text = body.decode()
        self.assertNotIn(self.dir, text, what)
        self.assertNotIn("hozon_", text, what)  # a token
        self.assertNotRegex(text, r"\.cc:\d|0x[0-9a-f]{6,}|std::", what)
        if " HEAD " in what:
            return
        self.assertEqual(headers["content-type"], "application/problem+json", what)
        problem = json.loads(text)
        self.assertEqual(problem["status"], status, what)
        self.assertIn(problem["code"], CODES, what)
        self.assertTrue(problem["detail"] and "\n" not in problem["detail"], what)

    def test_the_table(self):
        count, wrong = 0, []
        with open(f"{HERE}/bad_requests.txt", encoding="utf-8") as file:
            lines = file.read().split("\n")
        for line in lines:
            if not line or line.startswith("#"):
                continue
            status, method, path, *body = line.split(" ", 3)
            if status.endswith("j"):  # refused by its job, which looked first
                status, path = status[:-1], path + ("&" if "?" in path else "?") + "wait=true"
            body = body[0].encode() if body else (None if method in ("GET", "HEAD", "DELETE") else b"")
            try:
                self.judge(line, *self.wire.request(method, path, body), int(status))
            except AssertionError as error:
                wrong.append(str(error))
            count += 1
        self.assertEqual(wrong, [], "\n".join(wrong))
        self.assertGreaterEqual(count, 300)

    def test_every_limit_of_the_document(self):
        document = self.get("/v1/openapi.json")
        count = 0
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if "requestBody" not in operation:
                    continue
                schema = operation["requestBody"]["content"]["application/json"]["schema"]
                target = path
                for name, value in (("machine", "web"), ("snapshot", "s1"), ("pool", "main"),
                                    ("volume", "data"), ("point", "p"), ("job", "1")):
                    target = target.replace("{%s}" % name, value)
                if "trash" in target:
                    target = target.replace("s1", "t1")
                target = re.sub(r"\{\w+\}", "none", target)
                for body in self.breaches(schema):
                    text = json.dumps(body).encode()
                    self.judge(f"{method} {target} {text[:200]}",
                               *self.wire.request(method.upper(), target, text))
                    count += 1
        self.assertGreater(count, 300)

    def breaches(self, schema):
        good = {name: self.example(schema["properties"][name])
                for name in schema.get("required", ())}
        yield good | {"no_such_field": 1}
        yield good | {"": 1}
        yield [good]
        for name in schema.get("required", ()):
            yield {key: value for key, value in good.items() if key != name}
            yield good | {name: None}
        for name, field in schema["properties"].items():
            for value in self.misfits(field):
                yield good | {name: value}

    def example(self, field):
        return {"string": field.get("enum", ["x"])[-1], "integer": 512, "boolean": False,
                "array": [], "object": {}}[field["type"]]

    def misfits(self, field):
        kind = field["type"]
        others = {"string": "x", "integer": 7, "boolean": True, "array": [[]], "object": {"x": {}},
                  "number": 1.5}
        for other, value in others.items():
            if other != kind:
                yield value
        if kind == "string":
            yield "x" * (field["maxLength"] + 1)
            if "enum" in field:
                yield "no such word"
            else:
                yield "a\u0000b"
        if kind == "integer":
            yield from (-1, field["maximum"] + 1, 1 << 64, -(1 << 63))
        if kind == "array":
            yield ["x"] * (field["maxItems"] + 1)
            if field["items"]["type"] == "object":
                for body in self.breaches(field["items"]):
                    if body != [{}]:
                        yield [body]
            else:
                yield from ([None], [5], ["x" * (field["items"]["maxLength"] + 1)])
        if kind == "object" and field.get("properties"):
            yield from self.breaches(field)

    def test_bytes_that_are_no_request(self):
        long = b"x" * 20_000
        for data, wanted in (
                (b"\x00\x01\x02\x03\r\n\r\n", 400), (b"GET\r\n\r\n", 400),
                (b"GET /v1\r\n\r\n", 400), (b"GET /v1 HTTP/2.0\r\nHost: h\r\n\r\n", 505),
                (b"GET /v1 HTTP/9.9\r\nHost: h\r\n\r\n", 505),
                (b"GET /v1 http/1.1\r\nHost: h\r\n\r\n", 400),
                (b"GET /v1 HTTP/1.1\r\n\r\n", 400),
                (b"GET /v1 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
                (b"GET /v1 HTTP/1.1\r\nHost h\r\n\r\n", 400),
                (b"GET /v1 HTTP/1.1\r\nHost: h\r\nX\x00: y\r\n\r\n", 400),
                (b"GET v1 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
                (b"GET http://h/v1 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
                (b"GET * HTTP/1.1\r\nHost: h\r\n\r\n", 400),
                (b"GET /" + long + b" HTTP/1.1\r\nHost: h\r\n\r\n", 431),
                (b"GET /v1 HTTP/1.1\r\nHost: h\r\nX: " + long + b"\r\n\r\n", 431),
                (b"POST /v1/machines HTTP/1.1\r\nHost: h\r\n\r\n", 411),
                (b"POST /v1/machines HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", 400),
                (b"POST /v1/machines HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n", 400),
                (b"POST /v1/machines HTTP/1.1\r\nHost: h\r\nContent-Length: 2000000\r\n\r\n", 413),
                (b"POST /v1/machines HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n"
                 b"Content-Length: 3\r\n\r\n{}", 400),
                (b"POST /v1/machines HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n"
                 b"Transfer-Encoding: chunked\r\n\r\n{}", 400),
                (b"POST /v1/machines HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                 b"zz\r\n", 400),
                (b"POST /v1/machines HTTP/1.1\r\nHost: h\r\nExpect: 200-maybe\r\n"
                 b"Content-Length: 2\r\n\r\n{}", 417)):
            wire = Wire(self.wire.path)
            wire.send(data)
            self.judge(repr(data[:80]), *wire.answer(), wanted)
        wire = Wire(self.wire.path)
        wire.send(b"POST /v1/machines HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n")
        self.assertEqual(wire.answer()[0], 501)
        chunk = b"POST /v1/machines HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n" \
                b"Transfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b" " * 65536 + b"\r\n") * 17
        wire = Wire(self.wire.path)
        try:
            wire.send(chunk)
        except (BrokenPipeError, ConnectionResetError):
            pass
        self.judge("17 chunks of 64 KiB", *wire.answer(), 413)

    def test_headers_that_do_not_fit(self):
        ask = self.wire.request
        for kind in ("text/plain", "application/xml", "application/x-www-form-urlencoded", "",
                     "application/json-patch+json", "multipart/form-data"):
            self.judge(kind, *ask("POST", "/v1/machines", b'{"name":"a"}', kind), 415)
        self.judge("key", *ask("POST", "/v1/machines", b'{"name":"a"}',
                               headers="Idempotency-Key: " + "k" * 200 + "\r\n"), 400)
        self.judge("match", *ask("POST", "/v1/machines/web/snapshots/s1/unpin", b"{}",
                                 headers='If-Match: "00"\r\n'), 412)
        self.judge("nothing to match", *ask("POST", "/v1/machines", b'{"name":"a"}',
                                            headers='If-Match: "00"\r\n'), 400)
        self.judge("event", *ask("GET", "/v1/events", headers="Last-Event-ID: ten\r\n"), 400)

    def test_bodies_at_random(self):
        """Damaged copies of good bodies: a fixed seed, so that a failure comes again."""
        choose = random.Random(20)
        good = b'{"name": "a b", "disks": [{"size_bytes": 1048577}], "memory_bytes": 1, "cpus": 0}'
        for _ in range(400):
            body = bytearray(good)
            for _ in range(choose.randint(1, 4)):
                at = choose.randrange(len(body))
                body[at:at + choose.randint(0, 3)] = choose.choice(
                    (b"", b"\xff", b"{", b"}", b"[", b'"', b"\\", b"\x00", b"1e999", b"null", b"\xe4"))
            self.judge(repr(bytes(body)), *self.wire.request("POST", "/v1/machines", bytes(body)))


if __name__ == "__main__":
    unittest.main()
