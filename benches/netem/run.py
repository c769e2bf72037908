#!/usr/bin/env python3
"""Umbel and three chained plain TCP relays over the same emulated lines: client, three relays and a web server, each in a
network namespace of its own. Needs root, /dev/net/tun and `ip`; takes five minutes. See benches/README.md."""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
RATE = 100e6 / 8
ROUND_TRIP = 0.2
BDP = RATE * ROUND_TRIP
NAMES = ["umb-cli", "umb-r0", "umb-r1", "umb-r2", "umb-web"]
PORT = 7100
# What a stream's bytes take on a line: cells, records and packets of 9000 bytes.
CELLS = 1410 / 1339 * 9000 / 8948


def address(name):
    return f"10.77.0.{NAMES.index(name) + 1}"


def lines():
    """One way: client 10 ms, each relay 14 ms in and out, web server 6 ms: 100 ms over the four legs."""
    delays = dict(zip(NAMES, [0.010, 0.014, 0.014, 0.014, 0.006]))
    return {n: {"delay": d, "rate": RATE if n.startswith("umb-r") else 10 * RATE, "queue": BDP / 2} for n, d in delays.items()}


class Lab:
    """Namespaces, emulator and processes; all gone when it is left."""

    def __init__(self, home, mtu, tcp=None):
        self.home, self.mtu, self.tcp, self.children = home, mtu, tcp, []

    def __enter__(self):
        self.clean()
        try:
            for name in NAMES:
                subprocess.run(["ip", "netns", "add", name], check=True)
                if self.tcp:
                    setting = f"net.ipv4.tcp_congestion_control={self.tcp}"
                    subprocess.run(["ip", "netns", "exec", name, "sysctl", "-qw", setting], check=True)
            config = json.dumps({"mtu": self.mtu, "lines": lines()})
            self.emulator = self.start(None, [sys.executable, f"{HERE}/emulator.py", config], talks=True)
            assert self.emulator.stdout.readline() == "ready\n", "the emulator did not start"
            self.start("umb-web", [sys.executable, f"{HERE}/ends.py", "web", address("umb-web"), str(PORT)], waits=True)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for child in reversed(self.children):
            child.kill()
            child.wait()
        self.clean()

    def clean(self):
        for name in NAMES:
            subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL)

    def start(self, name, command, talks=False, waits=False):
        inside = ["ip", "netns", "exec", name] if name else []
        log = open(f"{self.home}/{name}-{len(self.children)}.log", "w")
        piped = subprocess.PIPE if talks or waits else None
        given = subprocess.PIPE if talks else subprocess.DEVNULL
        child = subprocess.Popen(inside + command, stdin=given, stdout=piped or log, stderr=log, text=True)
        self.children.append(child)
        if waits:
            assert child.stdout.readline() == "ready\n", f"{command} did not start"
        return child

    def ask(self, child, **command):
        child.stdin.write(json.dumps(command) + "\n")
        child.stdin.flush()
        return json.loads(child.stdout.readline())

    def stats(self):
        return self.ask(self.emulator, stats=True)

    def lose(self, share):
        self.change(loss={"umb-r1": share})

    def lengthen(self, delay):
        self.change(delay={"umb-r1": delay})

    def change(self, **what):
        self.emulator.stdin.write(json.dumps(what) + "\n")
        self.emulator.stdin.flush()

    def plain(self):
        """Three relays that carry bytes on; how to reach the first."""
        hops = ["umb-r0", "umb-r1", "umb-r2", "umb-web"]
        for here, to in zip(hops, hops[1:]):
            command = [sys.executable, f"{HERE}/ends.py", "relay", address(here), str(PORT), address(to), str(PORT)]
            self.start(here, command, waits=True)
        return ["plain", address("umb-r0"), str(PORT)]

    def umbel(self, program):
        """Three relays and a client; how to reach its proxy."""
        invite = f"{self.home}/invite"
        for n in range(3):
            network = ["--invite", invite] if n else ["--profile", "testing", "--write-invite", invite]
            name = f"umb-r{n}"
            self.node(program, "relay", name, ["--listen", f"{address(name)}:7001", *network, *(["--exit"] if n == 2 else [])])
            self.wait_file(invite)
        for n in range(3):
            self.wait_file(f"{self.home}/umb-r{n}.ready")
        time.sleep(6)
        self.node(program, "client", "umb-cli", ["--invite", invite, "--socks", "127.0.0.1:9150"])
        self.wait_file(f"{self.home}/umb-cli.ready")
        return ["socks", "127.0.0.1", "9150"]

    def node(self, program, role, name, options):
        files = ["--dir", f"{self.home}/{name}", "--ready-file", f"{self.home}/{name}.ready"]
        self.start(name, [program, role, *options, *files])

    def wait_file(self, path):
        end = time.monotonic() + 60
        while not os.path.exists(path):
            assert time.monotonic() < end, f"{path} did not come"
            time.sleep(0.1)

    def client(self, way):
        command = [sys.executable, "-u", f"{HERE}/ends.py", "measure", *way, address("umb-web"), str(PORT)]
        return self.start("umb-cli", command, talks=True)


def clear(lab, way):
    """One flow, with somebody typing beside it; then ten flows."""
    client = lab.client(way)
    lab.ask(client, do="type")
    time.sleep(10)
    found = {"alone": lab.ask(client, do="late", seconds=8)}
    begun = time.monotonic()
    lab.ask(client, do="bulk", name="bulk")
    seen, reached = [(begun, 0)], None
    while time.monotonic() < begun + 15:
        time.sleep(0.1)
        if len(seen) == 50:
            lab.stats()
        seen.append((time.monotonic(), lab.ask(client, do="count")["bulk"]))
        at, count = seen[-1]
        if len(seen) > 10 and not reached and (count - seen[-11][1]) / (at - seen[-11][0]) * CELLS >= 0.85 * RATE:
            reached = at - begun
    found["beside"] = lab.ask(client, do="late", seconds=10)
    (early, before), (late, after) = min(seen, key=lambda s: abs(s[0] - begun - 5)), seen[-1]
    found.update(rate=(after - before) / (late - early), reached=reached)
    queues = lab.stats()
    found["queue"] = sum(q["mean"] for q in queues.values()), sum(q["most"] for q in queues.values())
    client.kill()
    time.sleep(2)

    client = lab.client(way)
    for n in range(10):
        lab.ask(client, do="bulk", name=f"flow {n}")
        time.sleep(0.2)
    time.sleep(30)
    before = lab.ask(client, do="count")
    time.sleep(10)
    after = lab.ask(client, do="count")
    rates = [(after[n] - before[n]) / 10 for n in after]
    found["jain"] = sum(rates) ** 2 / (10 * sum(r * r for r in rates) or 1)
    found["ten"] = sum(rates)
    client.kill()
    return found


def lossy(lab, way):
    client = lab.client(way)
    lab.ask(client, do="bulk", name="bulk")
    time.sleep(5)
    lab.lose(0.01)
    time.sleep(5)
    before = lab.ask(client, do="count")["bulk"]
    time.sleep(20)
    after = lab.ask(client, do="count")["bulk"]
    lab.lose(0)
    client.kill()
    return (after - before) / 20


def longer(lab, way):
    """How long one stream takes to have the bottleneck again when the path's round trip becomes 284 ms."""
    client = lab.client(way)
    lab.ask(client, do="bulk", name="bulk")
    time.sleep(8)
    lab.lengthen(0.035)
    begun, seen, fell, reached = time.monotonic(), [], False, None
    while time.monotonic() < begun + 40:
        time.sleep(0.1)
        seen.append((time.monotonic(), lab.ask(client, do="count")["bulk"]))
        if len(seen) <= 10:
            continue
        (then, before), (now, after) = seen[-11], seen[-1]
        full = (after - before) / (now - then) >= 0.85 * RATE / CELLS
        fell = fell or not full
        # Who has not lost it within four seconds does not.
        if full and (fell or now > begun + 4):
            reached = now - begun if fell else 0.0
            break
    lab.lengthen(0.014)
    client.kill()
    return reached


def start(lab, program, kind):
    return lab.umbel(program) if kind == "umbel" else lab.plain()


def table(found):
    u, p = found["umbel"], found["plain"]

    def row(what, target, show):
        print(f"| {what} | {target} | {show(u)} | {show(p)} |")

    print("| on real sockets, 200 ms, 100 Mbit/s | target | Umbel | three plain TCP relays |\n|---|---|---|---|")
    row("one stream, seconds 5 to 15, of the bottleneck", "85 %", lambda f: f"{100 * f['rate'] * f['cells'] / RATE:.1f} %")
    row("until a second had 85 %", "5 s", lambda f: f"{f['reached']:.1f} s" if f["reached"] else "never")
    row("bytes before lines, mean and most", "1 BDP", lambda f: "{:.2f} and {:.2f} BDP".format(*(q / BDP for q in f["queue"])))
    row("ten circuits, Jain's index after 30 s", "0.9", lambda f: f"{f['jain']:.3f}")
    row("ten circuits together, of the bottleneck", "–", lambda f: f"{100 * f['ten'] * f['cells'] / RATE:.1f} %")
    row("typing beside the one stream, 95th percentile", "+20 ms", lambda f: f"{1000 * (f['beside'] - f['alone']):+.1f} ms")
    row("path becomes 284 ms: until a second had 85 % again", "–", lambda f: "never" if f["longer"] is None else f"{f['longer']:.1f} s")
    row("1 % of packets lost at the second relay", "half of TCP", lambda f: f"{f['lossy'] / 1e3:.0f} KB/s")


ALLOWED = "/proc/sys/net/ipv4/tcp_allowed_congestion_control"


def allow(tcp):
    """Lets namespaces choose this congestion control; gives back what to write when they are gone."""
    with open(ALLOWED) as f:
        before = f.read().strip()
    if tcp and tcp not in before.split():
        with open(ALLOWED, "w") as f:
            f.write(f"{before} {tcp}")
    return before


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--umbel", default=f"{HERE}/../../target/release/umbel", help="the program")
    options.add_argument("--tcp", help="the systems' congestion control, as in reno, cubic or bbr; without it, this system's")
    chosen = options.parse_args()
    program, tcp = chosen.umbel, chosen.tcp
    with open("/proc/sys/net/ipv4/tcp_congestion_control") as f:
        print(f"TCP's congestion control: {tcp or f.read().strip()}\n")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGALRM, lambda *_: sys.exit("not done within 8 minutes"))
    signal.alarm(480)
    before = allow(tcp)
    try:
        table(measure(program, tcp))
    finally:
        with open(ALLOWED, "w") as f:
            f.write(before)


def measure(program, tcp):
    found = {}
    for kind, cells in ("plain", 9000 / 8948), ("umbel", CELLS):
        with tempfile.TemporaryDirectory() as home, Lab(home, 9000, tcp) as lab:
            way = start(lab, program, kind)
            found[kind] = clear(lab, way) | {"longer": longer(lab, way), "cells": cells}
        with tempfile.TemporaryDirectory() as home, Lab(home, 1500, tcp) as lab:
            found[kind]["lossy"] = lossy(lab, start(lab, program, kind))
        print(kind, found[kind], file=sys.stderr)
    return found


if __name__ == "__main__":
    main()
