#!/usr/bin/env python3
"""Proves that tools/include_test.py is not blind: it builds small houses, one sound and one per
kind of fault, and expects silence for the first and the named fault for the others."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools/include_test.py"

ROOMS = """\
hozon_room(base USES PkgConfig::FMT)
hozon_room(io USES hozon_base)
hozon_room(format USES hozon_base)
hozon_room(store USES hozon_io hozon_format)
hozon_room(qemu USES hozon_base)
"""
PROGRAMS = "hozon_program(hozon-check hozon_store)\n"


class IncludeTest(unittest.TestCase):
    def complaints(self, files, rooms=ROOMS):
        with tempfile.TemporaryDirectory() as directory:
            root = pathlib.Path(directory)
            everything = {"CMakeLists.txt": rooms, "main/CMakeLists.txt": PROGRAMS,
                          "base/fd.h": "", "io/loop.h": '#include "base/fd.h"\n',
                          "store/pool.h": '#include "io/loop.h"\n#include "base/fd.h"\n',
                          "qemu/qmp.h": '#include "base/fd.h"\n',
                          "main/hozon_check.cc": '#include "store/pool.h"\n'} | files
            for name, text in everything.items():
                path = root / "src" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            run = subprocess.run([sys.executable, TOOL, root], capture_output=True, text=True)
            self.assertEqual(run.returncode, 1 if run.stdout else 0, run.stderr)
            return run.stdout

    def test_a_sound_house_is_silent(self):
        self.assertEqual(self.complaints({}), "")

    def test_a_room_that_looks_up_is_named(self):
        found = self.complaints({"base/bad.h": '#include "store/pool.h"\n'})
        self.assertIn("room 'base' must not include \"store/pool.h\"", found)

    def test_a_neighbour_is_not_family(self):
        found = self.complaints({"store/bad.cc": '  #  include "qemu/qmp.h"\n'})
        self.assertIn("room 'store' must not include \"qemu/qmp.h\"", found)

    def test_a_program_sees_only_what_it_links(self):
        found = self.complaints({"main/hozon_check.cc": '#include "qemu/qmp.h"\n'})
        self.assertIn("room 'main' must not include \"qemu/qmp.h\"", found)

    def test_a_uses_list_against_the_picture_is_named(self):
        found = self.complaints({}, ROOMS.replace("base USES", "base USES hozon_store"))
        self.assertIn("room 'base' must not use 'store'", found)

    def test_a_relative_include_is_named(self):
        found = self.complaints({"io/bad.cc": '#include "loop.h"\n'})
        self.assertIn('"loop.h" is not a file under src/', found)

    def test_a_library_away_from_home_is_named(self):
        found = self.complaints({"qemu/bad.cc": "#include <sqlite3.h>\n"})
        self.assertIn("<sqlite3.h> belongs to control", found)

    def test_an_unknown_room_is_named(self):
        found = self.complaints({"attic/box.h": ""})
        self.assertIn("'attic' is not a room", found)


if __name__ == "__main__":
    unittest.main()
