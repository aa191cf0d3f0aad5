#!/usr/bin/env python3
"""Measures what people wait for when the inventory is large: by default 1,000 machines with 100,000
snapshots, one of them with 10,000 whose points are real, each with a block of its own. The records are
written into SQLite directly; then hozond starts, and each call is made, by REST and by the command line.

A line for each: what, milliseconds (median), in parentheses those that processors worked for it (of the
daemons and of the command, mean), how much of the limit the time is, verdict. Exits with 1 when
one was missed (--limits), which only means something on a machine that is idle otherwise.
usage: inventory.py [--programs DIR] [--machines N] [--snapshots N] [--deep N] [--limits]
"""
import argparse
import contextlib
import glob
import http.client
import json
import os
import resource
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "support"))
from nbd import WRITE, Nbd  # noqa: E402

CALL_MS, START_MS, DEEP_MS = 100, 2000, 1000  # limits; the last for all snapshots of the deep machine
BLOCK = 4096


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=120)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class Bench:
    def __init__(self, arguments):
        self.arguments = arguments
        self.dir = tempfile.mkdtemp(prefix="hz-inventory-")
        self.missed = []

    def call(self, method, path, body=None, refused=False):
        connection = Unix(self.dir + "/run/api.sock")
        connection.request(method, path, None if body is None else json.dumps(body),
                           {} if body is None else {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if (answer.status >= 400) != refused:
            raise SystemExit(f"{method} {path}: {answer.status} {text[:300]!r}")
        return json.loads(text)

    def supervisor(self, words):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(self.dir + "/run/supervisor.sock")
            peer.sendall(json.dumps(words).encode() + b"\n")
            return json.loads(peer.makefile().readline())

    def start(self):
        subprocess.run([self.arguments.programs + "/hozon-supervisor", "--dir", self.dir, "--detach"],
                       check=True, timeout=60)
        while True:
            try:
                return self.call("GET", "/v1")
            except (OSError, http.client.HTTPException):
                time.sleep(0.002)

    def stop(self):
        self.supervisor({"op": "stop"})
        while os.path.exists(self.dir + "/run/supervisor.sock"):
            time.sleep(0.01)
            try:
                self.supervisor({"op": "status"})
            except (OSError, ValueError):
                break

    def link(self, op, **parameters):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(self.dir + "/run/pool-main.link")
            peer.sendall(json.dumps({"id": 1, "op": op, **parameters}).encode() + b"\n")
            answer = json.loads(peer.makefile().readline())
        if not answer["ok"]:
            raise SystemExit(f"{op}: {answer}")
        return answer["result"]

    def make_points(self, volume, names):
        """Points of it, each with a block that nobody else has."""
        disk = Nbd.connect(self.dir + "/run/pool-main.nbd", volume)
        for number, name in enumerate(names):
            disk.submit(WRITE, number * BLOCK % disk.size, BLOCK, bytes([number % 255 + 1]) * BLOCK)
            disk.collect(1)
            self.link("volume.snapshot", volumes=[volume], point=name)

    def cli(self, *words):
        environment = os.environ | {"HOZON_DIR": self.dir, "LC_ALL": "C"}
        done = subprocess.run([self.arguments.programs + "/hozon", *words], env=environment,
                              capture_output=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"hozon {' '.join(words)}: {done.stderr.decode()}")
        return done.stdout

    def fill(self):
        """Records of machines and snapshots as hozond writes them, from one real machine's."""
        self.start()
        self.call("POST", "/v1/pools?wait=true", {"name": "main", "size_bytes": 1 << 30})
        self.call("POST", "/v1/machines?wait=true", {"name": "m0", "memory_bytes": 64 << 20,
                                                     "disks": [{"size_bytes": 8 << 20}]})
        self.call("POST", "/v1/machines/m0/snapshots?wait=true", {"name": "first"})
        machines = self.arguments.machines
        rest = max(0, self.arguments.snapshots - self.arguments.deep) // max(1, machines - 1)
        # Of two machines the points are real, so that their sizes can be told.
        real = {0: [str(uuid.uuid4()) for _ in range(self.arguments.deep)],
                7: [str(uuid.uuid4()) for _ in range(rest)]}
        self.link("volume.create", name="m7.vda", size_bytes=8 << 20)
        for number, names in real.items():
            self.make_points(f"m{number}.vda", names)
        self.stop()
        database = sqlite3.connect(self.dir + "/hozon.db", isolation_level=None)
        database.execute("PRAGMA synchronous=OFF")
        columns = {table: [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
                   for table in ("machines", "snapshots", "disks", "nics", "snapshot_disks")}
        sample = {table: dict(zip(names, database.execute(f"SELECT * FROM {table}").fetchone()))
                  for table, names in columns.items()}

        def insert(table, **changes):
            row = sample[table] | changes
            database.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(row))})",
                             [row[name] for name in columns[table]])

        database.execute("BEGIN")
        for number in range(machines):
            owner = sample["machines"]["uuid"]
            if number:
                owner = str(uuid.uuid4())
                insert("machines", uuid=owner, name=f"m{number}", current_parent=None)
                insert("disks", machine=owner, volume=f"m{number}.vda")
                insert("nics", machine=owner, mac=f"52:54:01:00:{number >> 8:02x}:{number & 255:02x}")
            parent = database.execute("SELECT current_parent FROM machines WHERE uuid=?", (owner,)).fetchone()[0]
            names = real.get(number) or [str(uuid.uuid4()) for _ in range(rest)]
            for index, snapshot in enumerate(names):
                insert("snapshots", uuid=snapshot, machine=owner, name=f"s{index}", parent=parent,
                       created_ns=sample["snapshots"]["created_ns"] + index + 1)
                insert("snapshot_disks", snapshot=snapshot, volume=f"m{number}.vda", point=snapshot)
                database.execute("INSERT INTO snapshot_marks VALUES (?, '[]', 0, 0, '')", (snapshot,))
                parent = snapshot
            database.execute("UPDATE machines SET current_parent=? WHERE uuid=?", (parent, owner))
        database.execute("COMMIT")
        count = database.execute("SELECT COUNT(*) FROM snapshots").fetchone()[0]
        database.close()
        print(f"# {machines} machines, {count} snapshots, inventory of "
              f"{os.path.getsize(self.dir + '/hozon.db') >> 20} MiB", flush=True)

    def processor_ms(self):
        """That the daemons and the programs called so far have used."""
        total = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = (total.ru_utime + total.ru_stime) * 1000
        for child in self.supervisor({"op": "status"})["children"]:
            for path in glob.glob(f"/proc/{child['pid']}/task/*/schedstat"):
                with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
                    used += int(file.read().split()[0]) / 1e6
        return used

    def judge(self, name, took_ms, limit_ms, processor_ms=0.0):
        met = took_ms <= limit_ms
        if not met:
            self.missed.append(name)
        print(f"{name:44} {took_ms:9.1f} ms ({processor_ms:8.1f}) {took_ms / limit_ms:6.2f} x "
              f"{limit_ms} ms  {'met' if met else 'MISSED'}", flush=True)

    def measure(self, name, action, limit_ms=CALL_MS, rounds=7):
        took, used = [], self.processor_ms()
        for _ in range(rounds):
            begin = time.monotonic()
            action()
            took.append((time.monotonic() - begin) * 1000)
        used = (self.processor_ms() - used) / rounds
        self.judge(name, statistics.median(took), limit_ms, used)

    def run(self):
        self.fill()
        begin = time.monotonic()
        self.start()
        self.judge("start of hozond", (time.monotonic() - begin) * 1000, START_MS)
        time.sleep(1)
        names = iter(range(10_000_000))
        get = lambda path: lambda: self.call("GET", path)  # noqa: E731
        cli = lambda *words: lambda: self.cli(*words)  # noqa: E731
        snapshots = "/v1/machines/m7/snapshots"
        deep = "/v1/machines/m0/snapshots"
        self.measure("machine list", get("/v1/machines"))
        self.measure("machine list, filtered by state", get("/v1/machines?state=up"))
        self.measure("machine list, filtered by name", get("/v1/machines?name=m77*"))
        self.measure("machine list, a page of 100", get("/v1/machines?limit=100&after=500:x"))
        self.measure("machine list, names only", get("/v1/machines?fields=name"))
        self.measure("machine show", get("/v1/machines/m7"))
        self.measure("snapshot list", get(snapshots))
        self.measure("snapshot list with sizes", get(snapshots + "?sizes=true"))
        self.measure("snapshot list, by tag", get(snapshots + "?tags=x"))
        self.measure("snapshot show", get(deep + "/s5"))
        self.measure("snapshot create", lambda: self.call(
            "POST", snapshots + "?wait=true", {"name": f"new{next(names)}", "settings_only": True}))
        # Their difference is what an entry of the audit log costs: it is on the disk before the answer.
        self.measure("a refused GET", lambda: self.call("GET", "/v1/machines/none", refused=True), rounds=101)
        self.measure("a refused POST, with its audit entry", lambda: self.call(
            "POST", "/v1/machines/none/pause", {}, refused=True), rounds=101)
        self.measure("hozon machine list", cli("machine", "list"))
        self.measure("hozon machine show m7", cli("machine", "show", "m7"))
        self.measure("hozon snapshot list m7", cli("snapshot", "list", "m7"))
        self.measure("hozon snapshot tree m7", cli("snapshot", "tree", "m7"))
        self.measure("hozon snapshot show m0 s5", cli("snapshot", "show", "m0", "s5"))
        self.measure("hozon snapshot create m7", lambda: self.cli(
            "snapshot", "create", "m7", f"new{next(names)}", "--settings-only"))
        self.many(names, get, cli, deep)

    def many(self, names, get, cli, deep):
        """The machine with 10,000 snapshots: pages as everything else, all of them in a second."""
        print(f"# of the machine with {self.arguments.deep} snapshots:", flush=True)
        self.measure("machine show", get("/v1/machines/m0"))
        self.measure("snapshot list, a page of 100", get(deep + "?limit=100&after=5000:x"))
        self.measure("snapshot list, a page of 100 with sizes",
                     get(deep + "?limit=100&after=5000:x&sizes=true"))
        self.measure("snapshot list, filtered by name", get(deep + "?name=s77*"))
        self.measure("snapshot create", lambda: self.call(
            "POST", deep + "?wait=true", {"name": f"new{next(names)}"}))
        self.measure("snapshot list, all", get(deep), DEEP_MS, 3)
        self.measure("snapshot list, all with sizes", get(deep + "?sizes=true"), DEEP_MS, 3)
        self.measure("points of its volume", get("/v1/volumes/m0.vda/points"), DEEP_MS, 3)
        self.measure("hozon snapshot list m0", cli("snapshot", "list", "m0"), DEEP_MS, 3)
        self.measure("hozon snapshot list m0 --sizes", cli("snapshot", "list", "m0", "--sizes"), DEEP_MS, 3)
        self.measure("hozon snapshot tree m0", cli("snapshot", "tree", "m0"), DEEP_MS, 3)

    def close(self):
        try:
            self.stop()
        except OSError:
            pass
        shutil.rmtree(self.dir, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", default="build/check/bin")
    parser.add_argument("--machines", type=int, default=1000)
    parser.add_argument("--snapshots", type=int, default=100_000)
    parser.add_argument("--deep", type=int, default=10_000)
    parser.add_argument("--limits", action="store_true")
    arguments = parser.parse_args()
    bench = Bench(arguments)
    try:
        bench.run()
    finally:
        bench.close()
    if arguments.limits and bench.missed:
        print(f"too slow: {', '.join(bench.missed)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
