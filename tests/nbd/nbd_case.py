"""What the tests of this directory share: one hozon-stored on a fresh pool for each test class."""
import argparse
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from stored import Scratch, Stored, create_pool  # noqa: E402

MIB = 1 << 20
PROGRAM = None


class NbdCase(unittest.TestCase):
    POOL_BYTES = 512 * MIB
    VOLUMES = {"disk": 64 * MIB}

    @classmethod
    def setUpClass(cls):
        cls.scratch = Scratch("nbd")
        cls.directory = cls.scratch.__enter__()
        create_pool(PROGRAM, cls.directory / "pool", cls.POOL_BYTES)
        cls.server = Stored(PROGRAM, cls.directory).start()
        cls.addClassCleanup(cls.server.close)
        for name, size in cls.VOLUMES.items():
            cls.server.call("volume.create", name=name, size_bytes=size)

    @classmethod
    def tearDownClass(cls):
        report = cls.server.call("pool.check", data=True)
        status = cls.server.stop()
        words = cls.server.last_words()
        cls.scratch.__exit__(None)
        if report["errors"] or report["lost_blocks"] or status != 0:
            raise AssertionError(f"pool check says {report}, exit status {status}\n{words}")

    def uri(self, export):
        quoted = "".join(c if c.isascii() and c.isalnum() or c in "-_." else "".join(f"%{b:02X}" for b in c.encode())
                         for c in export)
        return f"nbd+unix:///{quoted}?socket={self.server.nbd_path}"

    def run_program(self, *words, status=0, timeout=60):
        """Runs a foreign program in the scratch directory; its standard output."""
        run = subprocess.run(words, cwd=self.directory, capture_output=True, text=True,
                             stdin=subprocess.DEVNULL, timeout=timeout)
        if status is not None:
            self.assertEqual(run.returncode, status, f"{words}\n{run.stdout}\n{run.stderr}")
        return run.stdout + run.stderr


def main():
    global PROGRAM
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--stored", required=True)
    arguments, rest = parser.parse_known_args()
    PROGRAM = str(pathlib.Path(arguments.stored).resolve())
    sys.modules["nbd_case"].PROGRAM = PROGRAM
    unittest.main(module="__main__", argv=[sys.argv[0], *rest])
