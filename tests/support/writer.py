"""A writer of stamps: keeps many requests in flight on the volumes of one test, in every size and
kind, and tells the ledgers what was sent and answered."""
import nbd


class Writer:
    def __init__(self, random, connect, ledger, depth=16):
        self.random, self.connect, self.ledger, self.depth = random, connect, ledger, depth
        self.client = None
        self.writes = 0

    def step(self):
        """Sends until `depth` requests are in flight, then takes at least one answer."""
        if self.client is None:
            self.client = self.connect()
        sent = 0
        while len(self.client.waiting) < self.depth:
            self._send_one()
            sent += 1
        for tag, error, _ in self.client.collect(1):
            self._answer(tag, error)
        return sent

    def _send_one(self):
        choice = self.random.random()
        if choice < 0.02:
            self.client.submit(nbd.FLUSH, 0, 0, tag=None)
            return
        # Mostly small, now and then up to a quarter of a MiB; never two on the same unit.
        most = 4 if choice < 0.9 else max(1, (256 << 10) // self.ledger.unit_bytes)
        count = self.random.randint(1, most)
        first = self.random.randrange(self.ledger.units)
        count = min(count, self.ledger.units - first)
        while count and any(unit in self.ledger.busy for unit in range(first, first + count)):
            count //= 2
        if not count:
            return
        zero = 0.02 <= choice < 0.06
        tag, data = self.ledger.send(first, count, zero)
        command = nbd.WRITE
        if zero:
            command = nbd.ZEROES if choice < 0.04 else nbd.TRIM
        flags = nbd.FLAG_FUA if 0.06 <= choice < 0.08 else 0
        unit = self.ledger.unit_bytes
        self.client.submit(command, first * unit, count * unit, data, flags, tag)
        self.writes += 1

    def _answer(self, tag, error):
        if error:
            raise nbd.Refused(f"request {tag}", error)
        if tag is not None:
            self.ledger.answered(tag)

    def finish(self):
        """Takes the answers to all that is in flight."""
        while self.client is not None and self.client.waiting:
            for tag, error, _ in self.client.collect(1):
                self._answer(tag, error)

    def reconnect(self):
        """After the death of the server: settles every request that was not answered."""
        tags = []
        if self.client is not None:
            # What arrived before the end counts as answered.
            try:
                while True:
                    for tag, error, _ in self.client.collect(1):
                        self._answer(tag, error)
            except nbd.Gone:
                pass
            tags = [tag for tag in self.client.abandon() if tag is not None]
        self.client = self.connect()
        self.ledger.settle(tags, self.client.read)

    def close(self):
        if self.client is not None:
            self.client.close()
            self.client = None
