#!/usr/bin/env python3
"""Proves: the variables of a UEFI machine and the state of its TPM are part of every snapshot: with memory, of
the disks alone, of clones; they come back with a return and with its undo, and --reset-nvram begins anew; a preview has the TPM of its snapshot.
With the Secure Boot firmware variables are written through system management mode, which TCG has, and its
enrolled keys are in force. (A kernel that is given directly is not verified: QEMU's way around.)

Method: a real guest under OVMF writes a variable through efivarfs, and defines an index in its TPM with
commands that are spelt out here byte by byte.
usage: firmware_test.py --programs DIR --guest DIR
"""
import os
import pathlib
import shutil
import sys
import tempfile

from snapshot_case import Failed, SnapshotCase, guest_run, main, wait_for

VARIABLES = "/sys/firmware/efi/efivars"
VENDOR = "6d2f0f1c-5d3c-4c7a-9c55-0c1f6b1a2b3c"
OVMF = pathlib.Path("/usr/share/OVMF")
NV_INDEX = "01500001"
# TPM2_NV_DefineSpace, as the owner with an empty password: 8 bytes that owner and password may use.
DEFINE = ("8002 0000002d 0000012a 40000001 00000009 40000009 0000 00 0000 0000 "
          f"000e {NV_INDEX} 000b 02060006 0000 0008")
READ_PUBLIC = f"8001 0000000e 00000169 {NV_INDEX}"


class FirmwareCase(SnapshotCase):
    def boot_uefi(self, firmware="uefi", *words, wait=True):
        type(self).counter += 1
        self.name = f"vm{self.counter}"
        self.hozon("machine", "create", self.name, "--memory", "256M", "--disk", "16M",
                   "--firmware", firmware, "--kernel", f"{self.guest}/vmlinuz",
                   "--initrd", f"{self.guest}/initrd",
                   "--append", "console=ttyS0 quiet panic=-1", *words)
        self.hozon("machine", "start", self.name)
        if wait:
            self.wait_shell(self.name)

    def wait_shell(self, name):
        """That a guest that boots answers."""
        def answers():
            try:
                return guest_run.run(self.machine(name)["console_socket"], "true", 5)[0] == 0
            except (OSError, RuntimeError, TimeoutError, SystemExit):
                return False
        wait_for("the guest's shell", answers, 240)

    def write(self, value, name=None):
        """Makes one variable more; Linux guards those that exist against being changed by mistake."""
        self.run_in_guest(f"printf '\\007\\000\\000\\000{value}' > {VARIABLES}/Hz{value}-{VENDOR}",
                          name=name)

    def read(self, name=None):
        """The variables that were made, and whether each holds what was written."""
        return self.run_in_guest(
            f"cd {VARIABLES}; for f in Hz*-{VENDOR}; do [ -e $f ] && tail -c +5 $f && echo; done; cd /",
            name=name).split()

    def tpm(self, command, name=None):
        """The answer's return code to one command, in hexadecimal."""
        octal = "".join(f"\\{int(command.replace(' ', '')[i:i + 2], 16):03o}"
                        for i in range(0, len(command.replace(" ", "")), 2))
        return self.run_in_guest(
            f"exec 3<>/dev/tpm0; printf '{octal}' | dd bs=4096 count=1 >&3 2>/dev/null; "
            "dd bs=4096 count=1 <&3 2>/dev/null | tail -c +7 | head -c 4 | hexdump -v -e '1/1 \"%02x\"'; "
            "exec 3>&-",
            name=name)

    def has_index(self, name=None):
        code = self.tpm(READ_PUBLIC, name)
        self.assertIn(code, ("00000000", "0000018b"))  # success, no such handle
        return code == "00000000"


class UefiTest(FirmwareCase):
    def test_variables_and_tpm_go_back_and_forth(self):
        self.boot_uefi("uefi", "--tpm")
        self.assertEqual([d["id"] for d in self.machine()["disks"]], ["nvram", "tpm", "vda"])
        self.write("first")
        self.assertFalse(self.has_index())
        self.assertEqual(self.snapshot("live")["memory"]["mode"], "live")
        self.hozon("snapshot", "create", self.name, "disks", "--quiesce", "skip")
        self.write("second")
        self.assertEqual(self.tpm(DEFINE), "00000000")
        self.assertTrue(self.has_index())

        self.returned("live")
        self.assertEqual((self.read(), self.has_index()), (["first"], False))
        self.hozon("machine", "undo", self.name)
        self.wait_shell(self.name)
        self.assertEqual((self.read(), self.has_index()), (["first", "second"], True))

        self.returned("disks", "--state", "running")
        self.wait_shell(self.name)
        self.assertEqual((self.read(), self.has_index()), (["first"], False))

        # What the machine does from here on survives an ordinary stop and start.
        self.assertEqual(self.tpm(DEFINE), "00000000")
        self.write("third")
        self.hozon("machine", "kill", self.name, "--yes")
        self.hozon("machine", "start", self.name)
        self.wait_shell(self.name)
        self.assertEqual((self.read(), self.has_index()), (["first", "third"], True))

        with self.assertRaisesRegex(Failed, "--reset-nvram needs --disk-only"):
            self.returned("live", "--reset-nvram")
        self.returned("live", "--disk-only", "--reset-nvram", "--state", "running")
        self.wait_shell(self.name)
        self.assertEqual((self.read(), self.has_index()), ([], False))

        clone = self.name + "c"
        self.hozon("snapshot", "clone", self.name, "live", clone, "--memory")
        self.ask("machine", "resume", clone, "--instant")
        self.assertEqual((self.read(clone), self.has_index(clone)), (["first"], False))
        self.hozon("machine", "kill", clone, "--yes")
        self.hozon("machine", "start", clone)
        self.wait_shell(clone)
        self.assertEqual((self.read(clone), self.has_index(clone)), (["first"], False))

    def test_a_machine_without_variables_has_none_to_reset(self):
        self.boot("96M", disks=1)
        self.hozon("snapshot", "create", self.name, "s", "--quiesce", "skip")
        with self.assertRaisesRegex(Failed, "no firmware variables"):
            self.returned("s", "--reset-nvram")
        with self.assertRaisesRegex(Failed, "use one of bios"):
            self.hozon("machine", "create", "odd", "--disk", "1M", "--firmware", "coreboot")


class TpmPreviewTest(FirmwareCase):
    def start(self, verb="start"):
        self.hozon("machine", verb, self.name)
        self.wait_shell(self.name)

    def kill(self):
        self.hozon("machine", "kill", self.name, "--yes")

    def test_a_preview_has_the_tpm_of_its_snapshot_and_an_undo_that_of_before(self):
        self.boot_uefi("bios", "--tpm")
        self.assertFalse(self.has_index())
        self.hozon("snapshot", "create", self.name, "disks", "--quiesce", "skip")
        self.snapshot("live")
        self.assertEqual(self.tpm(DEFINE), "00000000")
        for name, verb in (("disks", "start"), ("live", "resume")):
            self.assertTrue(self.has_index())
            self.kill()
            self.hozon("snapshot", "preview", self.name, name)
            self.start(verb)
            self.assertFalse(self.has_index(), name)
            # What the TPM learns in a preview is gone with it.
            self.assertEqual(self.tpm(DEFINE), "00000000")
            self.kill()
            self.hozon("snapshot", "undo", self.name)
            self.start()
        self.assertTrue(self.has_index())
        self.kill()
        self.hozon("snapshot", "preview", self.name, "disks")
        self.hozon("snapshot", "commit", self.name)
        self.start()
        self.assertFalse(self.has_index())
        self.kill()
        self.hozon("machine", "undo", self.name)
        self.start()
        self.assertTrue(self.has_index())


class SecureFirmwareTest(FirmwareCase):
    """The firmware for Secure Boot, with variables that have no keys yet: any kernel boots."""
    @classmethod
    def setUpClass(cls):
        cls.place = tempfile.mkdtemp(prefix="hz-ovmf-")
        shutil.copy(OVMF / "OVMF_CODE_4M.secboot.fd", cls.place)
        shutil.copy(OVMF / "OVMF_VARS_4M.fd", cls.place + "/OVMF_VARS_4M.ms.fd")
        os.environ["HOZON_FIRMWARE"] = cls.place
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        del os.environ["HOZON_FIRMWARE"]
        shutil.rmtree(cls.place)

    def test_a_variable_written_through_smm_goes_back_with_memory(self):
        self.boot_uefi("uefi-secure")
        efivars = self.run_in_guest("ls /sys/firmware/efi/efivars")
        self.assertIn("SecureBoot-", efivars)
        self.assertIn("SetupMode-", efivars)
        self.write("first")
        self.assertEqual(self.snapshot("s")["memory"]["mode"], "live")
        self.write("second")
        self.assertEqual(self.read(), ["first", "second"])
        self.returned("s")
        self.assertEqual(self.read(), ["first"])
        self.write("third")
        self.assertEqual(self.read(), ["first", "third"])


class SecureBootTest(FirmwareCase):
    def test_the_enrolled_keys_are_in_force_before_and_after_a_return(self):
        self.boot_uefi("uefi-secure")
        self.write("first")
        self.snapshot("s")
        self.write("second")
        self.returned("s")
        self.assertEqual(self.read(), ["first"])
        for name, wanted in (("SecureBoot", "01"), ("SetupMode", "00")):
            found = self.run_in_guest(f"tail -c 1 {VARIABLES}/{name}-* | hexdump -v -e '1/1 \"%02x\"'")
            self.assertEqual(found, wanted, name)


if __name__ == "__main__":
    main(sys.modules["__main__"])
