#!/usr/bin/env python3
"""Proves that files come out of a snapshot as they went into the guest's disk, whatever their names,
without a machine being started, and that what cannot be had is refused in words that help.

Method: file systems are made by their own tools from a tree that the test knows, with partition tables
and without, and become disks of machines. What REST and the command line bring back is compared with
the tree. hozond is killed and the snapshot deleted under a download.
usage: files_test.py BIN_DIRECTORY
"""
import hashlib
import http.client
import io
import json
import os
import pathlib
import random
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "control"))
from instance import BIN, InstanceCase, Unix  # noqa: E402

MIB = 1 << 20


def run(*words, **options):
    return subprocess.run(words, check=True, capture_output=True, timeout=60, **options).stdout


def make_tree(top):
    """Names and kinds of files that make readers stumble; mtimes are fixed."""
    os.makedirs(top + "/etc/deep/er")
    files = {"etc/fstab": b"/dev/vda1 / ext4\n", "etc/empty": b"", "etc/deep/er/x": b"x" * 5000,
             "big": random.Random(3).randbytes(3 * MIB + 17), "na\nme": b"line", "日本.txt": b"utf8",
             b"bad\xff": b"bytes", "back\\slash": b"b", "-rf": b"dash"}
    for name, content in files.items():
        path = os.path.join(os.fsencode(top), os.fsencode(name))
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, 0o640)
    with open(top + "/sparse", "wb") as file:
        file.truncate(40 * MIB)
        file.seek(30 * MIB)
        file.write(b"island")
    os.chmod(top + "/etc/fstab", 0o4755)
    os.symlink("fstab", top + "/etc/link")
    os.symlink("/etc/fstab", top + "/etc/absolute")
    os.symlink("../../../../../../etc/passwd", top + "/outside")
    os.symlink("loop2", top + "/loop1")
    os.symlink("loop1", top + "/loop2")
    os.mkfifo(top + "/pipe")
    os.makedirs(top + "/many")
    for i in range(300):
        pathlib.Path(top, "many", f"file-{i:04}").write_bytes(b"%d" % i)
    for name in ("etc", "etc/deep", "etc/fstab", "big"):
        os.utime(os.path.join(top, name), (1_700_000_000, 1_700_000_000))


def digest_of(top):
    """relative name -> (kind, content or target); of what a copy has to have."""
    found = {}
    top = os.fsencode(top)
    for directory, names, files in os.walk(top):
        for name in names + files:
            path = os.path.join(directory, name)
            key = os.path.relpath(path, top)
            if os.path.islink(path):
                found[key] = ("link", os.readlink(path))
            elif os.path.isdir(path):
                found[key] = ("directory", b"")
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    found[key] = ("file", hashlib.sha256(file.read()).digest())
    found.pop(b"lost+found", None)
    return found


def mbr_of(parts, mib):
    """A disk with a partition table: (start MiB, size MiB, image)."""
    table = bytearray(512)
    for i, (start, size, _) in enumerate(parts):
        table[446 + 16 * i:462 + 16 * i] = struct.pack(
            "<B3sB3sII", 0, b"\0\0\0", 0x83, b"\0\0\0", start * 2048, size * 2048)
    table[510:512] = b"\x55\xaa"
    disk = bytearray(mib * MIB)
    disk[:512] = table
    for start, _, image in parts:
        disk[start * MIB:start * MIB + len(image)] = image
    return bytes(disk)


def gpt_of(parts, mib):
    import binascii
    sectors = mib * 2048
    entries = bytearray(128 * 128)
    for i, (start, size, _) in enumerate(parts):
        entries[128 * i:128 * i + 56] = (bytes.fromhex("af3dc60f838472478e793d69d8477de4") +
                                         bytes([i + 1] * 16) +
                                         struct.pack("<QQQ", start * 2048,
                                                     (start + size) * 2048 - 1, 0))

    def header(mine, other, at):
        body = struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, mine, other, 34,
                           sectors - 34, b"\7" * 16, at, 128, 128, binascii.crc32(entries))
        return body[:16] + struct.pack("<I", binascii.crc32(body)) + body[20:]
    disk = bytearray(mbr_of([(0, mib, b"")], mib))
    disk[446 + 4] = 0xee
    disk[446 + 8:446 + 12] = struct.pack("<I", 1)
    disk[512:512 + 92] = header(1, sectors - 1, 2)
    disk[1024:1024 + len(entries)] = entries
    disk[-33 * 512:-33 * 512 + len(entries)] = entries
    disk[-512:-512 + 92] = header(sectors - 1, 1, sectors - 33)
    for start, _, image in parts:
        disk[start * MIB:start * MIB + len(image)] = image
    return bytes(disk)


class FilesTest(InstanceCase):
    pool_bytes = 1 << 30

    @classmethod
    def prepare(cls):
        cls.work = tempfile.mkdtemp(prefix="hzf-")
        cls.images, cls.plain = {}, None
        cls.tree = cls.work + "/tree"
        os.mkdir(cls.tree)
        make_tree(cls.tree)

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        shutil.rmtree(cls.work)

    def file(self, name, content=b"", mib=0):
        path = f"{self.work}/{name}"
        with open(path, "wb") as file:
            file.write(content)
            if mib:
                file.truncate(mib * MIB)
        return path

    def ext(self, kind="ext4", mib=24, tree=None, options=()):
        key = (kind, mib, tree, options)
        if key not in self.images:
            self.images[key] = self.make_ext(*key)
        return self.images[key]

    def make_ext(self, kind, mib, tree, options):
        path = self.file("image." + kind, mib=mib)
        run("mkfs." + kind, "-q", "-F", *options, "-d", tree or self.tree, path)
        return pathlib.Path(path).read_bytes()

    def machine_of(self, *images):
        type(self).counter += 1
        name = f"f{self.counter}"
        paths = [self.file(f"{name}-{i}.img", image) for i, image in enumerate(images)]
        self.do("POST", "/v1/machines", {"name": name, "memory_bytes": 64 << 20,
                                         "disks": [{"image": path} for path in paths]})
        self.do("POST", f"/v1/machines/{name}/snapshots", {"name": "s"})
        self.path = f"/v1/machines/{name}/snapshots/s"
        self.name = name
        for path in paths:
            os.unlink(path)
        return name

    def plain_machine(self):
        """One with the tree on an ext4 without partitions; nobody changes it."""
        if self.plain is None:
            type(self).plain = self.machine_of(self.ext())
        self.name = self.plain
        self.path = f"/v1/machines/{self.name}/snapshots/s"

    def ask(self, what, place="", **words):
        query = dict(words, **({"place": place} if place else {}))
        return self.call("GET", f"{self.path}/{what}?" + urllib.parse.urlencode(query))

    def names_at(self, place, **words):
        status, answer = self.ask("files", place, **words)
        self.assertEqual(status, 200, answer)
        return {item["name"]: item for item in answer["items"]}

    def content(self, place, **words):
        connection = Unix(self.dir + "/run/api.sock")
        connection.request("GET", f"{self.path}/content?" +
                           urllib.parse.urlencode(dict(words, place=place)))
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        self.assertEqual(answer.status, 200, body)
        return body

    def fails(self, code, words, what, place, **more):
        status, answer = self.ask(what, place, **more)
        self.assertGreaterEqual(status, 400, answer)
        self.assertEqual(answer["code"], code, answer)
        self.assertIn(words, answer["detail"])
        self.assertIn(f"machine '{self.name}'", answer["detail"])
        self.assertNotIn("\n", answer["detail"])

    def hozon(self, *words, fails=0):
        done = subprocess.run([BIN + "/hozon", "--dir", self.dir, *words], capture_output=True,
                              timeout=60, env=os.environ | {"LC_ALL": "C"})
        self.assertEqual(done.returncode, fails, done.stderr)
        return done.stdout if fails == 0 else done.stderr.decode()

    def hozond(self):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(self.dir + "/run/supervisor.sock")
            peer.sendall(b'{"op":"status"}\n')
            children = json.loads(peer.makefile().readline())["children"]
        return next(c["pid"] for c in children if c["name"] == "hozond")

    def readers(self):
        """Of this instance: other suites may run beside this one."""
        found = subprocess.run(["pgrep", "-P", str(self.hozond()), "-f", "hozon-files"],
                               capture_output=True, text=True)
        return found.stdout.split()

    def are_gone(self, readers):
        end = time.time() + 40
        while time.time() < end and any(os.path.exists(f"/proc/{pid}") for pid in readers):
            time.sleep(0.05)
        self.assertEqual([pid for pid in readers if os.path.exists(f"/proc/{pid}")], [])

    def test_every_ext_file_system_gives_back_what_it_holds(self):
        expected = digest_of(self.tree)
        for kind, options in (("ext2", ()), ("ext3", ()), ("ext4", ()),
                              ("ext4", ("-O", "inline_data", "-I", "256")), ("ext4", ("-b", "1024"))):
            self.machine_of(self.ext(kind, options=options))
            system = self.get(self.path + "/filesystems")["items"]
            self.assertEqual([(s["name"], s["type"], s["readable"]) for s in system],
                             [("vda", kind, True)])
            target = f"{self.work}/copy-{kind}-{len(options)}-{self.counter}"
            self.hozon("snapshot", "extract", self.name, "s", "/", target, "--recursive")
            found = digest_of(target)
            if "inline_data" in options:  # mke2fs 1.47.0 itself cuts the hole at the end off
                found[b"sparse"] = expected[b"sparse"]
            self.assertEqual(found, expected, (kind, options))

    def test_sizes_modes_times_and_targets(self):
        self.plain_machine()
        there = self.names_at("/etc")
        self.assertEqual(list(there), sorted(there))
        fstab = there["fstab"]
        self.assertEqual((fstab["kind"], fstab["size_bytes"], fstab["mode"], fstab["modified_ns"]),
                         ("file", 17, 0o4755, 1_700_000_000 * 10**9))
        self.assertEqual((there["link"]["kind"], there["link"]["target"]), ("symlink", "fstab"))
        self.assertEqual(there["deep"]["kind"], "directory")
        self.assertEqual(list(self.names_at("/etc/fstab")), ["fstab"])
        table = self.hozon("snapshot", "files", self.name, "s", "/etc").decode()
        self.assertRegex(table, r"-rwsr-xr-x +\d+:\d+ +17 B +2023-11-1\d \d\d:\d\d:\d\d +fstab")
        self.assertIn("link -> fstab", table)

    def test_names_of_any_bytes(self):
        self.plain_machine()
        there = self.names_at("/")
        for name, content in (("na\\x0ame", b"line"), ("bad\\xff", b"bytes"), ("日本.txt", b"utf8"),
                              ("back\\x5cslash", b"b"), ("-rf", b"dash")):
            self.assertIn(name, there)
            self.assertEqual(self.content("/" + name), content)
        table = self.hozon("snapshot", "files", self.name, "s", "/").decode()
        self.assertIn("na\\x0ame", table)
        self.assertEqual(len(table.splitlines()), len(there) + 1)
        with tempfile.TemporaryDirectory(dir=self.work) as to:
            self.hozon("snapshot", "extract", self.name, "s", "/bad\\xff", to)
            self.assertEqual(os.listdir(os.fsencode(to)), [b"bad\xff"])
        self.fails_without_context("/back\\slash")

    def fails_without_context(self, place):
        status, answer = self.ask("files", place)
        self.assertEqual((status, answer["code"]), (400, "invalid_argument"), answer)

    def test_links_stay_inside(self):
        self.plain_machine()
        self.assertEqual(self.content("/etc/link"), b"/dev/vda1 / ext4\n")
        self.assertEqual(self.content("/etc/absolute"), b"/dev/vda1 / ext4\n")
        self.assertEqual(self.content("/../../etc/./deep/../fstab"), b"/dev/vda1 / ext4\n")
        self.fails("not_found", "there is no 'passwd'", "content", "/outside")
        self.fails("invalid_argument", "symbolic links", "content", "/loop1")

    def test_what_is_not_there_or_no_file_is_refused(self):
        self.plain_machine()
        self.fails("not_found", "'/etc/none' is not in file system vda", "content", "/etc/none")
        self.fails("not_found", "'/none/x' is not in file system vda", "files", "/none/x")
        self.fails("invalid_argument", "is a directory", "content", "/etc")
        self.fails("invalid_argument", "not a directory", "files", "/etc/fstab/x")
        self.fails("invalid_argument", "is a fifo", "content", "/pipe")
        self.fails("not_found", "no file system 'vda3'", "files", "vda3:/")
        self.fails("not_found", "no disk of it has a file system 'vdq'", "files", "vdq:/")
        for place in ("", "etc", "vda:etc", "../x:/etc", "/" + "a" * 5000):
            self.fails_without_context(place)
        status, answer = self.call("GET", f"/v1/machines/{self.name}/snapshots/none/files?place=/")
        self.assertEqual((status, answer["code"]), (404, "not_found"))
        error = self.hozon("snapshot", "extract", self.name, "s", "/etc", self.work, fails=2)
        self.assertIn("--recursive", error)
        self.do("POST", f"/v1/machines/{self.name}/snapshots", {"name": "bare", "settings_only": True})
        self.path = f"/v1/machines/{self.name}/snapshots/bare"
        self.assertEqual(self.get(self.path + "/filesystems")["items"], [])
        self.fails("not_found", "holds no disk", "files", "/")

    def test_partitions_of_both_kinds_and_what_is_not_read(self):
        small = self.work + "/small"
        os.makedirs(small, exist_ok=True)
        pathlib.Path(small, "only-second").write_text("2")
        pathlib.Path(small, "etc").mkdir(exist_ok=True)
        first, second = self.ext(), self.ext("ext3", 8, small)
        for make in (mbr_of, gpt_of):
            self.machine_of(make([(1, 24, first), (26, 8, second), (35, 2, b"XFSB" + b"\0" * 600)], 40),
                            first)
            systems = self.get(self.path + "/filesystems")["items"]
            self.assertEqual([(s["name"], s["type"], s["readable"]) for s in systems],
                             [("vda1", "ext4", True), ("vda2", "ext3", True), ("vda3", "xfs", False),
                              ("vdb", "ext4", True)])
            self.assertEqual(systems[1]["offset_bytes"], 26 * MIB)
            self.assertEqual(systems[1]["size_bytes"], 8 * MIB)
            self.assertIn("xfs is not read yet", systems[2]["reason"])
            self.assertEqual(self.content("vda2:/only-second"), b"2")
            self.assertEqual(self.content("/only-second"), b"2")
            self.assertEqual(self.content("vdb:/etc/fstab"), b"/dev/vda1 / ext4\n")
            self.fails("invalid_argument", "more than one file system", "content", "/etc/fstab")
            self.fails("not_found", "'/only-second' is not in file system vda1", "content",
                       "vda1:/only-second")
            self.fails("unimplemented", "xfs is not read yet", "files", "vda3:/")
            self.assertEqual([s["name"] for s in
                              self.get(self.path + "/filesystems?disk=vdb")["items"]], ["vdb"])

    def test_fat_ignores_case_as_it_does(self):
        path = self.file("image.vfat", mib=16)
        run("mkfs.vfat", path)
        run("mcopy", "-i", path, "-s", self.tree + "/etc", self.tree + "/big", "::/")
        self.machine_of(pathlib.Path(path).read_bytes())
        self.assertEqual(self.get(self.path + "/filesystems")["items"][0]["type"], "vfat")
        self.assertEqual(set(self.names_at("/")), {"etc", "big"})
        self.assertEqual(self.content("/ETC/FsTab"), b"/dev/vda1 / ext4\n")
        self.assertEqual(self.content("/big"), pathlib.Path(self.tree, "big").read_bytes())

    def test_ntfs_gives_back_what_its_own_tools_wrote(self):
        path = self.file("image.ntfs", mib=24)
        run("mkntfs", "-F", "-q", "-f", path)
        odd = self.file("odd", b"x" * 4097)
        for source, name in ((self.tree + "/big", "big"), (odd, "日本 語.txt"),
                             (self.tree + "/etc/fstab", "FsTab")):
            run("ntfscp", "-f", path, source, "/" + name)
        self.machine_of(mbr_of([(1, 24, pathlib.Path(path).read_bytes())], 26))
        system = self.get(self.path + "/filesystems")["items"][0]
        self.assertEqual((system["name"], system["type"], system["readable"]), ("vda1", "ntfs", True))
        self.assertEqual(set(self.names_at("/")), {"big", "日本 語.txt", "FsTab"})
        self.assertEqual(self.content("/big"), pathlib.Path(self.tree, "big").read_bytes())
        self.assertEqual(self.content("/日本 語.txt"), b"x" * 4097)
        self.assertEqual(self.content("/fstab"), b"/dev/vda1 / ext4\n")

    def test_a_disc_shows_the_names_of_windows_or_else_the_short_ones(self):
        path = self.file("image.iso")
        for option, shown in (("-J", str), ("-R", str.upper)):  # Rock Ridge is not read by the library
            run("genisoimage", "-quiet", option, "-o", path, self.tree + "/etc")
            self.machine_of(pathlib.Path(path).read_bytes())
            self.assertEqual(self.get(self.path + "/filesystems")["items"][0]["type"], "iso9660")
            self.assertLessEqual({shown(name) for name in ("fstab", "deep", "empty")},
                                 set(self.names_at("/")))
            self.assertEqual(self.content("/" + shown("fstab")), b"/dev/vda1 / ext4\n")
            self.assertEqual(self.content("/" + shown("deep/er/x")), b"x" * 5000)

    def test_an_empty_disk_and_one_of_nonsense(self):
        self.machine_of(b"\0" * MIB, random.Random(4).randbytes(MIB))
        systems = self.get(self.path + "/filesystems")["items"]
        self.assertEqual([s["readable"] for s in systems], [False, False])
        self.assertEqual(systems[0]["reason"], "there is nothing in it")
        self.fails("unimplemented", "no file system of it can be read", "files", "/")

    def system_tree(self, name, files):
        tree = f"{self.work}/{name}"
        for path, content in files.items():
            place = pathlib.Path(tree, path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(content)
        return tree

    def test_details_tell_the_system_its_interfaces_and_its_applications(self):
        debian = self.system_tree("debian", {
            "usr/lib/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
            "etc/hostname": "shop\n",
            "var/lib/dpkg/status": "Package: bash\nStatus: install ok installed\nVersion: 5.2-1\n"
                                   "Architecture: amd64\nDescription: a shell\n more\n\n"
                                   "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n"})
        os.symlink("../usr/lib/os-release", debian + "/etc/os-release")
        alpine = self.system_tree("alpine", {
            "etc/os-release": "NAME=Alpine\nVERSION_ID=3.20\n",
            "lib/apk/db/installed": "P:musl\nV:1.2.5\nA:x86_64\n\n"})
        fedora = self.system_tree("fedora", {"etc/os-release": "NAME=Fedora\n",
                                             "usr/lib/sysimage/rpm/rpmdb.sqlite": "x"})
        data = self.ext("ext2", 8, self.system_tree("data", {"letter": "dear reader"}))
        self.machine_of(data, mbr_of([(1, 8, self.ext("ext4", 8, debian))], 10))
        told = self.get(self.path + "/details")
        general = told["general"]
        self.assertEqual((general["os"], general["os_source"], general["hostname"]),
                         ("Debian GNU/Linux 12 (bookworm)", "vdb1:/etc/os-release", "shop"))
        self.assertEqual((general["memory_bytes"], general["cpus"], general["firmware"]),
                         (64 << 20, 1, "bios"))
        self.assertEqual([(d["disk"], [f["name"] for f in d["filesystems"]]) for d in told["disks"]],
                         [("vda", ["vda"]), ("vdb", ["vdb1"])])
        self.assertEqual([n["mac"] for n in told["network_interfaces"]],
                         [n["mac"] for n in self.machine(self.name)["nics"]])
        self.assertEqual(told["applications"],
                         {"source": "vdb1:/var/lib/dpkg/status", "reason": "",
                          "items": [{"name": "bash", "version": "5.2-1", "architecture": "amd64"}]})
        shown = self.hozon("snapshot", "show", self.name, "s", "--details").decode()
        for title in ("General", "Disks", "Network interfaces", "Installed applications"):
            self.assertIn("\n" + title + "\n", "\n" + shown)
        self.assertRegex(shown, r"(?m)^bash +5.2-1 +amd64$")
        self.machine_of(self.ext("ext4", 8, alpine))
        told = self.get(self.path + "/details")
        self.assertEqual(told["general"]["os"], "Alpine 3.20")
        self.assertEqual([a["name"] for a in told["applications"]["items"]], ["musl"])
        self.machine_of(self.ext("ext4", 8, fedora))
        told = self.get(self.path + "/details")
        self.assertEqual(told["applications"]["items"], [])
        self.assertIn("rpm", told["applications"]["reason"])
        self.machine_of(data)
        told = self.get(self.path + "/details")
        self.assertEqual((told["general"]["os"], told["applications"]["items"]), ("", []))
        self.assertIn("operating system", told["applications"]["reason"])
        self.do("POST", f"/v1/machines/{self.name}/snapshots", {"name": "bare", "settings_only": True})
        self.path = f"/v1/machines/{self.name}/snapshots/bare"
        self.assertEqual(self.get(self.path + "/details")["disks"], [])

    def test_pages(self):
        self.plain_machine()
        names, after = [], None
        for _ in range(10):
            status, page = self.ask("files", "/many", limit=77, **({"after": after} if after else {}))
            self.assertEqual(status, 200, page)
            self.assertLessEqual(len(page["items"]), 77)
            names += [item["name"] for item in page["items"]]
            after = page["next"]
            if after is None:
                break
        self.assertEqual(names, [f"file-{i:04}" for i in range(300)])

    def test_an_archive_is_one_that_others_read_and_keeps_holes(self):
        self.plain_machine()
        bytes_of_archive = self.content("/", **{"as": "tar"})
        self.assertLess(len(bytes_of_archive), 8 * MIB)  # the sparse file alone has 40
        with tarfile.open(fileobj=io.BytesIO(bytes_of_archive)) as archive:
            members = {member.name: member for member in archive}
            self.assertEqual(members["root/sparse"].size, 40 * MIB)
            self.assertEqual(archive.extractfile("root/etc/fstab").read(), b"/dev/vda1 / ext4\n")
            self.assertEqual(members["root/etc/fstab"].mode, 0o4755)
            self.assertEqual(members["root/etc/fstab"].mtime, 1_700_000_000)
            self.assertEqual(members["root/outside"].linkname, "../../../../../../etc/passwd")
            self.assertNotIn("HOZON-COULD-NOT-READ", members)
            self.assertNotIn("root/pipe", members)
        sparse = f"{self.work}/sparse-copy"
        self.hozon("snapshot", "extract", self.name, "s", "/sparse", sparse)
        self.assertEqual(os.stat(sparse).st_size, 40 * MIB)
        self.assertLess(os.stat(sparse).st_blocks * 512, 2 * MIB)
        self.assertEqual(pathlib.Path(sparse).read_bytes(),
                         pathlib.Path(self.tree, "sparse").read_bytes())

    def test_extract_replaces_nothing_unasked_and_leaves_no_part(self):
        self.plain_machine()
        place = tempfile.mkdtemp(dir=self.work)
        self.hozon("snapshot", "extract", self.name, "s", "/etc/fstab", place)
        copied = pathlib.Path(place, "fstab")
        self.assertEqual(copied.read_bytes(), b"/dev/vda1 / ext4\n")
        self.assertEqual(copied.stat().st_mode & 0o7777, 0o755)  # nobody's to run as somebody else
        self.assertEqual(copied.stat().st_mtime, 1_700_000_000)
        copied.write_text("mine")
        self.assertIn("exists", self.hozon("snapshot", "extract", self.name, "s", "/etc/fstab", place,
                                           fails=4))
        self.assertEqual(copied.read_text(), "mine")
        self.hozon("snapshot", "extract", self.name, "s", "/etc/fstab", place, "--force")
        self.assertEqual(copied.read_bytes(), b"/dev/vda1 / ext4\n")
        self.hozon("snapshot", "extract", self.name, "s", "/etc", place + "/new", "--recursive")
        self.hozon("snapshot", "extract", self.name, "s", "/etc", place + "/new", "--recursive")
        self.assertIn("exists", self.hozon("snapshot", "extract", self.name, "s", "/etc",
                                           place + "/new", "--recursive", fails=4))
        self.hozon("snapshot", "extract", self.name, "s", "/none", place, fails=3)
        self.hozon("snapshot", "extract", self.name, "s", "/etc", place + "/no/such", "--recursive",
                   fails=3)
        self.assertEqual(sorted(os.listdir(place)), ["fstab", "new"])
        self.assertEqual(self.hozon("snapshot", "extract", self.name, "s", "/etc/fstab", "-"),
                         b"/dev/vda1 / ext4\n")

    def test_only_who_may_operate_sees_files_and_it_is_written_down(self):
        self.plain_machine()
        self.content("/etc/fstab")
        entries = self.get("/v1/audit")["items"]
        self.assertTrue(any(e["object"].get("place") == "/etc/fstab" for e in entries), entries[:2])

    def big_machine(self):
        """One whose only file takes a while to send."""
        tree = self.work + "/large-tree"
        if not os.path.exists(tree):
            os.mkdir(tree)
            pathlib.Path(tree, "large").write_bytes(random.Random(5).randbytes(MIB) * 30)
        self.machine_of(self.ext("ext4", 40, tree))

    def begin_download(self, **words):
        connection = Unix(self.dir + "/run/api.sock")
        connection.request("GET", f"{self.path}/content?" +
                           urllib.parse.urlencode(dict(words, place="/large")))
        answer = connection.getresponse()
        self.assertEqual(answer.status, 200)
        self.assertEqual(len(answer.read(1000)), 1000)
        return connection, answer

    def test_a_client_that_leaves_and_the_bound_on_readers(self):
        self.big_machine()
        open_ones = [self.begin_download() for _ in range(4)]
        readers = self.readers()
        self.assertEqual(len(readers), 4)
        self.fails_as_busy()
        for connection, answer in open_ones:
            answer.close()
            connection.close()
        self.are_gone(readers)
        self.assertEqual(list(self.names_at("/")), ["large", "lost+found"])

    def fails_as_busy(self):
        status, answer = self.ask("files", "/")
        self.assertEqual((status, answer["code"]), (503, "unavailable"), answer)
        self.assertIn("try again later", answer["detail"])

    def test_a_snapshot_that_is_deleted_meanwhile(self):
        self.big_machine()
        connection, answer = self.begin_download()
        readers = self.readers()
        self.do("POST", f"/v1/machines/{self.name}/delete-snapshots",
                {"snapshots": ["s"], "ttl_s": 0})
        # What was begun is either whole or visibly broken off; never something else.
        whole = random.Random(5).randbytes(MIB) * 30
        try:
            rest = answer.read()
            self.assertEqual(hashlib.sha256(rest).digest(), hashlib.sha256(whole[1000:]).digest())
        except http.client.IncompleteRead:
            pass
        connection.close()
        status, refused = self.ask("files", "/")
        self.assertEqual((status, refused["code"]), (404, "not_found"), refused)
        self.are_gone(readers)
        self.check_pool()

    def test_the_death_of_hozond_ends_its_readers(self):
        self.big_machine()
        for words in ({}, {"as": "tar"}):
            connection, answer = self.begin_download(**words)
            readers = self.readers()
            self.assertEqual(len(readers), 1)
            self.kill_hozond()
            with self.assertRaises((http.client.IncompleteRead, ConnectionError)):
                answer.read()
            connection.close()
            self.are_gone(readers)
            end = time.time() + 20
            while time.time() < end:
                try:
                    if self.call("GET", "/healthz")[0] == 200:
                        break
                except OSError:
                    time.sleep(0.1)


if __name__ == "__main__":
    unittest.main()
