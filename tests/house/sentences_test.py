#!/usr/bin/env python3
"""Proves that what hozond and hozon say when they refuse or fail, and what they tell of the steps of jobs,
in plans and in results, is known in Japanese: every sentence that src/api, src/control and src/cli can
answer with has its form in src/cli/sentences*_ja.cc, or is in the list here of those that stay English;
no form is one that nobody says; each keeps every value exactly once; and every code of docs/errors.md
has its line of help.
usage: sentences_test.py SOURCE_DIRECTORY
"""
import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(sys.argv.pop(1))
LITERAL = r'"((?:[^"\\]|\\.)*)"'
HOLE = r"\{[^{}]*\}"
ROOMS = ("api", "control", "cli")
# Said by programs to programs, of bugs, or with words of other programs in the middle.
STAYS = (ROOT / "tests/house/stays_english.txt").read_text().splitlines()


# Forms whose words stand in several places of the source.
TOGETHER = {"{} is required", "--{}: {}", "done, {}", "not possible, {}", "failed, {}"}
LIBRARY = "the following argument"  # CLI11


def without_tests(room):
    return [p for p in sorted((ROOT / "src" / room).glob("*.cc")) if not p.name.endswith("_test.cc")]


def joined_literals(text):
    """Literals that stand side by side, as the compiler joins them."""
    text = re.sub(r"'\\?\"'", "0", text)
    return {"".join(re.findall(LITERAL, run.group(0)))
            for run in re.finditer(rf"(?:{LITERAL}\s*)+", text)}


def call_text(text, start):
    depth, at, quoted = 1, start, False
    while depth:
        c = text[at]
        if quoted:
            if c == "\\":
                at += 1
            quoted = c != '"'
        elif c == '"':
            quoted = True
        else:
            depth += {"(": 1, ")": -1}.get(c, 0)
        at += 1
    return text[start:at - 1]


def refusals():
    """The sentences of all make_error() calls."""
    found = set()
    for room in ROOMS:
        for path in without_tests(room):
            text = path.read_text()
            for call in re.finditer(r"\bmake_error\(", text):
                literals = re.search(rf"(?:{LITERAL}\s*)+", call_text(text, call.end()))
                if literals:
                    found.add("".join(re.findall(LITERAL, literals.group(0))))
    return found


# Where steps, notes and the like are given on: calls, assignments, and functions that make them.
GIVEN = re.compile(r"\b(?:step|renewal_of|skip_waiting|(?:notes|texts|steps|unreachable|identity|makes|removes|"
                   r'obstacles|renewals)(?:"\])?\.(?:push_back|emplace_back))\(')
ASSIGNED = re.compile(r"\b(?:(?:job|ended)\.step|(?:task|pool)\.message|info_\.mode_reason|machine\.state_reason|quiesced\.reason) = "
                      r"([^;]*);")
MAKERS = ("sentence_of", "mapped_memory_sentence", "memory_obstacle", "parts_sentence", "first_sentences",
          "renewal_of", "outcome_of", "hold_of", "end_hold", "shutdown_reason", "check_live_save_possible")


def sentences_in(text):
    """The forms of an expression: "machine " + name is "machine {}"."""
    text = re.sub(rf"[!=]= {LITERAL}|, {LITERAL}\)\)", ")", text)  # compared; between what is joined
    for run in re.finditer(rf"(?:{LITERAL}\s*)+", text):
        form = "".join(re.findall(LITERAL, run.group(0)))
        form = "{}" * text[:run.start()].rstrip().endswith("+") + form
        form += "{}" * text[run.end():].startswith("+")
        if re.search("[a-z]", re.sub(HOLE, "", form)):
            yield form


def tellings():
    """What is told of steps, in plans, in results, and as the reason of a state."""
    found = set()
    for path in without_tests("control") + [ROOT / "src/qemu/write_protection.cc"]:
        text = path.read_text()
        for call in GIVEN.finditer(text):
            found.update(sentences_in(call_text(text, call.end())))
        for assigned in ASSIGNED.finditer(text):
            found.update(sentences_in(assigned.group(1)))
        for body in re.finditer(rf"\b(?:{'|'.join(MAKERS)})\([^;{{]*\) \{{\n(.*?)\n\}}", text, re.S):
            found.update(form for form in sentences_in(body.group(1)) if " " in form)
    return found


def forms():
    found = {}
    for path in sorted((ROOT / "src/cli").glob("sentences*_ja.cc")):
        for entry in re.findall(rf"\n      \{{((?:{LITERAL}|,|\s)*)\}},", path.read_text()):
            runs = [r.group(0) for r in re.finditer(rf"(?:{LITERAL}\s*)+", entry[0])]
            english, japanese = ("".join(re.findall(LITERAL, run)) for run in runs)
            found[english] = japanese
    return found


class SentencesTest(unittest.TestCase):
    maxDiff = None

    def test_every_refusal_has_its_form_or_stays_english(self):
        said, known = refusals(), set(forms())
        self.assertGreater(len(said), 250)
        told = tellings()
        self.assertGreater(len(told), 110)
        said |= {form for form in told if not any(f.startswith((form + ", {}", form + ": {}")) for f in known)}
        missing = sorted(said - known - set(STAYS))
        self.assertEqual(missing, [], "add these to src/cli/sentences*_ja.cc")
        self.assertEqual(sorted(set(STAYS) & known), [], "these are translated")
        self.assertEqual(sorted(set(STAYS) - said), [], "nobody says these")

    def test_no_form_is_one_that_nobody_says(self):
        source = set()
        for path in sorted((ROOT / "src").rglob("*.cc")) + sorted((ROOT / "src").rglob("*.h")):
            if not path.name.startswith("sentences"):
                source |= joined_literals(path.read_text())
        text = "\n".join(source)
        nobody = []
        for english in forms():
            # A form may be put together of two: its longest piece of text is looked for.
            pieces = [p for part in re.split(HOLE, english) for p in re.split(r": |; |\(see|' is not ", part)]
            longest = max(pieces, key=len).strip()
            system = english[0].isupper() and "{}" not in english
            if not (english in source or longest in text or system or english in TOGETHER or
                    english.startswith(LIBRARY)):
                nobody.append(english)
        self.assertEqual(nobody, [])

    def test_each_value_is_carried_over_exactly_once(self):
        for english, japanese in forms().items():
            values = len(re.findall(HOLE, english))
            taken = sorted(int(n) for n in re.findall(r"\{(\d)[*w]?\}", japanese))
            self.assertEqual(taken, list(range(values)), english)
            self.assertEqual(re.sub(r"\{\d[*w]?\}", "", japanese).count("{"), 0, japanese)
            commands = re.findall(r"`([^`]*)`", english)
            kept = [re.sub(r"\{\d[*w]?\}", "{}", c) for c in re.findall(r"`([^`]*)`", japanese)]
            self.assertEqual(sorted(commands), sorted(kept), "commands are not translated")

    def test_every_code_has_its_help(self):
        text = (ROOT / "docs/errors.md").read_text()
        codes = set(re.findall(r"^\| `(\w+)` \|", text, re.M))
        codes |= set(re.findall(r"`(\w+)` \(\d{3}", text))
        source = (ROOT / "src/cli/sentences_ja.cc").read_text().split("japanese_of_code", 1)[1]
        helped = {code: "".join(re.findall(LITERAL, words)) for code, words, _ in
                  re.findall(rf'\{{"(\w+)",\s*((?:{LITERAL}\s*)+)\}}', source)}
        self.assertGreater(len(codes), 14)
        self.assertEqual(sorted(helped), sorted(codes))
        for code, words in helped.items():
            self.assertTrue(words.startswith(code + "："), words)


if __name__ == "__main__":
    unittest.main(verbosity=2)
