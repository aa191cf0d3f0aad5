#!/usr/bin/env python3
"""Proves with real programs on real files what rot.walk proves on simulated disks (docs/durability.md, P5
and P20): the read that meets damage is refused, alone; hozon-stored names the place in its log and over
its link; a scrub finds it, keeps to its rate and can be cancelled; hozon-check changes no byte of the
files, and with --repair corrects a superblock and leaves damaged data alone.

  rot_test.py --stored PROGRAM --check PROGRAM
"""
import argparse
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from nbd import Refused  # noqa: E402
from stored import Scratch, Stored, create_pool  # noqa: E402

BLOCK = 4096
SOUND, FAILED, REPAIRED = 0, 1, 5


def expect(good, what):
    if not good:
        raise AssertionError(what)


def digests(pool):
    return hashlib.sha256((pool / "data").read_bytes()).hexdigest()


def flip(path, offset):
    """One bit, as the medium might; the pool reads past the page cache."""
    with open(path, "r+b", buffering=0) as file:
        byte = os.pread(file.fileno(), 1, offset)
        os.pwrite(file.fileno(), bytes([byte[0] ^ 4]), offset)
        os.fsync(file.fileno())


def end_of_scrub(link, within=30.0):
    deadline = time.monotonic() + within
    while True:
        report = link.call("pool.scrub.show")
        if report["state"] != "running":
            return report
        expect(time.monotonic() < deadline, report)
        time.sleep(0.05)


def served(server):
    pool = server.pool
    link = server.link()
    link.call("volume.create", name="web", size_bytes=8 << 20)
    disk = server.nbd("web")
    content = [os.urandom(BLOCK) for _ in range(64)]
    disk.write(0, b"".join(content))
    disk.flush()
    link.call("volume.snapshot", volumes=["web"], point="monday")
    link.call("pool.scrub.start")
    report = end_of_scrub(link)
    expect(report["state"] == "done" and report["damaged"] == [], report)
    expect(report["data_blocks"] == 64 and report["points"] == 2, report)

    place = (pool / "data").read_bytes().find(content[7])
    expect(place > 0 and place % BLOCK == 0, "the block is not in the file")
    flip(pool / "data", place + 1000)
    try:
        disk.read(6 * BLOCK, 3 * BLOCK)
        raise AssertionError("damaged bytes were served")
    except Refused as refused:
        expect(refused.code == 5, f"not EIO: {refused}")
    expect(disk.read(0, 7 * BLOCK) == b"".join(content[:7]), "sound blocks beside it are refused")

    places = link.call("pool.damage")["places"]
    expect(len(places) == 1, places)
    damage = places[0]
    expect((damage["volume"], damage["offset_bytes"], damage["length_bytes"]) ==
           ("web", 7 * BLOCK, BLOCK), damage)
    expect(damage["block"] * BLOCK == place and damage["times"] == 1, damage)
    expect({(t["volume"], t["point"]) for t in damage["touched"]} ==
           {("web", ""), ("web", "monday")}, damage)

    link.call("pool.scrub.start", bytes_per_second=500_000_000)
    report = end_of_scrub(link)
    expect(report["state"] == "done" and len(report["damaged"]) == 1, report)
    expect(report["damaged"][0]["block"] == damage["block"], report)

    # At a rate that takes for ever; then cancelled.
    number = link.call("pool.scrub.start", bytes_per_second=10_000)["scrub"]
    time.sleep(0.5)
    report = link.call("pool.scrub.show")
    expect(report["scrub"] == number and report["state"] == "running", report)
    expect(0 < report["done_bytes"] < 100_000 < report["total_bytes"], report)
    link.call("pool.scrub.cancel")
    expect(end_of_scrub(link)["state"] == "cancelled", report)
    disk.close()
    return place


def checked(program, pool, *options):
    run = subprocess.run([program, *options, "-o", "json", pool], text=True, capture_output=True,
                         timeout=120)
    return run.returncode, json.loads(run.stdout) if run.stdout else run.stderr


def closed(program, pool, place):
    before = digests(pool)
    for options in ([], ["--repair"]):
        status, report = checked(program, pool, *options)
        expect(status == FAILED and len(report["damaged"]) == 1, report)
        expect(report["damaged"][0]["block"] * BLOCK == place and report["changes"] == [], report)
        expect(digests(pool) == before, f"hozon-check {options} changed the files")
    flip(pool / "data", place + 1000)  # the same bit back
    flip(pool / "data", BLOCK + 200)  # superblock slot 1
    status, report = checked(program, pool)
    expect(status == SOUND and len(report["warnings"]) == 1, report)
    status, report = checked(program, pool, "--repair")
    expect(status == REPAIRED and len(report["changes"]) == 1, report)
    status, report = checked(program, pool, "--repair")
    expect(status == SOUND and report["warnings"] == [] and report["changes"] == [], report)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--stored", required=True)
    parser.add_argument("--check", required=True)
    programs = parser.parse_args()
    with Scratch("rot") as scratch:
        server = Stored(programs.stored, scratch)
        create_pool(programs.stored, server.pool, 64 << 20)
        try:
            server.start_again()
            place = served(server)
            expect(server.stop() == 0, server.last_words())
            log = server.log.read_text()
            expect("pool 'main' is damaged: volume 'web': bytes 28672..32768" in log, log)
        finally:
            server.close()
        closed(programs.check, server.pool, place)
    print("rot was noticed, named and left alone")


if __name__ == "__main__":
    main()
