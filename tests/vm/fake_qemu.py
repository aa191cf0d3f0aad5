#!/usr/bin/env python3
"""Stands in for a QEMU of any version where only one is to be had: its monitor, its order of events in a
background save, and a migration stream of 2 MiB of pages. There is no guest.

It is named qemu-system-x86_64 in a directory at the head of PATH. The environment says what it is like:
  FAKE_QEMU_VERSION   "9.1.0"
  FAKE_QEMU_RESUMES   "yes": the guest runs again by itself once memory is protected, as until 8.2;
                      "no": who stopped it has to continue it, as from 9.0 on
  FAKE_QEMU_DELAY     seconds between the list of RAM blocks and the first page, and after it
  FAKE_QEMU_HELD      what it does while its stream does not take the list of RAM blocks: "waits", as until
                      8.1; "deaf": waits and answers nothing, as from 8.2 on; "leaves": does not wait
What it is told and what it does stands in fake.log in its directory, one word a line.
"""
import array
import json
import os
import re
import socket
import struct
import sys
import threading
import time

VERSION = os.environ.get("FAKE_QEMU_VERSION", "9.1.0")
RESUMES = os.environ.get("FAKE_QEMU_RESUMES", "no") == "yes"
HELD = os.environ.get("FAKE_QEMU_HELD", "waits")
DELAY = float(os.environ.get("FAKE_QEMU_DELAY", "0.3"))
MACHINE = "pc-q35-" + ".".join(VERSION.split(".")[:2])
PAGE, SENT_PAGES = 4096, 512
EOS, PAGE_RECORD, MEM_SIZE, SAME_BLOCK = 0x10, 0x08, 0x04, 0x20


def be(value, size):
    return value.to_bytes(size, "big")


def named(text):
    return be(len(text), 1) + text.encode()


def stream_head(ram_bytes):
    footer = be(0x7e, 1) + be(2, 4)
    return (b"QEVM" + be(3, 4) + be(7, 1) + be(len(MACHINE), 4) + MACHINE.encode()
            + be(1, 1) + be(2, 4) + named("ram") + be(0, 4) + be(4, 4)
            + be(ram_bytes | MEM_SIZE, 8) + named("m0") + be(ram_bytes, 8) + be(EOS, 8) + footer)


def stream_pages(first, count):
    words = be(2, 1) + be(2, 4)
    for number in range(first, first + count):
        same = number > first
        words += be(number * PAGE | PAGE_RECORD | (SAME_BLOCK if same else 0), 8)
        words += (b"" if same else named("m0")) + struct.pack("<Q", number + 1) * (PAGE // 8)
    return words + be(EOS, 8) + be(0x7e, 1) + be(2, 4)


def stream_tail():
    description = json.dumps({"page_size": PAGE, "devices": []}).encode()
    return (be(4, 1) + be(0, 4) + named("timer") + be(0, 4) + be(2, 4) + b"device state"
            + be(0x7e, 1) + be(0, 4) + be(0, 1) + be(6, 1) + be(len(description), 4) + description)


class Qemu:
    def __init__(self, arguments):
        self.log = open("fake.log", "a", buffering=1)
        text = " ".join(arguments)
        self.ram_bytes = int(re.search(r"size=(\d+)M", text).group(1)) << 20
        self.status = "inmigrate" if "-incoming" in arguments else (
            "paused" if "-S" in arguments else "running")
        self.migration, self.fd = {}, -1
        self.lock, self.main_loop = threading.Lock(), threading.Lock()
        self.connection = None
        if self.status == "inmigrate":
            threading.Thread(target=self.take_in, daemon=True).start()

    def note(self, word):
        self.log.write(word + "\n")

    def take_in(self):
        got = b""
        while part := os.read(3, 1 << 20):
            got += part
        self.note(f"loaded-{len(got)}")
        self.status = "paused"

    def say(self, message):
        with self.lock:
            self.connection.sendall(json.dumps(message).encode() + b"\r\n")

    def event(self, name, data=None):
        now = time.time()
        self.note(name)
        self.say({"event": name, "data": data or {}, "timestamp":
                  {"seconds": int(now), "microseconds": int(now % 1 * 1e6)}})

    def save(self, stream, background):
        with os.fdopen(stream, "wb", buffering=0) as out:
            head = stream_head(self.ram_bytes)
            if HELD == "waits":
                out.write(head)
            if HELD == "deaf":
                with self.main_loop:
                    out.write(head)
            self.note("active")
            self.migration = {"status": "active"}
            if HELD == "leaves":
                time.sleep(DELAY)
                out.write(head)
            if self.status == "running":
                self.status = "paused"
                self.event("STOP")
            if background and RESUMES:
                self.status = "running"
                self.event("RESUME")
            time.sleep(DELAY)
            self.note("first-page")
            out.write(stream_pages(0, SENT_PAGES // 2))
            time.sleep(DELAY)
            out.write(stream_pages(SENT_PAGES // 2, SENT_PAGES // 2) + stream_tail())
        if not background:
            self.status = "postmigrate"
        self.note("completed")
        self.migration = {"status": "completed"}
        self.event("MIGRATION", {"status": "completed"})

    def answer(self, command, arguments):
        if command == "query-status":
            return {"status": self.status, "running": self.status == "running"}
        if command == "query-kvm":
            return {"enabled": False, "present": True}
        if command == "query-migrate":
            return self.migration
        if command in ("query-chardev", "query-migrate-capabilities"):
            return [{"capability": "background-snapshot", "state": False}] if "cap" in command else []
        if command == "migrate-set-capabilities":
            for one in arguments["capabilities"]:
                if one["capability"] == "background-snapshot":
                    self.background = one["state"]
        if command == "stop":
            self.status = "paused"
            self.event("STOP")
        if command == "cont":
            self.status = "running"
            self.event("RESUME")
        if command == "migrate":
            self.migration = {"status": "setup"}
            stream, self.fd = self.fd, -1
            threading.Thread(target=self.save, args=(stream, self.background), daemon=True).start()
        return {}

    def serve(self, connection):
        self.connection = connection
        numbers = [int(word) for word in VERSION.split(".")]
        self.say({"QMP": {"version": {"qemu": dict(zip(("major", "minor", "micro"), numbers)),
                                      "package": ""}, "capabilities": []}})
        buffer = b""
        while True:
            part, ancillary, _, _ = connection.recvmsg(1 << 16, socket.CMSG_SPACE(4))
            if not part:
                return
            for _, kind, data in ancillary:
                if kind == socket.SCM_RIGHTS:
                    self.fd = array.array("i", data[:4])[0]
            buffer += part
            while b"\n" in buffer:
                line, buffer = buffer.split(b"\n", 1)
                request = json.loads(line)
                command = request["execute"]
                if not command.startswith("query-"):
                    self.note(command)
                with self.main_loop:
                    result = self.answer(command, request.get("arguments", {}))
                self.say({"return": result, "id": request.get("id")})
                if command == "quit":
                    os._exit(0)


def main():
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        print(f"QEMU emulator version {VERSION}")
        return
    if arguments == ["-machine", "help"]:
        print(f"q35                  Standard PC (alias of {MACHINE})")
        return
    path = next(re.search(r"path=([^,]+)", word).group(1) for word in arguments
                if word.startswith("socket,id=qmp,"))
    qemu = Qemu(arguments)
    if os.path.exists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1)
    while True:
        qemu.serve(listener.accept()[0])


if __name__ == "__main__":
    main()
