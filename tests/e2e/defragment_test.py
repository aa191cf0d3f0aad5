#!/usr/bin/env python3
"""Proves with a whole instance what `volume defragment` does for who types it: blocks that were written
at random lie side by side, no byte has changed, what a point shares stays, a bound on the rate is kept,
and who cancels is told how far it came.

  defragment_test.py --programs DIR
"""
import argparse
import os
import pathlib
import random
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from instance import Instance  # noqa: E402
from nbd import Nbd  # noqa: E402

BLOCK, MIB = 4096, 1 << 20
SIZE = 16 * MIB
CANCELLED = 8


def expect(good, what):
    if not good:
        raise AssertionError(what)


def connect(instance, name):
    return Nbd.connect(str(instance.directory / "run" / "pool-main.nbd"), name)


def scatter(instance, seed):
    """Every block of 'disk', in random order."""
    disk = connect(instance, "disk")
    content = bytearray(SIZE)
    order = list(range(SIZE // BLOCK))
    random.Random(seed).shuffle(order)
    for index in order:
        block = os.urandom(BLOCK)
        content[index * BLOCK:(index + 1) * BLOCK] = block
        disk.write(index * BLOCK, block)
    disk.flush()
    disk.close()
    return bytes(content)


def expect_content(instance, name, content):
    disk = connect(instance, name)
    for offset in range(0, SIZE, MIB):
        expect(disk.read(offset, MIB) == content[offset:offset + MIB], f"{name}: other bytes at {offset}")
    disk.close()


def moves_what_lies_apart(instance):
    content = scatter(instance, 1)
    done = instance.ask("volume", "defragment", "disk")
    expect(done["examined_bytes"] == SIZE and done["moved_bytes"] == SIZE, done)
    expect_content(instance, "disk", content)
    again = instance.ask("volume", "defragment", "disk")
    expect(again["examined_bytes"] == SIZE and again["moved_bytes"] == 0, again)
    text = instance.hozon("volume", "defragment", "disk")
    expect("0 B of 16.0 MiB put side by side" in text, text)


def leaves_what_a_point_shares(instance):
    content = scatter(instance, 2)
    instance.hozon("volume", "snapshot", "disk", "--name", "monday")
    done = instance.ask("volume", "defragment", "disk")
    expect(done["moved_bytes"] == 0, done)
    expect_content(instance, "disk@monday", content)
    instance.hozon("volume", "delete", "disk@monday", "--yes")


def keeps_its_rate_and_can_be_cancelled(instance):
    content = scatter(instance, 3)
    begin = time.monotonic()
    job = instance.ask("volume", "defragment", "disk", "--rate", "1M", "--no-wait")["id"]
    while instance.ask("job", "show", str(job))["progress_done"] == 0:
        expect(time.monotonic() - begin < 60, "nothing happens")
        time.sleep(0.1)
    busy = instance.run("volume", "defragment", "disk")
    expect(busy.returncode == 4 and "defragment" in busy.stderr, f"{busy.returncode} {busy.stderr}")
    instance.hozon("job", "cancel", str(job))
    while (shown := instance.ask("job", "show", str(job)))["state"] == "running":
        expect(time.monotonic() - begin < 60, "the job does not end")
        time.sleep(0.1)
    # One slice of 4 MiB is four seconds' worth; the whole would be sixteen.
    expect(shown["state"] == "cancelled", shown)
    expect(0 < shown["result"]["moved_bytes"] < SIZE, shown)
    expect_content(instance, "disk", content)
    rest = instance.ask("volume", "defragment", "disk")
    expect(rest["moved_bytes"] == SIZE - shown["result"]["moved_bytes"], (rest, shown))
    expect_content(instance, "disk", content)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=pathlib.Path, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hz-defragment-") as scratch:
        instance = Instance(options.programs, pathlib.Path(scratch) / "i")
        try:
            instance.up("--pool-size", "1G")
            instance.hozon("volume", "create", "disk", "--size", str(SIZE))
            for part in (moves_what_lies_apart, leaves_what_a_point_shares,
                         keeps_its_rate_and_can_be_cancelled):
                part(instance)
                print(f"{part.__name__}: as expected")
            expect(instance.run("pool", "check", "main", "--data").returncode == 0, "the pool is damaged")
        finally:
            instance.close()


if __name__ == "__main__":
    main()
