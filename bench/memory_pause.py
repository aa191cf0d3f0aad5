#!/usr/bin/env python3
"""How long a guest stands still, and stalls, while it is saved with its memory, and how long it takes
until it runs again from there; beside plain QEMU.

One number per line: NAME VALUE UNIT. Compare numbers of one run only.
  bench/memory_pause.py --programs DIR [--quick] [--guest DIR] [--sizes 256,1024,4096] [--rounds 3]

A real guest touches so much memory (and has a little more, for its kernel), then runs a meter that reads the clock in a tight
loop, or one that writes and reads a disk (tools/guest/gap_meter.cc). A guest that is stopped does not feel
time pass, so the meter's counter is watched from here, in the memory of QEMU, by this host's clock.
Of several rounds the median is printed, of gaps and stalls also the `_worst`.
  stop      between STOP and RESUME, as Hozon reports it
  gap       longest time in which the counter did not move; `idle`: without a save, for the noise
  stall     longest gap by the guest's own clock: waits of a running guest for a page to be saved
  plain     the same guest and meter with `stop; migrate to a file; cont` of QEMU alone; its load reads
            the file from this host's memory, `cold`: from the medium, as Hozon reads its pool
  return    from the command to its answer; `running`: until the guest could run; `qemu`: the part from
            the start of QEMU on. full: all pages first; instant: pages come when they are touched
  untouched the stop of a guest of 2 GiB that touched 256 MiB, from its second save on (docs/decisions/0012)
  verdict   what the issue asks for: 1 holds, 0 does not. The stop does not grow with memory; no stall of
            a guest of 1 GiB exceeds 100 ms; an instant return runs 200 ms after QEMU's start
"""
import argparse
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import shutil
import socket
import statistics
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


SAID = {}


def say(name, value, unit):
    SAID[name] = value
    print(f"memory_pause.{name} {value:.1f} {unit}", flush=True)


def say_rounds(name, values, unit, worst=False):
    say(name, statistics.median(values), unit)
    if worst:
        say(name + "_worst", max(values), unit)


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


def ram_of(megabytes):
    """The memory of a guest that touches so much: its kernel, tools and page tables take the rest."""
    return megabytes + 256 + megabytes // 16


def load_guest(console, megabytes):
    in_guest(console, f"(fillmemory {megabytes} >/dev/null 2>&1 &)")
    in_guest(console, "while [ ! -e /run/filled ]; do sleep 0.2; done", 600)


def start_meter(console, kind):
    in_guest(console, "killall gapmeter 2>/dev/null; true")
    in_guest(console, f"(gapmeter {kind if kind == 'disk' else ''} >/dev/null 2>&1 &); sleep 1")


def hozon_saves(instance, machine, kind, rounds):
    """Saves the guest `rounds` times under the meter of that kind."""
    name, prefix = machine["name"], f"{machine['name'][1:]}M.{kind}"
    start_meter(machine["console_socket"], kind)
    gauge = Gauge(machine["pid"], kind, machine["memory_bytes"])
    watch = Watch(gauge)
    time.sleep(3)
    say(f"{prefix}.gap_idle", watch.end(), "ms")
    say(f"{prefix}.stall_idle", gauge.stall_us() / 1000, "ms")
    gaps, stalls, made = [], [], []
    for number in range(rounds):
        start_meter(machine["console_socket"], kind)  # which forgets the longest stall
        gauge = Gauge(machine["pid"], kind, machine["memory_bytes"])
        watch = Watch(gauge)
        made.append(instance.ask("snapshot", "create", name, f"{kind}{number}", "--memory",
                                 timeout=1200)["memory"])
        gaps.append(watch.end())
        stalls.append(gauge.stall_us() / 1000)
    say_rounds(f"{prefix}.gap_save", gaps, "ms", worst=True)
    say_rounds(f"{prefix}.stall_save", stalls, "ms", worst=True)
    say_rounds(f"{prefix}.stop", [one["stop_us"] / 1000 for one in made], "ms", worst=True)
    say_rounds(f"{prefix}.save", [one["duration_us"] / 1000 for one in made], "ms")
    say(f"{prefix}.stored_first", made[0]["written_bytes"] / MIB, "MiB")
    say(f"{prefix}.stored_last", made[-1]["written_bytes"] / MIB, "MiB")


def hozon_returns(instance, name, megabytes, rounds):
    for mode, words in (("full", []), ("instant", ["--instant"])):
        answers, loads = [], []
        for _ in range(rounds):
            began = time.monotonic()
            result = instance.ask("snapshot", "return", name, "loop0", "--yes", *words, timeout=1200)
            answers.append((time.monotonic() - began) * 1000)
            loads.append(result["load"])
            if loads[-1]["mode"] != mode:
                raise RuntimeError(f"not {mode}: {loads[-1]['mode_reason']}")
        prefix = f"{megabytes}M.return_{mode}"
        say_rounds(prefix, answers, "ms")
        say_rounds(prefix + ".running", [one["total_us"] / 1000 for one in loads], "ms")
        say_rounds(prefix + ".qemu", [one["qemu_us"] / 1000 for one in loads], "ms", worst=True)


def boot(instance, guest, name, ram_megabytes):
    instance.hozon("machine", "create", name, "--memory", f"{ram_megabytes}M", "--disk", "16M",
                   "--kernel", f"{guest}/vmlinuz", "--initrd", f"{guest}/initrd",
                   "--append", "console=ttyS0 quiet panic=-1")
    instance.hozon("machine", "start", name)
    machine = instance.ask("machine", "show", name)
    wait_shell(pathlib.Path(machine["console_log"]))
    return machine


def remove(instance, name):
    instance.run("machine", "kill", name, "--yes")
    instance.run("machine", "delete", name, "--yes", timeout=600)


def hozon_size(instance, guest, megabytes, rounds):
    name = f"m{megabytes}"
    machine = boot(instance, guest, name, ram_of(megabytes))
    load_guest(machine["console_socket"], megabytes)
    for kind in ("loop", "disk"):
        hozon_saves(instance, machine, kind, rounds)
    hozon_returns(instance, name, megabytes, rounds)
    remove(instance, name)


def hozon_untouched(instance, guest, rounds):
    machine = boot(instance, guest, "untouched", 2048)
    load_guest(machine["console_socket"], 256)
    stops = [instance.ask("snapshot", "create", "untouched", f"s{number}", "--memory",
                          timeout=1200)["memory"]["stop_us"] / 1000 for number in range(rounds + 1)]
    say("untouched.first_stop", stops[0], "ms")
    say_rounds("untouched.stop", stops[1:], "ms", worst=True)
    remove(instance, "untouched")


def plain_command(guest, place, megabytes):
    return ["qemu-system-x86_64", "-accel", os.environ.get("HOZON_ACCEL", "tcg"), "-cpu", "qemu64",
            "-machine", "q35,memory-backend=m0", "-m", f"{ram_of(megabytes)}M",
            "-object", f"memory-backend-ram,id=m0,size={ram_of(megabytes)}M", "-nodefaults",
            "-no-user-config", "-display", "none", "-qmp", f"unix:{place}/qmp,server=on,wait=off",
            "-chardev", f"socket,id=ser,path={place}/ser,server=on,wait=off,logfile={place}/log",
            "-serial", "chardev:ser",
            "-drive", f"file={place}/disk.img,format=raw,if=virtio,cache=none",
            "-kernel", f"{guest}/vmlinuz", "-initrd", f"{guest}/initrd",
            "-append", "console=ttyS0 quiet panic=-1"]


def connect_qmp(path):
    for _ in range(6000):
        try:
            return Qmp(str(path))
        except OSError:
            time.sleep(0.002)
    raise RuntimeError("QEMU does not answer")


def plain_load(guest, place, megabytes, cold=False):
    """Milliseconds from the start of QEMU on the saved file until the guest runs."""
    with open(place / "memory", "r+b") as file:
        if cold:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        os.set_inheritable(file.fileno(), True)
        began = time.monotonic()
        qemu = subprocess.Popen(plain_command(guest, place, megabytes) +
                                ["-S", "-incoming", f"fd:{file.fileno()}"], close_fds=False)
        try:
            qmp = connect_qmp(place / "qmp")
            while qmp.call("query-status")["status"] == "inmigrate":
                time.sleep(0.002)
            qmp.call("cont")
            return (time.monotonic() - began) * 1000
        finally:
            qemu.kill()
            qemu.wait()
            (place / "qmp").unlink(missing_ok=True)


def plain_size(guest, scratch, megabytes, rounds):
    place = pathlib.Path(tempfile.mkdtemp(dir=scratch))
    with open(place / "disk.img", "wb") as disk:
        disk.truncate(16 * MIB)
    qemu = subprocess.Popen(plain_command(guest, place, megabytes))
    try:
        wait_shell(place / "log")
        load_guest(str(place / "ser"), megabytes)
        qmp = Qmp(str(place / "qmp"))
        for kind in ("loop", "disk"):
            stops, gaps = [], []
            for _ in range(rounds):
                start_meter(str(place / "ser"), kind)
                watch = Watch(Gauge(qemu.pid, kind, ram_of(megabytes) * MIB))
                time.sleep(1)
                stops.append(plain_save(qmp, place / "memory"))
                time.sleep(0.5)
                gaps.append(watch.end())
            say_rounds(f"{megabytes}M.{kind}.plain_gap", gaps, "ms", worst=True)
            say_rounds(f"{megabytes}M.{kind}.plain_stop", stops, "ms", worst=True)
        qemu.kill()
        qemu.wait()
        (place / "qmp").unlink(missing_ok=True)
        for name, cold in (("plain_load", False), ("plain_load_cold", True)):
            say_rounds(f"{megabytes}M.{name}",
                       [plain_load(guest, place, megabytes, cold) for _ in range(rounds)], "ms")
    finally:
        qemu.kill()
        qemu.wait()
        shutil.rmtree(place)


def verdicts(sizes):
    """Against what was asked for; a stop may vary by a few milliseconds without growing."""
    small, large = sizes[0], sizes[-1]
    if large > small:
        grown = max(SAID[f"{large}M.{kind}.stop"] - SAID[f"{small}M.{kind}.stop"]
                    for kind in ("loop", "disk"))
        say("verdict.stop_does_not_grow", float(grown < 10), "bool")
    if 1024 in sizes:
        worst = max(SAID[f"1024M.{kind}.stall_save_worst"] for kind in ("loop", "disk"))
        say("verdict.stall_below_100ms_at_1024M", float(worst <= 100), "bool")
    worst = SAID[f"{large}M.return_instant.qemu_worst"]
    say(f"verdict.instant_within_200ms_at_{large}M", float(worst <= 200), "bool")


def megabytes_of(text):
    return [int(size) for size in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--programs", required=True, help="directory of hozon, hozond and the others")
    parser.add_argument("--guest", default="", help="a guest that is built already")
    parser.add_argument("--sizes", type=megabytes_of, metavar="MIB,...",
                        help="that the guests touch (256,1024,4096)")
    parser.add_argument("--rounds", type=int, default=0, help="of each size (3)")
    parser.add_argument("--quick", action="store_true", help="one round of 256 MiB")
    options = parser.parse_args()
    scratch = tempfile.mkdtemp(prefix="hz-pause-")
    guest = options.guest or scratch + "/guest"
    subprocess.run([ROOT / "tools/guest/build", guest], check=True)
    sizes = options.sizes or ([256] if options.quick else [256, 1024, 4096])
    rounds = options.rounds or (1 if options.quick else 3)
    instance = Instance(options.programs, scratch + "/instance")
    try:
        instance.up("--pool-size", "40G")
        for megabytes in sizes:
            hozon_size(instance, guest, megabytes, rounds)
            plain_size(guest, scratch, megabytes, rounds)
        if not options.quick:
            hozon_untouched(instance, guest, rounds)
        verdicts(sizes)
    finally:
        instance.close()
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
