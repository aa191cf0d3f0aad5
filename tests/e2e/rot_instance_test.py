#!/usr/bin/env python3
"""Proves with a whole instance what people see of rot (docs/durability.md, P5 and P20): the read that
meets it is refused, alone; `pool show`, `pool scrub`, `pool check` and hozon-check name the place; a
check changes no byte of the files; a repair corrects a superblock and leaves damaged data alone.

  rot_instance_test.py --programs DIR
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
from instance import Instance  # noqa: E402
from nbd import Nbd, Refused  # noqa: E402
from stored import Link, Scratch  # noqa: E402

BLOCK = 4096
SOUND, FAILED, CONFLICT, REPAIRED = 0, 1, 4, 5


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


def cancel(instance, job):
    instance.hozon("job", "cancel", str(job))
    deadline = time.monotonic() + 20
    while True:
        shown = instance.ask("job", "show", str(job))
        if shown["state"] != "running":
            break
        expect(time.monotonic() < deadline, shown)
        time.sleep(0.1)
    expect(shown["state"] == "cancelled" and not shown["result"]["clean"], shown)
    # The scrub itself has ended, too: there is room for the next one.
    run = instance.run("pool", "scrub", "main")
    expect(run.returncode == FAILED and "28672" in run.stdout + run.stderr, run.stderr)


def foreign_scrub_stays(instance):
    """A job that was refused because another scrub runs does not end that one."""
    link = Link(str(instance.directory / "run" / "pool-main.link"))
    link.call("pool.scrub.start", bytes_per_second=10_000)
    run = instance.run("pool", "scrub", "main")
    expect(run.returncode == CONFLICT, f"{run.returncode} {run.stderr}")
    time.sleep(0.5)
    expect(link.call("pool.scrub.show")["state"] == "running", "somebody else's scrub was ended")
    link.call("pool.scrub.cancel")
    link.close()


def machine_named(instance, pool, scratch):
    """Damage to a machine's disk names the machine, until a scrub finds the bytes good again."""
    content = os.urandom(16 * BLOCK)
    (scratch / "shop.img").write_bytes(content)
    instance.hozon("machine", "create", "shop", "--image", str(scratch / "shop.img"), "--memory", "64M")
    place = (pool / "data").read_bytes().find(content[5 * BLOCK:6 * BLOCK])
    expect(place > 0 and place % BLOCK == 0, "the block is not in the file")
    flip(pool / "data", place)
    run = instance.run("pool", "scrub", "main")
    expect(run.returncode == FAILED and "machine shop" in run.stdout, run.stdout + run.stderr)
    shown = instance.ask("pool", "show", "main")
    expect(shown["damage"][0]["machines"] == ["shop"], shown)
    expect("machine shop" in instance.hozon("pool", "show", "main"), "pool show names no machine")
    flip(pool / "data", place)
    expect(instance.ask("pool", "scrub", "main")["clean"], "good bytes are called damaged")
    expect(instance.ask("pool", "show", "main")["state"] == "ok", "the pool stays damaged")


def served(instance, pool):
    disk = Nbd.connect(str(instance.directory / "run" / "pool-main.nbd"), "web")
    content = [os.urandom(BLOCK) for _ in range(64)]
    disk.write(0, b"".join(content))
    disk.flush()
    instance.hozon("volume", "snapshot", "web", "--name", "monday")
    expect(instance.ask("pool", "scrub", "main")["clean"], "a sound pool is not clean")

    place = (pool / "data").read_bytes().find(content[7])
    expect(place > 0 and place % BLOCK == 0, "the block is not in the file")
    flip(pool / "data", place + 1000)
    try:
        disk.read(6 * BLOCK, 3 * BLOCK)
        raise AssertionError("damaged bytes were served")
    except Refused as refused:
        expect(refused.code == 5, f"not EIO: {refused}")
    expect(disk.read(0, 7 * BLOCK) == b"".join(content[:7]), "sound blocks beside it are refused")

    shown = instance.ask("pool", "show", "main")
    expect(shown["state"] == "damaged" and shown["damaged"] == 1, shown)
    damage = shown["damage"][0]
    expect((damage["volume"], damage["offset_bytes"], damage["length_bytes"]) ==
           ("web", 7 * BLOCK, BLOCK), damage)
    expect(damage["block"] * BLOCK == place and damage["times"] == 1, damage)
    expect({(t["volume"], t["point"]) for t in damage["touched"]} == {("web", ""), ("web", "monday")},
           damage)
    text = instance.hozon("pool", "show", "main")
    expect("web@monday" in text and "28672" in text, text)
    log = (instance.directory / "log" / "stored-main.log").read_text()
    expect("pool 'main' is damaged: volume 'web': bytes 28672..32768" in log, log)

    for words in (["pool", "scrub", "main", "--rate", "500M"], ["pool", "check", "main", "--data"]):
        run = instance.run(*words)
        expect(run.returncode == FAILED and "28672" in run.stdout + run.stderr,
               f"{words}: {run.returncode} {run.stdout} {run.stderr}")

    # In the background, at a rate that takes for ever; then cancelled.
    instance.hozon("pool", "scrub", "main", "--rate", "10K", "--no-wait")
    deadline = time.monotonic() + 20
    while True:
        job = next(job for job in instance.ask("job", "list") if job["kind"] == "pool.scrub")
        if job["state"] == "running" and job["progress_done"] > 0:
            break
        expect(job["state"] == "running" and time.monotonic() < deadline, job)
        time.sleep(0.2)
    again = instance.run("pool", "scrub", "main")
    expect(again.returncode != 0 and "scrub" in again.stderr, again.stderr)
    disk.close()
    return job["id"], place


def checked(programs, pool, *options):
    run = subprocess.run([programs / "hozon-check", *options, "-o", "json", pool], text=True,
                         capture_output=True, timeout=120)
    return run.returncode, json.loads(run.stdout) if run.stdout else run.stderr


def closed(programs, pool, place):
    before = digests(pool)
    for options in ([], ["--repair"]):
        status, report = checked(programs, pool, *options)
        expect(status == FAILED and len(report["damaged"]) == 1, report)
        expect(report["damaged"][0]["block"] * BLOCK == place and report["changes"] == [], report)
        expect(digests(pool) == before, f"hozon-check {options} changed the files")
    flip(pool / "data", place + 1000)  # the same bit back
    flip(pool / "data", BLOCK + 200)  # superblock slot 1
    status, report = checked(programs, pool)
    expect(status == SOUND and len(report["warnings"]) == 1, report)
    status, report = checked(programs, pool, "--repair")
    expect(status == REPAIRED and len(report["changes"]) == 1, report)
    status, report = checked(programs, pool, "--repair")
    expect(status == SOUND and report["warnings"] == [] and report["changes"] == [], report)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", type=pathlib.Path, required=True)
    programs = parser.parse_args().programs.resolve()
    with Scratch("rot") as scratch:
        instance = Instance(programs, pathlib.Path(scratch) / "d")
        pool = instance.directory / "pools" / "main"
        try:
            instance.up("--pool-size", "64M")
            instance.hozon("volume", "create", "web", "--size", "8M")
            machine_named(instance, pool, pathlib.Path(scratch))
            job, place = served(instance, pool)
            cancel(instance, job)
            foreign_scrub_stays(instance)
            instance.down()
        finally:
            instance.close()
        closed(programs, pool, place)
    print("rot was noticed, named and left alone")


if __name__ == "__main__":
    main()
