#!/usr/bin/env python3
"""Runs one hozon-stored with the thread backend under valgrind memcheck: writes of every kind, points, a
return, deletions, a check, a polite end. Proves that it touches no byte that is not its own, and keeps
nothing when it ends. Usage: session_test.py STORED
"""
import os
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from stored import Scratch, Stored, create_pool  # noqa: E402

MIB = 1 << 20
VALGRIND = "valgrind --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite --quiet"


def session(server):
    choose = random.Random(1)
    server.call("volume.create", name="a", size_bytes=8 * MIB)
    client = server.nbd("a", within=120)
    expected = bytearray(MIB)
    for number in range(60):
        offset, length = choose.randrange(MIB - 70000), choose.choice((1, 512, 5000, 65536))
        if number % 5 == 4:
            client.zero(offset, length)
            expected[offset:offset + length] = bytes(length)
        else:
            data = choose.randbytes(length)
            client.write(offset, data, fua=number % 7 == 0)
            expected[offset:offset + length] = data
        if number == 30:
            server.call("volume.snapshot", volumes=["a"], point="p")
            middle = bytes(expected)
    client.flush()
    assert client.read(0, MIB) == expected
    assert server.nbd("a@p").read(0, MIB) == middle
    client.close()
    server.call("volume.return", items=[{"volume": "a", "point_volume": "a", "point": "p"}], keep="left")
    assert server.nbd("a").read(0, MIB) == middle
    server.call("point.delete", volume="a", point="p")
    server.call("pool.drain")
    report = server.call("pool.check", data=True)
    assert report["errors"] == [] and report["lost_blocks"] == 0, report


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    os.environ["HOZON_LOOP"] = "threads"
    with Scratch("valgrind") as directory:
        create_pool(program, directory / "pool", 64 * MIB)
        wrapper = directory / "under-valgrind"
        wrapper.write_text(f'#!/bin/sh\nexec {VALGRIND} {program} "$@"\n')
        wrapper.chmod(0o755)
        server = Stored(wrapper, directory).start()
        try:
            session(server)
            status = server.stop()
        finally:
            server.close()
        log = server.last_words(40)
        assert "storage by threads" in log, f"not the thread backend:\n{log}"
        assert status == 0, f"exit {status}:\n{log}"
    print("clean")


main()
