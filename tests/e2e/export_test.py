#!/usr/bin/env python3
"""Proves that `hozon volume export` gives the bytes of one instant, in a file that is whole or absent.

A foreign reader (qemu-img) compares the file with the point; hozond is killed in the middle of an
export, and neither a partial file nor the point that the export read is left.

  export_test.py --programs DIR
"""
import argparse
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from instance import Instance  # noqa: E402
from nbd import Nbd  # noqa: E402
from stored import Scratch, wait_for  # noqa: E402

MIB = 1 << 20
PROGRAMS = None


class ExportTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = cls.enterClassContext(Scratch("export"))
        cls.instance = Instance(PROGRAMS, cls.scratch / "i").up("--pool-size", "2G")
        cls.addClassCleanup(cls.instance.close)
        cls.instance.hozon("volume", "create", "disk", "--size", "1G")
        cls.write("disk", [(place * 64 * MIB, random.randbytes(MIB)) for place in range(16)])
        cls.instance.hozon("volume", "snapshot", "disk", "--name", "p")

    @classmethod
    def write(cls, volume, pieces):
        client = Nbd.connect(str(cls.scratch / "i/run/pool-main.nbd"), volume)
        for offset, data in pieces:
            client.write(offset, data)
        client.flush()
        client.close()

    def points(self):
        shown = self.instance.ask("volume", "show", "disk")["points"]
        return sorted(point["name"] for point in shown)

    def refused(self, code, words, *command):
        run = self.instance.run("volume", "export", *map(str, command))
        self.assertEqual(run.returncode, code, run.stderr)
        self.assertIn(words, run.stderr)
        self.assertEqual(run.stderr.count("\n"), 1, run.stderr)

    def equal(self, file, form, export):
        uri = self.instance.hozon("volume", "uri", export).strip()
        subprocess.run(["qemu-img", "compare", "-f", form, "-F", "raw", file, uri], check=True,
                       stdout=subprocess.DEVNULL)

    def test_a_point_in_both_formats(self):
        for name, form in (("a.raw", "raw"), ("a.qcow2", "qcow2")):
            file = self.scratch / name
            made = self.instance.ask("volume", "export", "disk@p", str(file))
            self.assertEqual((made["format"], made["bytes"]), (form, 1 << 30))
            self.equal(file, form, "disk@p")
            self.assertLess(file.stat().st_blocks * 512, 32 * MIB, "zeros take no space")
            self.assertEqual(file.stat().st_mode & 0o777, 0o600)
            file.unlink()

    def test_a_volume_is_exported_as_it_was_when_asked(self):
        file = self.scratch / "now.raw"
        self.write("disk", [(MIB, b"before" * 512)])
        self.instance.hozon("volume", "export", "disk", str(file))
        self.equal(file, "raw", "disk")
        self.write("disk", [(MIB, b"behind" * 512)])
        self.assertEqual(file.read_bytes()[MIB:MIB + 6], b"before")
        self.assertEqual(self.points(), ["p"])
        file.unlink()

    def test_what_exists_is_replaced_only_when_told(self):
        file = self.scratch / "kept"
        file.write_text("dear")
        self.refused(4, "--force", "disk@p", file)
        self.assertEqual(file.read_text(), "dear")
        self.instance.hozon("volume", "export", "disk@p", str(file), "--force", "--skip-verify")
        self.equal(file, "raw", "disk@p")
        file.unlink()

    def test_places_and_words_that_make_no_sense(self):
        self.refused(3, "nosuch", "disk@nosuch", self.scratch / "x")
        self.refused(3, "missing", "disk@p", self.scratch / "missing/x")
        self.refused(2, "vmdk", "disk@p", self.scratch / "x", "--format", "vmdk")
        data = self.scratch / "i/pools/main/data"
        self.refused(2, "own directory", "disk@p", data, "--force")
        self.assertFalse((self.scratch / "x").exists())

    def test_a_killed_export_leaves_nothing(self):
        file = self.scratch / "half.raw"
        self.instance.hozon("volume", "create", "big", "--size", "512M")
        piece = random.randbytes(4 * MIB)
        self.write("big", [(at * 4 * MIB, piece) for at in range(128)])
        export = subprocess.Popen(
            [PROGRAMS / "hozon", "volume", "export", "big", file], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env=os.environ | {"HOZON_DIR": str(self.scratch / "i")})
        wait_for("the partial file", lambda: list(self.scratch.glob("half.raw.part-*")))
        self.kill_hozond()
        export.wait(120)
        wait_for("the partial file's end", lambda: not list(self.scratch.glob("half.raw*")), 60)
        wait_for("the point's end", lambda: not self.instance.ask("volume", "show", "big")["points"])
        self.assertNotEqual(export.returncode, 0)
        self.instance.hozon("volume", "delete", "big")

    def kill_hozond(self):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(self.scratch / "i/run/supervisor.sock"))
            peer.sendall(b'{"op":"status"}\n')
            children = json.loads(peer.makefile().readline())["children"]
        os.kill(next(one["pid"] for one in children if one["name"] == "hozond"), signal.SIGKILL)
        time.sleep(0.1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", required=True, type=pathlib.Path)
    args, rest = parser.parse_known_args()
    PROGRAMS = args.programs.resolve()
    unittest.main(argv=[sys.argv[0], *rest])
