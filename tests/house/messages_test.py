#!/usr/bin/env python3
"""Proves that the sentences of finished changes, the titles of tables, the labels of details, questions and remarks of
src/cli have their Japanese in messages_ja.cc, questions_ja.cc and values_ja.cc, that each translation takes the values of its original, and that
the catalog has nothing that nobody says. (The help is compared in cli's own tests.)
usage: messages_test.py SOURCE_DIRECTORY
"""
import pathlib
import re
import sys
import unittest

CLI = pathlib.Path(sys.argv.pop(1)) / "src/cli"
CATALOGS = ("messages_ja.cc", "questions_ja.cc", "values_ja.cc")
LITERAL = r'"((?:[^"\\]|\\.)*)"'


def joined(text):
    return "".join(re.findall(LITERAL, text))


def arguments(call):
    """The top-level arguments of a call's text."""
    found, depth, quoted, piece, escaped = [], 0, False, "", False
    for c in call:
        if quoted:
            quoted = escaped or c != '"'
            escaped = c == "\\" and not escaped
        elif c == '"':
            quoted = True
        elif c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        elif c == "," and depth == 0:
            found.append(piece)
            piece = ""
            continue
        piece += c
    return found + [piece]


def calls(text, names):
    """What stands in the brackets of the calls of these functions."""
    for found in re.finditer(rf"\b(?:{names})\(", text):
        depth, quoted, at = 1, False, found.end()
        while depth:
            c = text[at]
            if quoted:
                at += c == "\\"
                quoted = c != '"'
            elif c == '"':
                quoted = True
            else:
                depth += {"(": 1, ")": -1}.get(c, 0)
            at += 1
        yield text[found.end():at - 1]


def said():
    words = set()
    for path in CLI.glob("*.cc"):
        if path.name.endswith("_test.cc"):
            continue
        text = path.read_text()
        for header in re.findall(r"\bTable (?:table|\w+)\(\{(.*?)\}\)", text, re.S):
            words |= set(re.findall(LITERAL, header))
        words |= set(re.findall(rf"(?:etails\.add\(|\badd_\w+\(details, ){LITERAL}", text))
        for call in calls(text, r"confirm|note|say_filled"):
            words.update(filter(None, [next(filter(None, map(joined, arguments(call))), "")]))
        for call in re.findall(r"\bdone\((.*?)\);", text, re.S):
            if len(arguments(call)) > 2 and (sentence := joined(arguments(call)[2])):
                words.add(sentence)
    return words


def catalog():
    text = "".join((CLI / name).read_text() for name in CATALOGS)
    entries = {}
    for pair in re.findall(rf"\n      \{{((?:{LITERAL}|,|\s)*)\}},", text):
        parts = arguments(pair[0])
        entries[joined(parts[0])] = joined(parts[1])
    return entries


class MessagesTest(unittest.TestCase):
    def test_every_message_has_its_translation(self):
        missing = sorted(said() - set(catalog()))
        self.assertEqual(missing, [], "add these to src/cli/messages_ja.cc")
        self.assertGreater(len(said()), 140)

    def test_translations_take_the_values_of_the_original(self):
        for english, japanese in catalog().items():
            values = re.findall(r"\{(:[^}]*)?\}", english)
            taken = {int(number): form for number, form in re.findall(r"\{(\d+)(:[^}]*)?\}", japanese)}
            self.assertTrue(set(taken) <= set(range(len(values))), english)
            self.assertEqual({n: values[n] for n in taken}, taken, english)
            self.assertNotIn("{}", japanese, english)

    def test_the_catalog_has_no_leftovers(self):
        source = "".join(re.sub(r'"\s*\n\s*"', "", path.read_text()) for path in CLI.glob("*.cc")
                         if path.name not in CATALOGS)
        # Put together of two, or CLI11's own.
        apart = ("What it may do: ", "Print this help message and exit")
        for english in catalog():
            self.assertTrue(english in source or english.startswith(apart), english)


if __name__ == "__main__":
    unittest.main()
