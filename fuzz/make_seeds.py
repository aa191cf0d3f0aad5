#!/usr/bin/env python3
"""Writes the seeds of fuzz/corpus/ from the text of docs/format.md, without any code of Hozon.

The targets check that what they accept survives a round trip, so these files are also a second
reading of the format page. Run it again only when a format gets a new version; it overwrites.
"""
import pathlib
import struct

CORPUS = pathlib.Path(__file__).parent / "corpus"
TABLE = []
for number in range(256):
    for _ in range(8):
        number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)
    TABLE.append(number)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def sealed(data, at):
    return data[:at] + struct.pack("<I", crc32c(data[:at] + bytes(4) + data[at + 4:])) + data[at + 4:]


def put(folder, name, data):
    (CORPUS / folder).mkdir(parents=True, exist_ok=True)
    (CORPUS / folder / name).write_bytes(data)


POOL_ID = bytes(range(1, 17))


def pointer(block=0, crc=0, flags=0):
    return struct.pack("<QII", block, crc, flags)


def superblock(total=2560, ring=1 << 20, catalog=pointer(), bitmap=pointer(), heights=(0, 1)):
    fixed = struct.pack("<8sII16sQQQQQQQQQ", b"HOZONPL\0", 1, 0, POOL_ID, 0, 3, 2, total, ring, 0, 9,
                        100, 1700000000_000000000)
    tail = catalog + struct.pack("<Q", 1 if heights[0] else 0) + bitmap
    tail += struct.pack("<QBB", -(-total // 32768), *heights)
    return sealed((fixed + tail).ljust(4096, b"\0"), 12)


def journal_header(ring=1 << 20):
    return sealed(struct.pack("<8sII16sQ", b"HOZONJL\0", 1, 0, POOL_ID, ring).ljust(4096, b"\0"), 12)


def record(kind, body, name=None):
    if name is not None:
        body += struct.pack("<H", len(name)) + name
    body = body.ljust(-(-len(body) // 8) * 8, b"\0")
    return struct.pack("<B3xI", kind, 8 + len(body)) + body


def frame(*records, mark=4):
    body = b"".join(records)
    header = struct.pack("<4sIIIQQQ8s16x", b"HZFR", 0, 64 + len(body), len(records), 2, 5, mark,
                         POOL_ID[:8])
    return sealed(header + body, 4)


RECORDS = {
    "map": record(1, struct.pack("<QQQII3I", 3, 17, 40, 3, 0, 1, 2, 3)),
    "unmap": record(2, struct.pack("<QQQ", 3, 17, 9)),
    "create": record(3, struct.pack("<QQQQ", 2, 3, 1 << 30, 17), b"disk0"),
    "resize": record(4, struct.pack("<QQ", 2, 1 << 31)),
    "rename": record(5, struct.pack("<Q", 2), b"disk0-new"),
    "delete_volume": record(6, struct.pack("<Q", 2)),
    "snapshot": record(7, struct.pack("<QQIIQQQQ", 8, 17, 2, 2, 2, 9, 4, 10), b"before upgrade"),
    "fork": record(7, struct.pack("<QQIIQQ", 0, 17, 3, 1, 2, 9), b""),
    "clone": record(8, struct.pack("<QQQQ", 9, 11, 12, 17), "写し".encode()),
    "return": record(9, struct.pack("<QIIQQQ", 17, 1, 0, 2, 9, 13), b"left"),
    "delete_point": record(10, struct.pack("<Q", 9)),
    "rename_point": record(11, struct.pack("<Q", 9), b"n" * 255),
}


def catalog_record(kind_of, kind=0, height=0, name=b"", root=pointer(), **fields):
    head = struct.pack("<BBBxHxx", kind_of, kind, height, len(name))
    values = {"id": 2, "link": 3, "volume": 0, "size": 0, "created": 17, "set": 0} | fields
    head += struct.pack("<QQQQQQ", *values.values()) + root
    return (head.ljust(128, b"\0") + name.ljust(256, b"\0")).ljust(512, b"\0")


# --- messages on the link, and NBD clients ---
LINK = {
    "stats": b'{"id":1,"op":"pool.stats"}',
    "create": b'{"id":2,"op":"volume.create","name":"disk0","size_bytes":1073741824}',
    "snapshot": b'{"id":3,"op":"volume.snapshot","volumes":["a","b"],"point":"p"}',
    "return": b'{"id":4,"op":"volume.return","volume":"a","point_volume":"a","point":"p","keep":""}',
    "volume": b'{"id":5,"op":"x","name":"a","size_bytes":4096,"created_ns":1,"head_point_id":3,'
              b'"snapshot_count":0}',
    "point": b'{"id":6,"op":"x","parent_id":0,"volume_id":2,"kind":"snapshot","name":"p",'
             b'"size_bytes":4096,"created_ns":1,"set_id":9}',
    "answer": b'{"id":1,"ok":true,"result":{}}',
    "refusal": b'{"id":1,"ok":false,"error":{"code":"not_found","message":"no volume"}}',
}


def nbd_option(number, body=b""):
    return struct.pack(">QII", 0x49484156454F5054, number, len(body)) + body


def nbd_go(name, infos=()):
    body = struct.pack(">I", len(name)) + name + struct.pack(f">H{len(infos)}H", len(infos), *infos)
    return nbd_option(7, body)


def nbd_contexts(option, name, *queries):
    body = struct.pack(">I", len(name)) + name + struct.pack(">I", len(queries))
    return nbd_option(option, body + b"".join(struct.pack(">I", len(q)) + q for q in queries))


def nbd_request(command, offset=0, length=0, data=b"", flags=0):
    return struct.pack(">IHHQQI", 0x25609513, flags, command, 7, offset, length) + data


NBD_IO = b"".join([
    nbd_request(1, 100, 1000, b"w" * 1000), nbd_request(1, 8192, 4096, b"f" * 4096, 1),
    nbd_request(0, 0, 65536), nbd_request(3), nbd_request(4, 4096, 4096), nbd_request(6, 5, 9000, flags=2),
    nbd_request(6, 0, 4096, flags=16), nbd_request(5, 0, 4096), nbd_request(7, 0, 1 << 20),
    nbd_request(7, 0, 1 << 20, flags=8), nbd_request(0, 1 << 20, 1), nbd_request(0, (1 << 64) - 1, 2),
    nbd_request(99), nbd_request(1, 0, 1 << 27), nbd_request(2)])
NBD = {
    "simple": struct.pack(">I", 3) + nbd_go(b"disk") + NBD_IO,
    "structured": struct.pack(">I", 3) + nbd_option(8) + nbd_contexts(9, b"disk", b"base:", b"hozon:")
    + nbd_contexts(10, b"disk", b"base:allocation", b"hozon:changed:p") + nbd_go(b"disk", (0, 1, 2, 3))
    + NBD_IO,
    "read_only": struct.pack(">I", 3) + nbd_option(8) + nbd_go(b"disk@p") + NBD_IO,
    "old_name": struct.pack(">I", 1) + nbd_option(1, b"disk") + NBD_IO,
    "options": struct.pack(">I", 3) + nbd_option(3) + nbd_option(5) + nbd_option(6, b"\0" * 6)
    + nbd_option(4242, b"x" * 70000) + nbd_go(b"no such") + nbd_option(2),
}

def haggling(*options, flags=3):
    """Input of nbd_handshake: the options without magic."""
    return bytes([flags, 0]) + b"".join(
        struct.pack("<BH", number, len(body)) + body for number, body in options)


def named(name, *infos):
    return struct.pack(">I", len(name)) + name + struct.pack(f">H{len(infos)}H", len(infos), *infos)


def contexts(name, *queries):
    return (struct.pack(">I", len(name)) + name + struct.pack(">I", len(queries))
            + b"".join(struct.pack(">I", len(q)) + q for q in queries))


HANDSHAKE = {
    "go": haggling((8, b""), (10, contexts(b"disk", b"base:allocation", b"hozon:changed:p")),
                   (6, named(b"disk@p", 0, 3)), (7, named(b"disk", 0, 1, 2, 3))),
    "lists": haggling((3, b""), (9, contexts(b"disk", b"base:", b"hozon:", b"x")), (9, contexts(b"no")),
                      (5, b""), (2, b"")),
    "old": haggling((1, b"disk"), flags=1),
    "bad": haggling((7, named(b"disk", 0)[:-1]), (6, b"\xff" * 9), (99, b"z" * 300), (7, named(b"none")),
                    flags=7),
}


def io(command, offset=0, length=0, data=b"", flags=0):
    """Input of nbd_transmission: a request without magic and cookie."""
    return struct.pack("<HBQI", flags, command, offset, length) + data


IO = b"".join([
    io(1, 100, 1000, b"w" * 1000), io(1, 8192, 4096, b"f" * 4096, 1), io(0, 0, 65536), io(3),
    io(4, 4096, 4096), io(6, 5, 9000, flags=2), io(6, 0, 4096, flags=16), io(5, 0, 4096),
    io(7, 0, 1 << 20), io(7, 0, 1 << 20, flags=8), io(0, 1 << 20, 1), io(0, (1 << 64) - 1, 2), io(99),
    io(1, 0, 1 << 27), io(2)])
TRANSMISSION = {name: bytes([choice]) + IO
                for name, choice in {"simple": 0, "structured": 1, "point": 3, "contexts": 5}.items()}

HTTP = {
    "get": b"GET /v1/machines HTTP/1.1\r\nHost: h\r\n\r\n",
    "post": b"POST /v1/pools?wait=true HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
            b"Content-Length: 15\r\n\r\n{\"name\":\"main\"}" + b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "chunked": b"POST /v1/volumes HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
               b"5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\n",
    "smuggle": b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
               b"0\r\n\r\n",
    "expect": b"PUT /v1/x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
    "close": b"DELETE /v1/machines/web HTTP/1.0\r\nConnection: close\r\n\r\n",
}

# --- parts of a pool, and changes of a whole one (fuzz/pool_fuzz.cc) ---
def change(kind, which, offset, how, value=0):
    return struct.pack("<BBHBQ", kind, which, offset, how, value)


SUPERBLOCK, CATALOG, BITMAP, NODE, DATA, JOURNAL, FRAME, ANY = range(8)
FLIP, NUMBER8, ZERO, COPY, TORN = 0, 19, 3, 4, 5
POOL = {
    "untouched": b"\0",
    "untouched_mended": b"\1",
    "superblock": b"\0" + change(SUPERBLOCK, 0, 500, FLIP),
    "superblocks_mended": b"\1" + change(SUPERBLOCK, 0, 112, NUMBER8, 3) + change(SUPERBLOCK, 1, 48, NUMBER8, 9),
    "catalog": b"\0" + change(CATALOG, 1, 600, FLIP),
    "catalog_parent_mended": b"\1" + change(CATALOG, 1, 512 + 16, NUMBER8, 2),
    "catalog_root_mended": b"\1" + change(CATALOG, 1, 1024 + 56, NUMBER8, 40),
    "catalog_size_mended": b"\1" + change(CATALOG, 1, 512 + 32, NUMBER8, 1 << 51),
    "bitmap_mended": b"\1" + change(BITMAP, 1, 4, NUMBER8, 0) + change(BITMAP, 0, 0, NUMBER8, 0),
    "bitmap_cleared_mended": b"\1" + change(BITMAP, 1, 0, ZERO),
    "node_pointer_mended": b"\1" + change(NODE, 3, 16, NUMBER8, 30),
    "node_circle_mended": b"\1" + change(NODE, 0, 0, COPY, 9) + change(NODE, 2, 0, COPY, 11),
    "node": b"\0" + change(NODE, 5, 17, FLIP),
    "data": b"\0" + change(DATA, 5, 17, FLIP) + change(DATA, 9, 0, ZERO) + change(DATA, 2, 0, COPY, 60),
    "journal": b"\0" + change(JOURNAL, 0, 33, FLIP),
    "frame_torn": b"\0" + change(FRAME, 5, 0, TORN),
    "frame_mended": b"\1" + change(FRAME, 0, 72, NUMBER8, 77) + change(FRAME, 2, 80, NUMBER8, 3),
    "lost_data": b"\0" + change(ANY, 90, 0, ZERO) + change(ANY, 100, 0, ZERO) + change(ANY, 110, 0, ZERO),
}
MAP_NODE = {
    "empty": b"\0\0",
    "some": b"\0\1" + pointer(2, 5, 1) + pointer() * 7 + pointer(511, 6),
    "past_the_end": b"\0\1" + pointer(512, 5),
    "strange_flags": b"\0\1" + pointer(3, 5, 2),
}
BITMAPS = {
    "small": b"\0\0" + b"\xff" * 20,
    "past_the_end": b"\0\0" + b"\x0f" * 33,
    "full": b"\0\0" + b"\xff" * 32,
    "two_groups": b"\0\xff" + b"\x81" * 4096,
}
SESSION = {
    "volumes": b'{"id":1,"op":"volume.list"}\n{"id":2,"op":"volume.create","name":"x","size_bytes":65536}\n'
               b'{"id":3,"op":"volume.resize","name":"x","size_bytes":131072}\n'
               b'{"id":4,"op":"volume.rename","name":"x","new_name":"y"}\n{"id":5,"op":"volume.show","name":"y"}\n'
               b'{"id":6,"op":"volume.delete","name":"y","with_points":true}\n',
    "points": b'{"id":1,"op":"volume.snapshot","volumes":["low","middle"],"point":"p"}\n'
              b'{"id":2,"op":"point.list","volume":"low","all":true}\n'
              b'{"id":3,"op":"volume.clone","volume":"low","point":"p","new_name":"c"}\n'
              b'{"id":4,"op":"volume.return","items":[{"volume":"low","point_volume":"low","point":"p"}],"keep":"k"}\n'
              b'{"id":5,"op":"point.rename","volume":"low","point":"p","new_name":"q"}\n'
              b'{"id":6,"op":"point.delete","volume":"low","point":"q"}\n{"id":7,"op":"pool.drain"}\n',
    "asks": b'{"id":1,"op":"pool.stats"}\n{"id":2,"op":"pool.check","data":true}\n{"id":3,"op":"pool.checkpoint"}\n'
            b'{"id":4,"op":"volume.mapped","volume":"high","point":"two"}\n'
            b'{"id":5,"op":"point.exclusive","volume":"high","point":"two"}\n'
            b'{"id":6,"op":"point.ancestors","id":9}\n{"id":7,"op":"no.such"}\n\n[]\n',
}

# --- the migration stream of a machine with 64 KiB of RAM ---
RAM_SECTION = 2


def ram_words(*parts):
    return b"".join(struct.pack(">Q", part) if isinstance(part, int) else part for part in parts)


def text8(text):
    return bytes([len(text)]) + text


def migration(page_parts, ending):
    footer = b"\x7e" + struct.pack(">I", RAM_SECTION)
    start = b"\x01" + struct.pack(">I", RAM_SECTION) + text8(b"ram") + struct.pack(">II", 0, 4)
    blocks = ram_words((64 << 10) + (128 << 10) | 4, text8(b"m0"), 64 << 10, text8(b"pc.bios"),
                       128 << 10, 0x10)
    head = b"QEVM" + struct.pack(">I", 3) + b"\x07" + struct.pack(">I", 10) + b"pc-q35-7.2"
    pages = b"".join(b"\x02" + struct.pack(">I", RAM_SECTION) + part + footer for part in page_parts)
    return head + start + blocks + footer + pages + ending


def page(offset, fill, name=None):
    flags = 8 | (0 if name else 0x20)
    return ram_words(offset | flags, text8(name) if name else b"", bytes([fill]) * 4096)


DEVICE = b"\x04" + struct.pack(">I", 9) + text8(b"timer") + struct.pack(">II", 0, 2) + b"opaque" * 9
DEVICE += b"\x7e" + struct.pack(">I", 9)
VMDESC = b"\x06" + struct.pack(">I", 2) + b"{}"
PART1 = page(0, 65, b"m0") + page(4096, 66) + ram_words(8192 | 2 | 0x20, b"\0") + ram_words(0x10)
PART2 = page(0, 67, b"pc.bios") + page(12288, 68, b"m0") + ram_words(16384 | 2 | 0x20, b"\0", 0x10)
END = b"\x03" + struct.pack(">I", RAM_SECTION) + ram_words(0x10) + b"\x7e" + struct.pack(">I", RAM_SECTION)
RAM = {
    "background": migration([PART1, PART2], DEVICE + b"\x00" + VMDESC),
    "stopped": migration([PART1, PART2], END + DEVICE + b"\x00" + VMDESC),
    "no_pages": migration([], DEVICE + b"\x00" + VMDESC),
}


# Journals of ext3 and ext4, from Linux's description of jbd2, in blocks of 1 KiB.
JBD_UUID = bytes(range(16))
JBD_64BIT, JBD_CHECKSUM3 = 2, 16


def raw_crc(data, seed=0xFFFFFFFF):
    for byte in data:
        seed = seed >> 8 ^ TABLE[(seed ^ byte) & 0xFF]
    return seed


def jbd_block(kind, sequence, body=b""):
    return (struct.pack(">III", 0xC03B3998, kind, sequence) + body).ljust(1024, b"\0")


def jbd_sealed(block, at, seed):
    return block[:at] + struct.pack(">I", raw_crc(block, seed)) + block[at + 4:]


def ext_journal(features, transactions, start=1):
    """transactions: lists of ("write", [(block, content)...]), ("revoke", [block...]), ("commit",)."""
    checked = features & JBD_CHECKSUM3
    seed = raw_crc(JBD_UUID)
    blocks, sequence = [], 7
    for transaction in transactions:
        for kind, *values in transaction:
            if kind == "write":
                tags, contents = b"", []
                for i, (number, content) in enumerate(values[0]):
                    content = content.ljust(1024, b".")
                    flags = (2 if i else 0) | (8 if i + 1 == len(values[0]) else 0)
                    if content[:4] == b"\xc0\x3b\x39\x98":
                        flags, content = flags | 1, bytes(4) + content[4:]
                    if checked:
                        crc = raw_crc(content, raw_crc(struct.pack(">I", sequence), seed))
                        tags += struct.pack(">IIII", number, flags, 0, crc)
                    else:
                        tags += struct.pack(">IHH", number, 0, flags)
                        tags += struct.pack(">I", 0) if features & JBD_64BIT else b""
                    tags += b"" if i else JBD_UUID
                    contents.append(content)
                block = jbd_block(1, sequence, tags)
                blocks += [jbd_sealed(block, 1020, seed) if checked else block, *contents]
            elif kind == "revoke":
                size = ">Q" if features & JBD_64BIT else ">I"
                body = b"".join(struct.pack(size, number) for number in values[0])
                block = jbd_block(5, sequence, struct.pack(">I", 16 + len(body)) + body)
                blocks.append(jbd_sealed(block, 1020, seed) if checked else block)
            else:
                block = jbd_block(2, sequence)
                blocks.append(jbd_sealed(block, 16, seed) if checked else block)
        sequence += 1
    room = 24
    body = struct.pack(">IIIIIIIII", 1024, room, 1, 7, start, 0, 0, 1 | features, 0) + JBD_UUID
    body += struct.pack(">I12xB3x", 1, 4 if checked else 0)
    first = struct.pack(">III", 0xC03B3998, 4, 0) + body
    first = first.ljust(1024, b"\0")
    if checked:
        first = jbd_sealed(first, 0xfc, 0xFFFFFFFF)
    log = [bytes(1024)] * (room - 1)
    for i, block in enumerate(blocks):
        log[(start - 1 + i) % (room - 1)] = block
    return first + b"".join(log)


def ext_journals():
    story = [[("write", [(100, b"one"), (101, b"\xc0\x3b\x39\x98 two")]), ("commit",)],
             [("revoke", [100]), ("write", [(102, b"three")]), ("commit",)],
             [("write", [(103, b"never")])]]
    put("ext_journal", "plain", ext_journal(0, story))
    put("ext_journal", "64bit", ext_journal(JBD_64BIT, story))
    put("ext_journal", "checked", ext_journal(JBD_64BIT | JBD_CHECKSUM3, story))
    put("ext_journal", "wrapped", ext_journal(0, story, start=20))


def main():
    for name, data in HTTP.items():
        put("http_request", name, data)
    for name, data in RAM.items():
        put("ram_stream", name, data)
    for name, data in LINK.items():
        put("link_message", name, data)
    for folder, inputs in {"nbd_handshake": HANDSHAKE, "nbd_transmission": TRANSMISSION, "pool": POOL,
                           "map_node": MAP_NODE, "bitmap": BITMAPS, "link_session": SESSION,
                           "canary": {"canarx": b"canarx"}}.items():
        for name, data in inputs.items():
            put(folder, name, data)
    for name, data in NBD.items():
        put("nbd_session", name, data)
    put("superblock", "empty_pool", superblock())
    put("superblock", "used_pool", superblock(1 << 20, 8 << 20, pointer(77, 5), pointer(78, 6), (1, 1)))
    put("superblock", "journal_header", journal_header())
    put("catalog_record", "free", bytes(512))
    put("catalog_record", "volume", catalog_record(1, name=b"disk0"))
    put("catalog_record", "head", catalog_record(2, 1, 2, b"", pointer(99, 7, 1), id=3, link=0,
                                                 volume=2, size=1 << 28))
    put("catalog_record", "snapshot", catalog_record(2, 2, 2, b"p" * 255, pointer(99, 7), id=9,
                                                     link=0, volume=2, size=1 << 28, set=8))
    for name, data in RECORDS.items():
        put("journal_frame", name, frame(data))
    put("journal_frame", "everything", frame(*RECORDS.values()))
    put("journal_frame", "no_records", frame())
    ext_journals()


if __name__ == "__main__":
    main()
