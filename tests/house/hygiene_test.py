#!/usr/bin/env python3
"""Proves the habits of STYLE.md that need no compiler: sizes, headers, no unfinished marks, nothing
of the author's machine. Usage: hygiene_test.py ROOT; one line per fault, exit 1 when there is any.

The files are those that git knows, or, in an unpacked release, all outside build/.
"""
import pathlib
import re
import subprocess
import sys

LINE_MAX = 110        # C++ only; `make lint` holds the 100 of STYLE.md, this catches the rest
FILE_LINES_MAX = 600  # past that there is a second noun in the file
CODE = {".cc", ".h"}
TEXT = CODE | {".py", ".md", ".txt", ".cmake", ".json", ".sh", ""}

UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b")
# Places that exist only where somebody develops.
MACHINE = re.compile(r"(?<![\w.])/(work|root|home|Users)/(main|shared|\w+/)|/tmp/h\d\b|\.py" r"env\b")


def files_of(root):
    run = subprocess.run(["git", "-C", root, "ls-files", "-z"], capture_output=True, text=True)
    if run.returncode == 0 and run.stdout:
        names = run.stdout.split("\0")
        return [root / name for name in names if name and (root / name).is_file()]
    return [path for path in root.rglob("*")
            if path.is_file() and path.relative_to(root).parts[0] not in ("build", ".git")]


def faults_of(root, path):
    name = path.relative_to(root)
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        return []  # a binary sample
    lines = text.split("\n")
    faults = []
    if text and not text.endswith("\n"):
        faults.append(f"{name}: does not end with a newline")
    for number, line in enumerate(lines, 1):
        where = f"{name}:{number}"
        if line.rstrip() != line and path.suffix != ".md":
            faults.append(f"{where}: blanks at the end of the line")
        if UNFINISHED.search(line):
            faults.append(f"{where}: unfinished work is filed as an issue, not left in the code")
        if MACHINE.search(line):
            faults.append(f"{where}: names a place of one developer's machine")
        if path.suffix in CODE and len(line) > LINE_MAX and "http" not in line:
            faults.append(f"{where}: {len(line)} columns, at most {LINE_MAX}")
        if path.suffix in CODE and "\t" in line:
            faults.append(f"{where}: a tab")
    if path.suffix in CODE and len(lines) > FILE_LINES_MAX:
        faults.append(f"{name}: {len(lines)} lines; look for the second noun (STYLE, size)")
    if path.suffix == ".h" and name.parts[0] == "src":
        if lines[0] != f"// {name}" or len(lines) < 2 or not lines[1].startswith("// "):
            faults.append(f"{name}: opens with '// {name}' and then says what it promises")
        if "#pragma once" not in text:
            faults.append(f"{name}: no #pragma once")
    if name.name.endswith("_test.cc") and not lines[0].startswith("//"):
        faults.append(f"{name}: a test's first lines say what it proves and how")
    return faults


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    faults, seen = [], 0
    for path in files_of(root):
        samples = path.relative_to(root).parts[:2] == ("fuzz", "corpus")
        if path.suffix in TEXT and path.name != "LICENSE" and not samples:
            seen += 1
            faults += faults_of(root, path)
    for line in faults:
        print(line)
    if seen < 10:
        print(f"only {seen} files looked at: this is not the repository")
        return 1
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
