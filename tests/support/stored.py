"""Runs one hozon-stored on a pool directory, the way the supervisor does: the listening sockets
belong to the test, so that a killed server can be started again without closing them."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

from nbd import Gone, Nbd


class LinkError(Exception):
    def __init__(self, op, error):
        super().__init__(f"{op}: {error.get('message')}")
        self.code = error.get("code")


class Link:
    """The link of one pool: JSON lines."""

    def __init__(self, path, timeout=60.0):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        self.file = self.socket.makefile("rwb")
        self.id = 0

    def call(self, op, **parameters):
        self.id += 1
        line = json.dumps({"id": self.id, "op": op, **parameters}).encode() + b"\n"
        try:
            self.file.write(line)
            self.file.flush()
            answer = self.file.readline()
        except OSError as error:
            raise Gone(str(error)) from error
        if not answer:
            raise Gone(f"no answer to {op}")
        answer = json.loads(answer)
        if not answer["ok"]:
            raise LinkError(op, answer["error"])
        return answer.get("result", {})

    def close(self):
        self.socket.close()


class Stored:
    def __init__(self, program, directory, name="main", environment=None):
        self.program, self.name = pathlib.Path(program), name
        self.directory = pathlib.Path(directory)
        self.nbd_path = str(self.directory / "nbd.sock")
        self.link_path = str(self.directory / "link.sock")
        self.pool = self.directory / "pool"
        self.log = self.directory / "stored.log"
        self.listeners = [self._listen(self.nbd_path), self._listen(self.link_path)]
        self.process = None
        self.starts = 0
        self.environment = environment or {}

    @staticmethod
    def _listen(path):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
        listener.listen(64)
        return listener

    def start(self):
        fds = [listener.fileno() for listener in self.listeners]

        def hand_over():
            # To 3 and 4, by way of high numbers so that neither overwrites the other.
            high = [os.dup2(fd, 100 + index, inheritable=False) for index, fd in enumerate(fds)]
            for index, fd in enumerate(high):
                os.dup2(fd, 3 + index)

        # The number of the process is known only in the process itself.
        command = ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", self.program, "--pool-dir",
                   self.pool, "--name", self.name]
        environment = os.environ | self.environment | {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "nbd:link"}
        with open(self.log, "ab") as log:
            # Not pass_fds, which wants 3 and 4 to be open here too; all else of ours ends at exec.
            self.process = subprocess.Popen(command, env=environment, close_fds=False,
                                            preexec_fn=hand_over, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        self.starts += 1
        return self

    def start_again(self, within=15.0):
        """As the supervisor: until it serves. A killed process gives up its lock on the pool only when
        the kernel has ended its last I/O, so the first try or two may find the pool still locked."""
        end = time.monotonic() + within
        self.start()
        while True:
            link = Link(self.link_path)
            try:
                if self._answers(link, end):
                    return self
            finally:
                link.close()
            if time.monotonic() > end:
                raise TimeoutError(f"hozon-stored is not back within {within} s")
            time.sleep(0.05)
            self.start()

    def _answers(self, link, end):
        """True when it answers; False when the process ended before it did."""
        link.socket.settimeout(0.05)
        line = json.dumps({"id": 1, "op": "pool.stats"}).encode() + b"\n"
        link.socket.sendall(line)
        while time.monotonic() < end:
            ended = self.process.poll() is not None
            try:
                return bool(link.socket.recv(1 << 16))
            except TimeoutError:
                if ended:
                    return False
        return False

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        return self.process.wait(10)

    def stop(self):
        """Asks politely; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def running(self):
        return self.process is not None and self.process.poll() is None

    def link(self, within=30.0):
        link = Link(self.link_path)
        link.socket.settimeout(max(within, 120))
        return link

    def call(self, op, **parameters):
        link = self.link()
        try:
            return link.call(op, **parameters)
        finally:
            link.close()

    def nbd(self, export, within=30.0):
        return Nbd.connect(self.nbd_path, export, within)

    def close(self):
        if self.running():
            self.process.kill()
            self.process.wait()
        for listener in self.listeners:
            listener.close()

    def last_words(self, lines=20):
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def create_pool(program, directory, size_bytes):
    """Formats a pool the way `hozon pool create` does."""
    run = subprocess.run([program, "create", "--pool-dir", directory, "--size", str(size_bytes)],
                         capture_output=True, text=True)
    if run.returncode != 0:
        raise RuntimeError(f"cannot create a pool: {run.stderr.strip()}")


class Scratch:
    """A directory for one test, short enough for unix sockets, removed when the test passed."""

    def __init__(self, name):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix=f"hz-{name}-"))

    def __enter__(self):
        return self.path

    def __exit__(self, kind, *_):
        if kind is None:
            subprocess.run(["rm", "-rf", self.path], check=True)
        else:
            print(f"left for inspection: {self.path}")


def is_overloaded():
    """Whether processes wait so long for a processor here that times say nothing about a program."""
    return os.getloadavg()[0] > 4 * (os.cpu_count() or 1)


def wait_for(what, condition, within=30.0):
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {within} s")
        time.sleep(0.02)
