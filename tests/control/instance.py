"""One instance of all real programs for a test class, spoken to over REST."""
import http.client
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse

BIN = os.path.abspath(sys.argv.pop(1))


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=120)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class InstanceCase(unittest.TestCase):
    pool_bytes = 2 << 30

    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="hzi-")
        cls.prepare()
        subprocess.run([BIN + "/hozon-supervisor", "--dir", cls.dir, "--detach"], check=True,
                       timeout=20)
        cls.counter = 0
        if not cls.pool_bytes:
            return
        made = cls.call("POST", "/v1/pools?wait=true", {"name": "main", "size_bytes": cls.pool_bytes})
        assert made[0] == 200, made

    @classmethod
    def prepare(cls):
        """What has to be in the directory before the instance starts."""

    @classmethod
    def tearDownClass(cls):
        for machine in cls.call("GET", "/v1/machines")[1]["items"]:
            if machine["pid"]:
                os.kill(machine["pid"], signal.SIGKILL)
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(cls.dir + "/run/supervisor.sock")
            peer.sendall(b'{"op":"stop"}\n')
            peer.recv(100)
        shutil.rmtree(cls.dir)

    @classmethod
    def call(cls, method, path, body=None, headers=()):
        connection = Unix(cls.dir + "/run/api.sock")
        headers = dict(headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text) if text else None

    def do(self, method, path, body=None):
        """A job that has to end well; its result."""
        status, result = self.call(method, path + ("&" if "?" in path else "?") + "wait=true",
                                   body)
        self.assertEqual(status, 200, result)
        return result

    def refused(self, code, words, method, path, body=None):
        status, answer = self.call(method, path + ("&" if "?" in path else "?") + "wait=true", body)
        self.assertGreaterEqual(status, 400)
        self.assertEqual(answer["code"], code, answer)
        self.assertIn(words, answer["detail"])
        self.assertNotIn("\n", answer["detail"])

    def get(self, path):
        status, answer = self.call("GET", path)
        self.assertEqual(status, 200, answer)
        return answer

    def new_machine(self, start=True, disks=2):
        type(self).counter += 1
        name = f"m{self.counter}"
        self.do("POST", "/v1/machines", {"name": name, "memory_bytes": 64 << 20,
                                         "disks": [{"size_bytes": 8 << 20}] * disks})
        if start:
            self.do("POST", f"/v1/machines/{name}/start", {})
        return name

    def machine(self, name):
        return self.get(f"/v1/machines/{name}")

    def wait_state(self, name, state, seconds=15):
        end = time.time() + seconds
        while time.time() < end:
            if self.machine(name)["state"] == state:
                return
            time.sleep(0.05)
        self.fail(f"{name} did not become {state}: {self.machine(name)}")

    def names(self, name):
        return [s["name"] for s in self.get(f"/v1/machines/{name}/snapshots")["items"]]

    def uri(self, volume, point=""):
        suffix = "?point=" + urllib.parse.quote(point) if point else ""
        return self.get(f"/v1/volumes/{volume}/uri{suffix}")["uri"]

    def fill(self, volume, byte):
        subprocess.run(["qemu-io", "-f", "raw", "-c", f"write -P {byte} 0 1M", "-c", "flush",
                        self.uri(volume)], check=True, capture_output=True, timeout=30)

    def holds(self, uri, byte):
        out = subprocess.run(["qemu-io", "-r", "-f", "raw", "-c", f"read -P {byte} 0 1M", uri],
                             capture_output=True, text=True, timeout=30)
        return out.returncode == 0 and "Pattern verification failed" not in out.stdout

    def kill_hozond(self):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(self.dir + "/run/supervisor.sock")
            peer.sendall(b'{"op":"status"}\n')
            children = json.loads(peer.makefile().readline())["children"]
        os.kill(next(c["pid"] for c in children if c["name"] == "hozond"), signal.SIGKILL)

    def check_pool(self):
        check = self.do("POST", "/v1/pools/main/check", {})
        self.assertTrue(check["clean"], check)
        self.assertEqual(check["lost_blocks"], 0)


class StatesCase(InstanceCase):
    """A machine with two disks, whose states are told by the byte that its disks hold."""
    pool_bytes = 1 << 30

    def fill_all(self, byte):
        for disk in ("vda", "vdb"):
            self.fill(f"{self.name}.{disk}", byte)

    def new_states(self, *snapshots):
        """Snapshot N of the list holds the byte N + 1 on both disks; the machine holds 99."""
        self.name = self.new_machine(start=False)
        self.path = f"/v1/machines/{self.name}"
        for byte, snapshot in enumerate(snapshots, 1):
            self.fill_all(byte)
            self.do("POST", self.path + "/snapshots", {"name": snapshot})
        self.fill_all(99)

    def set_memory_size(self, mib):
        """There is no verb for it yet; the record is what a return compares and restores."""
        with sqlite3.connect(self.dir + "/hozon.db", timeout=10) as database:
            database.execute("UPDATE machines SET memory_bytes = ? WHERE name = ?",
                             (mib << 20, self.name))
        database.close()
