#!/usr/bin/env python3
"""Proves that a failed sync is final and recoverable: when the medium answers EIO to a sync of the data and
the journal in it, the flush that asked for it fails, the pool takes no more changes and says so (answers, status,
log), reading goes on, no later flush succeeds, and opening the pool again recovers everything answered.

Method, one of two: LD_PRELOAD (tests/support/fail_sync.cc) under the backend of threads, where syncs are
calls of libc; or a filesystem of the test's own (tests/support/fuse_disk.py), where the kernel hands the
failure to io_uring.

  failed_sync_test.py --stored PROGRAM (--shim LIBRARY | --fuse) [--loop uring|threads]
"""
import argparse
import ctypes
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import nbd  # noqa: E402
from expected import Expected, Wrong  # noqa: E402
from fuse_disk import FuseDisk  # noqa: E402
from small_disk import enter_namespace, skip  # noqa: E402
from stored import LinkError, Scratch, Stored, create_pool  # noqa: E402

MIB, UNIT, UNITS = 1 << 20, 4096, 1024


class Trial:
    def __init__(self, args, directory):
        self.trigger = directory / "trigger"
        self.disk = None
        environment = {"HOZON_LOOP": args.loop}
        if args.fuse:
            create_pool(args.stored, directory / "medium", 256 * MIB)
            self.disk = FuseDisk(directory / "medium", directory / "pool", self.trigger)
        else:
            create_pool(args.stored, directory / "pool", 256 * MIB)
            environment |= {"LD_PRELOAD": str(pathlib.Path(args.shim).resolve()),
                            "HOZON_FAIL_SYNC": str(self.trigger)}
        self.server = Stored(args.stored, directory, environment=environment).start()
        self.server.call("volume.create", name="disk", size_bytes=UNITS * UNIT)
        self.state = Expected(directory / "expected", UNITS, UNIT)
        self.client = self.server.nbd("disk")

    def write(self, first, count=4):
        self.client.write(first * UNIT, self.state.send(first, count))
        self.state.answered(first, count)

    def refused(self, what, action):
        try:
            action()
        except (nbd.Refused, LinkError) as error:
            return str(error)
        raise Wrong(f"{what} was not refused")

    def fail(self, file):
        before = self.server.log.read_text()
        for unit in range(0, UNITS, 4):
            self.write(unit)
        self.client.flush()
        self.server.call("volume.snapshot", volumes=["disk"], point=f"before-{file}")
        self.write(0, 64)  # answered, not flushed
        self.trigger.write_text(file)
        self.refused("the flush", self.client.flush)
        self.trigger.unlink()  # the medium is well again, which repairs nothing
        self.refused("a second flush", self.client.flush)
        data = self.state.send(100, 4)
        self.refused("a write", lambda: self.client.write(100 * UNIT, data))
        self.refused("a discard", lambda: self.client.trim(0, MIB))
        text = self.refused("a snapshot", lambda: self.server.call(
            "volume.snapshot", volumes=["disk"], point="no"))
        self.refused("a deletion", lambda: self.server.call(
            "point.delete", volume="disk", point=f"before-{file}"))
        stats = self.server.call("pool.stats")
        if not stats["read_only"] or f"sync the pool's {file}" not in stats["failure"]:
            raise Wrong(f"the status does not say it: {stats}")
        if "restart hozon-stored" not in text or "Input/output error" not in text:
            raise Wrong(f"the refusal does not say what to do: {text}")
        if "takes no more writes" not in self.server.log.read_text()[len(before):]:
            raise Wrong("the log does not say it")
        self.state.judge(self.client.read)  # reading goes on, and is right
        for export in (f"disk@before-{file}", "disk"):
            another = self.server.nbd(export)
            another.read(0, MIB)
            another.close()
        print(f"{file}: refused with: {text}")

    def recover(self, file):
        self.server.process.terminate()
        status = self.server.process.wait(30)
        if status == 0:
            raise Wrong("hozon-stored ends with 0 although its last checkpoint could not be made")
        self.server.start_again()
        self.client.abandon()
        self.client = self.server.nbd("disk")
        stats = self.server.call("pool.stats")
        if stats["read_only"] or stats["failure"]:
            raise Wrong(f"not recovered: {stats}")
        self.state.judge(self.client.read)
        self.state.answered(100, 4)  # the refused write is not there; this one replaces it
        self.write(100)
        self.client.flush()
        self.server.call("point.delete", volume="disk", point=f"before-{file}")
        self.state.judge(self.client.read)
        report = self.server.call("pool.check", data=True)
        if report["errors"] or report["lost_blocks"]:
            raise Wrong(f"check: {report}")


def has_uring():
    ring = ctypes.CDLL(None).syscall(425, 1, ctypes.create_string_buffer(120))  # io_uring_setup
    if ring >= 0:
        os.close(ring)
    return ring >= 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--stored", required=True)
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--shim")
    how.add_argument("--fuse", action="store_true")
    parser.add_argument("--loop", choices=["uring", "threads"])
    args = parser.parse_args()
    args.loop = args.loop or ("uring" if args.fuse else "threads")
    if args.loop == "uring" and not has_uring():
        skip("no io_uring here")
    if args.fuse:
        enter_namespace()
    with Scratch("sync") as directory:
        trial = Trial(args, directory)
        try:
            trial.fail("data")
            trial.recover("data")
            if trial.server.stop() != 0:
                raise Wrong("hozon-stored did not stop in peace")
        except BaseException:
            print(trial.server.last_words())
            raise
        finally:
            trial.server.close()
            if trial.disk:
                trial.disk.close()


if __name__ == "__main__":
    sys.exit(main())
