#!/usr/bin/env python3
"""How long a guest stands still, and stalls, while it is saved with its memory; beside plain QEMU.

One number per line: NAME VALUE UNIT. Compare numbers of one run only.
  bench/memory_pause.py --programs DIR [--quick] [--guest DIR] [--sizes 256,1024,4096]

A real guest of each size touches most of its memory, then runs a meter that reads the clock in a tight
loop, or one that writes and reads a disk (tools/guest/gap_meter.cc). A guest that is stopped does not feel
time pass, so the meter's counter is watched from here, in the memory of QEMU, by this host's clock.
  stop      between STOP and RESUME, as Hozon reports it
  gap       longest time in which the counter did not move; `idle`: without a save, for the noise
  stall     longest gap by the guest's own clock: waits of a running guest for a page to be saved
  plain     the same guest and meter with `stop; migrate to a file; cont` of QEMU alone
"""
import argparse
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/support"))
sys.dont_write_bytecode = True
from instance import Instance  # noqa: E402

loader = importlib.machinery.SourceFileLoader("guest_run", str(ROOT / "tools/guest-run"))
guest_run = importlib.util.module_from_spec(importlib.util.spec_from_loader("guest_run", loader))
loader.exec_module(guest_run)

MARKS = {"loop": b"hzgauge-loopLOOP", "disk": b"hzgauge+diskdisk"}
MIB = 1 << 20


class Gauge:
    """The meter's page inside the memory of a QEMU process."""

    def __init__(self, pid, kind, ram_bytes):
        self.memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
        self.at = self.find(pid, MARKS[kind], ram_bytes)

    def find(self, pid, mark, ram_bytes):
        for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
            start, end = (int(word, 16) for word in line.split()[0].split("-"))
            if end - start < ram_bytes or "rw" not in line:
                continue
            for at in range(start, end, 64 * MIB):
                try:
                    part = os.pread(self.memory, min(64 * MIB, end - at), at)
                except OSError:
                    continue
                found = part.find(mark)
                while found >= 0:
                    before = part[found + 16:found + 24]
                    time.sleep(0.05)
                    if found % 4096 == 0 and os.pread(self.memory, 8, at + found + 16) != before:
                        return at + found
                    found = part.find(mark, found + 1)
        raise RuntimeError("the meter is not in the guest's memory")

    def count(self):
        return struct.unpack("<Q", os.pread(self.memory, 8, self.at + 16))[0]

    def stall_us(self):
        return struct.unpack("<Q", os.pread(self.memory, 8, self.at + 24))[0]


class Watch(threading.Thread):
    """Longest time without a new count, by the host's clock."""

    def __init__(self, gauge):
        super().__init__()
        self.gauge, self.wanted, self.longest = gauge, True, 0.0
        self.start()

    def run(self):
        count, moved = self.gauge.count(), time.monotonic()
        while self.wanted:
            now_count, now = self.gauge.count(), time.monotonic()
            if now_count != count:
                self.longest = max(self.longest, now - moved)
                count, moved = now_count, now
            time.sleep(0.0002)

    def end(self):
        self.wanted = False
        self.join()
        return self.longest * 1000


class Qmp:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.lines = self.socket.makefile("rw")
        self.lines.readline()
        self.call("qmp_capabilities")

    def call(self, command, arguments=None, fd=None):
        text = json.dumps({"execute": command, "arguments": arguments or {}}).encode() + b"\n"
        if fd is None:
            self.socket.sendall(text)
        else:
            socket.send_fds(self.socket, [text], [fd])
        while True:
            answer = json.loads(self.lines.readline())
            if "return" in answer or "error" in answer:
                return answer.get("return")


def plain_save(qmp, path):
    """What an owner of plain QEMU does; milliseconds from `stop` to `cont`."""
    with open(path, "wb") as file:
        qmp.call("migrate-set-parameters", {"max-bandwidth": 20 << 30})
        qmp.call("getfd", {"fdname": "file"}, file.fileno())
        began = time.monotonic()
        qmp.call("stop")
        qmp.call("migrate", {"uri": "fd:file"})
        while qmp.call("query-migrate").get("status") not in ("completed", "failed"):
            time.sleep(0.002)
        qmp.call("cont")
        return (time.monotonic() - began) * 1000


def say(name, value, unit):
    print(f"memory_pause.{name} {value:.1f} {unit}", flush=True)


def in_guest(path, command, wait=60):
    status, text = guest_run.run(path, command, wait)
    if status != 0:
        raise RuntimeError(f"{command}: {text}")


def wait_shell(log):
    for _ in range(6000):
        if log.exists() and "hozon-guest#" in log.read_text(errors="replace"):
            return
        time.sleep(0.05)
    raise RuntimeError("no shell in the guest")


def load_guest(console, megabytes):
    fill = int(megabytes * 0.8) - 40
    in_guest(console, f"(fillmemory {fill} >/dev/null 2>&1 &)")
    in_guest(console, "while [ ! -e /run/filled ]; do sleep 0.2; done", 600)


def start_meter(console, kind):
    in_guest(console, "killall gapmeter 2>/dev/null; true")
    in_guest(console, f"(gapmeter {kind if kind == 'disk' else ''} >/dev/null 2>&1 &); sleep 1")


def hozon_size(instance, guest, megabytes):
    name = f"m{megabytes}"
    instance.hozon("machine", "create", name, "--memory", f"{megabytes}M", "--disk", "16M",
                   "--kernel", f"{guest}/vmlinuz", "--initrd", f"{guest}/initrd",
                   "--append", "console=ttyS0 quiet panic=-1")
    instance.hozon("machine", "start", name)
    machine = instance.ask("machine", "show", name)
    wait_shell(pathlib.Path(machine["console_log"]))
    load_guest(machine["console_socket"], megabytes)
    for kind in ("loop", "disk"):
        start_meter(machine["console_socket"], kind)
        gauge = Gauge(machine["pid"], kind, megabytes * MIB)
        watch = Watch(gauge)
        time.sleep(3)
        say(f"{megabytes}M.{kind}.gap_idle", watch.end(), "ms")
        stall_idle = gauge.stall_us() / 1000
        watch = Watch(gauge)
        made = instance.ask("snapshot", "create", name, kind, "--memory", timeout=600)["memory"]
        say(f"{megabytes}M.{kind}.gap_save", watch.end(), "ms")
        say(f"{megabytes}M.{kind}.stall_idle", stall_idle, "ms")
        say(f"{megabytes}M.{kind}.stall_save", gauge.stall_us() / 1000, "ms")
        say(f"{megabytes}M.{kind}.stop", made["stop_us"] / 1000, "ms")
        say(f"{megabytes}M.{kind}.save", made["duration_us"] / 1000, "ms")
        say(f"{megabytes}M.{kind}.stored", made["written_bytes"] / MIB, "MiB")
    began = time.monotonic()
    instance.ask("snapshot", "return", name, "loop", "--yes", timeout=600)
    say(f"{megabytes}M.return", (time.monotonic() - began) * 1000, "ms")
    instance.run("machine", "kill", name, "--yes")
    instance.run("machine", "delete", name, "--yes", timeout=300)


def plain_size(guest, scratch, megabytes):
    place = pathlib.Path(tempfile.mkdtemp(dir=scratch))
    with open(place / "disk.img", "wb") as disk:
        disk.truncate(16 * MIB)
    qemu = subprocess.Popen(
        ["qemu-system-x86_64", "-accel", os.environ.get("HOZON_ACCEL", "tcg"), "-cpu", "qemu64",
         "-machine", "q35,memory-backend=m0", "-m", f"{megabytes}M",
         "-object", f"memory-backend-ram,id=m0,size={megabytes}M", "-nodefaults", "-no-user-config",
         "-display", "none", "-qmp", f"unix:{place}/qmp,server=on,wait=off", "-chardev",
         f"socket,id=ser,path={place}/ser,server=on,wait=off,logfile={place}/log",
         "-serial", "chardev:ser", "-drive", f"file={place}/disk.img,format=raw,if=virtio,cache=none",
         "-kernel", f"{guest}/vmlinuz", "-initrd", f"{guest}/initrd",
         "-append", "console=ttyS0 quiet panic=-1"])
    try:
        wait_shell(place / "log")
        load_guest(str(place / "ser"), megabytes)
        qmp = Qmp(str(place / "qmp"))
        for kind in ("loop", "disk"):
            start_meter(str(place / "ser"), kind)
            watch = Watch(Gauge(qemu.pid, kind, megabytes * MIB))
            time.sleep(1)
            stop = plain_save(qmp, place / "memory")
            time.sleep(0.5)
            say(f"{megabytes}M.{kind}.plain_gap", watch.end(), "ms")
            say(f"{megabytes}M.{kind}.plain_stop", stop, "ms")
    finally:
        qemu.kill()
        qemu.wait()
        shutil.rmtree(place)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", required=True)
    parser.add_argument("--guest", default="")
    parser.add_argument("--sizes", default="")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    scratch = tempfile.mkdtemp(prefix="hz-pause-")
    guest = options.guest or scratch + "/guest"
    subprocess.run([ROOT / "tools/guest/build", guest], check=True)
    sizes = [int(s) for s in (options.sizes or ("256" if options.quick else "256,1024,4096")).split(",")]
    instance = Instance(options.programs, scratch + "/instance")
    try:
        instance.up("--pool-size", "20G")
        for megabytes in sizes:
            hozon_size(instance, guest, megabytes)
            plain_size(guest, scratch, megabytes)
    finally:
        instance.close()
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
