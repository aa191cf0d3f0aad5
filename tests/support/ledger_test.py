#!/usr/bin/env python3
"""Proves that the judge of the torture tests is not blind: it accepts every legal state of a small
history and refuses a lost, torn, foreign, newer, resurrected or out-of-order write."""
import random
import unittest

from ledger import Events, Ledger, Sequel, Wrong, judge_set


class Disk:
    """The server's side, in memory."""

    def __init__(self, ledger):
        self.data = bytearray(ledger.units * ledger.unit_bytes)
        self.unit = ledger.unit_bytes

    def put(self, first, data):
        self.data[first * self.unit:first * self.unit + len(data)] = data

    def read(self, offset, length):
        return bytes(self.data[offset:offset + length])


class JudgeTest(unittest.TestCase):
    def setUp(self):
        self.events = Events()
        self.ledger = Ledger(self.events, 7, 8, 512)
        self.disk = Disk(self.ledger)

    def write(self, first, count=1, answer=True, keep=True, zero=False):
        tag, data = self.ledger.send(first, count, zero)
        if keep:
            self.disk.put(first, bytes(count * 512) if zero else data)
        if answer:
            self.ledger.answered(tag)
        return tag

    def judge(self, begin=None, end=None):
        now = self.events.next()
        judge_set([(self.ledger, self.disk.read)], begin or now, end or now + 1)

    def test_an_untouched_volume_reads_as_zeros(self):
        self.judge()

    def test_answered_writes_are_there(self):
        self.write(0)
        self.write(0)
        self.write(2, 3)
        self.write(3, zero=True)
        self.judge()

    def test_a_lost_answered_write_is_caught(self):
        self.write(1, keep=False)
        with self.assertRaisesRegex(Wrong, "unit 1: zeros, legal: 1"):
            self.judge()

    def test_a_write_in_flight_may_be_in_or_not(self):
        self.write(1, answer=False, keep=False)
        self.judge()
        self.write(2, answer=False, keep=True)
        self.judge()

    def test_a_write_sent_after_the_point_is_caught(self):
        begin, end = self.events.next(), self.events.next()
        self.write(4)
        with self.assertRaisesRegex(Wrong, "unit 4"):
            self.judge(begin, end)

    def test_a_torn_write_is_caught(self):
        self.write(5, answer=False)
        self.disk.data[5 * 512 + 100] ^= 1
        with self.assertRaisesRegex(Wrong, "torn or foreign"):
            self.judge()

    def test_a_write_in_the_wrong_place_is_caught(self):
        self.write(5)
        self.disk.put(6, self.disk.read(5 * 512, 512))
        with self.assertRaisesRegex(Wrong, "unit 6"):
            self.judge()

    def test_an_old_version_is_caught(self):
        self.write(5)
        old = self.disk.read(5 * 512, 512)
        self.write(5)
        self.disk.put(5, old)
        with self.assertRaisesRegex(Wrong, "write 1, legal: 2"):
            self.judge()

    def test_a_later_write_without_an_earlier_one_is_caught(self):
        begin = self.events.next()
        self.write(0, keep=False)  # answered inside the window, missing
        self.write(1)              # sent after that answer, present
        end = self.events.next()
        with self.assertRaisesRegex(Wrong, "order"):
            self.judge(begin, end)

    def test_the_order_holds_across_volumes(self):
        other = Ledger(self.events, 8, 8, 512)
        other_disk = Disk(other)
        begin = self.events.next()
        self.write(0, keep=False)
        tag, data = other.send(0, 1)
        other_disk.put(0, data)
        other.answered(tag)
        end = self.events.next()
        with self.assertRaisesRegex(Wrong, "order"):
            judge_set([(self.ledger, self.disk.read), (other, other_disk.read)], begin, end)

    def test_both_outcomes_of_a_kill_are_settled(self):
        tags = [self.write(0, answer=False, keep=True), self.write(1, answer=False, keep=False)]
        self.ledger.settle(tags, self.disk.read)
        self.judge()

    def test_what_a_kill_undid_must_not_come_back(self):
        tag, data = self.ledger.send(0, 1)
        self.ledger.settle([tag], self.disk.read)
        self.disk.put(0, data)
        with self.assertRaisesRegex(Wrong, "unit 0"):
            self.judge()


class SequelTest(unittest.TestCase):
    """The quick judge says of every state what the thorough one says."""

    UNITS = 24

    def states(self, seed):
        """A random history with requests in flight; yields (read, begin, end) of states on the way."""
        chance = random.Random(seed)
        ledger = Ledger(Events(), 7, self.UNITS, 512)
        disk, flying = Disk(ledger), []
        yield ledger
        for _ in range(40):
            for _ in range(chance.randrange(6)):
                first = chance.randrange(self.UNITS - 2)
                if ledger.busy.isdisjoint(range(first, first + 2)):
                    zero = chance.random() < 0.2
                    tag, data = ledger.send(first, 2, zero)
                    flying.append([tag, bytes(1024) if zero else data])
            for request in chance.sample(flying, len(flying) // 2):
                disk.put(request[0][0], request[1])
                if chance.random() < 0.7:
                    ledger.answered(request[0])
                    flying.remove(request)
            begin = ledger.events.next()
            frozen = bytes(disk.data)
            yield frozen, begin, ledger.events.next()

    @staticmethod
    def verdict(judge, data, begin, end):
        try:
            return judge.judge(lambda at, length: data[at:at + length], begin, end)
        except Wrong as wrong:
            return str(wrong)

    def test_it_agrees_about_legal_states(self):
        for seed in range(40):
            history = self.states(seed)
            ledger = next(history)
            sequel = Sequel(ledger)
            for data, begin, end in history:
                self.assertEqual(self.verdict(sequel, data, begin, end),
                                 self.verdict(ledger, data, begin, end))

    def test_it_sees_damage_wherever_it_is(self):
        for seed in range(40):
            chance = random.Random(-seed)
            history = self.states(seed)
            ledger = next(history)
            sequel = Sequel(ledger)
            states = list(history)
            for data, begin, end in states[:20]:
                self.verdict(sequel, data, begin, end)
            data, begin, end = states[20]
            damaged = bytearray(data)
            damaged[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            self.assertIsInstance(self.verdict(sequel, bytes(damaged), begin, end), str)

    def test_it_refuses_to_go_back(self):
        history = self.states(1)
        sequel = Sequel(next(history))
        states = list(history)
        self.verdict(sequel, *states[5])
        with self.assertRaises(RuntimeError):
            self.verdict(sequel, *states[4])


if __name__ == "__main__":
    unittest.main()
