#!/usr/bin/env python3
"""Proves how hozon-stored begins and ends: pools are made whole or not at all, refusals are one clear
line with the right exit status, a polite end answers what is running, and after kill -9 in the middle
of writes everything that was acknowledged is there."""
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
import unittest

import nbd_case
from nbd_case import MIB, main

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from nbd import FLUSH, WRITE, Gone, Nbd  # noqa: E402
from stored import Scratch, Stored, create_pool, wait_for  # noqa: E402


class Daemon(unittest.TestCase):
    def setUp(self):
        self.scratch = Scratch("stored")
        self.directory = self.scratch.__enter__()
        self.servers = []

    def tearDown(self):
        result = self._outcome.result
        if any(test is self for test, _ in result.errors + result.failures):
            print(*(server.last_words() for server in self.servers), sep="\n")
        for server in self.servers:
            server.close()
        self.scratch.__exit__(None)

    def serve(self):
        create_pool(nbd_case.PROGRAM, self.directory / "pool", 256 * MIB)
        server = Stored(nbd_case.PROGRAM, self.directory)
        self.servers.append(server)
        return server.start()

    def refusal(self, status, *words):
        """Runs hozon-stored, which must refuse; its one line."""
        run = subprocess.run([nbd_case.PROGRAM, *map(str, words)], capture_output=True, text=True,
                             timeout=30)
        self.assertEqual(run.returncode, status, run.stderr)
        return run.stderr.splitlines()[0]

    def test_create_makes_a_whole_pool_or_nothing(self):
        pool = self.directory / "pool"
        create_pool(nbd_case.PROGRAM, pool, 20 << 30)
        self.assertEqual(sorted(os.listdir(pool)), ["data", "reserve"])
        data = os.stat(pool / "data")
        self.assertEqual(data.st_size, (20 << 30) + 64 * MIB)  # with the journal
        self.assertGreaterEqual(data.st_blocks * 512, 64 * MIB)
        self.assertLess(data.st_blocks * 512, 74 * MIB)
        self.assertEqual(os.stat(pool).st_mode & 0o777, 0o700)
        self.assertIn("exists already", self.refusal(1, "create", "--pool-dir", pool, "--size", "1G"))
        self.assertIn("at least", self.refusal(2, "create", "--pool-dir", f"{pool}2", "--size", "1M"))
        self.refusal(2, "create", "--pool-dir", f"{pool}2", "--size", "-1")
        self.refusal(2, "create", "--pool-dir", f"{pool}2", "--size", "1e99")
        self.refusal(2, "create", "--size", "1G")
        self.refusal(1, "create", "--pool-dir", self.directory / "no/such", "--size", "1G")
        self.assertEqual(os.listdir(self.directory), ["pool"])

    def test_killed_create_leaves_nothing_in_the_way(self):
        pool = self.directory / "pool"
        for delay in (0.0, 0.005, 0.01, 0.02, 0.05):
            command = [nbd_case.PROGRAM, "create", "--pool-dir", pool, "--size", "8G"]
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            time.sleep(delay)
            process.kill()
            process.wait()
            if pool.exists():  # it was quicker
                # The reserve comes last; the next opening makes up for it.
                self.assertEqual(set(os.listdir(pool)) - {"reserve"}, {"data"})
                subprocess.run(["rm", "-r", pool], check=True)
        create_pool(nbd_case.PROGRAM, pool, 1 << 30)
        self.assertEqual(os.listdir(self.directory), ["pool"])

    def test_refusals_say_what_is_wrong(self):
        self.refusal(2)
        self.refusal(2, "--pool-dir")
        self.refusal(2, "--pool-dir", "x", "--nonsense", "y")
        sockets = ["--nbd-socket", self.directory / "n", "--link-socket", self.directory / "l"]
        missing = self.refusal(3, "--pool-dir", self.directory / "none", *sockets)
        self.assertIn("not a pool directory", missing)
        server = self.serve()
        server.call("pool.stats")
        second = self.refusal(3, "--pool-dir", self.directory / "pool", "--nbd-socket",
                              server.nbd_path, "--link-socket", server.link_path)
        self.assertIn("already open in another process", second)
        server.call("pool.stats")  # its sockets are still its own
        self.assertEqual(server.stop(), 0)
        self.assertIn("--nbd-socket", self.refusal(2, "--pool-dir", self.directory / "pool"))
        self.assertIn("107", self.refusal(2, "--pool-dir", self.directory / "pool", "--nbd-socket",
                                          "/tmp/" + "x" * 110, "--link-socket", "/tmp/y"))
        os.truncate(self.directory / "pool/data", 100 * MIB + 5)
        self.assertIn("cut short", self.refusal(3, "--pool-dir", self.directory / "pool", *sockets))
        with open(self.directory / "pool/data", "r+b") as data:
            data.truncate(256 * MIB)
            data.write(b"nonsense" * 2048)
        self.refusal(3, "--pool-dir", self.directory / "pool", *sockets)

    def test_polite_end_answers_what_is_running(self):
        server = self.serve()
        server.call("volume.create", name="v", size_bytes=64 * MIB)
        client, idle = server.nbd("v"), server.nbd("v")
        for unit in range(100):
            client.submit(WRITE, unit * 65536, 65536, bytes([unit + 1]) * 65536, tag=unit)
        client.collect(1)
        begin = time.monotonic()
        self.assertEqual(server.stop(), 0)
        self.assertLess(time.monotonic() - begin, 5)
        answered = []
        try:
            while len(answered) < 99:
                answered += [tag for tag, error, _ in client.collect(1) if error == 0]
        except Gone:
            pass
        client.abandon()
        idle.abandon()
        server.start()
        after = server.nbd("v")
        for unit in answered:
            self.assertEqual(after.read(unit * 65536, 65536), bytes([unit + 1]) * 65536)
        after.close()
        for name in ("SIGINT", "SIGTERM"):
            server.process.send_signal(getattr(signal, name))
            self.assertEqual(server.process.wait(30), 0)
            server.start()
            server.call("pool.stats")

    def test_kill_in_the_middle_of_writes_loses_nothing_acknowledged(self):
        server = self.serve()
        units = 32 * MIB // 4096
        server.call("volume.create", name="v", size_bytes=32 * MIB)
        source, known, unsure = random.Random(3), {}, {}
        sequence = 0
        for _ in range(4):
            client = server.nbd("v")
            deadline = time.monotonic() + 0.4
            while time.monotonic() < deadline:
                while len(client.waiting) < 64:
                    unit = source.randrange(units)
                    if unit in unsure:
                        continue
                    sequence += 1
                    data = sequence.to_bytes(8, "big") * 512
                    unsure[unit] = data
                    client.submit(WRITE, unit * 4096, 4096, data, tag=unit)
                    if sequence % 500 == 0:
                        client.submit(FLUSH, 0, 0, tag=None)
                self.settle(client.collect(1), known, unsure)
            server.kill()
            try:
                while True:
                    self.settle(client.collect(1), known, unsure)
            except Gone:
                pass
            client.abandon()
            server.start()
            begin = time.monotonic()
            after = server.nbd("v")
            self.verify(after, known, unsure)
            self.assertLess(time.monotonic() - begin, 30)
            after.close()
        self.assertGreater(len(known), 1000)
        report = server.call("pool.check", data=True)
        self.assertEqual((report["errors"], report["lost_blocks"]), ([], 0))

    @staticmethod
    def settle(answers, known, unsure):
        for unit, error, _ in answers:
            if unit is not None and error == 0:
                known[unit] = unsure.pop(unit)

    def verify(self, client, known, unsure):
        content = b"".join(client.read(offset, MIB) for offset in range(0, 32 * MIB, MIB))
        for unit in range(len(content) // 4096):
            found = content[unit * 4096:unit * 4096 + 4096]
            before = known.get(unit, bytes(4096))
            self.assertIn(found, {before, unsure.get(unit, before)}, f"unit {unit}")
            if unit in unsure:
                known[unit] = found
        unsure.clear()

    def test_socket_paths_and_restart_without_a_supervisor(self):
        create_pool(nbd_case.PROGRAM, self.directory / "pool", 256 * MIB)
        command = [nbd_case.PROGRAM, "--pool-dir", self.directory / "pool", "--nbd-socket",
                   self.directory / "n", "--link-socket", self.directory / "l"]
        for _ in range(2):  # the second one replaces the sockets that the first one left
            with open(self.directory / "log", "ab") as log:
                process = subprocess.Popen(command, stderr=log)
            wait_for("the sockets", lambda: (self.directory / "l").exists())
            wait_for("an answer", self.answers)
            process.kill()
            process.wait()

    def answers(self):
        try:
            Nbd(str(self.directory / "n"), "none")
        except Gone:
            return False
        except Exception:  # noqa: BLE001: a refusal is an answer
            return True
        return True


if __name__ == "__main__":
    main()
