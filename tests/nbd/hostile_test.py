#!/usr/bin/env python3
"""Proves that no bytes crash hozon-stored or disturb other clients: over a hundred sessions of
nonsense, each followed by its demanded end, while a good client writes and verifies all the time."""
import os
import random
import socket
import struct
import sys
import threading
import time
import unittest

from nbd_case import MIB, NbdCase, main

IHAVEOPT, REQUEST = 0x49484156454F5054, 0x25609513
READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS = range(8)
EPERM, EINVAL, ENOSPC = 1, 22, 28
REP_ACK = 1
UNSUPPORTED, POLICY, INVALID, UNKNOWN, TOO_BIG = (0x80000000 + n for n in (1, 2, 3, 6, 9))
END = "the connection ends"


def option(number, data=b"", length=None):
    return struct.pack(">QII", IHAVEOPT, number, len(data) if length is None else length) + data


def info(name, wanted=(), count=None):
    return (struct.pack(">I", len(name)) + name
            + struct.pack(">H", len(wanted) if count is None else count)
            + b"".join(struct.pack(">H", one) for one in wanted))


def contexts(name, queries, count=None):
    return (struct.pack(">I", len(name)) + name
            + struct.pack(">I", len(queries) if count is None else count)
            + b"".join(struct.pack(">I", len(query)) + query for query in queries))


def request(command, offset=0, length=0, flags=0, magic=REQUEST):
    return struct.pack(">IHHQQI", magic, flags, command, 0x1122334455667788, offset, length)


class Raw:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(20)
        while True:
            try:
                self.socket.connect(path)
                break
            except BlockingIOError:  # the queue of the listening socket is full
                time.sleep(0.01)

    def exactly(self, count):
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise EOFError("the server closed the connection")
            data += part
        return data

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has ended already, which the reading side will see

    def greet(self, flags=3):
        self.exactly(18)
        self.send(struct.pack(">I", flags))

    def answer(self):
        """The type of the last reply to one option."""
        while True:
            magic, _, kind, length = struct.unpack(">QIII", self.exactly(20))
            assert magic == 0x3E889045565A9, hex(magic)
            self.exactly(length)
            if kind == REP_ACK or kind & 0x80000000:
                return kind

    def go(self, name=b"disk"):
        self.greet()
        self.send(option(7, info(name)))
        assert self.answer() == REP_ACK

    def error(self):
        magic, error, cookie = struct.unpack(">IIQ", self.exactly(16))
        assert (magic, cookie) == (0x67446698, 0x1122334455667788), (hex(magic), hex(cookie))
        return error

    def sees_end(self):
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        return True

    def close(self):
        self.socket.close()


# In the handshake: (what is sent after the greeting, the replies that are demanded).
NAME = b"disk"
HANDSHAKE = [
    (option(1, b"no such export"), [END]),
    (option(1, b"x" * 4097), [END]),
    (option(1, b"", length=0xFFFFFFFF), [END]),
    (option(1, b"\x00"), [END]),
    (option(1, b"\xff\xfe"), [END]),
    (option(2), [REP_ACK, END]),
    (option(2, b"with data"), [REP_ACK, END]),
    (option(3, b"data"), [INVALID]),
    (option(4, b""), [UNSUPPORTED]),
    (option(5), [POLICY]),
    (option(5, b"data"), [INVALID]),
    (option(8, b"data"), [INVALID]),
    (option(11), [UNSUPPORTED]),
    (option(0), [UNSUPPORTED]),
    (option(0x7FFFFFFF, b"x" * 100), [UNSUPPORTED]),
    (option(0xFFFFFFFF), [UNSUPPORTED]),
    (option(99, b"x" * 65536), [UNSUPPORTED]),
    (option(99, b"x" * 65537), [TOO_BIG]),
    (option(99, b"x" * MIB), [TOO_BIG]),
    (option(99, b"", length=MIB + 1), [END]),
    (option(99, b"", length=0xFFFFFFFF), [END]),
    (option(3, b"", length=0x80000000), [END]),
]
for go in (6, 7):
    HANDSHAKE += [
        (option(go), [INVALID]),
        (option(go, b"\x00"), [INVALID]),
        (option(go, b"\x00\x00\x00"), [INVALID]),
        (option(go, struct.pack(">I", 4) + b"dis"), [INVALID]),
        (option(go, struct.pack(">I", 0xFFFFFFFF) + b"disk"), [INVALID]),
        (option(go, struct.pack(">I", 4) + b"disk"), [INVALID]),
        (option(go, struct.pack(">I", 4) + b"disk\x00"), [INVALID]),
        (option(go, info(NAME, count=1)), [INVALID]),
        (option(go, info(NAME, count=0xFFFF)), [INVALID]),
        (option(go, info(NAME, [3], count=0)), [INVALID]),
        (option(go, info(NAME) + b"x"), [INVALID]),
        (option(go, info(b"")), [UNKNOWN]),
        (option(go, info(b"@")), [UNKNOWN]),
        (option(go, info(b"disk@")), [UNKNOWN]),
        (option(go, info(b"@point")), [UNKNOWN]),
        (option(go, info(b"disk@none")), [UNKNOWN]),
        (option(go, info(b"disk\x00")), [UNKNOWN]),
        (option(go, info(b"disk/../disk")), [UNKNOWN]),
        (option(go, info(b"\xff\xfe\xfd")), [UNKNOWN]),
        (option(go, info(b"%s%n%d")), [UNKNOWN]),
        (option(go, info(b"n" * 4096)), [UNKNOWN]),
        (option(go, info(b"n" * 4097)), [TOO_BIG]),
    ]
STRUCTURED = option(8)
for context in (9, 10):
    HANDSHAKE += [
        (option(context, contexts(NAME, [])), [INVALID]),  # before structured replies
        (STRUCTURED + option(context), [REP_ACK, INVALID]),
        (STRUCTURED + option(context, struct.pack(">I", 4) + b"disk"), [REP_ACK, INVALID]),
        (STRUCTURED + option(context, contexts(NAME, [], count=1)), [REP_ACK, INVALID]),
        (STRUCTURED + option(context, contexts(NAME, [], count=0xFFFFFFFF)), [REP_ACK, INVALID]),
        (STRUCTURED + option(context, contexts(NAME, [b"a"]) + b"x"), [REP_ACK, INVALID]),
        (STRUCTURED + option(context, contexts(b"none", [b"base:"])), [REP_ACK, UNKNOWN]),
        (STRUCTURED + option(context, contexts(NAME, [b"q" * 4097])), [REP_ACK, TOO_BIG]),
        (STRUCTURED + option(context, contexts(NAME, [b"q"] * 33)), [REP_ACK, TOO_BIG]),
        (STRUCTURED + option(context, contexts(NAME, [b"", b":", b"base", b"hozon:changed:"])),
         [REP_ACK, REP_ACK]),
        (STRUCTURED + option(context, contexts(NAME, [b"base:allocation"] * 32)),
         [REP_ACK, REP_ACK]),
    ]
HANDSHAKE += [
    (struct.pack(">QII", IHAVEOPT + 1, 7, 0), [END]),
    (struct.pack(">QII", 0, 0, 0), [END]),
    (b"GET / HTTP/1.1\r\nHost: hozon\r\n\r\n", [END]),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40), [END]),
    (b"\xff" * 64, [END]),
    (option(3) * 50, [REP_ACK] * 50),
    (option(12345) * 1024, [UNSUPPORTED] * 1024 + [END]),
]

# In transmission: (what is sent, the errors that are demanded).
SIZE = 64 * MIB
TOP = (1 << 64) - 1
TRANSMISSION = [
    (request(READ, SIZE, 1), [EINVAL]),
    (request(READ, SIZE - 1, 2), [EINVAL]),
    (request(READ, TOP, 1), [EINVAL]),
    (request(READ, TOP - 4095, 4096), [EINVAL]),
    (request(READ, 1 << 63, 0xFFFFFFFF), [EINVAL]),
    (request(READ, 0, 0xFFFFFFFF), [EINVAL]),
    (request(READ, 0, 32 * MIB + 1), [EINVAL]),
    (request(READ, 0, 512, flags=1 << 2), [EINVAL]),  # DF without structured replies
    (request(READ, 0, 512, flags=0xFFFF), [EINVAL]),
    (request(READ, 0, 512, flags=1 << 5), [EINVAL]),
    (request(WRITE, SIZE, 4) + b"data", [ENOSPC]),
    (request(WRITE, TOP, 4) + b"data", [ENOSPC]),
    (request(WRITE, SIZE - 2, 4) + b"data", [ENOSPC]),
    (request(WRITE, 0, 4, flags=0x8000) + b"data", [EINVAL]),
    (request(WRITE, 0, 32 * MIB + 1) + bytes(32 * MIB + 1), [EINVAL]),
    (request(WRITE, 0, 64 * MIB + 1), [END]),
    (request(WRITE, 0, 0xFFFFFFFF), [END]),
    (request(WRITE, SIZE, 0xFFFFFFFF), [END]),
    (request(TRIM, SIZE, 1), [EINVAL]),
    (request(TRIM, TOP, 0xFFFFFFFF), [EINVAL]),
    (request(TRIM, 0, 4096, flags=1 << 1), [EINVAL]),
    (request(ZEROES, SIZE, 1), [ENOSPC]),
    (request(ZEROES, TOP, TOP & 0xFFFFFFFF), [ENOSPC]),
    (request(ZEROES, 0, 0xFFFFFFFF), [ENOSPC]),
    (request(ZEROES, 0, 4096, flags=1 << 2), [EINVAL]),
    (request(CACHE, TOP, 1), [EINVAL]),
    (request(FLUSH, 0, 0, flags=1 << 1), [EINVAL]),
    (request(STATUS, 0, 4096), [EINVAL]),
    (request(STATUS, 0, 0), [EINVAL]),
    (request(STATUS, TOP, 4096, flags=1 << 3), [EINVAL]),
    (request(8), [EINVAL]),
    (request(0xFFFF, TOP, 0xFFFFFFFF, flags=0xFFFF), [EINVAL]),
    (request(READ, 0, 4096, magic=0), [END]),
    (request(READ, 0, 4096, magic=REQUEST + 1), [END]),
    (request(READ, 0, 4096, magic=0x67446698), [END]),
    (option(3, b"twelve bytes"), [END]),
    (request(DISC), [END]),
    (request(DISC, TOP, 0xFFFFFFFF, flags=0xFFFF), [END]),
    (request(READ, TOP, 1) * 500, [EINVAL] * 500),
    (request(0x4242) * 1000, [EINVAL] * 1000),
]
# Sessions that stop in the middle: the client closes after these bytes.
TRUNCATED = [b"", b"\x00", struct.pack(">I", 3)[:3], struct.pack(">I", 3),
             struct.pack(">I", 3) + option(7, info(NAME))[:7],
             struct.pack(">I", 3) + option(7, info(NAME))[:16],
             struct.pack(">I", 3) + option(7, info(NAME))[:-1],
             struct.pack(">I", 3) + option(99, b"x" * MIB)[:70_000],
             struct.pack(">I", 3) + option(7, info(NAME)) + request(READ, 0, 4096)[:27],
             struct.pack(">I", 3) + option(7, info(NAME)) + request(WRITE, 0, 4096) + bytes(4095),
             struct.pack(">I", 3) + option(7, info(NAME)) + request(WRITE, 0, 32 * MIB) + bytes(MIB),
             struct.pack(">I", 3) + option(7, info(NAME)) + request(READ, 0, 32 * MIB) * 20,
             struct.pack(">I", 3) + option(7, info(NAME)) + request(FLUSH) * 300]


class Hostile(NbdCase):
    VOLUMES = {"disk": SIZE, "good": 16 * MIB}

    def setUp(self):
        """A good client works all the time."""
        self.stop, self.rounds, self.trouble = False, 0, None
        self.good = threading.Thread(target=self.work)
        self.good.start()

    def tearDown(self):
        self.stop = True
        self.good.join(60)
        self.assertIsNone(self.trouble)
        self.assertGreater(self.rounds, 2)
        self.assertTrue(self.server.running(), self.server.last_words())
        self.assertEqual(self.server.starts, 1)

    def work(self):
        source = random.Random(1)
        try:
            client = self.server.nbd("good")
            while not self.stop or self.rounds < 3:
                offset, data = source.randrange(0, 15 * MIB), source.randbytes(50_000)
                client.write(offset, data, fua=self.rounds % 8 == 0)
                if client.read(offset, len(data)) != data:
                    raise ValueError(f"wrong bytes at {offset}")
                self.rounds += 1
            client.close()
        except Exception as error:  # noqa: BLE001: told by tearDown
            self.trouble = error

    def test_handshake_nonsense(self):
        self.assertEqual(self.server.nbd("disk").size, SIZE)
        for flags in (4, 0x10000, 0xFFFFFFFF):
            raw = Raw(self.server.nbd_path)
            raw.greet(flags)
            self.assertTrue(raw.sees_end())
        raw = Raw(self.server.nbd_path)
        raw.greet(0)  # not fixed newstyle: only NBD_OPT_EXPORT_NAME is understood
        raw.send(option(3))
        self.assertTrue(raw.sees_end())
        for sent, demanded in HANDSHAKE:
            with self.subTest(sent=sent[:60]):
                raw = Raw(self.server.nbd_path)
                raw.greet()
                raw.send(sent)
                for kind in demanded:
                    if kind == END:
                        self.assertTrue(raw.sees_end())
                    else:
                        self.assertEqual(hex(raw.answer()), hex(kind))
                if END not in demanded:  # the haggling goes on
                    raw.send(option(7, info(NAME)))
                    self.assertEqual(raw.answer(), REP_ACK)
                raw.close()

    def test_transmission_nonsense(self):
        for sent, demanded in TRANSMISSION:
            with self.subTest(sent=sent[:60]):
                raw = Raw(self.server.nbd_path)
                raw.go()
                raw.send(sent)
                for error in demanded:
                    if error == END:
                        self.assertTrue(raw.sees_end())
                    else:
                        self.assertEqual(raw.error(), error)
                if END not in demanded:  # the connection is as good as before
                    raw.send(request(WRITE, 4096, 4) + b"fine")
                    self.assertEqual(raw.error(), 0)
                    raw.send(request(READ, 4096, 4))
                    self.assertEqual((raw.error(), raw.exactly(4)), (0, b"fine"))
                raw.close()

    def test_sessions_cut_anywhere(self):
        for sent in TRUNCATED * 4:
            raw = Raw(self.server.nbd_path)
            raw.send(sent)
            raw.close()
        whole = struct.pack(">I", 3) + STRUCTURED + option(7, info(NAME)) + request(WRITE, 0, 8) + bytes(8)
        for end in range(len(whole)):
            raw = Raw(self.server.nbd_path)
            raw.send(whole[:end])
            raw.close()

    def test_garbage(self):
        seed = int.from_bytes(os.urandom(4), "big")
        source = random.Random(seed)
        for turn in range(300):
            raw = Raw(self.server.nbd_path)
            if turn % 3 == 0:
                raw.send(source.randbytes(source.randrange(1, 5000)))
            elif turn % 3 == 1:
                raw.greet()
                for _ in range(source.randrange(1, 8)):
                    data = source.randbytes(source.randrange(0, 60))
                    raw.send(option(source.randrange(0, 14), data))
            else:
                raw.go()
                for _ in range(source.randrange(1, 30)):
                    length = source.choice([0, 1, 511, 4096, 65536, source.randrange(1 << 32)])
                    raw.send(request(source.choice([0, 3, 4, 5, 6, 7, source.randrange(1 << 16)]),
                                     source.choice([0, 4096, SIZE - 1, source.randrange(1 << 64)]),
                                     length, source.choice([0, 1, source.randrange(1 << 16)])))
            raw.close()
            self.assertTrue(self.server.running(), f"seed {seed} turn {turn}")

    def test_silent_ones_are_sent_away_after_ten_seconds(self):
        begin = time.monotonic()
        silent = [Raw(self.server.nbd_path) for _ in range(50)]
        for raw in silent:
            self.assertTrue(raw.sees_end())
        self.assertGreater(time.monotonic() - begin, 8)
        self.assertLess(time.monotonic() - begin, 19)

    def test_link_nonsense(self):
        lines = [b"\n", b"{}\n", b"[]\n", b"null\n", b"{\"id\":1}\n", b"{\"id\":-1,\"op\":\"pool.stats\"}\n",
                 b"{\"id\":1,\"op\":7}\n", b"{\"id\":1,\"op\":\"volume.show\"}\n", b"\xff\xfe\n",
                 b"{\"id\":1,\"op\":\"volume.create\",\"name\":\"x\",\"size_bytes\":-5}\n",
                 b"{\"id\":1,\"op\":\"volume.create\",\"name\":\"\\ud800\",\"size_bytes\":4096}\n",
                 b"{\"id\":1,\"op\":\"volume.create\",\"name\":\"a@b\",\"size_bytes\":4096}\n",
                 b"{\"id\":1,\"op\":\"volume.snapshot\",\"volumes\":\"disk\",\"point\":\"p\"}\n",
                 b"{\"id\":1,\"op\":\"volume.snapshot\",\"volumes\":[],\"point\":\"p\"}\n",
                 b"{\"id\":1,\"op\":\"volume.return\",\"items\":[{}],\"keep\":\"\"}\n",
                 b"{\"id\":1,\"op\":\"point.ancestors\",\"id\":18446744073709551616}\n",
                 b"[" * 100_000 + b"\n", b"{\"a\":" * 50_000 + b"\n", b"x" * MIB + b"\n"]
        for line in lines:
            with self.subTest(line=line[:60]):
                raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                raw.settimeout(20)
                raw.connect(self.server.link_path)
                raw.sendall(line)
                answer = raw.makefile("rb").readline()
                self.assertIn(b'"error"', answer)
                raw.close()
        raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        raw.settimeout(30)
        raw.connect(self.server.link_path)
        try:
            for _ in range(18):
                raw.sendall(b"x" * MIB)  # never an end of line
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            self.assertEqual(raw.recv(1), b"")
        except ConnectionResetError:
            pass

    def test_there_are_enough_cases(self):
        self.assertGreaterEqual(len(HANDSHAKE) + len(TRANSMISSION) + len(TRUNCATED), 100)


if __name__ == "__main__":
    sys.setrecursionlimit(10_000)
    main()
