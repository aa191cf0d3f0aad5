#!/usr/bin/env python3
"""Proves: Ctrl-C while a command waits for its job cancels the job, says so, and everything is as it was
before; a second Ctrl-C stops waiting and leaves the job to end by itself; `job watch` is only left.

Method: the real programs import an image that is large enough to be interrupted on the way.
usage: interrupt_test.py BIN_DIRECTORY
"""
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "control"))
from instance import BIN, InstanceCase  # noqa: E402

IMAGE_MIB = 1500


class InterruptTest(InstanceCase):
    pool_bytes = 4 << 30

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.image = tempfile.NamedTemporaryFile(dir="/var/tmp", suffix=".raw")
        piece = os.urandom(1 << 20)
        for _ in range(IMAGE_MIB):
            cls.image.write(piece)
        cls.image.flush()

    @classmethod
    def tearDownClass(cls):
        cls.image.close()
        super().tearDownClass()

    def begin(self, *words):
        return subprocess.Popen([BIN + "/hozon", *words, "--dir", self.dir], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, start_new_session=True)

    def running_job(self, kind):
        end = time.time() + 30
        while time.time() < end:
            for job in self.get("/v1/jobs")["items"]:
                if job["kind"] == kind and job["state"] == "running" and job["progress_done"] > 0:
                    return job["id"]
            time.sleep(0.02)
        self.fail(f"no {kind} runs")

    def ended(self, job):
        end = time.time() + 120
        while time.time() < end:
            state = self.get(f"/v1/jobs/{job}")["state"]
            if state != "running":
                return state
            time.sleep(0.1)
        self.fail(f"job {job} does not end")

    def test_ctrl_c_cancels_an_import(self):
        command = self.begin("volume", "create", "v", "--from", self.image.name)
        job = self.running_job("volume.create")
        command.send_signal(signal.SIGINT)
        out, err = command.communicate(timeout=60)
        self.assertEqual((command.returncode, out), (1, ""), err)
        self.assertIn(f"cancelling job {job} (volume.create)", err)
        self.assertIn(f"error: job {job} (volume.create) was cancelled", err)
        self.assertEqual(self.get(f"/v1/jobs/{job}")["state"], "cancelled")
        self.assertNotIn("v", [v["name"] for v in self.get("/v1/volumes")["items"]])
        self.check_pool()

    def test_a_second_ctrl_c_stops_waiting(self):
        command = self.begin("volume", "create", "w", "--from", self.image.name)
        job = self.running_job("volume.create")
        os.kill(command.pid, signal.SIGSTOP)  # so that both are there when it looks
        command.send_signal(signal.SIGINT)
        time.sleep(0.1)
        os.kill(command.pid, signal.SIGCONT)
        time.sleep(0.01)
        command.send_signal(signal.SIGINT)
        _, err = command.communicate(timeout=60)
        self.assertEqual(command.returncode, 1, err)
        self.assertTrue(f"hozon job watch {job}" in err or "was cancelled" in err, err)
        self.assertIn(self.ended(job), ("done", "cancelled"))

    def test_watching_is_only_left(self):
        command = self.begin("volume", "create", "x", "--from", self.image.name)
        job = self.running_job("volume.create")
        watch = self.begin("job", "watch", str(job))
        time.sleep(0.3)
        watch.send_signal(signal.SIGINT)
        watch.communicate(timeout=30)
        self.assertEqual(watch.returncode, -signal.SIGINT)
        out, _ = command.communicate(timeout=120)
        self.assertIn("Volume x is ready", out)
        self.assertEqual(self.ended(job), "done")
        self.do("DELETE", "/v1/volumes/x")


if __name__ == "__main__":
    unittest.main(verbosity=2)
