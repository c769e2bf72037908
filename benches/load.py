"""A load that costs little: one process, one thread, thousands of connections. Of bulk nothing is copied out of the kernel.

`Loop` runs transfers through a SOCKS proxy: each is a generator that yields what it waits for. `serve` is the web server's
process: `/<n>` gives n bytes by sendfile, and `/echo` sends back what it gets.
"""

import os
import resource
import select
import socket
import struct
import sys
import time

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
# The server's turn of one connection, and the most that one read discards.
TURN = 256 * 1024
# With more downloads than this the server's sockets hold no more than that of each. A real server is on another machine: here
# a thousand sockets, which grow to 1.6 MB each, take all memory that the kernel has for TCP, and it drops everybody's packets.
MANY, MANY_HOLD = 64, 64 * 1024
DISCARD = bytearray(1 << 20)


class Loop:
    """Connections and timers of one thread. A transfer yields READ or WRITE, or a time to sleep until."""

    def __init__(self):
        self.poll, self.waiting, self.sleeping, self.failed = select.epoll(), {}, [], []

    def start(self, transfer, conn):
        """Runs a transfer over a socket that does not block."""
        conn.setblocking(False)
        self.waiting[conn.fileno()] = [transfer, conn, 0]
        self.step(conn.fileno())

    def step(self, fd):
        entry = self.waiting[fd]
        transfer, conn, mask = entry
        try:
            want = next(transfer)
        except (StopIteration, OSError, EOFError) as why:
            if not isinstance(why, StopIteration):
                self.failed.append(f"{type(why).__name__}: {why}")
            if mask:
                self.poll.unregister(fd)
            del self.waiting[fd]
            conn.close()
            return
        until = want if isinstance(want, float) else None
        if until is not None:
            self.sleeping.append((until, fd, conn))
        want = 0 if until is not None else want
        if want != mask:
            if not mask:
                self.poll.register(fd, want)
            elif not want:
                self.poll.unregister(fd)
            else:
                self.poll.modify(fd, want)
            entry[2] = want

    def run(self, until, tick=None, done=lambda: False):
        """Runs until then, or until `done`. `tick` is called each turn and says when it wants to be called again."""
        while (now := time.monotonic()) < until and not done():
            wake = min(until, (tick() if tick else None) or until)
            if self.sleeping:
                wake = min(wake, min(s[0] for s in self.sleeping))
            for fd, _ in self.poll.poll(max(0, wake - now), 512):
                if fd in self.waiting:
                    self.step(fd)
            if self.sleeping:
                now = time.monotonic()
                ready = [s for s in self.sleeping if s[0] <= now]
                self.sleeping = [s for s in self.sleeping if s[0] > now]
                for _, fd, conn in ready:
                    if fd in self.waiting and self.waiting[fd][1] is conn:
                        self.step(fd)

    def close(self):
        """Gives up all transfers."""
        for transfer, conn, _ in self.waiting.values():
            transfer.close()
            conn.close()
        self.waiting, self.sleeping = {}, []
        self.poll.close()


class Fetch:
    """One download: when its first byte came, how many have come, when it was done."""

    def __init__(self, loop, socks, user, port, size):
        self.started, self.first, self.ended, self.got, self.size = time.monotonic(), None, None, 0, size
        conn = socket.socket()
        loop.start(self.transfer(conn, socks, user, port), conn)

    def transfer(self, conn, socks, user, port):
        yield from connect(conn, socks, user, port)
        conn.send(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % self.size)
        head = b""
        while b"\r\n\r\n" not in head:
            yield READ
            head += receive(conn, 4096)
            self.first = self.first or time.monotonic()
        self.got = len(head.split(b"\r\n\r\n", 1)[1])
        while self.got < self.size:
            yield READ
            # The kernel drops what is read with this flag: no copy is paid for.
            n = conn.recv_into(DISCARD, len(DISCARD), socket.MSG_TRUNC)
            if not n:
                raise EOFError(f"{self.got} of {self.size} bytes")
            self.got += n
        self.ended = time.monotonic()


class Typist:
    """Sends a few bytes every tenth of a second and keeps how long each took to come back."""

    PAUSE = 0.1

    def __init__(self, loop, socks, user, port, phase=0.0):
        self.times, self.phase = [], phase
        conn = socket.socket()
        loop.start(self.transfer(conn, socks, user, port), conn)

    def transfer(self, conn, socks, user, port):
        yield from connect(conn, socks, user, port)
        conn.send(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")
        yield time.monotonic() + self.phase
        while True:
            sent = time.monotonic()
            conn.send(b"keystroke")
            got = 0
            while got < 9:
                yield READ
                got += len(receive(conn, 64))
            self.times.append((sent, time.monotonic() - sent))
            yield sent + self.PAUSE


def receive(conn, most):
    got = conn.recv(most)
    if not got:
        raise EOFError("closed")
    return got


def connect(conn, socks, user, port):
    """Through a SOCKS proxy to the web server; without a user straight to the address, as a chain of TCP proxies takes it."""
    conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    host, socks_port = socks.rsplit(":", 1)
    if conn.connect_ex((host, int(socks_port))) not in (0, 115):
        raise OSError("no connection to the proxy")
    yield WRITE
    if conn.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError("no connection to the proxy")
    if user is None:
        return
    name = user.encode()
    steps = [(b"\5\1\2", 2), (bytes([1, len(name)]) + name + b"\1x", 2), (b"\5\1\0\1\x7f\0\0\1" + struct.pack(">H", port), 10)]
    for ask, length in steps:
        conn.send(ask)
        answer = b""
        while len(answer) < length:
            yield READ
            answer += receive(conn, length - len(answer))
        if answer[1] not in (0, 2):
            raise OSError(f"the proxy answered {answer.hex()}")


def answer(loop, conn, data, length):
    """The server's side of one connection."""
    conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = b""
    while b"\r\n\r\n" not in head:
        yield READ
        head += receive(conn, 4096)
    path = head.split(b" ", 2)[1][1:]
    if path == b"echo":
        rest = head.split(b"\r\n\r\n", 1)[1]
        while True:
            if rest:
                conn.send(rest)
            yield READ
            rest = conn.recv(4096)
            if not rest:
                return
    size, done = int(path), 0
    if len(loop.waiting) > MANY:
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MANY_HOLD)
    conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % size)
    while done < size:
        try:
            at = done % length
            done += os.sendfile(conn.fileno(), data, at, min(size - done, length - at, TURN))
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            return
        yield WRITE


def serve(port, path):
    """The web server's process."""
    data, length = os.open(path, os.O_RDONLY), os.path.getsize(path)
    loop = Loop()

    def accept(listener):
        while True:
            yield READ
            try:
                while True:
                    conn, _ = listener.accept()
                    loop.start(answer(loop, conn, data, length), conn)
            except BlockingIOError:
                pass

    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    loop.start(accept(listener), listener)
    while True:
        loop.run(time.monotonic() + 3600)
        loop.failed.clear()


def jain(shares):
    """Jain's index of fairness: 1 where all have the same."""
    return sum(shares) ** 2 / (len(shares) * sum(s * s for s in shares)) if any(shares) else 0.0


def percentile(values, share):
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else float("nan")


if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    serve(int(sys.argv[1]), sys.argv[2])
