"""What a volume must hold, in a file: the driver of a test keeps it, and any later process can judge by it.

Two words for each unit (little-endian, 64 bits): the write that was answered last, and the write in
flight, which is noted before it is sent and cleared after its answer. A word is twice the number of the
write, plus one if it wrote zeros; 0 means never. After a kill a unit holds one of the two; once it was
seen to hold the one in flight, it must never hold the older one again.
"""
import mmap
import struct

STAMP = struct.Struct("<8sQQQ")  # magic, volume, unit, word: 32 bytes
MAGIC = b"HZEXPECT"
ENTRY_BYTES = 16


class Wrong(Exception):
    """The volume shows what nobody may have written there."""


class Expected:
    def __init__(self, path, units, unit_bytes=4096, volume=1):
        self.units, self.unit_bytes, self.volume = units, unit_bytes, volume
        with open(path, "a+b") as file:
            file.truncate(units * ENTRY_BYTES)
            self.map = mmap.mmap(file.fileno(), units * ENTRY_BYTES)
        self.words = memoryview(self.map).cast("Q")
        self.number = max(self.words, default=0) // 2

    def close(self):
        self.words.release()
        self.map.close()

    def content(self, unit, word):
        if word == 0 or word % 2 == 1:
            return bytes(self.unit_bytes)
        return STAMP.pack(MAGIC, self.volume, unit, word) * (self.unit_bytes // STAMP.size)

    def is_busy(self, first, count):
        return any(self.words[2 * unit + 1] for unit in range(first, first + count))

    def send(self, first, count, zero=False):
        """Notes a write and returns its bytes."""
        if self.is_busy(first, count):
            raise RuntimeError("one write per unit at a time")
        self.number += 1
        word = 2 * self.number + zero
        for unit in range(first, first + count):
            self.words[2 * unit + 1] = word
        return b"" if zero else b"".join(self.content(unit, word)
                                         for unit in range(first, first + count))

    def answered(self, first, count):
        for unit in range(first, first + count):
            self.words[2 * unit] = self.words[2 * unit + 1]
            self.words[2 * unit + 1] = 0

    def judge(self, read, first=0, count=None, per_read=256):
        """Reads the units; how many of them show a write that is still in flight."""
        end = self.units if count is None else first + count
        seen = 0
        for at in range(first, end, per_read):
            part = min(per_read, end - at)
            data = read(at * self.unit_bytes, part * self.unit_bytes)
            for index in range(part):
                found = data[index * self.unit_bytes:(index + 1) * self.unit_bytes]
                seen += self._judge_unit(at + index, found)
        return seen

    def _judge_unit(self, unit, found):
        answered, flying = self.words[2 * unit], self.words[2 * unit + 1]
        if flying and found == self.content(unit, flying):
            self.words[2 * unit] = flying  # there to stay
            return 1
        if found != self.content(unit, answered):
            raise Wrong(f"unit {unit}: {self.describe(found)}; answered: {answered}, in flight: {flying}")
        return 0

    def describe(self, found):
        if not any(found):
            return "zeros"
        magic, volume, unit, word = STAMP.unpack_from(found)
        if magic != MAGIC:
            return f"foreign bytes {found[:16].hex()}"
        whole = found == STAMP.pack(magic, volume, unit, word) * (self.unit_bytes // STAMP.size)
        return f"{'' if whole else 'a torn '}stamp of volume {volume} unit {unit} word {word}"
