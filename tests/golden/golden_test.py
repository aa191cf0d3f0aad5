"""Proves: a pool of every form that was ever written opens, and shows what it showed when it was made.

Each tests/golden/NAME.tar.xz holds the files of a small pool that was killed under way, so that opening
it replays a journal over a checkpoint: volumes of three map heights, snapshots, a clone, a return, a
deleted point that left a fork, a discard. NAME.json says what must be found. Both were made once, by
`golden_test.py make` with the first program that wrote the form, and never change.

  v1           the journal in a file of its own
  v1-one-file  the journal in `data`, behind the blocks
"""
import hashlib
import io
import json
import lzma
import pathlib
import subprocess
import sys
import tarfile

HERE = pathlib.Path(__file__).resolve().parent
NEWEST = "v1-one-file"
sys.path.insert(0, str(HERE.parent / "support"))
from stored import Scratch, Stored, create_pool  # noqa: E402

PAGE = 4096


def pattern(seed, pages):
    return b"".join(hashlib.sha256(f"{seed}/{page}".encode()).digest() * (PAGE // 32)
                    for page in range(pages))


def write(server, volume, *parts, flush=True):
    client = server.nbd(volume)
    for offset, data in parts:
        client.write(offset, data)
    if flush:
        client.flush()
    client.close()


def digest(server, export, size):
    """Of the windows that matter: everything that was ever written lies in them."""
    client = server.nbd(export)
    total = hashlib.sha256()
    for start in (0, 1 << 20, size // 2, size - 64 * PAGE):
        if 0 <= start < size:
            total.update(client.read(start, min(64 * PAGE, size - start)))
    client.close()
    return total.hexdigest()


def contents(server):
    found = {}
    for volume in server.call("volume.list")["volumes"]:
        size = volume["size_bytes"]
        found[volume["name"]] = {"size": size, "digest": digest(server, volume["name"], size)}
        for point in server.call("point.list", volume=volume["name"], all=False)["points"]:
            export = f"{volume['name']}@{point['name']}"
            found[export] = {"size": point["size_bytes"],
                             "digest": digest(server, export, point["size_bytes"])}
    return found


def build(server):
    """The history of the sample."""
    sizes = {"low": 200 * 1024, "middle": 64 << 20, "high": 100 << 30}
    for name, size in sizes.items():
        server.call("volume.create", name=name, size_bytes=size)
        write(server, name, (0, pattern(name, 8)), (size - PAGE, pattern(name + "-end", 1)))
    server.call("volume.snapshot", volumes=["low", "middle"], point="first")
    write(server, "middle", (1 << 20, pattern("m1", 20)), (512, b"x" * 700))
    server.call("volume.snapshot", volumes=["low", "middle", "high"], point="名 second")
    server.call("volume.clone", volume="middle", point="first", new_name="copy")
    write(server, "copy", (8192, pattern("c", 4)))
    server.call("pool.checkpoint")
    server.call("volume.return", items=[{"volume": "middle", "point_volume": "middle",
                                         "point": "first"}], keep="left")
    write(server, "middle", (0, pattern("after", 3)))
    server.call("point.delete", volume="middle", point="first")  # leaves a fork
    server.call("pool.drain")
    write(server, "high", (50 << 30, pattern("h", 30)))
    client = server.nbd("low")
    client.trim(PAGE, 2 * PAGE)
    client.close()
    write(server, "copy", (0, pattern("unflushed", 2)), flush=False)


def make(programs):
    with Scratch("golden") as scratch:
        create_pool(programs / "hozon-stored", scratch / "pool", 64 << 20)
        server = Stored(programs / "hozon-stored", scratch).start()
        build(server)
        expected = contents(server)
        server.kill()
        server.close()
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(scratch / "pool" / "data", "data")
        (HERE / f"{NEWEST}.tar.xz").write_bytes(lzma.compress(packed.getvalue(), preset=9))
        (HERE / f"{NEWEST}.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")


def check(programs, version):
    expected = json.loads((HERE / f"{version}.json").read_text())
    with Scratch("golden") as scratch:
        pool = scratch / "pool"
        pool.mkdir()
        with tarfile.open(HERE / f"{version}.tar.xz") as archive:
            for member in archive:
                (pool / member.name).write_bytes(archive.extractfile(member).read())
        before = {path: path.read_bytes() for path in pool.iterdir()}
        offline = subprocess.run([programs / "hozon-check", pool, "-o", "json"],
                                 capture_output=True, text=True)
        assert offline.returncode == 0, offline.stdout + offline.stderr
        assert json.loads(offline.stdout)["errors"] == []
        assert before == {path: path.read_bytes() for path in pool.iterdir()}, \
            "hozon-check wrote to the pool"
        server = Stored(programs / "hozon-stored", scratch).start()
        try:
            found = contents(server)
            assert found == expected, f"expected {expected}\nfound {found}"
            write(server, "copy", (0, pattern("new", 1)))
            report = server.call("pool.check", data=True)
            assert report["errors"] == [] and report["lost_blocks"] == 0, report
            assert server.stop() == 0
        finally:
            server.close()


def main():
    programs = pathlib.Path(sys.argv[-1]).resolve()
    if sys.argv[1] == "make":
        make(programs)
        return
    versions = sorted(path.stem for path in HERE.glob("v*.json"))
    assert versions, "no samples"
    for version in versions:
        check(programs, version)
    print(f"{len(versions)} sample pools open")


main()
