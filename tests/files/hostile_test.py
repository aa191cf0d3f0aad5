#!/usr/bin/env python3
"""Proves that a disk that lies does no harm: the reader ends soon, says what is wrong or what it could
read, and an archive made of it stays inside of where it is unpacked.

Method: the real reader, asked over a real NBD server, about file systems that were damaged on purpose:
random bytes in their records, circles of directories, names with '/' in them, sizes beyond all measure,
a disk that ends too early, a server that dies.
usage: hostile_test.py BIN_DIRECTORY [SEEDS]
"""
import json
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest

from reader_case import MIB, ReaderCase

SEEDS = int(sys.argv.pop(1)) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 40


class HostileTest(ReaderCase):
    def test_random_damage(self):
        images = [pathlib.Path(self.image(*how)).read_bytes()
                  for how in (("ext4", 8), ("ext2", 8), ("ext4", 8, ("-O", "inline_data")),
                              ("vfat", 8))]
        ends = {"answered": 0, "refused": 0, "fell": 0}
        for seed in range(SEEDS):
            chance = random.Random(seed)
            disk = bytearray(images[seed % len(images)])
            # Where something is stands the most that can be damaged.
            used = [i for i in range(0, len(disk), 512) if any(disk[i:i + 512])]
            for _ in range(chance.choice((1, 5, 40, 400))):
                at = chance.choice(used) + chance.randrange(512)
                disk[at] = chance.choice((0, 1, 0x7f, 0xff, chance.randrange(256)))
            self.put(disk)
            began = time.time()
            status, answer, _ = self.ask(**chance.choice((
                {"op": "filesystems"}, {"op": "list"}, {"op": "list", "path": "/a/b"},
                {"op": "read", "path": "/a/two"}, {"op": "read", "as_tar": True})))
            self.assertLess(time.time() - began, 40, f"seed {seed}")
            if status < 0:
                ends["fell"] += 1
                self.assertIn(-status, (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGABRT,
                                        signal.SIGSYS, signal.SIGKILL), f"seed {seed}")
                continue
            self.assertIsNotNone(answer, f"seed {seed}")
            if "error" in answer:
                ends["refused"] += 1
                self.assertNotIn("\n", answer["error"]["message"])
            else:
                ends["answered"] += 1
        self.assertGreater(ends["answered"], SEEDS // 4, ends)
        self.assertGreater(ends["refused"] + ends["fell"], 0, ends)

    def test_a_circle_of_directories_ends(self):
        path = self.image()
        self.debugfs(path, "ln a a/b/c/again")
        self.put(pathlib.Path(path).read_bytes())
        members, failures = self.archive()
        self.assertIn("root/a/b/c/four", members)
        self.assertNotIn("root/a/b/c/again/two", members)
        self.assertIn("root/a/b/c/again: a directory that contains itself", failures)

    def test_names_that_lead_elsewhere_lead_nowhere(self):
        image = pathlib.Path(self.image(options=("-O", "^metadata_csum"))).read_bytes()
        self.assertEqual(image.count(b"evilXname"), 1 + 700 * 9 // 9)
        at = image.index(b"\x09\x01evilXname") + 2  # the entry's; the content follows elsewhere
        image = image[:at] + b"../../eve" + image[at + 9:]
        self.put(image)
        status, answer, _ = self.ask()
        self.assertEqual(status, 0)
        self.assertIn("../../eve", [e["name"] for e in answer["entries"]])
        members, failures = self.archive()
        self.assertIn("root/one", members)
        self.assertFalse([name for name in members if "eve" in name])
        self.assertIn("../../eve", failures)
        status, answer, _ = self.ask(path="/../../eve")
        self.assertEqual((status, answer["error"]["code"]), (1, "not_found"))

    def test_a_size_beyond_all_measure(self):
        path = self.image()
        self.debugfs(path, "set_inode_field one size 17000000000000")
        self.put(pathlib.Path(path).read_bytes())
        began = time.time()
        members, _ = self.archive(path="/one")
        self.assertEqual(members["one"].size, 17_000_000_000_000)
        self.assertLess(time.time() - began, 30)

    def test_a_damaged_file_is_named_and_the_rest_is_there(self):
        path = self.image()
        self.debugfs(path, "set_inode_field a/two block[0] 0", "set_inode_field a/two block[1] 0")
        self.put(pathlib.Path(path).read_bytes())
        status, answer, _ = self.ask(op="read", path="/a/two")
        self.assertEqual((status, answer["error"]["code"]), (1, "wrong_state"))
        self.assertIn("'two' of file system vda", answer["error"]["message"])
        members, failures = self.archive()
        self.assertIn("root/a/b/three", members)
        self.assertTrue(re.search(r"^root/a/two: ", failures, re.M), failures)

    def test_a_disk_that_ends_too_early(self):
        image = pathlib.Path(self.image()).read_bytes()
        for length in (512, 1024, 2048, 70_000, MIB):
            self.put(image[:length])
            for op in ("filesystems", "list", "read"):
                status, answer, _ = self.ask(op=op, path="/one" if op == "read" else "/")
                self.assertIn(status, (0, 1))
                self.assertIsNotNone(answer, (length, op))

    def test_depth_is_bounded(self):
        path = self.image(mib=16)
        commands = []
        for _ in range(140):
            commands += ["mkdir d", "cd d"]
        self.debugfs(path, *commands)
        self.put(pathlib.Path(path).read_bytes())
        members, failures = self.archive()
        self.assertGreater(len(members), 100)
        self.assertIn("too deep", failures)

    def test_a_server_that_dies(self):
        self.put(pathlib.Path(self.image()).read_bytes())
        shutil.copy(self.disks + "/disk", self.dir + "/other")
        place = self.dir + "/dying"
        server = subprocess.Popen(["nbdkit", "-f", "-r", "-U", place, "--filter=delay", "file",
                                   self.dir + "/other", "delay-read=1"])
        self.wait_for(place, server)
        reader = self.start(place, "")
        time.sleep(1.2)
        server.kill()
        server.wait()
        out = reader.stdout.read()
        self.assertEqual(reader.wait(30), 1)
        reader.stdout.close()
        self.assertIn("error", json.loads(out))

    def test_a_disk_that_could_be_written_is_not_read(self):
        self.put(pathlib.Path(self.image()).read_bytes())
        shutil.copy(self.disks + "/disk", self.dir + "/writable")
        place = self.dir + "/rw"
        server = subprocess.Popen(["nbdkit", "-f", "-U", place, "file", self.dir + "/writable"])
        self.wait_for(place, server)
        reader = self.start(place, "")
        self.assertIn("offered for writing", reader.stdout.read().decode())
        self.assertEqual(reader.wait(30), 1)
        reader.stdout.close()
        server.kill()
        server.wait()


if __name__ == "__main__":
    unittest.main()
