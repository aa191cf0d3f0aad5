"""What a volume may legally contain: the driver's own record of every write, in units of a fixed
size, and of the instants at which points were made.

Events (sending a request, receiving its answer, ...) are numbered in one sequence that all volumes
of a test share. For a state that was taken between the events `begin` and `end`:
  - a write answered before `begin` is in it, unless a later one replaced it;
  - a write sent after `end` is not in it;
  - of those in between any may be, but never one that was sent after the answer to another one
    that is missing (docs/durability.md, order), across all volumes of the set.
One write per unit is in flight at most; the driver sees to that.
"""
import bisect
import struct

HEADER = struct.Struct("<8sIIQQ")  # magic, volume, unit, sequence, zero: 32 bytes
MAGIC = b"HZSTAMP\0"


class Events:
    """A counter that all ledgers of one test share."""

    def __init__(self):
        self.now = 0

    def next(self):
        self.now += 1
        return self.now


class Write:
    __slots__ = ("sequence", "sent", "answered", "zero")

    def __init__(self, sequence, sent, answered, zero):
        self.sequence, self.sent, self.answered, self.zero = sequence, sent, answered, zero


class Wrong(Exception):
    """The server showed something that no legal history explains."""


class Ledger:
    def __init__(self, events, volume, units, unit_bytes=4096):
        self.events, self.volume, self.units, self.unit_bytes = events, volume, units, unit_bytes
        self.zeros = bytes(unit_bytes)
        self.history = [[Write(0, 0, 0, True)] for _ in range(units)]
        self.busy = set()
        self.sequence = 0
        self.log = []  # (event, first, count) of everything sent and answered, in order

    # --- writing ---
    def content(self, unit, sequence):
        return HEADER.pack(MAGIC, self.volume, unit, sequence, 0) * (self.unit_bytes // HEADER.size)

    def send(self, first, count, zero=False):
        """Notes one request over `count` units. Returns (tag, bytes to write)."""
        self.sequence += 1
        sent, data = self.events.next(), []
        self.log.append((sent, first, count))
        for unit in range(first, first + count):
            if unit in self.busy:
                raise RuntimeError(f"unit {unit} has a write in flight")
            self.busy.add(unit)
            self.history[unit].append(Write(self.sequence, sent, None, zero))
            if not zero:
                data.append(self.content(unit, self.sequence))
        return (first, count), b"".join(data)

    def answered(self, tag):
        event = self.events.next()
        self.log.append((event, *tag))
        for unit in range(tag[0], tag[0] + tag[1]):
            self.history[unit][-1].answered = event
            self.busy.discard(unit)

    # --- after a kill ---
    def settle(self, tags, read):
        """Requests without an answer: each unit holds the old or the new content, and keeps it."""
        for first, count in tags:
            data = read(first * self.unit_bytes, count * self.unit_bytes)
            self.log.append((self.events.next(), first, count))
            for index in range(count):
                unit = first + index
                found = data[index * self.unit_bytes:(index + 1) * self.unit_bytes]
                self._settle_unit(unit, found)

    def _settle_unit(self, unit, found):
        new, old = self.history[unit][-1], self.history[unit][-2]
        self.busy.discard(unit)
        if found == self._bytes_of(unit, new):
            new.answered = self.events.next()
        elif found == self._bytes_of(unit, old):
            self.history[unit].pop()  # it never happened, and must not come back
        else:
            raise Wrong(f"volume {self.volume} unit {unit}: neither the old nor the new content of "
                        f"write {new.sequence}, but {self.describe(found)}")

    def _bytes_of(self, unit, write):
        return self.zeros if write.zero else self.content(unit, write.sequence)

    def describe(self, found):
        if found == self.zeros:
            return "zeros"
        magic, volume, unit, sequence, _ = HEADER.unpack_from(found)
        if magic != MAGIC:
            return f"foreign bytes {found[:16].hex()}"
        whole = found == self.content(unit, sequence) and volume == self.volume
        return (f"{'' if whole else 'a torn or foreign '}stamp of volume {volume} unit {unit} "
                f"write {sequence}")

    # --- judging ---
    def judge(self, read, begin, end, chunk_bytes=1 << 20):
        """Reads everything and returns (newest `sent` that must be in, oldest missing `answered`).
        Raises Wrong for content that no write of the window explains."""
        newest_in, oldest_out = 0, None
        per_chunk = max(1, chunk_bytes // self.unit_bytes)
        for first in range(0, self.units, per_chunk):
            count = min(per_chunk, self.units - first)
            data = read(first * self.unit_bytes, count * self.unit_bytes)
            for index in range(count):
                found = data[index * self.unit_bytes:(index + 1) * self.unit_bytes]
                sent, missing = self._judge_unit(first + index, found, begin, end)
                newest_in = max(newest_in, sent)
                if missing is not None and (oldest_out is None or missing < oldest_out):
                    oldest_out = missing
        return newest_in, oldest_out

    def _judge_unit(self, unit, found, begin, end):
        history = self.history[unit]
        stop = bisect.bisect_left(history, end, key=lambda write: write.sent)
        start = stop - 1
        while history[start].answered is None or history[start].answered >= begin:
            start -= 1
        matching = [index for index in range(start, stop)
                    if found == self._bytes_of(unit, history[index])]
        if not matching:
            legal = ", ".join(str(write.sequence) for write in history[start:stop])
            raise Wrong(f"volume {self.volume} unit {unit}: {self.describe(found)}, legal: {legal}")
        follower = matching[-1] + 1
        missing = history[follower].answered if follower < stop else None
        return history[matching[0]].sent, missing


class Sequel:
    """Judges many states of one volume in the order in which they were taken, as Ledger.judge() does,
    in time that grows with what happened between them. Every byte of every state is read and compared:
    with the ledger where the volume was written since the state before, else with that state, where a
    difference sends the unit to the ledger too."""

    CHUNK = 1 << 20

    def __init__(self, ledger):
        self.ledger = ledger
        self.begin = None
        self.bytes = bytearray(ledger.units * ledger.unit_bytes)
        self.sent = [0] * ledger.units
        self.missing = [None] * ledger.units

    def _units_since(self, begin, end):
        log = self.ledger.log
        units = set()
        at = bisect.bisect_left(log, (begin,))
        while at < len(log) and log[at][0] < end:
            units.update(range(log[at][1], log[at][1] + log[at][2]))
            at += 1
        return units

    def judge(self, read, begin, end):
        if self.begin is None:
            units = set(range(self.ledger.units))
        elif begin < self.begin:
            raise RuntimeError("states must be judged in the order in which they were taken")
        else:
            units = self._units_since(self.begin, end)
        size = self.ledger.unit_bytes
        found = memoryview(b"".join(read(at, min(self.CHUNK, len(self.bytes) - at))
                                    for at in range(0, len(self.bytes), self.CHUNK)))
        for unit in units:
            self.bytes[unit * size:(unit + 1) * size] = found[unit * size:(unit + 1) * size]
        if self.bytes != found:
            units |= {unit for unit in range(self.ledger.units)
                      if self.bytes[unit * size:(unit + 1) * size] !=
                      found[unit * size:(unit + 1) * size]}
            self.bytes[:] = found
        for unit in units:
            content = bytes(found[unit * size:(unit + 1) * size])
            self.sent[unit], self.missing[unit] = self.ledger._judge_unit(unit, content, begin, end)
        self.begin = begin
        return max(self.sent), min((out for out in self.missing if out is not None), default=None)


def judge_set(parts, begin, end):
    """parts: (ledger or sequel, read) of every volume that the set covers, all of one instant."""
    judged = [ledger.judge(read, begin, end) for ledger, read in parts]
    newest_in = max(newest for newest, _ in judged)
    oldest_out = min((out for _, out in judged if out is not None), default=None)
    if oldest_out is not None and newest_in > oldest_out:
        raise Wrong(f"order: a write sent at event {newest_in} is in, one answered at {oldest_out} "
                    "before it is missing")
