#!/usr/bin/env python3
"""Proves that what the READMEs and docs tell people to type exists: every `hozon NOUN VERB` of
README.md, README.ja.md and docs/*.md answers `--help` with exit 0, and names an example there;
every `make TARGET` is a target. Usage: readme_test.py ROOT [HOZON]
"""
import pathlib
import re
import subprocess
import sys

COMMAND = re.compile(r"\bhozon ((?:pool|volume|machine|snapshot|template|group|schedule|job|token|peer|audit) [a-z]+|up|down|events)\b")
MAKE = re.compile(r"\bmake ([a-z]+(?:-[a-z]+)*)\b")
FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.M | re.S)
SPAN = re.compile(r"`([^`\n]+)`")


def code_of(text):
    """Code only: prose may say 'make sure'."""
    blocks = FENCE.findall(text)
    return "\n".join(blocks + SPAN.findall(FENCE.sub("", text)))


def pages(root):
    found = [root / "README.md", root / "README.ja.md", *sorted((root / "docs").glob("*.md"))]
    return [page for page in found if page.is_file()]


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    hozon = sys.argv[2] if len(sys.argv) > 2 else None
    targets = set(re.findall(r"^([a-z][a-z-]*):", (root / "Makefile").read_text(), re.M))
    faults, commands = [], {}
    for page in pages(root):
        code = code_of(page.read_text())
        for target in sorted(set(MAKE.findall(code)) - targets):
            faults.append(f"{page.name}: 'make {target}' is no target of the Makefile")
        for command in COMMAND.findall(code):
            commands.setdefault(command, page.name)
    if hozon:
        for command, page in sorted(commands.items()):
            run = subprocess.run([hozon, *command.split(), "--help"], capture_output=True,
                                 text=True, timeout=20)
            if run.returncode != 0:
                faults.append(f"{page}: 'hozon {command}' does not exist (--help exits "
                              f"{run.returncode})")
            elif "xample" not in run.stdout:
                faults.append(f"'hozon {command} --help' shows no example")
    for line in faults:
        print(line)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
