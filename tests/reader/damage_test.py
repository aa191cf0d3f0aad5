#!/usr/bin/env python3
"""Proves that hozon-read notices what is wrong with a pool, says where, and delivers nothing of it.

Every block of metadata of the sample pool is damaged in turn (one bit, and zeros), then data, the
journal, the sizes of the files, versions and features. Usage: damage_test.py READER
"""
import importlib.machinery
import importlib.util
import os
import pathlib
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
import unittest
import zlib

HERE = pathlib.Path(__file__).resolve().parent
BLOCK = 4096


def load(path):
    loader = importlib.machinery.SourceFileLoader("hozon_read", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("hozon_read", loader))
    loader.exec_module(module)
    return module


READER = str(pathlib.Path(sys.argv.pop()).resolve())
reader = load(READER)


def run(*arguments):
    done = subprocess.run([READER, *map(str, arguments)], capture_output=True)
    return done.returncode, done.stdout, done.stderr.decode(errors="replace") + done.stdout.decode(
        errors="replace")


class DamageTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="hz-damage-")
        cls.base = pathlib.Path(cls.temporary.name)
        cls.pool = cls.base / "pool"
        cls.pool.mkdir()
        with tarfile.open(HERE.parent / "golden" / "v1.tar.xz") as archive:
            for member in archive:
                (cls.pool / member.name).write_bytes(archive.extractfile(member).read())
        cls.sound = {name: (cls.pool / name).read_bytes() for name in ("data", "journal")}
        pool = reader.Pool(str(cls.pool))
        cls.metadata = sorted(pool.metadata_blocks)
        _, cls.nodes = reader.reach(pool)
        cls.node_blocks = set()
        for _, root, height in pool.checkpoint.values():
            list(pool.tree_leaves(root, height, 0, "", None, cls.node_blocks))
        cls.superblock = pool.superblock
        pool.close()

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def setUp(self):
        self.touched = []

    def tearDown(self):
        """Makes the pool sound again."""
        for name, content in self.sound.items():
            path = self.pool / name
            if not path.exists() or path.stat().st_size != len(content):
                path.write_bytes(content)
        for name, offset, length in self.touched:
            with open(self.pool / name, "r+b") as file:
                file.seek(offset)
                file.write(self.sound[name][offset:offset + length])
        self.touched = []

    def opened(self):
        pool = reader.Pool(str(self.pool))
        self.addCleanup(pool.close)
        return pool

    def damage(self, name, offset, data):
        self.touched.append((name, offset, len(data)))
        with open(self.pool / name, "r+b") as file:
            file.seek(offset)
            file.write(data)

    def flip(self, name, offset):
        self.damage(name, offset, bytes([self.sound[name][offset] ^ 0x10]))

    def reseal(self, name, block, at, data, crc_at=12):
        """Changes bytes of a header and makes its checksum right again."""
        whole = bytearray(self.sound[name][block * BLOCK:(block + 1) * BLOCK])
        whole[at:at + len(data)] = data
        whole[crc_at:crc_at + 4] = struct.pack("<I", reader.crc32c(reader.without(bytes(whole), crc_at)))
        self.damage(name, block * BLOCK, whole)

    def refused(self, pattern, *arguments, code=1):
        got, out, text = run(*arguments or ("--verify", self.pool))
        self.assertEqual(got, code, text)
        self.assertRegex(text, pattern)
        return out

    def test_the_checksum_is_crc32c(self):
        self.assertEqual(reader.crc32c(b"123456789"), 0xE3069283)
        self.assertEqual(reader.crc32c(bytes(32)), 0x8A9136AA)
        for length in (0, 1, 1023, 1024, 1500, 4096, 10001, 65536):
            data = (b"".join(struct.pack("<I", zlib.crc32(bytes([i % 251]) * (i % 7)))
                             for i in range(length // 4 + 1)))[:length]
            self.assertEqual(reader.crc32c(data), reader._plain_crc32c(data), length)
        blocks = self.sound["data"][:64 * BLOCK]
        self.assertEqual(reader.crc32c_blocks(blocks), [
            reader._plain_crc32c(blocks[at:at + BLOCK]) for at in range(0, len(blocks), BLOCK)])

    def test_a_sound_pool_is_silent(self):
        code, _, text = run("--verify", self.pool)
        self.assertEqual((code, "no errors" in text), (0, True), text)

    def test_every_metadata_block_damaged_is_named(self):
        self.assertGreater(len(self.node_blocks), 10)
        self.assertGreater(len(self.metadata), 2)
        for block in [*self.metadata, *sorted(self.node_blocks)]:
            for data in (None, bytes(BLOCK)):
                if data is None:
                    self.flip("data", block * BLOCK + 40)
                else:
                    self.damage("data", block * BLOCK, data)
                self.refused(f"block {block} is damaged")
                self.tearDown()

    def test_one_superblock_is_enough_two_are_not(self):
        listed = run(self.pool)[1]
        for slot in (0, 1):
            self.flip("data", slot * BLOCK + 500)
            code, out, text = run(self.pool)
            self.assertEqual((code, out), (0, listed))
            self.assertIn(f"superblock slot {slot} is damaged", text)
            self.tearDown()
        self.flip("data", 500)
        self.flip("data", BLOCK + 500)
        self.refused("no superblock is usable: .*slot 0 is damaged.*slot 1 is damaged")

    def test_the_larger_generation_wins(self):
        self.reseal("data", 0, 40, struct.pack("<Q", self.superblock.generation + 1))
        self.reseal("data", 1, 104, struct.pack("<QII", 2, 1, 0))  # an old catalog that is not there
        self.assertEqual(run(self.pool)[0], 0)

    def test_versions_and_features_of_others(self):
        for slot in (0, 1):
            self.reseal("data", slot, 8, struct.pack("<I", 2))
        self.refused("format version 2")
        self.tearDown()
        for slot in (0, 1):
            self.reseal("data", slot, 32, struct.pack("<Q", 4))
        self.refused("features 0x4")
        self.tearDown()
        for slot in (0, 1):
            self.reseal("data", slot, 4000, b"\1")
        self.refused("reserved bytes")

    def test_journals_that_do_not_fit(self):
        self.flip("journal", 100)
        self.refused("header of the journal is damaged")
        self.tearDown()
        self.reseal("journal", 0, 16, bytes(16))
        self.refused("belongs to another pool")
        self.tearDown()
        os.truncate(self.pool / "journal", 2 * BLOCK)
        self.refused("is cut")
        (self.pool / "journal").unlink()
        self.refused("cannot open", code=3)

    def test_a_cut_data_file(self):
        os.truncate(self.pool / "data", 100 * BLOCK)
        self.refused("is cut")

    def test_a_damaged_frame_is_the_end_or_is_refused_when_it_was_durable(self):
        frames = self.opened().frames
        first = BLOCK + self.superblock.journal_offset
        last = self.sound["journal"].rindex(b"HZFR")
        self.assertGreater(frames, 1)
        self.flip("journal", last + 70)
        self.assertIn(f"{frames - 1} frames replayed", run(self.pool)[1].decode())
        self.tearDown()
        self.flip("journal", first + 70)
        self.refused(f"frame {self.superblock.journal_sequence} .* was durable and cannot be read")
        out = self.refused("was durable", "--keep-going", self.pool)
        self.assertIn(b"0 frames replayed", out)

    def test_damaged_data_is_named_and_never_delivered(self):
        pool = self.opened()
        point = pool.find("middle@left")
        index, node = next(pool.leaves(point, None))
        block = struct.unpack_from("<Q", node, 3 * 16)[0]
        good = self.base / "good"
        self.assertEqual(run(self.pool, "middle@left", good)[0], 0)
        self.flip("data", block * BLOCK + 77)
        where = rf"middle@left: bytes {(index + 3) * BLOCK}\.\.{(index + 4) * BLOCK} \(block {block} "
        out = self.base / "out"
        self.refused(where, self.pool, "middle@left", out)
        self.assertFalse(out.exists(), "half a volume is left behind")
        self.refused(where, "--keep-going", self.pool, "middle@left", out)
        left, expected = bytearray(good.read_bytes()), out.read_bytes()
        left[(index + 3) * BLOCK:(index + 4) * BLOCK] = bytes(BLOCK)
        self.assertEqual(bytes(left), expected, "--keep-going loses more than the damaged block")
        streamed = self.refused("1 damaged stretches", "--keep-going", self.pool, "middle@left", "-")
        self.assertEqual(streamed, expected)
        self.refused(rf"\(block {block} of the pool\) are damaged")
        for path in (good, out):
            path.unlink()

    def test_below_a_damaged_node_what_the_journal_wrote_is_still_read(self):
        pool = self.opened()
        head = pool.find("copy")
        changed = min(head.changes())
        self.flip("data", head.root[0] * BLOCK)
        out = self.base / "out"
        self.refused(f"block {head.root[0]} is damaged", "--keep-going", self.pool, "copy", out)
        self.assertNotEqual(out.read_bytes()[changed * 256 * BLOCK:][:BLOCK], bytes(BLOCK))
        out.unlink()

    def test_bitmap_and_trees_disagree(self):
        for slot in (0, 1):  # an empty bitmap: everything in use is marked free
            self.reseal("data", slot, 128, bytes(16))
        self.refused("is in use, but the pool's bitmap says it is free")

    def test_names_and_directories_that_are_not_there(self):
        self.refused("no volume 'nothing'", self.pool, "nothing", "-", code=3)
        self.refused("no point 'x'", self.pool, "low@x", "-", code=3)
        self.refused("no pool directory", self.base / "nowhere", code=3)
        self.assertEqual(run(self.pool, "low")[0], 2)
        taken = self.base / "taken"
        taken.write_bytes(b"mine")
        self.refused("File exists", self.pool, "low", taken)
        self.assertEqual(taken.read_bytes(), b"mine")
        taken.unlink()

    def test_random_damage_never_escapes_as_an_exception(self):
        state = 1
        for _ in range(25):
            for _ in range(3):
                state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
                name = "journal" if state >> 20 & 1 else "data"
                blocks = [0, 1, *self.metadata, *self.node_blocks] if name == "data" else range(8)
                block = list(blocks)[(state >> 33) % len(blocks)]
                self.flip(name, block * BLOCK + (state >> 21) % BLOCK)
            code, _, text = run("--verify", self.pool)
            self.assertIn(code, (0, 1), text)
            self.assertNotRegex(text, re.compile("Traceback"))
            self.tearDown()


if __name__ == "__main__":
    unittest.main()
