#!/usr/bin/env python3
"""Proves P12 with a real guest: when the pool has no block left, the guest's writes wait and nothing fails;
when another volume is deleted they go on, the guest ends its work without an error, and its disk holds
exactly what it wrote.

Method: most of a small pool belongs to a volume that the test writes. The guest writes a stream that
everybody can compute to its disk until that is full, with a sync, says its exit status on the console, and
reads the first part again. On the way the pool must say "full" while the machine runs on.

  full_pool_test.py --programs DIR --guest DIR
"""
import argparse
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import nbd  # noqa: E402
from instance import Instance  # noqa: E402
from stored import Scratch, wait_for  # noqa: E402

MIB = 1 << 20
POOL_MIB, OTHER_MIB, DISK_MIB = 64, 40, 32
COUNT = 4_600_000  # numbers from 1, one a line: more than the disk takes
WORK = (f"seq,1,{COUNT}|dd,of=/dev/vda,bs=64k,count={DISK_MIB * 16},iflag=fullblock,conv=fsync;"
        "echo,guest-status-$?;echo,3>/proc/sys/vm/drop_caches;"
        f"seq,1,{COUNT}|cmp,-n,{4 * MIB},-,/dev/vda;echo,compare-status-$?")


def stream(length):
    """The first `length` bytes of what the guest writes."""
    text, first = bytearray(), 1
    while len(text) < length:
        text += "".join(f"{number}\n" for number in range(first, first + 100_000)).encode()
        first += 100_000
    return bytes(text[:length])


class Trial:
    def __init__(self, hozon, args):
        self.hozon, self.args = hozon, args

    def pool(self):
        return self.hozon.ask("pool", "show", "main")

    def console(self):
        log = self.hozon.ask("machine", "show", "vm")["console_log"]
        return pathlib.Path(log).read_text(errors="replace") if pathlib.Path(log).exists() else ""

    def open(self, volume):
        return nbd.Nbd.connect(str(self.hozon.directory / "run/pool-main.nbd"), volume)

    def fill_other(self):
        self.hozon.hozon("volume", "create", "other", "--size", f"{OTHER_MIB}M")
        client = self.open("other")
        for offset in range(0, OTHER_MIB * MIB, MIB):
            client.write(offset, b"other volume...." * (MIB // 16))
        client.flush()
        client.close()

    def run(self):
        self.hozon.up("--pool-size", f"{POOL_MIB}M")
        self.fill_other()
        self.hozon.hozon("machine", "create", "vm", "--memory", "128M", "--disk", f"{DISK_MIB}M",
                         "--kernel", f"{self.args.guest}/vmlinuz", "--initrd",
                         f"{self.args.guest}/initrd", "--append",
                         f"console=ttyS0 quiet panic=-1 hozon.run={WORK}")
        self.hozon.hozon("machine", "start", "vm")
        wait_for("the pool to be full", lambda: self.pool()["state"] == "full", 300)
        message = self.pool()["message"]
        time.sleep(3)
        if self.hozon.ask("machine", "show", "vm")["state"] != "up":
            raise AssertionError("the machine does not run while it waits for space")
        if "guest-status" in self.console() or self.pool()["state"] != "full":
            raise AssertionError(f"the guest did not wait: {self.console()[-500:]}")
        if "no errors" not in self.hozon.hozon("pool", "check", "main"):
            raise AssertionError("check finds errors in a full pool")
        self.hozon.hozon("volume", "delete", "other", "--yes")
        wait_for("the guest to end its work", lambda: "compare-status" in self.console(), 400)
        console = self.console()
        if "guest-status-0" not in console or "compare-status-0" not in console:
            raise AssertionError(f"the guest saw an error: {console[-1500:]}")
        if "I/O error" in console:
            raise AssertionError(f"the guest's kernel saw an error: {console[-1500:]}")
        self.compare()
        print(f"the guest waited while the pool said: {message}; then it wrote {DISK_MIB} MiB "
              "without an error")

    def compare(self):
        volume = self.hozon.ask("machine", "show", "vm")["disks"][0]["volume"]
        client, expected = self.open(volume), stream(DISK_MIB * MIB)
        for offset in range(0, DISK_MIB * MIB, MIB):
            if client.read(offset, MIB) != expected[offset:offset + MIB]:
                raise AssertionError(f"the disk does not hold what the guest wrote at {offset}")
        client.close()
        if "no errors" not in self.hozon.hozon("pool", "check", "main"):
            raise AssertionError("check finds errors")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", required=True)
    parser.add_argument("--guest", required=True)
    args = parser.parse_args()
    with Scratch("fullvm") as scratch:
        hozon = Instance(args.programs, scratch / "d")
        trial = Trial(hozon, args)
        try:
            trial.run()
        except BaseException:
            print(hozon.logs())
            print(f"--- console\n{trial.console()[-1500:]}")
            raise
        finally:
            hozon.close()


if __name__ == "__main__":
    sys.exit(main())
