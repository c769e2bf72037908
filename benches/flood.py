"""Floods one relay of a small network, and shows what an honest client notices of it.

    cargo build --release --bin umbel --example flood --features unstable
    python3 benches/flood.py target/release [--seconds 60] [--only links,slow]

Eight relays and a client, all of them processes of their own on loopback; the first relay of the client's circuits is the one
that is flooded. A stranger (examples/flood.rs) comes from one subnet that is not the client's. Beside each flood the client
fetches small files through its proxy, on a fresh circuit every tenth time. Prints a table and, last, OK or what was missed.
The row of silent names needs root: the relays get a resolver of their own that answers nothing.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

from lab import Process, free_port, wait_for

RELAYS, FILE, BIG = 8, 100_000, 30_000_000
BUDGET = 256 * 1024 * 1024
SERVER_BUFFER = 64 * 1024
FLOODS = {"links": 10_000, "handshakes": 100_000, "circuits": 20_000, "slow": 1_000, "names": 1_000}
RATE_LEAST, RECOVERY_MOST = 0.7, 10.0


async def answer(reader, writer):
    """One request: a small file, or a large one to /big."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        size = BIG if head.startswith(b"GET /big") else FILE
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        piece = bytes(min(size, 50_000))
        for _ in range(size // len(piece)):
            writer.write(piece)
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


def serve(port):
    """A web server in a process of its own, so that downloads nobody reads do not hold up what is measured."""

    async def main():
        # A real server's buffers lie on another machine. Here they would take the memory that the kernel has for all connections,
        # and it would drop everybody's packets: that is what 1,000 unread downloads of 1.6 MB each did.
        listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SERVER_BUFFER)
        server = await asyncio.start_server(answer, sock=listener)
        await server.serve_forever()

    process = multiprocessing.Process(target=lambda: asyncio.run(main()), daemon=True)
    process.start()
    wait_for("the web server", 10, lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
    return process


class Silence:
    """A resolver that never answers, and what makes a process use it."""

    def __init__(self, work):
        self.socket, self.prefix = None, []
        if os.geteuid() != 0:
            return
        with open(f"{work}/resolv.conf", "w") as f:
            f.write("nameserver 127.66.0.53\noptions timeout:5 attempts:2\n")
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.66.0.53", 53))
        script = f'mount --bind {work}/resolv.conf /etc/resolv.conf && exec "$@"'
        self.prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]


def fetch(socks, user, server, timeout=10.0):
    """One file through the proxy, isolated by user name; raises where it is not whole."""
    with socket.create_connection(("127.0.0.1", socks), timeout) as s:
        s.settimeout(timeout)
        s.sendall(b"\x05\x01\x02")
        if s.recv(2) != b"\x05\x02":
            raise OSError("the proxy wants no name")
        name = user.encode()
        s.sendall(b"\x01" + bytes([len(name)]) + name + b"\x01x")
        if s.recv(2) != b"\x01\x00":
            raise OSError("the proxy refuses the name")
        s.sendall(b"\x05\x01\x00\x01" + socket.inet_aton("127.0.0.1") + server.to_bytes(2, "big"))
        answer = s.recv(10)
        if len(answer) < 2 or answer[1] != 0:
            raise OSError(f"the proxy says {answer!r}")
        s.sendall(b"GET /f HTTP/1.0\r\n\r\n")
        got = 0
        while part := s.recv(65536):
            got += len(part)
        if got < FILE:
            raise OSError(f"{got} bytes")


class Fetching(threading.Thread):
    """Fetches one file after the other until it is told to stop; notes when each one came."""

    def __init__(self, socks, server):
        super().__init__(daemon=True)
        self.socks, self.server, self.ends, self.failed = socks, server, [], 0
        self.over = False

    def run(self):
        n = 0
        while not self.over:
            n += 1
            try:
                fetch(self.socks, f"{id(self)}-{n // 10}", self.server)
                self.ends.append(time.monotonic())
            except OSError:
                self.failed += 1
            time.sleep(0.05)

    def stop(self):
        self.over = True
        self.join()


class Net:
    def __init__(self, binaries, work, prefix):
        self.umbel, self.work, self.relays = f"{binaries}/umbel", work, []
        for n in range(RELAYS):
            given = ["--profile", "testing"] if n == 0 else ["--invite", f"{work}/0.invite"]
            command = [self.umbel, "relay", "--dir", f"{work}/r{n}", "--listen", f"127.0.0.1:{free_port()}", "--shards", "1", "--exit",
                       "--store", "0", *given, "--write-invite", f"{work}/{n}.invite", "--ready-file", f"{work}/{n}.ready"]
            self.relays.append(Process(f"relay {n}", f"{work}/r{n}.log", prefix + command))
            wait_for("the invite", 20, lambda n=n: os.path.exists(f"{work}/{n}.invite"))
        self.socks = free_port()
        command = [self.umbel, "client", "--dir", f"{work}/c", "--socks", f"127.0.0.1:{self.socks}", "--invite", f"{work}/0.invite", "--ready-file", f"{work}/c.ready"]
        self.client = Process("client", f"{work}/c.log", command)
        wait_for("the client", 60, lambda: os.path.exists(f"{work}/c.ready"))
        self.ids = {}
        for n in range(RELAYS):
            wait_for("a relay", 60, lambda n=n: os.path.exists(f"{work}/{n}.ready"))
            with open(f"{work}/{n}.ready") as f:
                self.ids[json.load(f)["id"]] = n

    def guard(self):
        """The first relay of most circuits of three."""
        out = subprocess.run([self.umbel, "--dir", f"{self.work}/c", "--json", "status"], capture_output=True, text=True, timeout=20)
        first = [c["hops"][0] for c in json.loads(out.stdout)["circuits"] if len(c["hops"]) == 3]
        return max(set(first), key=first.count) if first else None

    def peak(self, n):
        """The most memory the relay ever had, in bytes."""
        with open(f"/proc/{self.relays[n].child.pid}/status") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM"))

    def stop(self):
        for p in [self.client, *self.relays]:
            p.child.kill()
            p.child.wait()


def rate(ends, since, until):
    return sum(since <= t < until for t in ends) / (until - since)


def measure(kind, count, args, work):
    """One row: a network of its own, so that no flood inherits another one's memory."""
    os.makedirs(work)
    silence = Silence(work) if kind == "names" else None
    if silence and not silence.prefix:
        return None
    port, big = free_port(), free_port()
    servers = [serve(port), serve(big)]
    net = Net(args.binaries, work, silence.prefix if silence else [])
    try:
        fetching = Fetching(net.socks, port)
        fetching.start()
        wait_for("fetches", 30, lambda: len(fetching.ends) > 20)
        begun = time.monotonic()
        time.sleep(args.seconds / 4)
        guard, before = net.guard(), rate(fetching.ends, begun, time.monotonic())
        target = net.ids[guard]
        exit_ = (target + 1) % RELAYS
        command = [f"{args.binaries}/examples/flood", kind, f"{work}/{target}.invite", str(args.seconds), str(count), "127.77.0.1"]
        if kind == "slow":
            command += [f"{work}/{exit_}.invite", f"127.0.0.1:{big}"]
        flood = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        theirs = [Process.of("flood", flood), Process.of("its server", servers[1])]
        others = [r for n, r in enumerate(net.relays) if n != target]
        start, failed, changes = time.monotonic(), fetching.failed, 0
        spent = before_it = [net.relays[target].cpu(), sum(r.cpu() for r in others), sum(p.cpu() for p in theirs)]
        while flood.poll() is None:
            # What the flood's own programs took is not the relays' cost, but it is taken from the same machine.
            spent = [net.relays[target].cpu(), sum(r.cpu() for r in others), sum(p.cpu() for p in theirs)]
            time.sleep(1.0)
            if (now := net.guard()) not in (guard, None):
                changes += 1
        end, said = time.monotonic(), flood.communicate()
        if flood.returncode != 0:
            raise SystemExit(f"{kind}: {said[1]}")
        cores = [(after - at_first) / (end - start) for at_first, after in zip(before_it, spent)]
        during, failed = rate(fetching.ends, start, end), fetching.failed - failed
        recovered = None
        while recovered is None and time.monotonic() - end < 30:
            time.sleep(0.5)
            now = time.monotonic()
            if now - end >= 2 and rate(fetching.ends, now - 2, now) >= 0.9 * before:
                recovered = now - end - 2
        fetching.stop()
        return dict(kind=kind, before=before, during=during, failed=failed, peak=net.peak(target), changes=changes, recovered=recovered, cores=cores, said=json.loads(said[0]))
    finally:
        net.stop()
        for server in servers:
            server.kill()
        if silence:
            silence.socket.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binaries")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--only", default=",".join(FLOODS))
    args = parser.parse_args()
    work, missed = tempfile.mkdtemp(prefix="flood-"), []
    print(f"{args.seconds:g} s each; fetches of {FILE // 1000} kB a second")
    print("| flood | sent | served | busy | before | during | failed | memory | guard changes | recovery | cores: relay, others, flood |\n|---|---|---|---|---|---|---|---|---|---|---|")
    try:
        for kind in args.only.split(","):
            # A short run floods at the same rate as a long one.
            count = max(1, round(FLOODS[kind] * min(1.0, args.seconds / 60))) if kind != "slow" else FLOODS[kind]
            row = measure(kind, count, args, f"{work}/{kind}")
            if row is None:
                print(f"| {kind} | left out: it needs root |")
                continue
            said, share = row["said"], row["during"] / max(row["before"], 1e-9)
            recovery = "none" if row["recovered"] is None else f"{row['recovered']:.1f} s"
            print(f"| {kind} | {said['sent']} | {said['created']} | {said['busy']} | {row['before']:.1f} | {row['during']:.1f} ({share:.0%}) | {row['failed']} "
                  f"| {row['peak'] / 1e6:.0f} MB | {row['changes']} | {recovery} | {', '.join(f'{c:.2f}' for c in row['cores'])} |", flush=True)
            checks = [(row["peak"] <= BUDGET, "memory"), (row["changes"] == 0, "guard"), (row["recovered"] is not None, "recovery")]
            # Rates are judged over a minute only: a short run on a shared machine says too little of them.
            if args.seconds >= 60:
                checks += [(share >= RATE_LEAST, "rate"), ((row["recovered"] or 0) <= RECOVERY_MOST, "recovery in time")]
            missed += [f"{kind}: {what}" for held, what in checks if not held]
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print("OK" if not missed else "MISSED " + ", ".join(missed))
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
