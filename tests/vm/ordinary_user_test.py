#!/usr/bin/env python3
"""Proves: an instance of an ordinary user keeps and loads memory, too. With --instant it maps the memory through
FUSE where the user may open /dev/fuse; where not, it says why, and loads all of it.

Method: every program runs as a user without any privilege. What that user may do with /dev/fuse is decided in
a mount namespace of its own, so nothing changes on the host. Needs root to become somebody else.
usage: ordinary_user_test.py --programs DIR --guest DIR
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

from snapshot_case import Instance, SnapshotCase, main, wait_for

USER = 65534
BECOME = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
# $1: mode of /dev/fuse. Programs are looked at through a bind mount, because their place may be private.
NAMESPACE = """set -e
mknod "$2/fuse" c 10 229
chmod "$1" "$2/fuse"
mount --bind "$2/fuse" /dev/fuse
shift 2
exec "$@"
"""


class OrdinaryInstance(Instance):
    mode = "666"

    def run(self, *words, timeout=120, **options):
        environment = os.environ | {"HOZON_DIR": str(self.directory), "NO_COLOR": "1",
                                    "HOME": str(self.directory)}
        command = [*BECOME, self.programs / "hozon", *words]
        if words[0] == "up":
            place = self.directory.parent
            command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", NAMESPACE, "sh",
                       self.mode, place, *command]
        return subprocess.run(command, env=environment, text=True, stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=timeout, **options)


@unittest.skipUnless(os.geteuid() == 0 and shutil.which("setpriv") and os.path.exists("/dev/fuse"),
                     "needs root, setpriv and /dev/fuse")
class OrdinaryUser(SnapshotCase):
    mode = "666"

    @classmethod
    def setUpClass(cls):
        cls.place = tempfile.mkdtemp(prefix="hz-user-")
        os.chmod(cls.place, 0o755)
        for source in (cls.programs, cls.guest):
            shutil.copytree(source, cls.place + "/" + pathlib.Path(source).name,
                            ignore=lambda _, names: [n for n in names if n.endswith(("_test", "_fuzz"))])
        cls.scratch = cls.place + "/instance"
        os.mkdir(cls.scratch)
        os.chown(cls.scratch, USER, USER)
        cls.guest = cls.place + "/" + pathlib.Path(cls.guest).name
        cls.instance = OrdinaryInstance(cls.place + "/" + pathlib.Path(cls.programs).name, cls.scratch)
        cls.instance.mode = cls.mode
        cls.instance.up("--pool-size", "2G")
        cls.counter = 0

    @classmethod
    def tearDownClass(cls):
        cls.instance.close()
        shutil.rmtree(cls.place)

    def saved(self):
        self.boot("96M", disks=2)
        self.assertEqual(os.stat(f"/proc/{self.machine()['pid']}").st_uid, USER)
        self.start_stamper()
        self.stamps(9)
        return self.snapshot("s")["memory"]


class WithFuse(OrdinaryUser):
    def test_an_instant_return_maps_the_memory(self):
        self.saved()
        result = self.returned("s", "--instant")
        self.assertEqual(result["load"]["mode"], "instant", result["load"])
        maps = pathlib.Path(f"/proc/{self.machine()['pid']}/maps").read_text()
        self.assertIn("/mount/ram", maps)
        self.stamps(9)
        self.hozon("machine", "kill", self.name, "--yes")
        images = pathlib.Path(self.scratch, "images")
        wait_for("an end of the image", lambda: not images.exists() or not list(images.iterdir()), 30)


class WithoutFuse(OrdinaryUser):
    mode = "600"

    def test_memory_is_loaded_whole_and_the_answer_says_why(self):
        self.saved()
        result = self.returned("s", "--instant")
        self.assertEqual(result["load"]["mode"], "full")
        self.assertIn("see that this user may open /dev/fuse", result["load"]["mode_reason"])
        self.assertIn("memory loaded whole, because", " ".join(result["steps"]))
        self.stamps(9)


if __name__ == "__main__":
    main(sys.modules["__main__"])
