"""Puts the table and the plot of a run into docs/, between the marks that docs/performance.md has."""
import pathlib
import shutil

BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"
DOCS = pathlib.Path(__file__).resolve().parents[1] / "docs"


def publish(out):
    page = DOCS / "performance.md"
    before, rest = page.read_text().split(BEGIN)
    after = rest.split(END)[1]
    head, _, tables = (out / "table.md").read_text().partition("\n\n")
    parts = ["".join(f"- {line}\n" for line in head.splitlines()), tables.strip() + "\n"]
    if (out / "depth.svg").exists():
        shutil.copy(out / "depth.svg", DOCS / "depth.svg")
        parts.insert(1, "![Snapshots against IOPS of 4 KiB random reads](depth.svg)\n")
    page.write_text(before + BEGIN + "\n".join(parts) + END + after)
