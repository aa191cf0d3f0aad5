#!/usr/bin/env python3
"""Proves: words, options and names of objects are completed in bash, zsh and fish as somebody types them,
names that need quotes too.

Method: the shell runs on a terminal of its own, beside a real instance. The beginning of a command is typed,
then Tab; then "printf" is put before it, so that the shell itself prints the words that it understands now.
Usage: completion_test.py BIN_DIRECTORY bash|zsh|fish. Exits with 77 when there is no such shell.
"""
import fcntl
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

BIN, SHELL = os.path.abspath(sys.argv[1]), sys.argv[2]
SOURCE = pathlib.Path(__file__).resolve().parents[2] / "src/cli"
sys.path.insert(0, str(SOURCE.parents[1] / "tests/support"))
sys.dont_write_bytecode = True
from instance import Instance  # noqa: E402

PATIENCE_S = 60
TAB, HOME, CLEAR = "\t", "\x01", "\x15"
START = {"bash": ["bash", "--norc", "--noprofile", "-i"],
         "zsh": ["zsh", "-f", "-i"],
         "fish": ["fish", "--no-config", "--private", "-i"]}
PREPARE = {
    "bash": ["PS1='READY> '", "set +o history", "source {source}/hozon.bash"],
    "zsh": ["PS1='READY> '", "bindkey -e", "fpath=({scratch}/functions $fpath)", "autoload -Uz compinit", "compinit -D -u"],
    "fish": ["function fish_prompt; printf 'READY> '; end", "set -g fish_autosuggestion_enabled 0", "source {source}/hozon.fish"],
}
FORGET = {"bash": "unset HOZON_DIR", "zsh": "unset HOZON_DIR", "fish": "set -e HOZON_DIR"}


class Terminal:
    """A shell on a terminal that is wide enough for every line."""

    def __init__(self, directory, environment):
        self.screen, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 240, 0, 0))
        self.shell = subprocess.Popen(START[SHELL], stdin=child, stdout=child, stderr=child, cwd=directory,
                                      env=environment, start_new_session=True,
                                      preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(child)
        self.count, self.unread = 0, b""

    def type(self, keys):
        os.write(self.screen, keys.encode())

    def until(self, mark):
        """What appears up to the mark."""
        end = time.monotonic() + PATIENCE_S
        while mark.encode() not in self.unread:
            if not select.select([self.screen], [], [], max(0, end - time.monotonic()))[0]:
                raise AssertionError(f"{mark} does not appear: {self.unread.decode(errors='replace')}")
            self.unread += os.read(self.screen, 65536)
        text, _, self.unread = self.unread.partition(mark.encode())
        return text.decode(errors="replace")

    def answer(self, keys):
        """What appears from these keys on until the shell has done a command that follows them."""
        self.count += 1
        self.type(keys + f"printf '[%s]\\n' {self.count}\r")
        seen = self.until(f"[{self.count}]")
        self.until("READY> ")  # before it Tab is a character like others
        return seen

    def close(self):
        os.killpg(self.shell.pid, signal.SIGKILL)
        self.shell.wait()
        os.close(self.screen)


class CompletionTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.mkdtemp(prefix="hz-tab-", dir="/tmp")
        cls.instance = Instance(BIN, cls.scratch + "/d").up("--pool-size", "1G")
        hozon = cls.instance.hozon
        for machine in ("web", "db"):
            hozon("machine", "create", machine, "--disk", "8M", "--memory", "64M")
        for name in ("before", "夜 1", "it's"):
            hozon("snapshot", "create", "web", name)
        hozon("volume", "create", "data", "--size", "1M")
        hozon("volume", "snapshot", "data", "--name", "monday")
        work = pathlib.Path(cls.scratch, "work")
        functions = pathlib.Path(cls.scratch, "functions")
        for made in (work, functions):
            made.mkdir()
        (work / "disk.img").touch()
        (functions / "_hozon").symlink_to(SOURCE / "hozon.zsh")
        cls.environment = {
            "HOME": cls.scratch, "HOZON_DIR": cls.scratch + "/d", "LC_ALL": "C.UTF-8", "TERM": "xterm",
            "PATH": BIN + ":/usr/bin:/bin", "XDG_CONFIG_HOME": cls.scratch + "/config"}
        cls.work = str(work)

    @classmethod
    def tearDownClass(cls):
        cls.instance.close()
        shutil.rmtree(cls.scratch, ignore_errors=True)

    def setUp(self):
        self.terminal = Terminal(self.work, self.environment)
        for line in PREPARE[SHELL]:
            self.terminal.answer(line.format(source=SOURCE, scratch=self.scratch) + "\r")

    def tearDown(self):
        self.terminal.close()

    def completed(self, typed):
        """The words of the line after Tab."""
        seen = self.terminal.answer(typed + TAB + HOME + "printf '\\n<%s>\\n' \r")
        return re.findall(r"^<([^\r\n]*)>\r?$", seen, re.M)

    def test_words_options_and_names(self):
        for typed, last in (("hozon sn", "snapshot"),
                            ("hozon snapshot trash rest", "restore"),
                            ("hozon snapshot show we", "web"),
                            ("hozon snapshot show web be", "before"),
                            ("hozon volume show web.v", "web.vda"),
                            ("hozon volume uri data@mo", "data@monday"),
                            ("hozon volume diff data data@", "data@monday"),
                            ("hozon volume list --pool m", "main"),
                            ("hozon volume list --pool=m", "--pool=main"),
                            ("hozon volume list -o ya", "yaml"),
                            ("hozon group create g --machines web,d", "web,db"),
                            ("hozon snapshot create web x --mem", "--memory")):
            words = self.completed(typed)
            self.assertEqual(words, typed.split()[:-1] + [last], typed)

    def test_names_that_need_quotes(self):
        for typed, last in (("夜", "夜 1"), ("'夜 ", "夜 1"), ('"夜', "夜 1"), ("夜\\ ", "夜 1"), ("it", "it's")):
            words = self.completed("hozon snapshot show web " + typed)
            self.assertEqual(words, ["hozon", "snapshot", "show", "web", last], typed)

    def test_files_where_there_are_no_names(self):
        self.assertEqual(self.completed("hozon machine create m --image di")[-1], "disk.img")
        self.assertEqual(self.completed("hozon machine show di")[-1], "disk.img")

    def test_the_instance_that_the_line_names(self):
        self.terminal.answer(FORGET[SHELL] + "\r")
        self.assertEqual(self.completed("hozon snapshot show we")[-1], "we")
        for option in ("--dir ~/d", f"--dir={self.scratch}/d", f"--dir {self.scratch}/d"):
            self.assertEqual(self.completed(f"hozon {option} snapshot show we")[-1], "web", option)

    def test_names_are_shown_without_files(self):
        line = "hozon snapshot show web "
        if SHELL == "fish":
            done = subprocess.run(["fish", "--no-config", "-c", f"source {SOURCE}/hozon.fish; complete -C '{line}'"],
                                  cwd=self.work, env=self.environment, capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(sorted(done.stdout.splitlines()), ["before", "it's", "夜 1"])
            return
        seen = self.terminal.answer(line + TAB + TAB + CLEAR)
        for name in ("before", "夜", "it"):
            self.assertIn(name, seen)
        self.assertNotIn("disk.img", seen)

    def test_nothing_is_said_when_the_instance_is_away(self):
        self.terminal.answer(f"{'set -gx HOZON_DIR ' if SHELL == 'fish' else 'export HOZON_DIR='}/nowhere\r")
        seen = self.terminal.answer("hozon machine show we" + TAB + CLEAR)
        self.assertNotIn("error", seen)
        self.assertEqual(self.completed("hozon machine show we")[-1], "we")


if __name__ == "__main__":
    if shutil.which(SHELL) is None:
        print(f"{SHELL} is not installed")
        sys.exit(77)
    unittest.main(argv=sys.argv[:1], verbosity=2)
