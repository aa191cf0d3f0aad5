"""The reader itself, without an instance: hozon-files, asked about a disk image over a real NBD server.
The first argument of the program is the directory with the programs."""
import io
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest

BIN = os.path.abspath(sys.argv.pop(1))
MIB = 1 << 20
FAILURES = "HOZON-COULD-NOT-READ"


class ReaderCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="hzh-")
        cls.disks = cls.dir + "/disks"
        os.mkdir(cls.disks)
        cls.socket = cls.dir + "/nbd"
        cls.server = subprocess.Popen(["nbdkit", "-f", "-r", "-U", cls.socket, "file",
                                       "dir=" + cls.disks], stderr=subprocess.DEVNULL)
        while not os.path.exists(cls.socket):
            time.sleep(0.01)
        cls.tree = cls.dir + "/tree"
        os.makedirs(cls.tree + "/a/b/c")
        for name in ("one", "a/two", "a/b/three", "a/b/c/four", "evilXname", "zz"):
            pathlib.Path(cls.tree, name).write_bytes(name.encode() * 700)
        os.symlink("a/two", cls.tree + "/link")

    @classmethod
    def tearDownClass(cls):
        cls.server.kill()
        cls.server.wait()
        shutil.rmtree(cls.dir)

    def wait_for(self, path, server):
        while not os.path.exists(path):
            self.assertIsNone(server.poll(), "nbdkit ended")
            time.sleep(0.01)

    def image(self, kind="ext4", mib=8, options=()):
        path = f"{self.dir}/image"
        with open(path, "wb") as file:
            file.truncate(mib * MIB)
        if kind == "vfat":
            subprocess.run(["mkfs.vfat", path], check=True, capture_output=True)
            subprocess.run(["mcopy", "-i", path, "-s", self.tree + "/a", self.tree + "/one", "::/"],
                           check=True, capture_output=True)
        else:
            subprocess.run(["mkfs." + kind, "-q", "-F", *options, "-d", self.tree, path], check=True,
                           capture_output=True)
        return path

    def debugfs(self, path, *requests):
        done = subprocess.run(["debugfs", "-w", "-f", "-", path], input="\n".join(requests) + "\n",
                              text=True, capture_output=True, timeout=30)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def put(self, content):
        with open(self.disks + "/disk", "wb") as file:
            file.write(content)

    def start(self, socket_path=None, export="disk", **query):
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(socket_path or self.socket)
        question = {"op": "list", "disks": ["vda"], "exports": [export], "filesystem": "",
                    "path": "/", "as_tar": False, **query}

        def place():
            os.dup2(peer.fileno(), 3)
            os.set_inheritable(3, True)
        reader = subprocess.Popen([BIN + "/hozon-files"], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, close_fds=False, preexec_fn=place)
        peer.close()
        reader.stdin.write(json.dumps(question).encode())
        reader.stdin.close()
        return reader

    def ask(self, **query):
        """(exit status, decoded first line or None, the rest)"""
        reader = self.start(**query)
        try:
            out = reader.stdout.read()
            status = reader.wait(60)
        finally:
            reader.kill()
            reader.stdout.close()
        line, _, rest = out.partition(b"\n")
        return status, json.loads(line) if line else None, rest

    def archive(self, **query):
        status, answer, rest = self.ask(op="read", as_tar=True, **query)
        self.assertEqual(status, 0, answer)
        with tarfile.open(fileobj=io.BytesIO(rest)) as archive:
            members = {m.name: m for m in archive}
            failures = ""
            if FAILURES in members:
                failures = archive.extractfile(FAILURES).read().decode()
        for name in members:
            self.assertFalse(name.startswith("/") or ".." in name.split("/"), name)
        return members, failures
