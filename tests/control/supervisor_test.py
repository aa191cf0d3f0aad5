#!/usr/bin/env python3
"""Proves what hozon-supervisor promises, with the real program and stand-ins for its children.

Method: the stand-ins take the passed sockets and answer one line per connection with their pid.
usage: supervisor_test.py BIN_DIRECTORY
"""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM = os.path.join(os.path.abspath(sys.argv.pop(1)), "hozon-supervisor")

CHILD = f"""#!{sys.executable}
import os, signal, socket, sys, time
names = os.environ["LISTEN_FDNAMES"].split(":")
assert os.environ["LISTEN_PID"] == str(os.getpid()) and os.environ["LISTEN_FDS"] == str(len(names))
expected = ["api"] if sys.argv[0].endswith("hozond") else ["nbd", "link"]
assert names == expected, names
if os.path.exists(os.path.join(os.path.dirname(sys.argv[0]), "broken")): sys.exit(3)
def end(*_):
    time.sleep(0.2)
    os._exit(0)
signal.signal(signal.SIGTERM, end)
listener = socket.socket(fileno=3 + len(names) - 1)
while True:
    peer, _ = listener.accept()
    peer.sendall(f"{{os.getpid()}}\\n".encode())
    peer.close()
"""


def ask(path, request, timeout=10):
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(timeout)
        peer.connect(path)
        peer.sendall(request if isinstance(request, bytes) else json.dumps(request).encode() + b"\n")
        return json.loads(peer.makefile().readline())


def pid_behind(path, timeout=10):
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(timeout)
        peer.connect(path)
        return int(peer.makefile().readline())


class SupervisorTest(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="hz-")
        self.dir = self.root + "/d"
        self.programs = self.root + "/bin"
        os.makedirs(self.dir + "/pools/main")
        os.makedirs(self.dir + "/pools/.half-made")
        os.mkdir(self.programs)
        for name in ("hozond", "hozon-stored"):
            with open(f"{self.programs}/{name}", "w") as file:
                file.write(CHILD)
            os.chmod(f"{self.programs}/{name}", 0o755)
        self.socket = self.dir + "/run/supervisor.sock"
        self.process = None

    def tearDown(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)
        shutil.rmtree(self.root)

    def start(self):
        self.process = subprocess.Popen(
            [PROGRAM, "--dir", self.dir, "--programs", self.programs], stderr=subprocess.DEVNULL)
        end = time.time() + 10
        while time.time() < end:
            try:
                return ask(self.socket, {"op": "status"})
            except OSError:
                time.sleep(0.01)
        self.fail("the supervisor did not come up")

    def child(self, name):
        found = [c for c in ask(self.socket, {"op": "status"})["children"] if c["name"] == name]
        return found[0] if found else None

    def test_starts_hozond_and_one_child_per_pool_with_private_sockets(self):
        status = self.start()
        self.assertEqual([c["name"] for c in status["children"]], ["hozond", "stored-main"])
        for name in ("api.sock", "supervisor.sock", "pool-main.nbd", "pool-main.link"):
            self.assertEqual(os.stat(f"{self.dir}/run/{name}").st_mode & 0o777, 0o600)
        self.assertEqual(pid_behind(self.dir + "/run/api.sock"), self.child("hozond")["pid"])

    def test_clients_of_a_killed_child_see_only_a_delay(self):
        self.start()
        link = self.dir + "/run/pool-main.link"
        for _ in range(6):
            before = pid_behind(link)
            os.kill(before, signal.SIGKILL)
            started = time.time()
            # A connection may have been accepted by the one that is dying; then it is cut, not lost.
            try:
                after = pid_behind(link)
            except (ValueError, ConnectionError):
                after = pid_behind(link)
            self.assertNotEqual(before, after)
            self.assertLess(time.time() - started, 4)
        self.assertGreaterEqual(self.child("stored-main")["restarts"], 6)

    def test_a_child_that_keeps_dying_is_not_started_in_a_frenzy(self):
        open(self.programs + "/broken", "w").close()
        self.start()
        time.sleep(2.5)
        child = self.child("stored-main")
        self.assertEqual(child["last_end"], "exit status 3")
        self.assertTrue(2 <= child["restarts"] <= 8, child)
        os.remove(self.programs + "/broken")
        pid_behind(self.dir + "/run/pool-main.link", 5)

    def test_pools_come_and_go_while_it_runs(self):
        self.start()
        self.assertEqual(ask(self.socket, {"op": "pool_start", "pool": "new"})["code"], "not_found")
        os.mkdir(self.dir + "/pools/new")
        self.assertTrue(ask(self.socket, {"op": "pool_start", "pool": "new"})["ok"])
        answer = ask(self.socket, {"op": "pool_start", "pool": "new"})
        self.assertEqual(answer["code"], "already_exists")
        pid = pid_behind(self.dir + "/run/pool-new.link")
        self.assertTrue(ask(self.socket, {"op": "pool_stop", "pool": "new"})["ok"])
        self.assertFalse(os.path.exists(f"/proc/{pid}"))
        self.assertFalse(os.path.exists(self.dir + "/run/pool-new.nbd"))
        self.assertIsNone(self.child("stored-new"))
        self.assertEqual(ask(self.socket, {"op": "pool_stop", "pool": "new"})["code"], "not_found")

    def test_bad_requests_get_an_answer(self):
        self.start()
        self.assertEqual(ask(self.socket, b"nonsense\n")["code"], "invalid_argument")
        self.assertEqual(ask(self.socket, {"op": "fly"})["code"], "unimplemented")
        for pool in ("", ".x", "../../etc", 7, None):
            answer = ask(self.socket, {"op": "pool_start", "pool": pool})
            self.assertEqual(answer["code"], "invalid_argument", pool)
        with socket.socket(socket.AF_UNIX) as peer:  # a line beyond the limit ends the connection
            peer.settimeout(10)
            peer.connect(self.socket)
            try:
                for _ in range(40):
                    peer.sendall(b"x" * 4096)
                self.assertEqual(peer.recv(1), b"")
            except ConnectionError:
                pass
        self.assertTrue(ask(self.socket, {"op": "status"})["ok"])

    def test_a_second_supervisor_is_refused_and_named(self):
        self.start()
        for extra in ([], ["--detach"]):
            second = subprocess.run([PROGRAM, "--dir", self.dir, *extra], capture_output=True,
                                    text=True, timeout=10)
            self.assertEqual(second.returncode, 4)
            self.assertIn(f"pid {self.process.pid}", second.stderr)
            self.assertEqual(len(second.stderr.strip().splitlines()), 1)

    def test_stop_ends_everything_and_leaves_no_sockets(self):
        status = self.start()
        self.assertTrue(ask(self.socket, {"op": "stop"})["ok"])
        self.assertEqual(self.process.wait(10), 0)
        for child in status["children"]:
            self.assertFalse(os.path.exists(f"/proc/{child['pid']}"))
        self.assertEqual(sorted(os.listdir(self.dir + "/run")), ["lock"])

    def test_a_killed_supervisor_takes_its_children_along_and_can_be_replaced(self):
        status = self.start()
        self.process.kill()
        self.process.wait()
        end = time.time() + 5
        while time.time() < end and any(os.path.exists(f"/proc/{c['pid']}/exe")
                                        for c in status["children"]):
            time.sleep(0.02)
        self.assertFalse(any(os.path.exists(f"/proc/{c['pid']}/exe")
                             for c in status["children"]))
        self.start()
        pid_behind(self.dir + "/run/pool-main.link")

    def test_detach_returns_when_ready(self):
        result = subprocess.run([PROGRAM, "--dir", self.dir, "--programs", self.programs,
                                 "--detach"], capture_output=True, text=True, timeout=10)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertTrue(ask(self.socket, {"op": "status"})["ok"])
        self.assertTrue(ask(self.socket, {"op": "stop"})["ok"])

    def test_a_path_too_long_for_sockets_is_one_helpful_line(self):
        deep = self.root + "/" + "x" * 100
        os.makedirs(deep)
        result = subprocess.run([PROGRAM, "--dir", deep], capture_output=True, text=True,
                                timeout=10)
        self.assertEqual(result.returncode, 1)
        self.assertIn("bytes shorter", result.stderr)

    def test_wrong_arguments_are_explained(self):
        result = subprocess.run([PROGRAM, "--fly"], capture_output=True, text=True, timeout=10)
        self.assertEqual(result.returncode, 2)
        self.assertIn("example:", result.stderr)


if __name__ == "__main__":
    unittest.main()
