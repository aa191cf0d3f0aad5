#!/usr/bin/env python3
"""Proves that a volume is a disk like any other: the same random requests go to a volume and, through
qemu-nbd, to a raw file; every read is compared, and now and then everything is.

Sizes and places are odd (512-byte sectors up to several MiB), and many requests are in flight that do not
overlap. Writes, discards, zeroes with and without FUA and NO_HOLE, flushes; points are made and deleted and
the server is restarted on the way, which must not show. A discard of the raw file may leave what it likes:
it is written there as zeros, which is what Hozon promises.

  differential_test.py --stored PROGRAM [--gigabytes N] [--seed N]       N of traffic to each side
"""
import argparse
import pathlib
import random
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import nbd  # noqa: E402
from stored import Scratch, Stored, create_pool, wait_for  # noqa: E402

SECTOR, KIB, MIB = 512, 1 << 10, 1 << 20
SIZE = 384 * MIB + 3 * SECTOR  # the last block is a part of one
BATCH = 24


class Different(Exception):
    """The two disks do not show the same."""


class Raw:
    def __init__(self, directory):
        self.image, self.socket = directory / "raw.img", directory / "raw.sock"
        with open(self.image, "wb") as file:
            file.truncate(SIZE)
        self.process = subprocess.Popen(["qemu-nbd", "-f", "raw", "-k", self.socket, "-t", "-e", "4",
                                         self.image])
        wait_for("qemu-nbd", self.socket.exists)

    def close(self):
        self.process.kill()  # asked politely it would wait for its clients
        self.process.wait()


class Pair:
    def __init__(self, program, directory, seed):
        self.random = random.Random(seed)
        self.noise = self.random.randbytes(8 * MIB)
        create_pool(program, directory / "pool", 8 << 30)
        self.server = Stored(program, directory).start()
        self.server.call("volume.create", name="disk", size_bytes=SIZE)
        self.raw = Raw(directory)
        self.left = self.server.nbd("disk")
        self.right = nbd.Nbd.connect(str(self.raw.socket), "")
        self.count = {}
        self.moved = self.compared = self.points = self.restarts = 0
        self.live_points = []

    # --- what to do ---
    def place(self):
        """A range: mostly small and odd, now and then aligned, large, or at the end of the disk."""
        kind = self.random.random()
        if kind < 0.5:
            length = SECTOR * self.random.randint(1, 40)
        elif kind < 0.95:
            length = 4 * KIB * self.random.randint(1, 64)
        else:
            length = SECTOR * self.random.randint(1, 4 * MIB // SECTOR)
        grain = 4 * KIB if 0.5 <= kind < 0.95 else SECTOR
        if self.random.random() < 0.03:
            return SIZE - length, length
        # Half of all goes to a small part, so that requests meet what others left.
        most = SIZE if self.random.random() < 0.5 else 48 * MIB
        return self.random.randrange((most - length) // grain) * grain, length

    def requests(self):
        """One batch of (name, command, offset, length, data, flags), no two on the same bytes."""
        taken, batch = [], []
        for _ in range(BATCH):
            offset, length = self.place()
            if any(offset < end and begin < offset + length for begin, end in taken):
                continue
            taken.append((offset, offset + length))
            batch.append(self.request(offset, length))
        return batch

    def request(self, offset, length):
        choice = self.random.random()
        fua = nbd.FLAG_FUA if self.random.random() < 0.1 else 0
        if choice < 0.42:
            return "read", nbd.READ, offset, length, b"", 0
        if choice < 0.84:
            at = self.random.randrange(len(self.noise) - length)
            return "write", nbd.WRITE, offset, length, self.noise[at:at + length], fua
        if choice < 0.90:
            return "zeroes", nbd.ZEROES, offset, length, b"", fua
        if choice < 0.93:
            return "zeroes-no-hole", nbd.ZEROES, offset, length, b"", fua | nbd.FLAG_NO_HOLE
        if choice < 0.99:
            return "discard", nbd.TRIM, offset, length, b"", fua
        return "flush", nbd.FLUSH, 0, 0, b"", 0

    # --- doing it ---
    def run_batch(self):
        batch = self.requests()
        answers = []
        for client in (self.left, self.right):
            for number, (name, command, offset, length, data, flags) in enumerate(batch):
                if client is self.right and command == nbd.TRIM:
                    command = nbd.ZEROES
                client.submit(command, offset, length, data, flags, number)
        for client in (self.left, self.right):
            done = {}
            while client.waiting:
                for number, error, data in client.collect(1):
                    if error:
                        raise nbd.Refused(f"{batch[number][0]} at {batch[number][2]}", error)
                    done[number] = data
            answers.append(done)
        for number, (name, _, offset, length, _, _) in enumerate(batch):
            self.count[name] = self.count.get(name, 0) + 1
            self.moved += length
            self.compare(f"{name} number {number}", offset, answers[0][number], answers[1][number])

    def compare(self, what, offset, left, right):
        self.compared += len(left)
        if left == right:
            return
        at = next(i for i in range(0, len(left), SECTOR)
                  if left[i:i + SECTOR] != right[i:i + SECTOR])
        raise Different(f"{what}: byte {offset + at} of the volume and of the raw file differ: "
                        f"{left[at:at + 16].hex()} and {right[at:at + 16].hex()}")

    def compare_all(self, left=None):
        for offset in range(0, SIZE, 4 * MIB):
            length = min(4 * MIB, SIZE - offset)
            self.compare("everything", offset, (left or self.left).read(offset, length),
                         self.right.read(offset, length))

    def compare_with_qemu(self):
        """The same by a program that we did not write."""
        run = subprocess.run(["qemu-img", "compare", "-U", "-f", "raw", "-F", "raw",
                              f"nbd+unix:///disk?socket={self.server.nbd_path}",
                              f"nbd+unix://?socket={self.raw.socket}"], capture_output=True, text=True)
        if run.returncode != 0 or "identical" not in run.stdout:
            raise Different(f"qemu-img compare: {run.stdout}{run.stderr}")

    def disturb(self):
        """What must not show."""
        choice = self.random.random()
        if choice < 0.5 or not self.live_points:
            self.points += 1
            self.live_points.append(f"p{self.points}")
            self.server.call("volume.snapshot", volumes=["disk"], point=self.live_points[-1])
        elif choice < 0.85:
            victim = self.live_points.pop(self.random.randrange(len(self.live_points)))
            self.server.call("point.delete", volume="disk", point=victim)
        else:
            self.restarts += 1
            if self.random.random() < 0.5:
                self.server.kill()
            else:
                self.server.stop()
            self.server.start_again()
            self.left = self.server.nbd("disk")
        if len(self.live_points) > 6:
            self.server.call("point.delete", volume="disk", point=self.live_points.pop(0))

    def run(self, total):
        begin, next_full = time.monotonic(), 0
        while self.moved < total:
            self.run_batch()
            if self.random.random() < 0.04:
                self.disturb()
            if self.moved >= next_full:
                self.compare_all()
                next_full = self.moved + max(total // 8, 256 * MIB)
        self.server.call("volume.snapshot", volumes=["disk"], point="end")
        self.compare_all()
        point = self.server.nbd("disk@end")
        self.compare_all(point)
        point.close()
        self.compare_with_qemu()
        report = self.server.call("pool.check", data=True)
        if report["errors"] or report["lost_blocks"]:
            raise Different(f"check: {report}")
        print(f"{self.moved / 1e9:.1f} GB of requests to each side, {self.compared / 1e9:.1f} GB compared, "
              f"0 differences; {self.points} points, {self.restarts} restarts, "
              f"{time.monotonic() - begin:.0f} s; "
              + ", ".join(f"{count} {name}" for name, count in sorted(self.count.items())))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--stored", required=True)
    parser.add_argument("--gigabytes", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print(f"seed={args.seed}", flush=True)
    with Scratch("diff") as directory:
        pair = Pair(args.stored, directory, args.seed)
        try:
            pair.run(int(args.gigabytes * 1e9))
        except BaseException:
            print(pair.server.last_words())
            raise
        finally:
            pair.server.close()
            pair.raw.close()


if __name__ == "__main__":
    sys.exit(main())
