"""The programs at both ends: the web server, the plain TCP relay, and who measures in the client's namespace."""

import json
import socket
import struct
import sys
import threading
import time

CHUNK = bytes(256 * 1024)
TYPED = 100


def listen(host, port, serve):
    with socket.create_server((host, port), backlog=64) as listener:
        print("ready", flush=True)
        while True:
            conn, _ = listener.accept()
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=guarded, args=(serve, conn), daemon=True).start()


def guarded(serve, conn):
    try:
        with conn:
            serve(conn)
    except OSError:
        pass


def web(conn):
    """`B` is answered with bytes without an end, `E` with whatever follows."""
    kind = conn.recv(1)
    while kind == b"B":
        conn.sendall(CHUNK)
    while kind == b"E" and (data := conn.recv(65536)):
        conn.sendall(data)


def pump(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
        b.shutdown(socket.SHUT_WR)
    except OSError:
        a.close()
        b.close()


def relay(to):
    def serve(conn):
        with socket.create_connection(to) as on:
            on.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=pump, args=(on, conn), daemon=True)
            back.start()
            pump(conn, on)
            back.join()

    return serve


def connect(way, to, isolation):
    """Through Umbel's proxy, or straight to the first plain relay."""
    kind, host, port = way
    conn = socket.create_connection((host, port), timeout=30)
    conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if kind == "socks":
        user = isolation.encode()
        conn.sendall(b"\x05\x01\x02\x01" + bytes([len(user)]) + user + b"\x01x"
                     + b"\x05\x01\x00\x01" + socket.inet_aton(to[0]) + struct.pack(">H", to[1]))
        got = b""
        while len(got) < 14:
            part = conn.recv(14 - len(got))
            if not part:
                raise OSError("the proxy closed")
            got += part
        if got[:4] != b"\x05\x02\x01\x00" or got[5] != 0:
            raise OSError(f"the proxy refused: {got.hex()}")
    return conn


class Bulk(threading.Thread):
    """Fetches without an end and counts."""

    def __init__(self, way, to, isolation):
        super().__init__(daemon=True)
        self.way, self.to, self.isolation, self.count = way, to, isolation, 0
        self.start()

    def run(self):
        buffer = bytearray(256 * 1024)
        conn = connect(self.way, self.to, self.isolation)
        conn.sendall(b"B")
        while n := conn.recv_into(buffer):
            self.count += n


class Typist(threading.Thread):
    """Types a little every 100 ms and times what comes back."""

    def __init__(self, way, to):
        super().__init__(daemon=True)
        self.conn = connect(way, to, "typist")
        self.conn.sendall(b"E")
        self.asked, self.times = [], []
        threading.Thread(target=self.read, daemon=True).start()
        self.start()

    def run(self):
        while True:
            self.asked.append(time.monotonic())
            self.conn.sendall(bytes(TYPED))
            time.sleep(0.1)

    def read(self):
        got = 0
        while data := self.conn.recv(65536):
            got += len(data)
            while got >= TYPED * (len(self.times) + 1):
                now = time.monotonic()
                self.times.append((now, now - self.asked[len(self.times)]))

    def late(self, since):
        times = sorted(t for at, t in self.times if at >= since)
        return times[min(len(times) - 1, len(times) * 95 // 100)] if times else float("inf")


def measure(way, to):
    """Commands on standard input, one JSON line each; one answer each."""
    typist, bulks = None, {}
    for command in sys.stdin:
        command = json.loads(command)
        if command["do"] == "bulk":
            bulks[command["name"]] = Bulk(way, to, command["name"])
            answer = True
        elif command["do"] == "type":
            typist = Typist(way, to)
            answer = True
        elif command["do"] == "late":
            answer = typist.late(time.monotonic() - command["seconds"])
        else:
            answer = {name: bulk.count for name, bulk in bulks.items()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    role, *rest = sys.argv[1:]
    if role == "web":
        listen(rest[0], int(rest[1]), web)
    elif role == "relay":
        listen(rest[0], int(rest[1]), relay((rest[2], int(rest[3]))))
    else:
        measure((rest[0], rest[1], int(rest[2])), (rest[3], int(rest[4])))
