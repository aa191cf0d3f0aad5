#!/usr/bin/env python3
"""Holds the code to the plan of the house: who may include whom.

Three things are compared for every file under src/:
  the picture   ROOMS below, which is the drawing in docs/architecture.md
  the targets   the USES lists of src/CMakeLists.txt and the libraries of src/main/CMakeLists.txt
  the includes  every #include "room/file.h", and the third-party headers that belong to one room

Usage: include_test.py [ROOT]   prints one line per violation, exit 1 when there is any.
"""
import pathlib
import re
import sys

# Room -> rooms it may know, directly or not. Knowledge flows one way.
ROOMS = {
    "base": set(),
    "io": {"base"},
    "format": {"base"},
    "store": {"base", "io", "format"},
    "link": {"base"},
    "serve": {"base", "io", "format", "store", "link"},
    "qemu": {"base"},
    "files": {"base", "link"},
    "archive": {"base"},
    "control": {"base", "link", "qemu", "archive"},
    "api": {"base", "link", "qemu", "archive", "control"},
    "client": {"base"},
    "cli": {"base", "client"},
}

# Headers of libraries that have one home, so that replacing one stays a small change.
HOMES = {
    r"^boost/": {"api"},
    r"^openssl/": {"api", "control", "client"},
    r"^CLI/": {"cli", "main"},
    r"^sqlite3\.h$": {"control"},
    r"^libnbd\.h$": {"qemu", "files"},
    r"^tsk/": {"files"},
    r"^seccomp\.h$": {"files"},
    r"^archive(_entry)?\.h$": {"files", "cli"},
    r"^cctz/": {"control"},
    r"^liburing\.h$": {"io"},
    r"^spdlog/": {"base"},
    r"^isa-l": {"base"},
}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


def calls_of(name, text):
    """The argument lists of every call `name(...)` in a CMake file, comments removed."""
    text = re.sub(r"#[^\n]*", "", text)
    return [match.group(1).split() for match in re.finditer(name + r"\(([^)]*)\)", text)]


def rooms_of(libraries):
    return {name.removeprefix("hozon_") for name in libraries if name.startswith("hozon_")}


def declared_uses(root):
    """Room -> rooms of its USES list; program source -> rooms of its libraries."""
    uses, programs = {}, {}
    for words in calls_of("hozon_room", (root / "src/CMakeLists.txt").read_text()):
        uses[words[0]] = rooms_of(words[1:])
    for words in calls_of("hozon_program", (root / "src/main/CMakeLists.txt").read_text()):
        if "${" not in words[0] and words[0] != "name":
            programs[words[0].replace("-", "_") + ".cc"] = rooms_of(words[1:])
    return uses, programs


def closure(rooms, uses):
    seen, todo = set(), list(rooms)
    while todo:
        room = todo.pop()
        if room not in seen:
            seen.add(room)
            todo.extend(uses.get(room, ()))
    return seen


def violations(root):
    uses, programs = declared_uses(root)
    found = []
    for room, used in sorted(uses.items()):
        if room not in ROOMS:
            found.append(f"src/CMakeLists.txt: room '{room}' is not in the picture "
                         "(tools/include_test.py, docs/architecture.md)")
            continue
        for other in sorted(used - ROOMS[room]):
            found.append(f"src/CMakeLists.txt: room '{room}' must not use '{other}'")
    for path in sorted((root / "src").glob("*/**/*")):
        if path.suffix in (".cc", ".h"):
            found += violations_of_file(root, path, uses, programs)
    return found


def violations_of_file(root, path, uses, programs):
    name = path.relative_to(root)
    room = name.parts[1]
    if room == "main":
        allowed = closure(programs.get(name.parts[2], uses.keys()), uses)
    elif room in uses:
        allowed = closure(uses[room], uses) | {room}
    else:
        return [f"{name}: '{room}' is not a room of src/CMakeLists.txt"]
    found = []
    for quote, header in INCLUDE.findall(path.read_text(errors="replace")):
        if quote == "<":
            for pattern, homes in HOMES.items():
                if re.match(pattern, header) and room not in homes:
                    found.append(f"{name}: <{header}> belongs to {'/'.join(sorted(homes))}")
            continue
        target = header.split("/")[0]
        if "/" not in header or not (root / "src" / header).is_file():
            found.append(f'{name}: "{header}" is not a file under src/ (write "room/file.h")')
        elif target not in allowed:
            found.append(f'{name}: room \'{room}\' must not include "{header}"')
    return found


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    found = violations(root)
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
