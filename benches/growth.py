#!/usr/bin/env python3
"""Starts networks of more and more relay processes, and shows what one relay costs in each.

    cargo build --release --bin umbel
    sudo python3 benches/growth.py target/release/umbel 8 50 100 200 400 [--idle 20] [--limit 60]

All relays of a network start at once, each a process of its own, in a network namespace of their own, so that what passes over
its loopback device is theirs alone. A client starts beside them. For each network: how long until the client, half of the relays and
all of them had a directory; then, once all have had it for `--settle` seconds, over `--idle` seconds of doing nothing: descriptors,
TCP connections, bytes on the wire (headers included, counted once), CPU, and memory that is a relay's own. Nothing of it stays:
the processes end with the script, by their numbers.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from lab import Process


def lo_bytes():
    """Bytes sent over this namespace's loopback device so far."""
    with open("/proc/self/net/dev") as f:
        line = next(line for line in f if line.lstrip().startswith("lo:"))
    return int(line.split(":")[1].split()[8])


def connections():
    """Established TCP connections of the namespace, each counted once."""
    with open("/proc/self/net/tcp") as f:
        return sum(line.split()[3] == "01" for line in f.readlines()[1:]) / 2


def own_memory(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("RssAnon:"))


def spread(values):
    """Median and most."""
    return {"median": round(statistics.median(values), 1), "most": round(max(values), 1)}


class Net:
    def __init__(self, umbel, work, relays, profile):
        self.work, self.children = work, []
        self.start = time.monotonic()
        first = self.relay(umbel, 0, ["--profile", profile, "--write-invite", f"{work}/invite"])
        self.until("the invite", 20, lambda: os.path.exists(f"{work}/invite"))
        self.relays = [first] + [self.relay(umbel, n, ["--invite", f"{work}/invite"]) for n in range(1, relays)]
        command = [umbel, "--log", "warn", "client", "--dir", f"{work}/c", "--socks", "127.0.0.1:6250", "--invite", f"{work}/invite",
                   "--ready-file", f"{work}/c.ready"]
        self.client = Process("client", f"{work}/c.log", command)
        self.children.append(self.client)
        self.started = time.monotonic() - self.start

    def relay(self, umbel, n, more):
        command = [umbel, "--log", "warn", "relay", "--dir", f"{self.work}/r{n}", "--listen", f"127.{1 + n // 250}.{1 + n % 250}.1:7000",
                   "--shards", "1", "--store", "0", "--ready-file", f"{self.work}/{n}.ready", *more]
        process = Process(f"relay {n}", f"{self.work}/r{n}.log", command)
        self.children.append(process)
        return process

    def until(self, what, limit, check):
        """Seconds from the start until `check`; None where the limit passes before."""
        while time.monotonic() - self.start < limit:
            if check():
                return round(time.monotonic() - self.start, 2)
            time.sleep(0.1)
        print(f"{what}: not within {limit} s", file=sys.stderr)
        return None

    def ready(self):
        return sum(os.path.exists(f"{self.work}/{n}.ready") for n in range(len(self.relays)))

    def formed(self, limit):
        """Times to directories: of the client, half of the relays, all of them."""
        times = {"started": round(self.started, 2), "client": None, "half": None, "all": None}

        def look():
            now, ready = round(time.monotonic() - self.start, 2), self.ready()
            done = {"client": os.path.exists(f"{self.work}/c.ready"), "half": 2 * ready >= len(self.relays), "all": ready == len(self.relays)}
            for name, there in done.items():
                if there and times[name] is None:
                    times[name] = now
            return all(done.values())

        self.until("a directory everywhere", limit, look)
        times["cpu_s"] = round(sum(r.cpu() for r in self.relays), 1)
        return times

    def idle(self, seconds):
        before, cpu, t = lo_bytes(), [r.cpu() for r in self.relays], time.monotonic()
        time.sleep(seconds)
        spent = time.monotonic() - t
        passed, cpu = lo_bytes() - before, [r.cpu() - c for r, c in zip(self.relays, cpu)]
        pids = [r.child.pid for r in self.relays]
        return {
            "descriptors": spread([len(os.listdir(f"/proc/{pid}/fd")) for pid in pids]),
            "connections": round(connections() / len(pids), 1),
            "kbit_s": round(passed * 8 / spent / len(pids) / 1000, 1),
            "cpu_percent": spread([100 * c / spent for c in cpu]),
            "memory_mb": spread([own_memory(pid) / 1e6 for pid in pids]),
        }

    def stop(self):
        for process in self.children:
            process.child.terminate()
        for process in self.children:
            process.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("umbel")
    parser.add_argument("relays", type=int, nargs="+")
    parser.add_argument("--profile", default="testing")
    parser.add_argument("--settle", type=float, default=10, help="seconds after all have a directory")
    parser.add_argument("--idle", type=float, default=20, help="seconds of measuring")
    parser.add_argument("--limit", type=float, default=70, help="seconds for a network to form")
    parser.add_argument("--keep", help="folder for the logs")
    args = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("needs root, for a network namespace")
    if os.environ.get("UMBEL_GROWTH") != "inside":
        os.environ["UMBEL_GROWTH"] = "inside"
        os.execvp("unshare", ["unshare", "--net", sys.executable, os.path.abspath(__file__), *sys.argv[1:]])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for relays in args.relays:
        work = tempfile.mkdtemp(prefix="umbel-growth-")
        load = os.getloadavg()[0]
        net = Net(args.umbel, work, relays, args.profile)
        try:
            row = {"relays": relays, "load_before": round(load, 1), "seconds": net.formed(args.limit)}
            if row["seconds"]["all"]:
                time.sleep(args.settle)
                row["idle"] = net.idle(args.idle)
            row["ready"] = net.ready()
            print(json.dumps(row), flush=True)
        finally:
            net.stop()
            if args.keep:
                for n in range(relays):
                    shutil.copy(f"{work}/r{n}.log", f"{args.keep}/{relays}-{n}.log")
            shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
