#!/usr/bin/env python3
"""Measures what people wait for when the inventory is large: by default 1,000 machines with 100,000
snapshots (one of them with 10,000), written into SQLite directly; then hozond starts, and each call is made.

One number a line: name, milliseconds. Exits with 1 when a call takes 100 ms or the start 2 s (--limits).
usage: inventory.py [--programs DIR] [--machines N] [--snapshots N] [--limits]
"""
import argparse
import http.client
import json
import os
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid

DEEP = 10_000  # snapshots of the first machine


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
        self.results = {}

    def call(self, method, path, body=None):
        connection = Unix(self.dir + "/run/api.sock")
        connection.request(method, path, None if body is None else json.dumps(body),
                           {} if body is None else {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if answer.status >= 400:
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

    def fill(self):
        """Records of machines and snapshots as hozond writes them, from one real machine's."""
        self.start()
        self.call("POST", "/v1/pools?wait=true", {"name": "main", "size_bytes": 1 << 30})
        self.call("POST", "/v1/machines?wait=true", {"name": "m0", "memory_bytes": 64 << 20,
                                                     "disks": [{"size_bytes": 8 << 20}]})
        self.call("POST", "/v1/machines/m0/snapshots?wait=true", {"name": "first"})
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
        machines = self.arguments.machines
        rest = max(0, self.arguments.snapshots - DEEP) // max(1, machines - 1)
        for number in range(machines):
            owner = sample["machines"]["uuid"]
            if number:
                owner = str(uuid.uuid4())
                insert("machines", uuid=owner, name=f"m{number}", current_parent=None)
                insert("disks", machine=owner, volume=f"m{number}.vda")
                insert("nics", machine=owner, mac=f"52:54:01:00:{number >> 8:02x}:{number & 255:02x}")
            parent = database.execute("SELECT current_parent FROM machines WHERE uuid=?", (owner,)).fetchone()[0]
            for index in range(rest if number else DEEP):
                snapshot = str(uuid.uuid4())
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

    def measure(self, name, action, rounds=5):
        took = []
        for _ in range(rounds):
            begin = time.monotonic()
            action()
            took.append((time.monotonic() - begin) * 1000)
        self.results[name] = statistics.median(took)
        print(f"{name:32} {self.results[name]:9.1f}", flush=True)

    def run(self):
        self.fill()
        begin = time.monotonic()
        self.start()
        self.results["start"] = (time.monotonic() - begin) * 1000
        print(f"{'start':32} {self.results['start']:9.1f}", flush=True)
        time.sleep(1)
        names = iter(range(10_000_000))
        get = lambda path: lambda: self.call("GET", path)  # noqa: E731
        self.measure("machine list", get("/v1/machines"))
        self.measure("machine show", get("/v1/machines/m7"))
        self.measure("snapshot list", get("/v1/machines/m7/snapshots"))
        # Of the one that has a real point, so that its size can be told.
        self.measure("snapshot show", get("/v1/machines/m0/snapshots/first"))
        self.measure("snapshot create", lambda: self.call(
            "POST", "/v1/machines/m7/snapshots?wait=true", {"name": f"new{next(names)}", "settings_only": True}))
        self.measure("machine show, 10,000 snapshots", get("/v1/machines/m0"))
        self.measure("snapshot create, 10,000 of them", lambda: self.call(
            "POST", "/v1/machines/m0/snapshots?wait=true", {"name": f"new{next(names)}"}))
        self.measure("snapshot list, 10,000 of them", get("/v1/machines/m0/snapshots"), 3)

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
    parser.add_argument("--limits", action="store_true")
    arguments = parser.parse_args()
    bench = Bench(arguments)
    try:
        bench.run()
    finally:
        bench.close()
    slow = [name for name, took in bench.results.items()
            if took > (2000 if name == "start" else 100) and "10,000" not in name]
    if arguments.limits and slow:
        print(f"too slow: {', '.join(slow)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
