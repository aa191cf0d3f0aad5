"""fio, the one client of every system, and what a server spends while fio asks it."""
import json
import os
import pathlib
import subprocess

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class FioFailed(Exception):
    pass


def fio(system, kind, block, seconds, span, in_flight=(16,), options=()):
    """One fio process; its jobs, one per queue depth, run one after the other.
    Returns {queue depth: job}, each with iops, bytes_per_s, total_ios, latency_ns (mean) and p99_ns."""
    command = ["fio", "--output-format=json", *system.fio_options(), f"--rw={kind}",
               f"--bs={block}", f"--size={span}", "--time_based=1",
               f"--runtime={int(seconds * 1000)}ms", "--randrepeat=0", *options]
    for count in in_flight:
        command += [f"--name=qd{count}", "--stonewall", f"--iodepth={count}"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=seconds * 30 + 60)
    if run.returncode != 0:
        raise FioFailed(f"{system.name}: {run.stderr.strip() or run.stdout.strip()[-500:]}")
    jobs = json.loads(run.stdout[run.stdout.index("{"):])["jobs"]
    side = "read" if kind in ("read", "randread") else "write"
    return {count: _job(job[side]) for count, job in zip(in_flight, jobs, strict=True)}


def _job(side):
    latency = side["clat_ns"]
    return {"iops": side["iops"], "bytes_per_s": side["bw_bytes"], "total_ios": side["total_ios"],
            "latency_ns": latency["mean"],
            "p99_ns": latency.get("percentile", {}).get("99.000000", 0)}


def fio_verify(system, span, seed):
    """Writes `span` bytes in random 4 KiB blocks, each with its own checksum, and reads all back."""
    run = subprocess.run(
        ["fio", "--name=verify", "--output-format=json", *system.fio_options(), "--rw=randwrite",
         "--bs=4k", f"--size={span}", "--iodepth=16", "--verify=crc32c", "--verify_fatal=1",
         "--do_verify=1", "--verify_state_save=0", f"--randseed={seed}"],
        capture_output=True, text=True, timeout=600)
    if run.returncode != 0:
        raise FioFailed(f"{system.name}: VERIFY FAILED: {run.stderr.strip()[-1000:]}")
    job = json.loads(run.stdout[run.stdout.index("{"):])["jobs"][0]
    return job["read"]["io_bytes"]


class Spent:
    """What a process spends inside `with`: cpu_s, and the bytes it sent to the disk."""

    def __init__(self, pid):
        self.pid = pid

    def __enter__(self):
        self.begin = self._now()
        return self

    def __exit__(self, *_):
        end = self._now()
        self.cpu_s = end[0] - self.begin[0]
        self.written = end[1] - self.begin[1]

    def _now(self):
        process = pathlib.Path("/proc") / str(self.pid)
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        io = dict(line.split(": ") for line in (process / "io").read_text().splitlines())
        return (int(fields[11]) + int(fields[12])) / TICKS, int(io["write_bytes"])


def resident_bytes(pid):
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def overwrite_all(system):
    """Every 4 KiB block of the span once, in random order."""
    run = subprocess.run(
        ["fio", "--name=overwrite", *system.fio_options(), "--rw=randwrite", "--bs=4k",
         f"--size={system.span}", "--iodepth=64", "--end_fsync=1"],
        capture_output=True, text=True, timeout=900)
    if run.returncode != 0:
        raise FioFailed(f"{system.name}: {run.stderr.strip()}")
