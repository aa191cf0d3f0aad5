"""A small NBD client on a unix socket, written from the protocol's text alone.

It shares no code with the server, with libnbd or with QEMU, speaks only fixed newstyle with simple
replies, and keeps many requests in flight. Tests use it because it tells exactly which requests
were answered when the server was killed.
"""
import errno
import select
import socket
import struct
import time

NBDMAGIC, IHAVEOPT, REPLY_MAGIC = 0x4E42444D41474943, 0x49484156454F5054, 0x3E889045565A9
REQUEST_MAGIC, SIMPLE_MAGIC = 0x25609513, 0x67446698
OPT_GO, REP_ACK, REP_INFO, INFO_EXPORT = 7, 1, 3, 0
READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES = 0, 1, 2, 3, 4, 5, 6
FLAG_FUA, FLAG_NO_HOLE = 1, 2


class Gone(Exception):
    """The server closed the connection, or was killed."""


class Refused(Exception):
    """The server answered with an NBD error; `code` is an errno."""

    def __init__(self, what, code):
        super().__init__(f"{what}: {errno.errorcode.get(code, code)}")
        self.code = code


class Nbd:
    def __init__(self, path, export, timeout=30.0):
        self.waiting = {}  # cookie -> (command, offset, length, tag)
        self.next_cookie = 1
        self.inbox = bytearray()
        self.outbox = bytearray()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.timeout = timeout
        try:
            self.socket.connect(path)
            self._negotiate(export)
        except (ConnectionError, FileNotFoundError) as error:
            self.socket.close()
            raise Gone(str(error)) from error
        except BaseException:
            self.socket.close()
            raise
        self.socket.setblocking(False)

    @classmethod
    def connect(cls, path, export, within=30.0):
        """As the constructor, repeated until the server is there."""
        end = time.monotonic() + within
        while True:
            try:
                return cls(path, export)
            except Gone:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)

    def _exactly(self, count):
        parts = bytearray()
        while len(parts) < count:
            part = self.socket.recv(count - len(parts))
            if not part:
                raise Gone("closed during negotiation")
            parts += part
        return bytes(parts)

    def _negotiate(self, export):
        magic, option_magic, flags = struct.unpack(">QQH", self._exactly(18))
        if (magic, option_magic) != (NBDMAGIC, IHAVEOPT) or not flags & 1:
            raise ValueError("not a fixed newstyle NBD server")
        name = export.encode()
        body = struct.pack(">I", len(name)) + name + struct.pack(">H", 0)
        self.socket.sendall(struct.pack(">I", 3) + struct.pack(">QII", IHAVEOPT, OPT_GO, len(body))
                            + body)
        while True:
            magic, _, kind, length = struct.unpack(">QIII", self._exactly(20))
            data = self._exactly(length)
            if magic != REPLY_MAGIC:
                raise ValueError("bad option reply")
            if kind == REP_ACK:
                return
            if kind == REP_INFO and struct.unpack(">H", data[:2])[0] == INFO_EXPORT:
                self.size, self.flags = struct.unpack(">QH", data[2:12])
            elif kind & 0x80000000:
                raise Refused(f"export '{export}'", {6: errno.ENOENT}.get(kind & 0xFF, 22))

    @property
    def read_only(self):
        return bool(self.flags & 2)

    # --- many in flight ---
    def submit(self, command, offset, length, data=b"", flags=0, tag=None):
        """Queues a request; `tag` comes back with its answer."""
        cookie = self.next_cookie
        self.next_cookie += 1
        self.waiting[cookie] = (command, offset, length, tag)
        self.outbox += struct.pack(">IHHQQI", REQUEST_MAGIC, flags, command, cookie, offset, length)
        self.outbox += data
        return cookie

    def collect(self, wanted=1):
        """Sends what is queued; waits for `wanted` answers or more: [(tag, error, data)]."""
        done = []
        end = time.monotonic() + self.timeout
        self._push()
        while True:
            done += self._parse()
            if len(done) >= wanted:
                return done
            writers = [self.socket] if self.outbox else []
            readable, writable, _ = select.select([self.socket], writers, [],
                                                  max(0, end - time.monotonic()))
            if not readable and not writable:
                raise TimeoutError(f"no answer to {len(self.waiting)} requests in {self.timeout} s")
            if writable:
                self._push()
            if readable:
                self._pull()

    def _push(self):
        try:
            while self.outbox:
                sent = self.socket.send(self.outbox)
                del self.outbox[:sent]
        except BlockingIOError:
            pass
        except OSError as error:
            raise Gone(str(error)) from error

    def _pull(self):
        try:
            data = self.socket.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError as error:
            raise Gone(str(error)) from error
        if not data:
            raise Gone("the server closed the connection")
        self.inbox += data

    def _parse(self):
        done, at, inbox = [], 0, self.inbox
        while len(inbox) - at >= 16:
            magic, error, cookie = struct.unpack_from(">IIQ", inbox, at)
            if magic != SIMPLE_MAGIC or cookie not in self.waiting:
                raise ValueError(f"bad reply: magic {magic:#x} cookie {cookie}")
            command, _, length, tag = self.waiting[cookie]
            body = length if command == READ and error == 0 else 0
            if len(inbox) - at < 16 + body:
                break
            del self.waiting[cookie]
            done.append((tag, error, bytes(inbox[at + 16:at + 16 + body])))
            at += 16 + body
        del inbox[:at]
        return done

    # --- one at a time ---
    def _call(self, what, command, offset, length, data=b"", flags=0):
        if self.waiting:
            raise RuntimeError("requests are in flight")
        self.submit(command, offset, length, data, flags)
        (_, error, body), = self.collect()
        if error:
            raise Refused(f"{what} at {offset}", error)
        return body

    def read(self, offset, length):
        """Straight into its buffer: much of the time of a big comparison is spent here."""
        if self.waiting or self.inbox:
            raise RuntimeError("requests are in flight")
        cookie, self.next_cookie = self.next_cookie, self.next_cookie + 1
        body = bytearray(length)
        self.socket.settimeout(self.timeout)
        try:
            self.socket.sendall(struct.pack(">IHHQQI", REQUEST_MAGIC, 0, READ, cookie, offset, length))
            magic, error, answered = struct.unpack(">IIQ", self._exactly(16))
            if (magic, answered) != (SIMPLE_MAGIC, cookie):
                raise ValueError(f"bad reply: magic {magic:#x} cookie {answered}")
            if error:
                raise Refused(f"read at {offset}", error)
            self._fill(memoryview(body))
        except (ConnectionError, BrokenPipeError) as error:
            raise Gone(str(error)) from error
        finally:
            self.socket.setblocking(False)
        return bytes(body)

    def _fill(self, view):
        at = 0
        while at < len(view):
            count = self.socket.recv_into(view[at:])
            if not count:
                raise Gone("the server closed the connection")
            at += count

    def write(self, offset, data, fua=False):
        self._call("write", WRITE, offset, len(data), data, FLAG_FUA if fua else 0)

    def flush(self):
        self._call("flush", FLUSH, 0, 0)

    def trim(self, offset, length):
        self._call("trim", TRIM, offset, length)

    def zero(self, offset, length):
        self._call("write zeroes", ZEROES, offset, length)

    def close(self):
        try:
            if not self.waiting:
                self.socket.setblocking(True)
                self.socket.sendall(struct.pack(">IHHQQI", REQUEST_MAGIC, 0, DISC, 0, 0, 0))
        except OSError:
            pass
        self.socket.close()

    def abandon(self):
        """Closes without a word; returns the tags of the requests that were not answered."""
        self.socket.close()
        return [tag for (_, _, _, tag) in self.waiting.values()]
