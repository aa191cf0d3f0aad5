"""Images in and out, beside qemu-img alone on the same data; and the command line as its users feel it.

Both sides end with their data flushed: an import that is not on the disk is not done. Neither finds its source
in the host's page cache, where a pool's blocks never are, nor leaves its image there (-t none, as Hozon exports).
"""
import os
import random
import subprocess
import time

from instance import Instance
from report import cheaper
from systems import GIB, MIB

IMAGES = "Import and export of a sparse image"
COMMANDS = "The command line, from pressing return to the prompt"
CALLS = 10
PIECE = 4 * MIB


def run(bench):
    directory = bench.scratch / "images"
    directory.mkdir()
    instance = Instance(bench.programs, directory / "i")
    try:
        instance.up("--pool-size", str(4 * bench.plan.size))
        image = sparse_image(bench, directory)
        transfers(bench, instance, directory, image)
        commands(bench, instance)
    finally:
        instance.close()
    subprocess.run(["rm", "-rf", directory], check=True)


def sparse_image(bench, directory):
    """A qcow2 file whose data, half of the span, is scattered over the whole disk."""
    raw, image = directory / "source.raw", directory / "source.qcow2"
    rng = random.Random(1)
    with open(raw, "wb") as file:
        file.truncate(bench.plan.size)
        for place in rng.sample(range(bench.plan.size // PIECE), bench.plan.span // PIECE // 2):
            file.seek(place * PIECE)
            file.write(rng.randbytes(PIECE))
    convert("-f", "raw", "-O", "qcow2", raw, image)
    raw.unlink()
    return image


def convert(*words):
    subprocess.run(["qemu-img", "convert", "-t", "none", *words], check=True)


def forget(path):
    """Leaves nothing of the file in the page cache."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def seconds(call, *words):
    start = time.perf_counter()
    call(*words)
    return time.perf_counter() - start


def transfers(bench, instance, directory, image):
    """Each verified form beside qemu-img convert and compare, each other one beside convert alone."""
    section = bench.report.section(IMAGES)
    note = f"{bench.plan.size / GIB:g} GiB with {bench.plan.span / GIB / 2:g} GiB of data"
    target = directory / "target"

    def cell(name, text):
        return section.cell(name, text, "s", cheaper(1.0, "peer"), note)

    for number in range(bench.plan.rounds):
        bench.log(f"import and export: round {number + 1}")
        taken = cell("import", "import qcow2 (peer: qemu-img convert to raw)")
        forget(image)
        taken.add("peer", seconds(convert, "-f", "qcow2", "-O", "raw", image, target))
        target.unlink()
        forget(image)
        taken.add("hozon", seconds(instance.hozon, "volume", "create", "in", "--from", str(image)))
        for form in ("raw", "qcow2"):
            written = cell(f"export.{form}", f"export to {form} (peer: qemu-img convert)")
            forget(image)
            written.add("peer", seconds(convert, "-f", "qcow2", "-O", form, image, target))
            verified = cell(f"export.{form}.verified",
                            f"export to {form}, verified (peer: convert, compare)")
            forget(image)
            verified.add("peer", written.values["peer"][-1] + seconds(compare, form, target, image))
            target.unlink()
            written.add("hozon", seconds(export, instance, target, form, "--skip-verify"))
            target.unlink()
            verified.add("hozon", seconds(export, instance, target, form))
            if number == 0:
                compare(form, target, image)
            target.unlink()
        instance.hozon("volume", "delete", "in", "--yes")


def export(instance, target, form, *options):
    instance.hozon("volume", "export", "in", str(target), "--format", form, *options)


def compare(form, target, image):
    subprocess.run(["qemu-img", "compare", "-q", "-f", form, "-F", "qcow2", target, image],
                   check=True)


def commands(bench, instance):
    section = bench.report.section(COMMANDS)
    bench.log("the command line")
    instance.hozon("volume", "create", "v", "--size", str(bench.plan.size))
    forms = {"snapshot": lambda n: ("volume", "snapshot", "v", "--name", f"p{n}"),
             "clone": lambda n: ("volume", "clone", f"v@p{n}", f"c{n}"),
             "return": lambda n: ("volume", "return", f"v@p{n}", "--yes"),
             "delete point": lambda n: ("volume", "delete", f"v@p{n}", "--yes")}
    for name, words in forms.items():
        cell = section.cell(f"cli.{name.replace(' ', '_')}", f"hozon volume: {name}", "ms")
        for number in range(CALLS):
            cell.add("hozon", 1000 * seconds(instance.hozon, *words(number)))
