"""A real guest in a real instance, for tests of snapshots with memory."""
import http.client
import importlib.machinery
import importlib.util
import os
import pathlib
import re
import shutil
import signal
import socket
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))
sys.dont_write_bytecode = True
from instance import Failed, Instance  # noqa: E402,F401

_loader = importlib.machinery.SourceFileLoader("guest_run", str(ROOT / "tools/guest-run"))
_spec = importlib.util.spec_from_loader("guest_run", _loader)
guest_run = importlib.util.module_from_spec(_spec)
_loader.exec_module(guest_run)


GUEST_PATIENCE_S = 600  # a guest on a busy host is slow, which is no fault of what is tested


def wait_for(what, ready, seconds=60.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = ready()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen within {seconds:.0f} s")


class OwnQemu:
    """A program of one's own that everybody finds as QEMU, until close()."""

    def __init__(self, text):
        self.real = shutil.which("qemu-system-x86_64")
        self.path = os.environ["PATH"]
        self.tools = tempfile.mkdtemp(prefix="hz-qemu-")
        self.write(text)
        os.environ["PATH"] = f"{self.tools}:{self.path}"

    def write(self, text):
        """{qemu} in it is the real one."""
        program = pathlib.Path(self.tools, "qemu-system-x86_64")
        program.write_text(text.replace("{qemu}", self.real))
        program.chmod(0o755)

    def close(self):
        os.environ["PATH"] = self.path
        shutil.rmtree(self.tools)


class SnapshotCase(unittest.TestCase):
    """One instance per class; `programs` and `guest` come from the command line."""
    programs, guest = "", ""
    pool_size = "2G"
    append = ""  # to the kernel's command line

    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.mkdtemp(prefix="hz-memory-")
        cls.instance = Instance(cls.programs, cls.scratch)
        cls.instance.up("--pool-size", cls.pool_size)
        cls.counter = 0

    @classmethod
    def tearDownClass(cls):
        cls.instance.close()
        shutil.rmtree(cls.scratch, ignore_errors=True)

    def setUp(self):
        self.name = ""

    def tearDown(self):
        for machine in self.instance.list("machine"):
            if machine["state"] != "down":
                self.instance.run("machine", "kill", machine["name"], "--yes")
            self.instance.run("machine", "delete", machine["name"], "--yes")

    # --- the machine ---
    def boot(self, memory="128M", disks=2):
        type(self).counter += 1
        self.name = f"vm{self.counter}"
        words = []
        for _ in range(disks):
            words += ["--disk", "16M"]
        self.hozon("machine", "create", self.name, "--memory", memory, *words, "--kernel",
                   f"{self.guest}/vmlinuz", "--initrd", f"{self.guest}/initrd", "--append",
                   f"console=ttyS0 quiet panic=-1 {self.append}".strip())
        self.hozon("machine", "start", self.name)
        wait_for("the guest's shell", lambda: "hozon-guest#" in pathlib.Path(
            self.machine()["console_log"]).read_text(errors="replace"), 120)

    def hozon(self, *words, timeout=240):
        return self.instance.hozon(*words, timeout=timeout)

    def ask(self, *words, timeout=240):
        return self.instance.ask(*words, timeout=timeout)

    def call(self, method, path):
        """One request to the API; its answer's text."""
        connection = http.client.HTTPConnection("localhost", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self.scratch + "/run/api.sock")
        connection.request(method, path)
        text = connection.getresponse().read().decode()
        connection.close()
        return text

    def machine(self, name=None):
        return self.ask("machine", "show", name or self.name)

    def state(self):
        return self.machine()["state"]

    def run_in_guest(self, command, wait=60, name=None):
        status, text = guest_run.run(self.machine(name)["console_socket"], command, wait)
        self.assertEqual(status, 0, f"{command}: {text}")
        return text.strip()

    def snapshot(self, name, *words):
        return self.ask("snapshot", "create", self.name, name, "--memory", *words)

    def returned(self, name, *words):
        return self.ask("snapshot", "return", self.name, name, "--yes", *words)

    def names(self):
        return [snapshot["name"] for snapshot in self.instance.list("snapshot", self.name)]

    # --- the stamper (tools/guest/stamper.cc) ---
    def start_stamper(self, pages=4096):
        self.run_in_guest(f"(stamper {pages} >/dev/null 2>&1 &)")
        self.stamps(1)

    def look(self):
        """(stamp, verdict), or None when nothing was read: there is no line yet, or the kernel's own
        words came between on the console."""
        _, text = guest_run.run(self.machine()["console_socket"], "cat /run/stamper", 60)
        found = re.search(r"^(\d+) (ok|VIOLATION.*?)\s*$", text, re.M)
        return (int(found[1]), found[2]) if found else None

    def stamp(self):
        number, verdict = wait_for("a stamp", self.look, GUEST_PATIENCE_S)
        self.assertEqual(verdict, "ok")
        return number

    def stamps(self, count):
        """Waits until the guest has agreed with itself `count` times more; its stamp then."""
        first = self.stamp()

        def reached():
            number = self.stamp()
            return number if number >= first + count else 0
        return wait_for(f"{count} stamps", reached, GUEST_PATIENCE_S)

    # --- what a save may leave ---
    def leftovers(self):
        directory = self.machine()["directory"]
        return [f for f in os.listdir(directory) if f.startswith(("save-", "load-"))]

    def pool_used(self):
        """Bytes in use once nothing is being given back any more."""
        def settled():
            pool = self.ask("pool", "show", "main")
            return pool if pool["reclaiming"] == 0 else None
        return wait_for("an end of reclaiming", settled)["used_bytes"]

    def volumes(self):
        return [v["name"] for v in self.instance.list("volume") if v["name"].startswith(self.name)]

    def job(self, kind="snapshot.create"):
        """The newest job of that kind."""
        return next((j for j in self.instance.list("job") if j["kind"] == kind), None)

    def pid_of(self, program):
        """Of the one process of this instance that runs `program`."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                here = os.readlink(entry / "cwd")
            except OSError:
                continue
            if os.path.basename(words[0].decode()) == program and (
                    here.startswith(self.scratch) or any(self.scratch.encode() in w for w in words)):
                found.append(int(entry.name))
        return found[0] if found else 0

    def kill(self, program):
        pid = wait_for(f"a process of {program}", lambda: self.pid_of(program), 20)
        os.kill(pid, signal.SIGKILL)
        return pid


def main(case_module):
    """usage: PROGRAM --programs DIR --guest DIR [unittest's arguments]"""
    arguments = sys.argv[1:]
    for option in ("programs", "guest"):
        at = arguments.index("--" + option)
        setattr(SnapshotCase, option, str(pathlib.Path(arguments[at + 1]).resolve()))
        del arguments[at:at + 2]
    unittest.main(module=case_module, argv=[sys.argv[0], *arguments])
