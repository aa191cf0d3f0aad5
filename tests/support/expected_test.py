#!/usr/bin/env python3
"""Proves that the judge by the expected-state file is not blind, also when another process opens it."""
import os
import tempfile
import unittest

from expected import Expected, Wrong


class ExpectedTest(unittest.TestCase):
    def setUp(self):
        handle, self.path = tempfile.mkstemp()
        os.close(handle)
        self.state = Expected(self.path, 8, 512)
        self.disk = bytearray(8 * 512)

    def tearDown(self):
        self.state.close()
        os.unlink(self.path)

    def read(self, offset, length):
        return bytes(self.disk[offset:offset + length])

    def write(self, first, count=1, keep=True, answer=True, zero=False):
        data = self.state.send(first, count, zero)
        if keep:
            self.disk[first * 512:(first + count) * 512] = data or bytes(count * 512)
        if answer:
            self.state.answered(first, count)

    def again(self):
        """As a process that knows nothing but the file."""
        self.state.close()
        self.state = Expected(self.path, 8, 512)

    def test_what_was_answered_is_expected_by_the_next_process(self):
        self.write(0, 3)
        self.write(1, zero=True)
        self.again()
        self.state.judge(self.read)
        self.write(2)
        self.state.judge(self.read)

    def test_a_lost_answered_write_is_caught(self):
        self.write(4)
        self.write(4, keep=False)
        self.again()
        with self.assertRaisesRegex(Wrong, "unit 4: stamp of volume 1 unit 4 word 2"):
            self.state.judge(self.read)

    def test_a_write_in_flight_may_be_there_or_not(self):
        self.write(1, answer=False, keep=False)
        self.write(2, answer=False)
        self.again()
        self.assertEqual(self.state.judge(self.read), 1)

    def test_what_was_seen_must_not_vanish(self):
        self.write(2, answer=False)
        self.state.judge(self.read)
        self.disk[2 * 512:3 * 512] = bytes(512)
        with self.assertRaisesRegex(Wrong, "unit 2: zeros"):
            self.state.judge(self.read)

    def test_torn_and_misplaced_writes_are_caught(self):
        self.write(5, answer=False)
        self.disk[5 * 512 + 300] ^= 1
        with self.assertRaisesRegex(Wrong, "torn"):
            self.state.judge(self.read)
        self.disk[5 * 512 + 300] ^= 1
        self.disk[6 * 512:7 * 512] = self.disk[5 * 512:6 * 512]
        with self.assertRaisesRegex(Wrong, "unit 6"):
            self.state.judge(self.read)

    def test_data_where_zeros_were_answered_is_caught(self):
        self.write(3)
        self.write(3, zero=True, keep=False)
        with self.assertRaisesRegex(Wrong, "unit 3"):
            self.state.judge(self.read)


if __name__ == "__main__":
    unittest.main()
