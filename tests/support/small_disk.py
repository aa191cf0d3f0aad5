"""A small filesystem of its own for one test, so that it can really be full.

tmpfs needs only a user and mount namespace, which ordinary users may make: enter_namespace() starts
the test again inside one. ext4 and xfs are made in a file, and need root for the loop device.
"""
import os
import pathlib
import subprocess
import sys
import time

MIB = 1 << 20
SKIP = 77


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIP)


def enter_namespace():
    """Runs this program again as root of a namespace in which it may mount; returns in there."""
    if os.environ.get("HOZON_IN_NAMESPACE") == "1":
        return
    probe = subprocess.run(["unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/mnt"],
                           capture_output=True, text=True)
    if probe.returncode != 0:
        skip(f"no mount in a user namespace here: {probe.stderr.strip()}")
    os.environ["HOZON_IN_NAMESPACE"] = "1"
    os.execvp("unshare", ["unshare", "-Urm", sys.executable, *sys.argv])


class SmallDisk:
    def __init__(self, kind, scratch, mebibytes):
        self.path, self.image = scratch / "fs", scratch / "fs.img"
        self.path.mkdir()
        if kind == "tmpfs":
            command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "none", self.path]
        else:
            if os.geteuid() != 0:
                skip(f"{kind} in a file needs root, for the loop device")
            with open(self.image, "wb") as file:
                file.truncate(mebibytes * MIB)
            # No blocks that only root may take: full is to mean full.
            make = ["mkfs.ext4", "-q", "-m", "0"] if kind == "ext4" else ["mkfs.xfs", "-q"]
            subprocess.run([*make, self.image], check=True)
            command = ["mount", "-o", "loop", self.image, self.path]
        mounted = subprocess.run(command, capture_output=True, text=True)
        if mounted.returncode != 0:
            skip(f"cannot mount {kind}: {mounted.stderr.strip()}")

    def free_bytes(self):
        state = os.statvfs(self.path)
        return state.f_bavail * state.f_frsize

    def fill(self, name, leave=0):
        """Somebody else's file takes all but `leave` bytes; it goes with give_back()."""
        count = self.free_bytes() - leave
        with open(self.path / name, "wb", buffering=0) as file:
            try:
                while count > 0:
                    count -= file.write(bytes(min(count, MIB)))
                os.fsync(file.fileno())
            except OSError:
                pass
        return self.path / name

    def close(self):
        # The kernel may still be ending the I/O of a killed process.
        for _ in range(100):
            if subprocess.run(["umount", self.path], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        pathlib.Path(self.image).unlink(missing_ok=True)
