"""The numbers of one run: cells with a goal each, judged and printed.

A cell holds, for each system, one value per round, all rounds of one cell taken in turns. A ratio is
the median of the ratios within the rounds, so that a machine which drifts does not move it; the spread
is the lowest and the highest of what the verdict rests on.
"""
import dataclasses
import json
import statistics

SYSTEMS = {"hozon": "Hozon", "raw": "raw (a)", "physical": "physical",
           "qcow2_external": "qcow2 ext", "qcow2_external_l2": "ext_l2 ext",
           "qcow2_internal": "qcow2 int", "peer": "peer"}


@dataclasses.dataclass
class Goal:
    """`limit` for Hozon's value (peer None), or for its ratio to a peer."""
    at_least: bool
    limit: float
    peer: str | None = None

    def text(self, unit):
        sign = ">=" if self.at_least else "<="
        if self.peer:
            return f"{sign} {self.limit:g} x {SYSTEMS[self.peer].removesuffix(' (a)')}"
        return f"{sign} {self.limit:g} {unit}"

    def met(self, value):
        return value >= self.limit if self.at_least else value <= self.limit


def faster(ratio, peer="raw"):
    return Goal(True, ratio, peer)


def cheaper(ratio, peer="raw"):
    return Goal(False, ratio, peer)


def below(limit):
    return Goal(False, limit)


@dataclasses.dataclass
class Cell:
    name: str
    text: str
    unit: str
    goal: Goal | None
    values: dict = dataclasses.field(default_factory=dict)  # system -> one value per round
    note: str = ""

    def add(self, system, value):
        self.values.setdefault(system, []).append(value)

    def median(self, system):
        values = self.values.get(system)
        return statistics.median(values) if values else None

    def ratios(self, peer):
        return [mine / other for mine, other in
                zip(self.values.get("hozon", []), self.values.get(peer, [])) if other]

    def judged(self):
        """The values that the verdict rests on: ratios in each round, or Hozon's own values."""
        if self.goal and self.goal.peer:
            return self.ratios(self.goal.peer)
        return self.values.get("hozon", [])

    def verdict(self):
        values = self.judged()
        if not values:
            return "not there yet"
        if self.goal is None:
            return "-"
        return "met" if self.goal.met(statistics.median(values)) else "MISSED"

    def row(self):
        judged = self.judged()
        peer = self.goal.peer if self.goal else None
        spread = f"{short(min(judged))} - {short(max(judged))}" if judged else ""
        ratio = short(statistics.median(self.ratios(peer))) if peer and judged else ""
        shown = [short(self.median(system)) if system in self.values else "" for system in SYSTEMS]
        return [self.text, self.unit, self.goal.text(self.unit) if self.goal else "", ratio,
                self.verdict(), spread, *shown, self.note]

    def as_json(self):
        judged = self.judged()
        return {"name": self.name, "text": self.text, "unit": self.unit,
                "goal": self.goal.text(self.unit) if self.goal else None,
                "ratio": statistics.median(judged) if judged and self.goal and self.goal.peer
                else None, "verdict": self.verdict(), "note": self.note,
                "median": {system: self.median(system) for system in self.values},
                "rounds": self.values}


def short(value):
    """Three figures, no exponent."""
    if value is None:
        return ""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


@dataclasses.dataclass
class Section:
    title: str
    cells: list = dataclasses.field(default_factory=list)

    def cell(self, name, text, unit, goal=None, note=""):
        """The cell of that name, made when it is new."""
        for cell in self.cells:
            if cell.name == name:
                return cell
        self.cells.append(Cell(name, text, unit, goal, note=note))
        return self.cells[-1]


class Report:
    def __init__(self):
        self.sections = []
        self.machine = {}
        self.remarks = []

    def section(self, title):
        for section in self.sections:
            if section.title == title:
                return section
        self.sections.append(Section(title))
        return self.sections[-1]

    def cells(self):
        return [cell for section in self.sections for cell in section.cells]

    def cell(self, name):
        return next(cell for cell in self.cells() if cell.name == name)

    def remark(self, text):
        self.remarks.append(text)

    def markdown(self):
        lines = []
        head = ["cell", "unit", "goal", "ratio", "verdict", "spread", *SYSTEMS.values(), "note"]
        for section in self.sections:
            rows = [head] + [cell.row() for cell in section.cells]
            keep = [index for index in range(len(head))
                    if index == 0 or any(row[index] for row in rows[1:])]
            rows = [[row[index] for index in keep] for row in rows]
            widths = [max(len(row[column]) for row in rows) for column in range(len(keep))]
            lines += [f"### {section.title}", ""]
            for number, row in enumerate(rows):
                padded = (text.ljust(width) for text, width in zip(row, widths))
                lines.append("| " + " | ".join(padded).rstrip() + " |")
                if number == 0:
                    lines.append("|" + "|".join("-" * (width + 2) for width in widths) + "|")
            lines.append("")
        return "\n".join(lines + [self.summary()] + [f"- {text}" for text in self.remarks])

    def summary(self):
        verdicts = [cell.verdict() for cell in self.cells()]
        counts = {word: verdicts.count(word) for word in ("met", "MISSED", "not there yet")}
        return ", ".join(f"{count} {word}" for word, count in counts.items()) + "\n"

    def as_json(self):
        return json.dumps(
            {"machine": self.machine, "remarks": self.remarks,
             "sections": [{"title": section.title, "cells": [cell.as_json() for cell in section.cells]}
                          for section in self.sections]}, indent=1)
