#!/usr/bin/env python3
"""Proves that clients which we did not write can use a pool's volumes: nbdinfo, nbdcopy, qemu-img,
qemu-io and fio, on heads and on points, with structured and simple replies."""
import json
import os
import random
import shutil
import unittest

from nbd_case import MIB, NbdCase, main

SIZE = 64 * MIB


class Foreign(NbdCase):
    VOLUMES = {"disk": SIZE, "copy": SIZE, "odd": 1 * MIB + 4096, "small": 4 * MIB}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # An image with data, holes and zeros that are written.
        cls.image = cls.directory / "image.raw"
        source = random.Random(7)
        with open(cls.image, "wb") as file:
            file.truncate(SIZE)
            for _ in range(60):
                file.seek(source.randrange(0, SIZE - 300_000))
                file.write(source.randbytes(source.randrange(1, 300_000)))
            file.seek(20 * MIB)
            file.write(bytes(MIB))

    def need(self, program):
        if shutil.which(program) is None:
            self.skipTest(f"{program} is not installed")

    def test_1_nbdcopy_in_and_out_on_many_connections(self):
        self.need("nbdcopy")
        self.run_program("nbdcopy", "--connections=4", "--flush", str(self.image), self.uri("disk"))
        self.run_program("nbdcopy", "--connections=4", self.uri("disk"), "out.raw")
        self.run_program("cmp", "image.raw", "out.raw")
        self.run_program("nbdcopy", "--synchronous", self.uri("disk"), "out2.raw")
        self.run_program("cmp", "image.raw", "out2.raw")
        self.run_program("nbdcopy", "--destination-is-zero", self.uri("disk"), self.uri("copy"))
        self.run_program("qemu-img", "compare", "-f", "raw", "-F", "raw", self.uri("copy"), "image.raw")

    def test_2_nbdinfo_lists_describes_and_maps(self):
        self.need("nbdinfo")
        self.server.call("volume.snapshot", volumes=["disk"], point="p1")
        listed = json.loads(self.run_program("nbdinfo", "--json", "--list", self.uri("")))
        names = {export["export-name"] for export in listed["exports"]}
        self.assertLessEqual({"disk", "disk@p1", "copy", "odd", "small"}, names)
        info = json.loads(self.run_program("nbdinfo", "--json", self.uri("disk")))["exports"][0]
        self.assertEqual(info["export-size"], SIZE)
        self.assertIn("base:allocation", info["contexts"])
        self.assertIn("hozon:changed:p1", info["contexts"])
        for ability in ("can_fua", "can_flush", "can_trim", "can_zero", "can_fast_zero",
                        "can_multi_conn", "can_cache", "can_df"):
            self.assertTrue(info[ability], ability)
        self.assertFalse(info["is_read_only"])
        self.assertEqual(info["block_size_minimum"], 512)
        point = json.loads(self.run_program("nbdinfo", "--json", self.uri("disk@p1")))["exports"][0]
        self.assertTrue(point["is_read_only"])
        self.server.call("volume.snapshot", volumes=["small"], point="保存 #1?")
        self.run_program("nbdinfo", self.uri("small@保存 #1?"))
        self.run_program("nbdinfo", self.uri("no such volume"), status=1)

    def test_3_maps_tell_holes_and_changes(self):
        self.need("nbdinfo")
        self.server.call("volume.create", name="mapped", size_bytes=4 * MIB)
        self.run_program("qemu-io", "-f", "raw", "-c", "write -P 1 1M 64k", self.uri("mapped"))
        self.server.call("volume.snapshot", volumes=["mapped"], point="base")
        self.run_program("qemu-io", "-f", "raw", "-c", "write -P 2 2M 8k", self.uri("mapped"))
        extents = json.loads(self.run_program("nbdinfo", "--json", "--map", self.uri("mapped")))
        data = [(e["offset"], e["length"]) for e in extents if e["type"] == 0]
        self.assertEqual(data, [(MIB, 65536), (2 * MIB, 8192)])
        extents = json.loads(self.run_program("nbdinfo", "--json", "--map=hozon:changed:base",
                                              self.uri("mapped")))
        changed = [(e["offset"], e["length"]) for e in extents if e["type"] == 1]
        self.assertEqual(changed, [(2 * MIB, 8192)])
        self.assertEqual(sum(e["length"] for e in extents), 4 * MIB)

    def test_4_qemu_img_converts_compares_and_benches(self):
        self.need("qemu-img")
        self.run_program("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", "image.raw",
                         self.uri("disk"))
        self.run_program("qemu-img", "compare", "-f", "raw", "-F", "raw", "image.raw",
                         self.uri("disk"))
        self.run_program("qemu-img", "convert", "-f", "raw", "-O", "qcow2", self.uri("disk"),
                         "out.qcow2")
        self.run_program("qemu-img", "compare", "image.raw", "out.qcow2", "-f", "raw", "-F", "qcow2")
        self.assertLess(os.stat(self.directory / "out.qcow2").st_size, SIZE)
        info = json.loads(self.run_program("qemu-img", "info", "--output=json", self.uri("disk")))
        self.assertEqual(info["virtual-size"], SIZE)
        for options in (["-d", "64", "-s", "4k"], ["-w", "-d", "16", "-s", "4k"],
                        ["-w", "-d", "4", "-s", "1M", "--flush-interval=8"],
                        ["-d", "8", "-s", "2M"]):
            self.run_program("qemu-img", "bench", "-f", "raw", "-t", "none", "-c", "200", *options,
                             self.uri("copy"))
        self.run_program("qemu-img", "map", "--output=json", "-f", "raw", self.uri("disk"))

    def test_5_qemu_io_small_and_odd_requests(self):
        self.need("qemu-io")
        self.run_program("qemu-io", "-f", "raw", "-c", "write -P 9 512 512", "-c", "read -P 9 512 512",
                         "-c", "read -P 0 0 512", "-c", "write -z 512 512", "-c", "read -P 0 0 4k",
                         "-c", "write -f -P 3 1M 4k", "-c", "discard 1M 4k", "-c", "read -P 0 1M 4k",
                         "-c", "write -P 4 3145728 1M", "-c", "flush", "-c", "read -P 4 3M 1M",
                         self.uri("small"))
        self.run_program("qemu-io", "-f", "raw", "-c", "write -P 1 1052160 512",
                         "-c", "read -P 1 1052160 512", self.uri("odd"))
        self.run_program("qemu-io", "-f", "raw", "-c", "write 1052672 512", self.uri("odd"), status=1)

    def test_6_point_is_read_only_and_does_not_move(self):
        self.need("qemu-io")
        self.server.call("volume.create", name="still", size_bytes=4 * MIB)
        self.run_program("qemu-io", "-f", "raw", "-c", "write -P 1 0 1M", self.uri("still"))
        self.server.call("volume.snapshot", volumes=["still"], point="then")
        self.run_program("qemu-io", "-f", "raw", "-c", "write -P 2 0 1M", self.uri("still"))
        said = self.run_program("qemu-io", "-f", "raw", "-c", "write 0 4k", self.uri("still@then"),
                                status=1)
        self.assertRegex(said, "read-only|Permission denied|not permitted")
        self.run_program("qemu-io", "-r", "-f", "raw", "-c", "read -P 1 0 1M", self.uri("still@then"))
        self.run_program("qemu-io", "-f", "raw", "-c", "read -P 2 0 1M", self.uri("still"))

    def test_7_fio_verifies_what_it_wrote(self):
        self.need("fio")
        for name, options in {
            "small": ["--rw=randwrite", "--bs=512-16k", "--blockalign=512", "--iodepth=32",
                      "--size=16M"],
            "mixed": ["--rw=randrw", "--bs=4k", "--iodepth=64", "--size=32M", "--fsync=50"],
            "large": ["--rw=write", "--bs=1M", "--iodepth=8", "--size=48M"],
        }.items():
            self.run_program("fio", f"--name={name}", "--ioengine=nbd", f"--uri={self.uri('copy')}",
                             "--verify=crc32c", "--verify_fatal=1", "--do_verify=1",
                             "--serialize_overlap=1", *options)

    def test_8_two_connections_see_each_others_writes(self):
        one, two = self.server.nbd("copy"), self.server.nbd("copy")
        for turn in range(50):
            data = bytes([turn + 1]) * 4096
            one.write(turn * 4096, data)
            self.assertEqual(two.read(turn * 4096, 4096), data)
        two.flush()
        one.close()
        two.close()

    def test_9_simple_and_structured_replies_agree(self):
        self.need("nbdcopy")
        simple = self.server.nbd("disk")  # the support client has no structured replies
        with open(self.directory / "simple.raw", "wb") as file:
            for offset in range(0, SIZE, MIB):
                file.write(simple.read(offset, MIB))
        simple.close()
        self.run_program("qemu-img", "compare", "-f", "raw", "-F", "raw", "simple.raw",
                         self.uri("disk"))


if __name__ == "__main__":
    main()
