"""What the numbers were measured on, and how quiet it was."""
import os
import pathlib
import platform
import subprocess
import time

BUSY_FROM = 0.10  # of all processors, by others, before anything is measured


def _first_line(*command):
    run = subprocess.run(command, capture_output=True, text=True)
    return (run.stdout or run.stderr).splitlines()[0].strip() if run.returncode == 0 else "none"


def _processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _busy_share(seconds=2):
    """Of all processors; waiting for disks counts, since somebody else's I/O disturbs too."""
    def now():
        fields = [int(word) for word in
                  pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(fields), fields[3]
    begin = now()
    time.sleep(seconds)
    end = now()
    return 1 - (end[1] - begin[1]) / max(1, end[0] - begin[0])


def describe(scratch):
    filesystem = subprocess.run(["findmnt", "-n", "-o", "FSTYPE,SOURCE,OPTIONS", "-T", scratch],
                                capture_output=True, text=True).stdout.strip()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"processor": f"{os.cpu_count()} x {_processor()}", "memory_gib": round(memory / 2**30),
            "kernel": platform.release(), "filesystem": filesystem,
            "fio": _first_line("fio", "--version"),
            "qemu": _first_line("qemu-storage-daemon", "--version"),
            "commit": _first_line("git", "describe", "--always", "--dirty"),
            "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            "load_at_start": [round(value, 2) for value in os.getloadavg()],
            "busy_before": round(_busy_share(), 3)}


def warning(machine):
    if machine["busy_before"] < BUSY_FROM:
        return ""
    return (f"the machine was busy before the start ({machine['busy_before']:.0%} of its processors, "
            f"load {machine['load_at_start'][0]}): take these numbers for a rehearsal")
