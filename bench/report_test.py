#!/usr/bin/env python3
"""Proves that the table cannot flatter: a goal that is missed, or was never measured, reads as such."""
import unittest

from report import Report, below, cheaper, faster


class ReportTest(unittest.TestCase):
    def cell(self, goal, hozon=(), raw=()):
        cell = Report().section("s").cell("c", "c", "IOPS", goal)
        for system, values in (("hozon", hozon), ("raw", raw)):
            for value in values:
                cell.add(system, value)
        return cell

    def test_slower_than_the_peer_is_a_miss(self):
        self.assertEqual(self.cell(faster(0.95), [94, 94, 94], [100, 100, 100]).verdict(), "MISSED")
        self.assertEqual(self.cell(faster(0.95), [95, 95, 95], [100, 100, 100]).verdict(), "met")

    def test_dearer_than_the_peer_is_a_miss(self):
        self.assertEqual(self.cell(cheaper(1), [11], [10]).verdict(), "MISSED")
        self.assertEqual(self.cell(cheaper(1), [10], [10]).verdict(), "met")

    def test_above_a_limit_is_a_miss(self):
        self.assertEqual(self.cell(below(5), [1, 5.1, 6]).verdict(), "MISSED")
        self.assertEqual(self.cell(below(5), [1, 5, 6]).verdict(), "met")

    def test_what_was_not_measured_is_not_met(self):
        self.assertEqual(self.cell(faster(0.95)).verdict(), "not there yet")
        self.assertEqual(self.cell(faster(0.95), [100]).verdict(), "not there yet")

    def test_a_drift_of_the_machine_does_not_move_the_ratio(self):
        cell = self.cell(faster(0.95), [50, 100, 200], [100, 200, 400])
        self.assertEqual(cell.ratios("raw"), [0.5, 0.5, 0.5])

    def test_the_row_shows_lowest_and_highest(self):
        cell = self.cell(faster(0.95), [90, 100, 110], [100, 100, 100])
        self.assertIn("0.900 - 1.10", cell.row())
        self.assertIn("1.00", cell.row())

    def test_the_table_and_the_summary_name_every_miss(self):
        report = Report()
        report.section("s").cell("a", "first", "ms", below(1)).add("hozon", 2)
        report.section("s").cell("b", "second", "ms", below(1)).add("hozon", 1)
        report.section("t").cell("c", "third", "ms", below(1))
        self.assertEqual(report.summary(), "1 met, 1 MISSED, 1 not there yet\n")
        self.assertRegex(report.markdown(), r"first +\| ms +\| <= 1 ms +\| MISSED")


if __name__ == "__main__":
    unittest.main()
