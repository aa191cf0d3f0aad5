#!/usr/bin/env python3
"""Proves that mistakes cost nothing: for every row of the table the command ends with the right exit
code and one clear line that names the object, and afterwards everything is as it was.

  arguments_test.py --programs DIR
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from instance import Instance  # noqa: E402
from stored import Scratch  # noqa: E402

FAILED, USAGE, NOT_FOUND, CONFLICT = 1, 2, 3, 4

# exit code, text that the line must hold, command. {s}: the scratch directory.
TABLE = [
    (USAGE, "", []),
    (USAGE, "frobnicate", ["frobnicate"]),
    (USAGE, "frobnicate", ["volume", "frobnicate"]),
    (USAGE, "", ["volume", "create"]),
    (USAGE, "size", ["volume", "create", "v"]),
    (USAGE, "banana", ["volume", "create", "v", "--size", "banana"]),
    (USAGE, "-1", ["volume", "create", "v", "--size=-1G"]),
    (USAGE, "--frob", ["volume", "list", "--frob"]),
    (USAGE, "xml", ["volume", "list", "-o", "xml"]),
    (USAGE, "memory", ["machine", "create", "n", "--image", "{s}/good.img", "--memory", "lots"]),
    (NOT_FOUND, "nosuch", ["pool", "show", "nosuch"]),
    (NOT_FOUND, "nosuch", ["pool", "check", "nosuch"]),
    (NOT_FOUND, "nosuch", ["volume", "show", "nosuch"]),
    (NOT_FOUND, "nosuch", ["volume", "create", "v", "--size", "1M", "--pool", "nosuch"]),
    (NOT_FOUND, "nosuch", ["volume", "delete", "nosuch"]),
    (NOT_FOUND, "nosuch", ["volume", "uri", "nosuch"]),
    (NOT_FOUND, "nosuch", ["volume", "uri", "disk@nosuch"]),
    (NOT_FOUND, "nosuch", ["volume", "return", "disk@nosuch"]),
    (NOT_FOUND, "nosuch", ["volume", "clone", "disk@nosuch", "new"]),
    (NOT_FOUND, "nosuch", ["volume", "delete", "disk@nosuch"]),
    (NOT_FOUND, "nosuch", ["volume", "snapshot", "disk", "nosuch", "--name", "q"]),
    (NOT_FOUND, "gone", ["volume", "return", "disk@gone"]),
    (NOT_FOUND, "nosuch", ["machine", "show", "nosuch"]),
    (NOT_FOUND, "nosuch", ["machine", "start", "nosuch"]),
    (NOT_FOUND, "nosuch", ["machine", "delete", "nosuch"]),
    (NOT_FOUND, "nosuch", ["snapshot", "create", "nosuch", "s"]),
    (NOT_FOUND, "nosuch", ["snapshot", "return", "web", "nosuch"]),
    (NOT_FOUND, "gone", ["snapshot", "return", "web", "gone"]),
    (NOT_FOUND, "nosuch", ["snapshot", "delete", "web", "nosuch"]),
    (NOT_FOUND, "nosuch", ["snapshot", "clone", "web", "nosuch", "new"]),
    (USAGE, "vdz", ["snapshot", "create", "web", "s", "--disks", "vdz"]),
    (NOT_FOUND, "4711", ["job", "show", "4711"]),
    (CONFLICT, "disk", ["volume", "create", "disk", "--size", "1M"]),
    (CONFLICT, "taken", ["volume", "snapshot", "disk", "--name", "taken"]),
    (CONFLICT, "disk", ["volume", "clone", "disk@taken", "disk"]),
    (CONFLICT, "disk", ["volume", "delete", "disk"]),
    (CONFLICT, "main", ["pool", "create", "main", "--size", "1G"]),
    (CONFLICT, "web", ["machine", "create", "web", "--image", "{s}/good.img"]),
    (CONFLICT, "taken", ["snapshot", "create", "web", "taken"]),
    (CONFLICT, "web", ["snapshot", "clone", "web", "taken", "web"]),
    (CONFLICT, "web", ["machine", "pause", "web"]),
    (CONFLICT, "web", ["machine", "resume", "web"]),
    (CONFLICT, "web", ["machine", "shutdown", "web"]),
    (CONFLICT, "web", ["machine", "console", "web"]),
    (CONFLICT, "web", ["snapshot", "create", "web", "s", "--memory"]),
    (CONFLICT, "main", ["pool", "delete", "main"]),
    ((FAILED, USAGE), "a@b", ["volume", "create", "a@b", "--size", "1M"]),
    ((FAILED, USAGE), "", ["volume", "create", "x" * 200, "--size", "1M"]),
    ((FAILED, USAGE), "a/b", ["machine", "create", "a/b", "--image", "{s}/good.img"]),
    ((FAILED, CONFLICT), "shrink", ["volume", "resize", "disk", "--size", "1M"]),
    ((FAILED, USAGE), "", ["volume", "create", "huge", "--size", "9000P"]),
    ((FAILED, USAGE), "small", ["pool", "create", "small", "--size", "1K"]),
    ((FAILED, NOT_FOUND), "missing.img", ["volume", "create", "v", "--from", "{s}/missing.img"]),
    ((FAILED, NOT_FOUND), "missing.img", ["machine", "create", "n", "--image", "{s}/missing.img"]),
    ((FAILED, NOT_FOUND), "missing.kernel", ["machine", "create", "n", "--image", "{s}/good.img",
                                             "--kernel", "{s}/missing.kernel"]),
    ((FAILED, USAGE), "corrupt.qcow2", ["volume", "create", "v", "--from", "{s}/corrupt.qcow2"]),
    ((FAILED, USAGE), "corrupt.qcow2", ["machine", "create", "n", "--image", "{s}/corrupt.qcow2"]),
    ((FAILED, USAGE), "child.qcow2", ["volume", "create", "v", "--from", "{s}/child.qcow2"]),
    ((FAILED, USAGE), "", ["volume", "create", "v", "--from", "{s}"]),
    # No room in the pool for the image.
    (FAILED, "tiny", ["volume", "create", "v", "--from", "{s}/big.img", "--pool", "tiny"]),
    ((FAILED, NOT_FOUND), "{s}/nowhere", ["--dir", "{s}/nowhere", "volume", "list"]),
]


def prepare(hozon, scratch):
    (scratch / "good.img").write_bytes(b"image" * 1000 + bytes(1 << 20))
    (scratch / "big.img").write_bytes(os.urandom(100 << 20))
    qcow2 = scratch / "corrupt.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", qcow2, "1M"], check=True)
    with open(qcow2, "r+b") as file:  # the address of its first table leads into nothing
        file.seek(40)
        file.write(b"\xff" * 8)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", scratch / "good.img", "-F",
                    "raw", scratch / "child.qcow2"], check=True)
    hozon.up("--pool-size", "1G")
    hozon.hozon("pool", "create", "tiny", "--size", "64M")
    hozon.hozon("volume", "create", "disk", "--size", "8M")
    for name in ("taken", "gone"):
        hozon.hozon("volume", "snapshot", "disk", "--name", name)
    hozon.hozon("volume", "delete", "disk@gone")
    hozon.hozon("machine", "create", "web", "--image", str(scratch / "good.img"), "--memory", "64M")
    for name in ("taken", "gone"):
        hozon.hozon("snapshot", "create", "web", name)
    hozon.hozon("snapshot", "delete", "web", "gone")


def picture(hozon):
    """Everything that a mistake must not change."""
    return json.dumps([hozon.list("pool"), hozon.list("volume"), hozon.list("machine"),
                       hozon.list("snapshot", "web")], sort_keys=True)


def without_moving_parts(text):
    return re.sub(r'"(used_bytes|free_bytes|reclaiming|points|volumes|restarts)": \d+', "", text)


def comes_back_to(hozon, before, seconds):
    deadline = time.monotonic() + seconds
    while without_moving_parts(picture(hozon)) != before:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def judge(hozon, scratch, row):
    """What is wrong with one row; empty when all is well."""
    codes, wanted, words = row
    codes = codes if isinstance(codes, tuple) else (codes,)
    words = [word.replace("{s}", str(scratch)) for word in words]
    wanted = wanted.replace("{s}", str(scratch))
    before = without_moving_parts(picture(hozon))
    run = hozon.run(*words)
    shown = "hozon " + " ".join(words)
    said = run.stderr.strip()
    faults = []
    if run.returncode not in codes:
        faults.append(f"{shown}: exit {run.returncode}, wanted {codes}: {said}")
    if not said:
        faults.append(f"{shown}: says nothing")
    # Usage mistakes may add a second line that leads to --help.
    if len(said.splitlines()) > (2 if USAGE in codes else 1):
        faults.append(f"{shown}: more than one line: {said}")
    if wanted not in said and wanted[:40] not in said:
        faults.append(f"{shown}: does not name '{wanted}': {said}")
    # The import that found no room leaves its pool full until its blocks are free; nothing else may.
    if not comes_back_to(hozon, before, 10 if "tiny" in words else 0):
        faults.append(f"{shown}: changed something")
    return faults


def second_opener(hozon):
    """The pool's files are locked while they are served."""
    pool = hozon.directory / "pools/main"
    run = subprocess.run([hozon.programs / "hozon-stored", "--pool-dir", pool, "--name", "main",
                          "--nbd-socket", hozon.directory / "x.nbd", "--link-socket",
                          hozon.directory / "x.link"], capture_output=True, text=True, timeout=30)
    if run.returncode != 3 or len(run.stderr.strip().splitlines()) != 1:
        return [f"a second opener: exit {run.returncode}: {run.stderr.strip()}"]
    return []


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", required=True)
    args = parser.parse_args()
    with Scratch("args") as scratch:
        hozon = Instance(args.programs, scratch / "d")
        faults = []
        try:
            prepare(hozon, scratch)
            for row in TABLE:
                faults += judge(hozon, scratch, row)
            faults += second_opener(hozon)
            if "no errors" not in hozon.hozon("pool", "check", "main"):
                faults.append("pool check does not say 'no errors'")
            hozon.down()
            offline = subprocess.run([hozon.programs / "hozon-check", hozon.directory / "pools/main"],
                                     capture_output=True, text=True)
            if offline.returncode != 0:
                faults.append(f"hozon-check: {offline.stdout} {offline.stderr}")
        except BaseException:
            print(hozon.logs())
            raise
        finally:
            hozon.close()
        for fault in faults:
            print(fault)
        print(f"{len(TABLE)} mistakes, {len(faults)} faults")
        return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
