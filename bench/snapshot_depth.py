#!/usr/bin/env python3
"""Whether a volume gets slower with its snapshots: the speed of 4 KiB random reads and writes before
and after many snapshots, each followed by random 64 KiB rewrites. Raw and, in the long form, a chain of
qcow2 files run beside it in the same minutes, because only ratios between them mean something.

  snapshot_depth.py --programs DIR [--quick]      one line per number: NAME VALUE UNIT
"""
import argparse
import json
import pathlib
import random
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/support"))
from nbd import WRITE  # noqa: E402
from stored import Scratch, Stored, create_pool, wait_for  # noqa: E402

KIB, MIB = 1 << 10, 1 << 20
REWRITE = 64 * KIB


def show(name, value, unit):
    print(f"{name:<44} {value:>12.2f} {unit}", flush=True)


def fio(socket, export, kind, seconds, size):
    """Operations per second of 4 KiB random reads or writes."""
    run = subprocess.run(
        ["fio", "--name=x", "--ioengine=nbd", f"--uri=nbd+unix:///{export}?socket={socket}",
         f"--rw={kind}", "--bs=4k", f"--size={size}", "--iodepth=16", "--time_based=1",
         f"--runtime={seconds}", "--randrepeat=0", "--norandommap=1", "--output-format=json"],
        capture_output=True, text=True, check=True)
    job = json.loads(run.stdout[run.stdout.index("{"):])["jobs"][0]
    return job["read" if kind == "randread" else "write"]["iops"]


def rewrite(client, size, total):
    """`total` bytes of random 64 KiB writes, then a flush."""
    data = random.randbytes(REWRITE)
    for _ in range(total // REWRITE):
        client.submit(WRITE, random.randrange(size // REWRITE) * REWRITE, REWRITE, data)
        if len(client.waiting) >= 16:
            client.collect(1)
    while client.waiting:
        client.collect(1)
    client.flush()


class Exporter:
    """qemu-nbd on one image: the same fio, another server."""

    def __init__(self, directory, image, form):
        self.socket = directory / f"{form}.sock"
        self.process = subprocess.Popen(["qemu-nbd", "-f", form, "-k", self.socket, "-t", "-e", "8",
                                         "--cache=none", image])
        wait_for("qemu-nbd", self.socket.exists)

    def __enter__(self):
        return self.socket

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.socket.unlink(missing_ok=True)


def measure_raw(directory, args):
    image = directory / "raw.img"
    with open(image, "wb") as file:
        for _ in range(args.size // MIB):
            file.write(random.randbytes(MIB))
    with Exporter(directory, image, "raw") as socket:
        result = fio(socket, "", "randread", args.seconds, args.size)
    image.unlink()
    return result


def measure_chain(directory, args, depth):
    """A chain of qcow2 overlays, each with the same rewrites, as external snapshots make it."""
    from nbd import Nbd
    top = directory / "q0.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", top, str(args.size)], check=True)
    for level in range(depth + 1):
        if level:
            new = directory / f"q{level}.qcow2"
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", top, "-F", "qcow2", new],
                           check=True)
            top = new
        with Exporter(directory, top, "qcow2") as socket:
            client = Nbd.connect(str(socket), "")
            rewrite(client, args.size, args.size if level == 0 else args.rewrite)
            client.close()
    with Exporter(directory, top, "qcow2") as socket:
        result = fio(socket, "", "randread", args.seconds, args.size)
    for image in directory.glob("q*.qcow2"):
        image.unlink()
    return result


def measure_hozon(server, args):
    link = server.link()
    link.call("volume.create", name="disk", size_bytes=args.size)
    client = server.nbd("disk")
    for offset in range(0, args.size, MIB):
        client.write(offset, random.randbytes(MIB))
    client.flush()
    begin = fio(server.nbd_path, "disk", "randread", args.seconds, args.size)
    begin_write = fio(server.nbd_path, "disk", "randwrite", args.seconds, args.size)
    took = []
    for number in range(args.snapshots):
        rewrite(client, args.size, args.rewrite)
        start = time.perf_counter()
        link.call("volume.snapshot", volumes=["disk"], point=f"p{number}")
        took.append((time.perf_counter() - start) * 1000)
    end = fio(server.nbd_path, "disk", "randread", args.seconds, args.size)
    end_write = fio(server.nbd_path, "disk", "randwrite", args.seconds, args.size)
    again = fio(server.nbd_path, "disk", "randread", args.seconds, args.size)
    show("hozon.read_4k.depth_0", begin, "IOPS")
    show(f"hozon.read_4k.depth_{args.snapshots}", statistics.mean((end, again)), "IOPS")
    show("hozon.read_4k.ratio_end_to_begin", statistics.mean((end, again)) / begin, "")
    show("hozon.write_4k.depth_0", begin_write, "IOPS")
    show(f"hozon.write_4k.depth_{args.snapshots}", end_write, "IOPS")
    show("hozon.write_4k.ratio_end_to_begin", end_write / begin_write, "")
    show("hozon.snapshot.median", statistics.median(took), "ms")
    show("hozon.snapshot.first_ten", statistics.median(took[:10]), "ms")
    show("hozon.snapshot.last_ten", statistics.median(took[-10:]), "ms")
    show("hozon.snapshot.longest", max(took), "ms")
    start = time.perf_counter()
    for number in range(0, args.snapshots, 2):
        link.call("point.delete", volume="disk", point=f"p{number}")
    show("hozon.delete.mean", (time.perf_counter() - start) * 1000 / (args.snapshots / 2), "ms")
    start = time.perf_counter()
    link.call("pool.drain")
    show("hozon.delete.space_back", time.perf_counter() - start, "s")
    report = link.call("pool.check", data=False)
    if report["errors"] or report["lost_blocks"]:
        raise AssertionError(f"check: {report}")
    return begin


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", required=True)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    args.size, args.rewrite, args.snapshots, args.seconds = 1024 * MIB, 32 * MIB, 300, 10
    if args.quick:
        args.size, args.rewrite, args.snapshots, args.seconds = 256 * MIB, 8 * MIB, 40, 3
    program = pathlib.Path(args.programs) / "hozon-stored"
    with Scratch("bench") as directory:
        raw = measure_raw(directory, args)
        create_pool(program, directory / "pool", 3 * args.size + 2 * args.snapshots * args.rewrite)
        server = Stored(program, directory).start()
        try:
            begin = measure_hozon(server, args)
        except BaseException:
            print(server.last_words())
            raise
        finally:
            server.close()
        show("raw.read_4k", raw, "IOPS")
        show("hozon.read_4k.ratio_to_raw", begin / raw, "")
        depth = 8 if args.quick else 60
        chain = measure_chain(directory, args, depth)
        show(f"qcow2_chain.read_4k.depth_{depth}", chain, "IOPS")
    return 0


if __name__ == "__main__":
    sys.exit(main())
