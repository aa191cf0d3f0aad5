"""A filesystem in user space for one test: it shows one directory, and a sync of a file in it fails
with EIO while a trigger file names that file. Every caller meets the failure in the kernel, io_uring too.

Speaks the kernel's FUSE protocol itself (linux/fuse.h, 7.31), so it needs no library: one flat
directory, one request after the other, in a process of its own. To be called in a mount namespace
(small_disk.enter_namespace), whose end unmounts it.
"""
import ctypes
import errno
import os
import pathlib
import signal
import struct

from small_disk import skip

ROOT, MAX_WRITE = 1, 1 << 20
FLAGS = 1 << 0 | 1 << 5 | 1 << 22  # asynchronous reads, large writes, large requests
LOOKUP, FORGET, GETATTR, SETATTR, UNLINK, OPEN, READ, WRITE, STATFS, RELEASE = 1, 2, 3, 4, 10, 14, 15, 16, 17, 18
FSYNC, FLUSH, INIT, OPENDIR, RELEASEDIR, FSYNCDIR, CREATE = 20, 25, 26, 27, 29, 30, 35
INTERRUPT, DESTROY, BATCH_FORGET, FALLOCATE = 36, 38, 42, 43
NO_ANSWER = (FORGET, BATCH_FORGET, INTERRUPT)
SET_SIZE = 1 << 3


class _Server:
    def __init__(self, fuse, directory, trigger):
        self.fuse, self.directory, self.trigger = fuse, directory, trigger
        self.names, self.nodes = {ROOT: ""}, {}
        self.actions = {
            INIT: self.init, LOOKUP: self.lookup, GETATTR: self.getattr, SETATTR: self.setattr,
            UNLINK: self.unlink, OPEN: self.open, READ: self.read, WRITE: self.write, STATFS: self.statfs,
            RELEASE: self.release, FSYNC: self.fsync, CREATE: self.create, FALLOCATE: self.fallocate,
            FLUSH: self.nothing, OPENDIR: self.opendir, RELEASEDIR: self.nothing, FSYNCDIR: self.nothing,
            DESTROY: self.nothing}

    def serve(self):
        while True:
            try:
                request = os.read(self.fuse, MAX_WRITE + 8192)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                return  # unmounted
            length, op, unique, node = struct.unpack_from("<IIQQ", request)
            if op in NO_ANSWER:
                continue
            failed, answer = 0, b""
            try:
                answer = self.actions[op](node, memoryview(request)[40:length]) if op in self.actions else None
                if answer is None:
                    failed, answer = errno.ENOSYS, b""
            except OSError as error:
                failed = error.errno
            os.write(self.fuse, struct.pack("<IiQ", 16 + len(answer), -failed, unique) + answer)

    # --- what requests do ---
    def path(self, node, name=""):
        return os.path.join(self.directory, name or self.names[node])

    @staticmethod
    def text(data):
        return bytes(data).split(b"\0", 1)[0].decode()

    def attributes(self, node, path):
        state = os.stat(path, follow_symlinks=False)
        return struct.pack("<6Q10I", node, state.st_size, state.st_blocks, 0, 0, 0, 0, 0, 0, state.st_mode,
                           state.st_nlink, os.getuid(), os.getgid(), 0, 4096, 0)

    def entry(self, name):
        path = self.path(ROOT, name)
        os.stat(path, follow_symlinks=False)
        node = self.nodes.setdefault(name, ROOT + 1 + len(self.nodes))
        self.names[node] = name
        return struct.pack("<4Q2I", node, 0, 0, 0, 0, 0) + self.attributes(node, path)

    def init(self, _node, data):
        _major, _minor, readahead, offered = struct.unpack_from("<4I", data)
        return struct.pack("<4I2H2I2H8I", 7, 31, readahead, FLAGS & offered, 64, 48, MAX_WRITE, 1, MAX_WRITE // 4096,
                           *[0] * 9)

    def lookup(self, _node, data):
        return self.entry(self.text(data))

    def getattr(self, node, _data):
        return struct.pack("<Q2I", 0, 0, 0) + self.attributes(node, self.path(node))

    def setattr(self, node, data):
        valid, _, _, size = struct.unpack_from("<2I2Q", data)
        if valid & SET_SIZE:
            os.truncate(self.path(node), size)
        return self.getattr(node, data)

    def unlink(self, _node, data):
        os.unlink(self.path(ROOT, self.text(data)))
        return b""

    def open(self, node, data):
        flags = struct.unpack_from("<I", data)[0] & os.O_ACCMODE
        return struct.pack("<Q2I", os.open(self.path(node), flags), 0, 0)

    def opendir(self, _node, _data):
        return struct.pack("<Q2I", 0, 0, 0)

    def create(self, _node, data):
        flags, mode = struct.unpack_from("<2I", data)
        name = self.text(data[16:])
        file = os.open(self.path(ROOT, name), flags & (os.O_ACCMODE | os.O_EXCL) | os.O_CREAT, mode & 0o777)
        return self.entry(name) + struct.pack("<Q2I", file, 0, 0)

    def read(self, _node, data):
        file, offset, size = struct.unpack_from("<2QI", data)
        return os.pread(file, size, offset)

    def write(self, _node, data):
        file, offset, size = struct.unpack_from("<2QI", data)
        return struct.pack("<2I", os.pwrite(file, data[40:40 + size], offset), 0)

    def fallocate(self, _node, data):
        file, offset, length, mode = struct.unpack_from("<3QI", data)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.fallocate64(file, mode, ctypes.c_int64(offset), ctypes.c_int64(length)) != 0:
            raise OSError(ctypes.get_errno(), "fallocate")
        return b""

    def statfs(self, _node, _data):
        state = os.statvfs(self.directory)
        return struct.pack("<5Q10I", state.f_blocks, state.f_bfree, state.f_bavail, state.f_files, state.f_ffree,
                           state.f_bsize, state.f_namemax, state.f_frsize, *[0] * 7)

    def fsync(self, node, data):
        if self.trigger.exists() and self.trigger.read_text() == self.names[node]:
            raise OSError(errno.EIO, "sync")
        os.fdatasync(struct.unpack_from("<Q", data)[0])
        return b""

    def release(self, _node, data):
        os.close(struct.unpack_from("<Q", data)[0])
        return b""

    def nothing(self, _node, _data):
        return b""


class FuseDisk:
    """`path` shows `directory`. While `trigger` exists, syncs of the file that it names answer EIO."""

    def __init__(self, directory, path, trigger):
        self.path = pathlib.Path(path)
        self.path.mkdir()
        try:
            fuse = os.open("/dev/fuse", os.O_RDWR)
        except OSError as error:
            skip(f"no FUSE here: {error}")
        libc = ctypes.CDLL(None, use_errno=True)
        options = f"fd={fuse},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
        if libc.mount(b"test", str(self.path).encode(), b"fuse", 0, options.encode()) != 0:
            skip(f"cannot mount FUSE here: {os.strerror(ctypes.get_errno())}")
        self.child = os.fork()
        if self.child == 0:
            try:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                _Server(fuse, str(directory), pathlib.Path(trigger)).serve()
            finally:
                os._exit(0)
        os.close(fuse)
        self.libc = libc

    def close(self):
        """Lazily: the kernel may still be ending the I/O of a killed process."""
        self.libc.umount2(str(self.path).encode(), 2)
        os.waitpid(self.child, 0)
