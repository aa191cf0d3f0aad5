"""The systems under comparison. Each serves one disk of `size` bytes over NBD on a unix socket, whose
first `span` bytes are written; all storage is O_DIRECT through io_uring.

  raw                a raw file behind qemu-storage-daemon: what there is to lose
  qcow2_external     one qcow2 file per snapshot, each on top of the one before
  qcow2_external_l2  the same with extended_l2=on (subclusters)
  qcow2_internal     one qcow2 file, snapshots inside
  hozon              hozon-stored
Snapshots are taken live, in the way that each system has for it. `physical` is no server: it is fio on
the raw file itself.
"""
import json
import os
import pathlib
import random
import socket
import subprocess

from nbd import WRITE, Nbd
from stored import Stored, create_pool, wait_for

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
REWRITE = 64 * KIB
IN_FLIGHT = 16


class Qmp:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(120)
        self.socket.connect(str(path))
        self.file = self.socket.makefile("rwb")
        self.file.readline()
        self.call("qmp_capabilities")

    def call(self, command, **arguments):
        line = json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n"
        self.file.write(line)
        self.file.flush()
        while True:
            answer = json.loads(self.file.readline())
            if "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]


class System:
    """What all have in common: the writing, and being asked by fio."""

    def __init__(self, name, size, span):
        self.name, self.size, self.span = name, size, span
        self._client = None

    def fio_options(self):
        return ["--ioengine=nbd", f"--uri=nbd+unix:///disk?socket={self.socket_path}"]

    def client(self):
        """A connection of our own, kept for the next call."""
        if self._client is None:
            self._client = Nbd.connect(str(self.socket_path), "disk")
        return self._client

    def hang_up(self):
        if self._client is not None:
            self._client.close()
            self._client = None

    def write(self, requests):
        """Writes every (offset, data), many at a time, and flushes."""
        client = self.client()
        for offset, data in requests:
            client.submit(WRITE, offset, len(data), data)
            if len(client.waiting) >= IN_FLIGHT:
                self._collect(client)
        while client.waiting:
            self._collect(client)
        client.flush()

    def _collect(self, client):
        for _, error, _ in client.collect(1):
            if error:
                raise RuntimeError(f"{self.name}: a write failed with error {error}")

    def fill(self):
        """Writes the span, from its beginning to its end."""
        data = [random.randbytes(MIB) for _ in range(4)]
        self.write((offset, data[offset // MIB % 4]) for offset in range(0, self.span, MIB))
        return self

    def rewrite(self, total):
        """`total` bytes of the span again, in random blocks of 64 KiB."""
        data = random.randbytes(REWRITE)
        self.write((random.randrange(self.span // REWRITE) * REWRITE, data)
                   for _ in range(total // REWRITE))


class Daemon(System):
    """A qemu-storage-daemon with one node, `top`, whose protocol node is the file itself."""

    def __init__(self, name, directory, size, span):
        super().__init__(name, size, span)
        self.directory = pathlib.Path(directory) / name
        self.directory.mkdir()
        self.socket_path = self.directory / "nbd.sock"
        self.process = None

    def serve(self, node, node_name):
        monitor = self.directory / "qmp.sock"
        self.process = subprocess.Popen(
            ["qemu-storage-daemon", "--chardev", f"socket,id=m,path={monitor},server=on,wait=off",
             "--monitor", "chardev=m", "--nbd-server",
             f"addr.type=unix,addr.path={self.socket_path},max-connections=8",
             "--blockdev", json.dumps(node), "--export",
             f"type=nbd,id=disk,node-name={node_name},name=disk,writable=on"])
        wait_for("qemu-storage-daemon", self.socket_path.exists)
        self.qmp = Qmp(monitor)

    @property
    def pid(self):
        return self.process.pid

    def close(self):
        self.hang_up()
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
        subprocess.run(["rm", "-rf", self.directory], check=True)


def file_node(path):
    return {"driver": "file", "filename": str(path), "aio": "io_uring", "cache": {"direct": True}}


class Raw(Daemon):
    def __init__(self, directory, size, span):
        super().__init__("raw", directory, size, span)
        self.image = self.directory / "disk.img"
        with open(self.image, "wb") as file:
            file.truncate(size)
        self.serve(file_node(self.image) | {"node-name": "top"}, "top")


class Physical(System):
    """fio on the file of a Raw, past every server. Only read, and filled by the Raw."""

    def __init__(self, raw):
        super().__init__("physical", raw.size, raw.span)
        self.image = raw.image
        self.pid = os.getpid()  # no server spends anything

    def fill(self):
        return self

    def close(self):
        pass

    def fio_options(self):
        return ["--ioengine=io_uring", "--direct=1", f"--filename={self.image}"]


class Qcow2(Daemon):
    def __init__(self, name, directory, size, span, options=""):
        super().__init__(name, directory, size, span)
        self.options, self.snapshots = options, 0
        self.serve(self._overlay(0), "q0")

    def _overlay(self, number):
        path = self.directory / f"q{number}.qcow2"
        options = ["-o", self.options] if self.options else []
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, path, str(self.size)],
                       check=True)
        return {"driver": "qcow2", "node-name": f"q{number}", "file": file_node(path)}


class Qcow2External(Qcow2):
    """As `virsh snapshot-create --disk-only` does it."""

    def snapshot(self):
        self.snapshots += 1
        node = self._overlay(self.snapshots)
        self.qmp.call("blockdev-add", **node, backing=None)
        self.qmp.call("blockdev-snapshot", node=f"q{self.snapshots - 1}",
                      overlay=f"q{self.snapshots}")


class Qcow2Internal(Qcow2):
    def __init__(self, directory, size, span):
        super().__init__("qcow2_internal", directory, size, span)

    def snapshot(self):
        self.snapshots += 1
        self.qmp.call("blockdev-snapshot-internal-sync", device="q0", name=f"p{self.snapshots}")


def qcow2_external(directory, size, span):
    return Qcow2External("qcow2_external", directory, size, span)


def qcow2_external_l2(directory, size, span):
    return Qcow2External("qcow2_external_l2", directory, size, span, "extended_l2=on")


class Hozon(System):
    """A pool of its own with the volume `disk`."""

    def __init__(self, programs, directory, pool_bytes, size, span):
        super().__init__("hozon", size, span)
        self.directory = pathlib.Path(directory) / "hozon"
        self.directory.mkdir()
        program = pathlib.Path(programs) / "hozon-stored"
        create_pool(program, self.directory / "pool", pool_bytes)
        self.stored = Stored(program, self.directory).start()
        self.socket_path = self.stored.nbd_path
        self.link = self.stored.link()
        self.call("volume.create", name="disk", size_bytes=size)
        self.snapshots = 0

    def call(self, operation, **parameters):
        return self.link.call(operation, **parameters)

    def snapshot(self):
        self.snapshots += 1
        self.call("volume.snapshot", volumes=["disk"], point=f"p{self.snapshots}")

    @property
    def pid(self):
        return self.stored.process.pid

    def judge(self, data=True):
        """Every block accounted for and every checksum right, or the numbers are worth nothing."""
        report = self.call("pool.check", data=data)
        if report["errors"] or report["lost_blocks"]:
            raise RuntimeError(f"the pool is not sound: {report}")

    def close(self):
        self.hang_up()
        self.link.close()
        if self.stored.running():
            self.stored.stop()
        self.stored.close()
        subprocess.run(["rm", "-rf", self.directory], check=True)
