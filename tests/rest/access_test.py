#!/usr/bin/env python3
"""Proves who may do what: tokens with rights over TCP and TLS, expired and revoked ones, users of this host,
no token at all; that secrets are nowhere on the disk; that the audit log has every call that could change
something; that TCP beyond this host needs TLS; and that the command line speaks to an instance elsewhere.
usage: access_test.py BIN_DIRECTORY
"""
import glob
import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "control"))
from instance import BIN, InstanceCase, Unix


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# What each call that can change something needs. Whatever is not here has to be put here: the test
# compares with the description of the API. Every GET needs "read", but for what is in SECRET and IN_GUESTS.
NEEDS = {
    "operate": """
        POST /v1/machines/{machine}/start
        POST /v1/machines/{machine}/shutdown
        POST /v1/machines/{machine}/pause
        POST /v1/machines/{machine}/resume
        POST /v1/machines/{machine}/suspend
        POST /v1/machines/{machine}/freeze
        POST /v1/machines/{machine}/thaw
        POST /v1/machines/{machine}/connect
        POST /v1/machines/{machine}/kill
        POST /v1/jobs/{job}/cancel
        POST /v1/pools/{pool}/check
        POST /v1/pools/{pool}/scrub
        POST /v1/volumes/{volume}/defragment""",
    "snapshot": """
        POST /v1/machines/{machine}/snapshots
        POST /v1/machines/{machine}/delete-snapshots
        DELETE /v1/machines/{machine}/snapshots/{snapshot}
        POST /v1/machines/{machine}/snapshots/{snapshot}/tag
        POST /v1/machines/{machine}/snapshots/{snapshot}/expire
        POST /v1/machines/{machine}/snapshots/{snapshot}/pin
        POST /v1/machines/{machine}/snapshots/{snapshot}/unpin
        POST /v1/machines/{machine}/snapshots/{snapshot}/rename
        POST /v1/machines/{machine}/snapshots/{snapshot}/describe
        POST /v1/machines/{machine}/trash/{snapshot}/restore
        POST /v1/volumes/{volume}/snapshot
        DELETE /v1/volumes/{volume}/points/{point}
        POST /v1/groups
        DELETE /v1/groups/{group}
        POST /v1/schedules/{schedule}/run""",
    "return": """
        POST /v1/machines/{machine}/snapshots/{snapshot}/return
        POST /v1/machines/{machine}/snapshots/{snapshot}/preview
        POST /v1/machines/{machine}/preview/commit
        POST /v1/machines/{machine}/preview/undo
        POST /v1/machines/{machine}/undo
        POST /v1/volumes/{volume}/return
        POST /v1/groups/{group}/return""",
    "admin": """
        POST /v1/machines
        DELETE /v1/machines/{machine}
        POST /v1/machines/{machine}/quota
        POST /v1/machines/{machine}/tag
        POST /v1/machines/{machine}/initial
        DELETE /v1/machines/{machine}/trash
        POST /v1/machines/{machine}/snapshots/{snapshot}/clone
        POST /v1/pools
        DELETE /v1/pools/{pool}
        POST /v1/volumes
        DELETE /v1/volumes/{volume}
        POST /v1/volumes/{volume}/resize
        POST /v1/volumes/{volume}/clone
        POST /v1/volumes/{volume}/export
        POST /v1/templates
        DELETE /v1/templates/{template}
        POST /v1/schedules
        DELETE /v1/schedules/{schedule}
        POST /v1/schedules/{schedule}/edit
        POST /v1/schedules/{schedule}/enable
        POST /v1/schedules/{schedule}/disable
        POST /v1/tokens
        DELETE /v1/tokens/{token}
        PUT /v1/peers/{user}
        DELETE /v1/peers/{user}"""}
SECRET = ("/v1/tokens", "/v1/peers", "/v1/audit")
# What guests keep in their files needs "operate".
IN_GUESTS = ("{snapshot}/files", "{snapshot}/content", "{snapshot}/details")
# Who has a right has these, too.
OPENS = {"read": {"read"}, "operate": {"read", "operate", "snapshot", "return"},
         "snapshot": {"read", "snapshot"}, "return": {"read", "return"},
         "admin": {"read", "operate", "snapshot", "return", "admin"}}


class AccessTest(InstanceCase):
    pool_bytes = 128 << 20

    @classmethod
    def prepare(cls):
        cls.cert, cls.key = cls.dir + "/cert.pem", cls.dir + "/key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", cls.key, "-out",
                        cls.cert, "-days", "2", "-subj", "/CN=localhost", "-addext",
                        "subjectAltName=IP:127.0.0.1,DNS:localhost"], check=True,
                       capture_output=True)
        cls.listen(free_port(), tls=True)

    @classmethod
    def listen(cls, port, tls, address="127.0.0.1"):
        cls.port = port
        said = {"listen": f"{address}:{port}"}
        if tls:
            said |= {"certificate": cls.cert, "key": cls.key}
        with open(cls.dir + "/api.json", "w", encoding="utf-8") as file:
            json.dump(said, file)

    def over_tls(self, method, path, body=None, token=None, authorities=True):
        context = ssl.create_default_context(cafile=self.cert if authorities else None)
        connection = http.client.HTTPSConnection("localhost", self.port, timeout=30, context=context)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text) if text.startswith(b"{") else text

    def token(self, name, *rights, **more):
        status, made = self.call("POST", "/v1/tokens", {"name": name, "rights": rights} | more)
        self.assertEqual(status, 201, made)
        self.assertRegex(made["secret"], r"^hozon_[0-9a-f]{64}$")
        return made["secret"]

    def hozon(self, *words, **environment):
        return subprocess.run([BIN + "/hozon", *words], text=True, capture_output=True, timeout=60,
                              env={k: v for k, v in os.environ.items() if not k.startswith("HOZON")}
                              | environment)

    def test_without_a_token_nothing_is_told(self):
        for method, path in (("GET", "/v1"), ("GET", "/v1/machines"), ("GET", "/metrics"),
                             ("GET", "/v1/events"), ("GET", "/v1/openapi.json"),
                             ("POST", "/v1/volumes"), ("GET", "/v1/tokens")):
            status, answer = self.over_tls(method, path, {} if method == "POST" else None)
            self.assertEqual((status, answer["code"]), (401, "unauthenticated"), path)
            status, answer = self.over_tls(method, path, None, token="hozon_" + "0" * 64)
            self.assertEqual(status, 401, path)
        self.assertEqual(self.over_tls("GET", "/healthz"), (200, {"status": "ok"}))
        with self.assertRaises(ssl.SSLCertVerificationError):
            self.over_tls("GET", "/healthz", authorities=False)

    def test_each_right_opens_its_own_doors_only(self):
        self.do("POST", "/v1/machines", {"name": "web", "memory_bytes": 64 << 20,
                                         "disks": [{"size_bytes": 1 << 20}]})
        self.do("POST", "/v1/machines/web/snapshots", {"name": "s"})
        doors = (("read", "GET", "/v1/machines", None),
                 ("operate", "POST", "/v1/machines/web/pause?plan=true", {}),
                 ("operate", "POST", "/v1/jobs/99999/cancel", None),
                 ("snapshot", "POST", "/v1/machines/web/snapshots?plan=true", {"name": "n"}),
                 ("snapshot", "POST", "/v1/machines/web/snapshots/s/pin?plan=true", {"reason": "r"}),
                 ("snapshot", "DELETE", "/v1/machines/web/snapshots/s?plan=true", None),
                 ("return", "POST", "/v1/machines/web/snapshots/s/return?plan=true", {}),
                 ("return", "POST", "/v1/machines/web/snapshots/s/preview?plan=true", {}),
                 ("return", "POST", "/v1/machines/web/undo?plan=true", {}),
                 ("admin", "DELETE", "/v1/machines/web?plan=true", None),
                 ("admin", "DELETE", "/v1/machines/web/trash?plan=true", None),
                 ("admin", "POST", "/v1/pools?plan=true", {"name": "x", "size_bytes": 1 << 30}),
                 ("admin", "POST", "/v1/machines/web/snapshots/s/clone?plan=true", {"new_name": "x"}),
                 ("admin", "GET", "/v1/tokens", None), ("admin", "GET", "/v1/audit", None))
        opened = {"read": {"read"}, "operate": {"read", "operate", "snapshot", "return"},
                  "snapshot": {"read", "snapshot"}, "return": {"read", "return"},
                  "admin": {"read", "operate", "snapshot", "return", "admin"}}
        for right, may in opened.items():
            secret = self.token("t-" + right, right)
            for needed, method, path, body in doors:
                status, answer = self.over_tls(method, path, body, secret)
                if needed in may:
                    self.assertNotIn(status, (401, 403), f"{right}: {method} {path}: {answer}")
                else:
                    self.assertEqual((status, answer["code"]), (403, "permission_denied"),
                                     f"{right}: {method} {path}")
                    self.assertIn(needed, answer["detail"])
        self.do("DELETE", "/v1/machines/web")

    def described(self):
        """{"POST /v1/...": right} of every call in the description of the API."""
        known = {call.strip(): right for right, calls in NEEDS.items()
                 for call in calls.split("\n") if call.strip()}
        calls = [f"{method.upper()} {path}" for path, item in self.get("/v1/openapi.json")["paths"].items()
                 for method in item if method in ("get", "post", "put", "patch", "delete")]
        self.assertGreater(len(calls), 90)
        changing = {call for call in calls if not call.startswith("GET ")}
        self.assertEqual(changing - set(known), set(), "say in NEEDS which right these need")
        self.assertEqual(set(known) - changing, set(), "there are no such calls")
        for call in calls:
            if call.startswith("GET "):
                path = call.split()[1]
                known[call] = ("admin" if path.startswith(SECRET) else
                               "operate" if path.endswith(IN_GUESTS) else "read")
        return known

    def test_every_call_is_open_to_its_right_and_no_other(self):
        calls = self.described()
        for right, may in OPENS.items():
            secret = self.token("every-" + right, right)
            for call, needed in calls.items():
                method, pattern = call.split()
                if pattern == "/healthz":
                    continue
                # Of objects that are not there, so that nothing changes.
                path = re.sub(r"\{(job)\}", "999999", pattern)
                path = re.sub(r"\{\w+\}", "not-there", path)
                if pattern == "/v1/events":
                    path += "?kinds=none-of-these"
                try:
                    status, answer = self.call(method, path, {} if method in ("POST", "PUT") else None,
                                               {"Authorization": "Bearer " + secret})
                except json.JSONDecodeError:
                    status, answer = 200, None  # /metrics is no JSON, and a refusal of it would be
                with self.subTest(right=right, call=call, status=status):
                    if needed in may:
                        self.assertNotIn(status, (401, 403), answer)
                        self.assertLess(status, 500, answer)
                    else:
                        self.assertEqual((status, answer["code"]), (403, "permission_denied"))
        self.assertEqual(self.get("/v1/machines")["items"], [])
    def test_guessing_is_held_up_and_nobody_else_is(self):
        known, new = self.token("known", "admin"), self.token("new", "admin")

        def ask(token, address="127.0.0.1", method="GET", path="/v1"):
            context = ssl.create_default_context(cafile=self.cert)
            connection = http.client.HTTPSConnection("localhost", self.port, timeout=30, context=context,
                                                     source_address=(address, 0))
            connection.request(method, path, headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            text = json.loads(answer.read())
            connection.close()
            return answer.status, answer.headers, text
        try:
            self.assertEqual(ask(known)[0], 200)
            entries = len(self.get("/v1/audit")["items"])
            wrong = [ask("hozon_" + f"{n:064x}", method="DELETE", path="/v1/volumes/none")
                     for n in range(40)]
            statuses = [status for status, _, _ in wrong]
            self.assertEqual(statuses[:10], [401] * 10)
            self.assertGreater(statuses.count(429), 10, statuses)
            status, headers, text = next(w for w in wrong if w[0] == 429)
            self.assertEqual((headers["Retry-After"], text["code"]), ("1", "too_many_attempts"))
            # What was not looked at is not noted.
            self.assertEqual(len(self.get("/v1/audit")["items"]), entries + statuses.count(401))
            self.assertEqual(ask(known)[0], 200)
            self.assertEqual(ask(new, "127.0.0.2")[0], 200)
            self.assertEqual(ask("x", "127.0.0.3")[0], 401)
            self.get("/v1")
            time.sleep(1.5)
            self.assertEqual(ask(new)[0], 200)
        finally:
            self.kill_hozond()  # which forgets who was wrong
            self.get("/v1")

    def test_tokens_end(self):
        short = self.token("short", "read", expires_in_s=1)
        gone = self.token("gone", "read")
        self.assertEqual(self.over_tls("GET", "/v1", token=short)[0], 200)
        self.assertEqual(self.call("DELETE", "/v1/tokens/gone")[0], 200)
        self.assertEqual(self.over_tls("GET", "/v1", token=gone)[0], 401)
        self.assertEqual(self.call("DELETE", "/v1/tokens/gone")[0], 409)
        time.sleep(1.1)
        self.assertEqual(self.over_tls("GET", "/v1", token=short)[0], 401)
        states = {t["name"]: t["state"] for t in self.get("/v1/tokens")["items"]}
        self.assertEqual((states["short"], states["gone"]), ("expired", "revoked"))
        self.assertEqual(self.call("POST", "/v1/tokens", {"name": "short"})[0], 409)
        self.token("gone")  # the name is free again

    def test_no_secret_is_on_the_disk(self):
        secret = self.token("hidden", "admin")
        self.over_tls("POST", "/v1/volumes", {"name": "v-hidden", "size_bytes": 1 << 20}, secret)
        self.over_tls("GET", "/v1/machines/" + "x" * 10, None, secret)
        self.assertNotIn("secret", str(self.get("/v1/tokens")))
        count = 0
        for path in glob.glob(self.dir + "/**", recursive=True):
            if os.path.isfile(path) and "/pools/" not in path:
                with open(path, "rb") as file:
                    self.assertNotIn(secret.removeprefix("hozon_").encode(), file.read(), path)
                count += 1
        self.assertGreater(count, 4)
        self.assertEqual(os.stat(self.dir + "/access.db").st_mode & 0o777, 0o600)

    def test_the_log_has_every_call_that_could_change_something(self):
        secret = self.token("logged", "read")
        self.do("POST", "/v1/volumes", {"name": "noted", "size_bytes": 1 << 20})
        self.call("POST", "/v1/volumes", {"name": "noted"})
        self.over_tls("DELETE", "/v1/volumes/noted", None, secret)
        self.over_tls("DELETE", "/v1/volumes/noted")
        self.call("DELETE", "/v1/volumes/noted?plan=true")
        self.get("/v1/volumes")
        self.do("DELETE", "/v1/volumes/noted")
        seen = [(e["who"], e["method"], e["path"], e["object"], e["status"], e["code"], e["job"] > 0)
                for e in self.get("/v1/audit")["items"][:5]]
        one, volume = "/v1/volumes/{volume}", {"volume": "noted"}
        me = seen[0][0]
        self.assertEqual(seen, [(me, "DELETE", one, volume, 202, "", True),
                                ("", "DELETE", one, volume, 401, "unauthenticated", False),
                                ("token logged", "DELETE", one, volume, 403, "permission_denied",
                                 False),
                                (me, "POST", "/v1/volumes", {}, 400, "invalid_argument", False),
                                (me, "POST", "/v1/volumes", {}, 202, "", True)])
        self.assertTrue(me)
        listed = self.hozon("audit", "list", "--who", "token logged", HOZON_DIR=self.dir)
        self.assertIn("permission_denied", listed.stdout, listed.stderr)
        self.assertEqual(len(listed.stdout.splitlines()), 2)

    def test_users_of_this_host(self):
        """Another user than that of hozond: root tries it through a process that gave its rights up."""
        if os.geteuid() != 0:
            self.skipTest("needs root, to be somebody else")
        os.chmod(self.dir, 0o755), os.chmod(self.dir + "/run", 0o755)
        os.chmod(self.dir + "/run/api.sock", 0o666)
        ask = ("import os,socket,sys;os.setgid(65534);os.setuid(65534);"
               "s=socket.socket(socket.AF_UNIX);s.connect(sys.argv[1]);"
               "s.sendall(b'GET /v1/machines HTTP/1.1\\r\\nHost: h\\r\\nConnection: close\\r\\n\\r\\n');"
               "print(s.makefile().read())")

        def answer():
            return subprocess.run([sys.executable, "-c", ask, self.dir + "/run/api.sock"], text=True,
                                  capture_output=True, check=True, timeout=30).stdout
        self.assertIn(" 403 ", answer())
        done = self.hozon("peer", "set", "nobody", "--rights", "read", HOZON_DIR=self.dir)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(" 200 ", answer())
        self.assertIn("nobody", self.hozon("peer", "list", HOZON_DIR=self.dir).stdout)
        self.hozon("peer", "remove", "nobody", HOZON_DIR=self.dir)
        self.assertIn(" 403 ", answer())

    def test_the_command_line_speaks_to_another_host(self):
        made = self.hozon("token", "create", "cli", "--rights", "admin", "--expires", "1h", "-o",
                          "name", HOZON_DIR=self.dir)
        self.assertEqual(made.returncode, 0, made.stderr)
        there = {"HOZON_URL": f"https://localhost:{self.port}", "HOZON_TOKEN": made.stdout.strip(),
                 "HOZON_CACERT": self.cert}
        done = self.hozon("volume", "create", "far", "--size", "1M", **there)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("far", self.hozon("volume", "list", **there).stdout)
        events = self.hozon("events", "--after", "5", "--count", "1", "-o", "json", **there)
        self.assertEqual(json.loads(events.stdout)["kind"], "reset", events.stderr)
        self.hozon("volume", "delete", "far", **there)
        for change, words in (({"HOZON_CACERT": ""}, "certificate"),
                              ({"HOZON_TOKEN": "hozon_no"}, "token is not valid"),
                              ({"HOZON_URL": f"https://localhost:{free_port()}"}, "no Hozon answers"),
                              ({"HOZON_URL": f"http://192.0.2.1:{self.port}"}, "without TLS"),
                              ({"HOZON_URL": "ftp://x"}, "https://HOST:PORT")):
            done = self.hozon("volume", "list", **(there | change))
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(words, done.stderr)
        # What is named on the command line goes before the environment.
        done = self.hozon("volume", "list", "--dir", self.dir, **(there | {"HOZON_TOKEN": "no"}))
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_up_says_at_once_that_it_cannot_listen(self):
        taken = socket.create_server(("127.0.0.1", 0))
        blank = self.dir + "/blank.pem"
        with open(blank, "w", encoding="ascii") as file:
            file.write("nothing\n")
        with open(self.dir + "/api.json", encoding="utf-8") as file:
            before = file.read()
        with tempfile.TemporaryDirectory(prefix="hzu-") as fresh:
            for words, said in ((("--listen", "nowhere"), "ADDRESS:PORT"),
                                (("--listen", "example.org:8006"), "no numeric address"),
                                (("--listen", "0.0.0.0:8006"), "without TLS"),
                                (("--listen", "192.0.2.7:8006", "--certificate", self.cert, "--key",
                                  self.key), "192.0.2.7"),
                                (("--listen", "8006", "--certificate", self.cert), "both"),
                                (("--listen", "8006", "--certificate", self.dir + "/none", "--key",
                                  self.key), "/none"),
                                (("--listen", "8006", "--certificate", self.cert, "--key", blank),
                                 blank)):
                for directory in (fresh + "/d", self.dir):  # a new instance, and one that is up
                    done = self.hozon("up", "--dir", directory, *words)
                    self.assertNotEqual(done.returncode, 0, words)
                    self.assertIn(said, done.stderr)
                self.assertFalse(os.path.exists(fresh + "/d/api.json"))
                self.assertFalse(os.path.exists(fresh + "/d/run/supervisor.sock"), "nothing was begun")
            done = self.hozon("up", "--dir", fresh + "/d", "--listen", str(taken.getsockname()[1]))
            self.assertIn("cannot listen", done.stderr)
            self.assertNotEqual(done.returncode, 0)
        taken.close()
        with open(self.dir + "/api.json", encoding="utf-8") as file:
            self.assertEqual(file.read(), before)
        done = self.hozon("up", "--dir", self.dir, "--listen", str(self.port), "--certificate", self.cert,
                          "--key", self.key)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_tcp_beyond_this_host_needs_tls(self):
        port, old = free_port(), self.port
        try:
            self.listen(port, tls=False, address="0.0.0.0")
            self.kill_hozond()
            self.get("/v1")
            with self.assertRaises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), 5)
            self.listen(port, tls=False)
            self.kill_hozond()
            self.get("/v1")
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", "/v1")
            self.assertEqual(connection.getresponse().status, 401)
            connection.close()
        finally:
            self.listen(old, tls=True)
            self.kill_hozond()
            self.get("/v1")


if __name__ == "__main__":
    unittest.main()
