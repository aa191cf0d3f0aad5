#!/usr/bin/env python3
"""Proves that an ext3 or ext4 file system that was in use is shown as it is after its journal was
replayed, whatever form the journal has, and that the disk itself is left as it was.

Method: debugfs writes transactions into journals, which no block of the file system has yet; and, where
this user may mount, the kernel does: its disk is copied under work. What the reader shows is compared
with a copy that e2fsck has recovered.
usage: journal_test.py BIN_DIRECTORY
"""
import hashlib
import io
import os
import pathlib
import random
import shutil
import subprocess
import tarfile
import unittest

from reader_case import FAILURES, ReaderCase

ROUNDS = 6
# What mke2fs is told, and debugfs's words for the journal that fits.
FORMS = {
    "ext3": ("ext3", (), ""),
    "ext3, 1 KiB": ("ext3", ("-b", "1024"), ""),
    "ext4": ("ext4", ("-O", "metadata_csum,64bit"), "-c -v 3"),
    "ext4, 1 KiB": ("ext4", ("-b", "1024", "-O", "metadata_csum,64bit"), "-c -v 3"),
    "ext4, second form": ("ext4", ("-O", "metadata_csum,64bit"), "-c -v 2"),
    "ext4, 32 bits": ("ext4", ("-O", "^64bit,metadata_csum"), "-c -v 3"),
    "ext4, no checksums": ("ext4", ("-O", "^metadata_csum"), ""),
}
MAGIC = bytes.fromhex("c03b3998")


def tool(*words, accept=(0,)):
    done = subprocess.run(words, capture_output=True, timeout=60)
    if done.returncode not in accept:
        raise AssertionError(f"{words}: {done.returncode} {done.stdout} {done.stderr}")
    return done.stdout


class JournalTest(ReaderCase):
    def make(self, form):
        kind, options, self.words = FORMS[form]
        self.path = self.image(kind, 16, options)
        lines = tool("dumpe2fs", "-h", self.path).decode().splitlines()
        self.block = int(next(l for l in lines if l.startswith("Block size:")).split()[-1])

    def blocks_of(self, name):
        return [int(word) for word in self.debugfs(self.path, f"blocks /{name}").split()
                if word.isdigit()]

    def journal(self, *transactions):
        """Each of them: (numbers of blocks, their content, numbers revoked, further words)."""
        requests = [f"jo {self.words}"]
        for i, (blocks, content, revoked, words) in enumerate(transactions):
            place = pathlib.Path(f"{self.dir}/content{i}")
            place.write_bytes(content.ljust(max(1, len(blocks)) * self.block, b"."))
            request = "jw " + words
            if blocks:
                request += " -b " + ",".join(map(str, blocks))
            if revoked:
                request += " -r " + ",".join(map(str, revoked))
            requests.append(f"{request} {place}")
        out = self.debugfs(self.path, *requests, "jc")
        self.assertNotRegex(out, "(?i)error|usage|invalid")

    def recovered(self):
        """The content of the disk after e2fsck."""
        copy = self.dir + "/recovered"
        shutil.copyfile(self.path, copy)
        tool("e2fsck", "-y", "-E", "journal_only", copy, accept=(0, 1))
        return copy

    def show(self):
        """What the reader says of the disk, its note, and that it changed nothing."""
        image = pathlib.Path(self.path).read_bytes()
        self.put(image)
        status, answer, _ = self.ask(op="filesystems")
        self.assertEqual(status, 0, answer)
        return answer["filesystems"][0]

    def content(self, name):
        status, answer, rest = self.ask(op="read", path="/" + name)
        self.assertEqual(status, 0, answer)
        return rest

    def expect_as_recovered(self, names):
        copy = self.recovered()
        for name in names:
            self.assertEqual(self.content(name), tool("debugfs", "-R", f"cat /{name}", copy), name)

    def test_what_only_the_journal_has_is_shown(self):
        for form in FORMS:
            with self.subTest(form):
                self.make(form)
                one, two = self.blocks_of("one")[0], self.blocks_of("a/two")[0]
                self.journal(([one, two], b"newer".ljust(self.block, b"n") + b"too", [], ""),
                             ([one], b"newest", [], ""))
                self.assertIn("with its journal replayed", self.show()["note"])
                self.assertTrue(self.content("one").startswith(b"newest"))
                self.assertTrue(self.content("a/two").startswith(b"too"))
                self.expect_as_recovered(["one", "a/two", "a/b/three"])

    def test_what_was_revoked_or_not_committed_is_not(self):
        for form in FORMS:
            with self.subTest(form):
                self.make(form)
                one, two, three = (self.blocks_of(n)[0] for n in ("one", "a/two", "a/b/three"))
                self.journal(([one, two], b"gone".ljust(self.block, b"g") + b"stays", [], ""),
                             ([], b"", [one], ""),
                             ([three], b"never", [], "-c"))
                self.show()
                self.assertTrue(self.content("one").startswith(b"oneone"))
                self.assertTrue(self.content("a/two").startswith(b"stays"))
                self.assertTrue(self.content("a/b/three").startswith(b"a/b/three"))
                self.expect_as_recovered(["one", "a/two", "a/b/three"])

    def test_a_block_that_begins_like_the_journals_own(self):
        for form in FORMS:
            with self.subTest(form):
                self.make(form)
                one = self.blocks_of("one")[0]
                self.journal(([one], MAGIC + b"escaped", [], ""))
                self.show()
                self.assertTrue(self.content("one").startswith(MAGIC + b"escaped"))
                self.expect_as_recovered(["one"])

    def test_a_damaged_journal_is_told_and_what_is_in_place_is_shown(self):
        for form in ("ext4", "ext4, second form"):
            with self.subTest(form):
                self.make(form)
                one = self.blocks_of("one")[0]
                self.journal(([one], b"newer", [], ""))
                image = pathlib.Path(self.path).read_bytes()
                at = image.rindex(b"newer.....")  # in the journal
                pathlib.Path(self.path).write_bytes(image[:at] + b"X" + image[at + 1:])
                note = self.show()["note"]
                self.assertIn("may be missing or old: its journal is damaged", note)
                self.assertTrue(self.content("one").startswith(b"oneone"))

    def test_a_journal_that_lies_ends_the_question_soon(self):
        self.make("ext3")
        one = self.blocks_of("one")[0]
        self.journal(([one], b"newer", [], ""))
        image = pathlib.Path(self.path).read_bytes()
        start = image.index(MAGIC)
        chance = random.Random(5)
        seen = set()
        for _ in range(60):
            disk = bytearray(image)
            for _ in range(chance.choice((1, 3, 20))):
                place = start + chance.choice((chance.randrange(12, 96), chance.randrange(8 * self.block)))
                disk[place] = chance.choice((0, 1, 0xff, chance.randrange(256)))
            self.put(disk)
            status, answer, _ = self.ask(path="/a/b")
            if status >= 0:
                self.assertIsNotNone(answer)
            seen.add(status)
        self.assertIn(0, seen)

    @unittest.skipUnless(os.geteuid() == 0, "mounting needs root")
    def test_what_the_kernel_left_under_work(self):
        point = self.dir + "/mounted"
        os.mkdir(point)
        for number in range(ROUNDS):
            self.make(("ext3", "ext4", "ext4, 1 KiB")[number % 3])
            live = self.dir + "/live"
            shutil.copyfile(self.path, live)
            mounted = subprocess.run(["mount", "-o", "loop,commit=300", live, point], capture_output=True)
            if mounted.returncode != 0:
                self.skipTest(f"no loop device: {mounted.stderr}")
            try:
                self.work(point, random.Random(number))
                shutil.copyfile(live, self.path)
            finally:
                subprocess.run(["umount", point], check=True)
            self.assertIn("with its journal replayed", self.show()["note"])
            expected = self.tree_of_recovered(point)
            self.assertGreater(len(expected), 10)
            members, failures = self.archive_content()
            self.assertEqual(failures, "")
            self.assertEqual(members, expected)

    @staticmethod
    def work(point, chance):
        """Files made, renamed, cut and removed; some flushed. The kernel's own copy is ahead of the disk."""
        names = []
        for i in range(chance.randrange(60, 200)):
            dice = chance.randrange(10)
            if dice < 6 or not names:
                name = f"{point}/d{chance.randrange(5)}/f{i}"
                os.makedirs(os.path.dirname(name), exist_ok=True)
                with open(name, "wb") as file:
                    file.write(chance.randbytes(chance.randrange(1, 30_000)))
                    if chance.randrange(3) == 0:
                        file.flush()
                        os.fsync(file.fileno())
                names.append(name)
            elif dice < 7:
                os.unlink(names.pop(chance.randrange(len(names))))
            elif dice < 8:
                place = chance.randrange(len(names))
                os.rename(names[place], names[place] + "r")
                names[place] += "r"
            elif dice < 9:
                os.truncate(chance.choice(names), chance.randrange(10_000))
            else:
                descriptor = os.open(chance.choice(names), os.O_RDWR)
                os.fsync(descriptor)
                os.close(descriptor)
        # The file that everything is flushed with, and the last word on the disk.
        with open(f"{point}/last", "wb") as file:
            file.write(b"last")
            file.flush()
            os.fsync(file.fileno())

    def tree_of_recovered(self, point):
        copy = self.recovered()
        subprocess.run(["mount", "-o", "loop,ro", copy, point], check=True)
        try:
            found = {}
            for directory, _, files in os.walk(point):
                for name in files:
                    path = os.path.join(directory, name)
                    if not os.path.islink(path):
                        content = pathlib.Path(path).read_bytes()
                        found[os.path.relpath(path, point)] = hashlib.sha256(content).hexdigest()
            return found
        finally:
            subprocess.run(["umount", point], check=True)

    def archive_content(self):
        """Digests of the files, by name, and what could not be read."""
        status, answer, rest = self.ask(op="read", as_tar=True)
        self.assertEqual(status, 0, answer)
        found, failures = {}, ""
        with tarfile.open(fileobj=io.BytesIO(rest)) as archive:
            for member in archive:
                if not member.isfile():
                    continue
                content = archive.extractfile(member).read()
                if member.name == FAILURES:
                    failures = content.decode()
                else:
                    found[member.name.partition("/")[2]] = hashlib.sha256(content).hexdigest()
        return found, failures


if __name__ == "__main__":
    unittest.main(verbosity=2)
