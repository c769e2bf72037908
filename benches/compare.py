#!/usr/bin/env python3
"""Runs the same work through C tor and through Umbel, side by side, and prints what both reached.

    cargo build --release --bins --examples && benches/compare.py
    benches/compare.py --beside OTHER/umbel     another build of Umbel instead of C tor: what a change costs

Needs Debian's packages tor, curl and util-linux; everything runs on loopback and ends with this program.
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

sys.dont_write_bytecode = True
from lab import Tor, Umbel, Web  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
MB = 1e6
TOR, UMBEL, BESIDE = "C tor", "Umbel", "the other build"
SHARD_CLIENTS = 4
# With fewer, client, web server and the other relays stand in each other's way before a relay's shards do.
CORES_FOR_SHARDS = 6


class Table:
    """Two columns and their ratio, printed as they come."""

    def __init__(self, path, peer):
        self.rows, self.path, self.peer = [], path, peer

    def add(self, work, figures, unit, better):
        """`figures`: of each network by its name, a number, a text or nothing."""
        peer, umbel = figures.get(self.peer), figures.get(UMBEL)
        ratio = None
        if peer and umbel and better:
            ratio = umbel / peer if better == "more" else peer / umbel
        self.rows.append({"work": work, "peer": peer, "umbel": umbel, "unit": unit, "times_better": ratio})
        print(self.line(self.rows[-1]), flush=True)
        if self.path:
            with open(self.path, "w") as f:
                json.dump(self.rows, f, indent=1)

    @staticmethod
    def line(row):
        def figure(x, unit=""):
            if isinstance(x, str):
                return x
            return "–" if x is None else (f"{x:.0f} {unit}" if abs(x) >= 100 else f"{x:.3g} {unit}").strip()

        unit = row["unit"]
        return f"| {row['work']} | {figure(row['peer'], unit)} | {figure(row['umbel'], unit)} | {figure(row['times_better'])} |"

    def judge(self, options):
        """Beside another build: the lines that became more than 3 % worse."""
        if not options.beside:
            return
        worse = [row for row in self.rows if row["times_better"] and row["times_better"] < 1 / 1.03]
        for row in worse:
            print(f"more than 3 % worse: {row['work']}: {100 * (1 / row['times_better'] - 1):.1f} %")
        print(f"{len(worse)} of {len(self.rows)} lines are more than 3 % worse than the other build's")


def curl(socks, url, user):
    return subprocess.Popen(
        ["curl", "-sS", "--proxy", f"socks5h://{user}:x@{socks}", "-o", "/dev/null", "-w", "%{size_download} %{time_total}", url],
        stdout=subprocess.PIPE, text=True)


def finish(child, size):
    out, _ = child.communicate()
    got, seconds = out.split()
    if child.returncode or int(got) != size:
        raise SystemExit(f"curl: exit code {child.returncode}, {got} of {size} bytes")
    return float(seconds)


def fetch(net, url, user, size):
    return finish(curl(net.socks, url, user), size)


def bulk(net, web, streams, size, tag):
    """Concurrent downloads: MB/s, and CPU seconds per GB of the client and of the relays."""
    users = [f"{tag}-{n}" for n in range(streams)]
    for user in users:
        fetch(net, web.url(16), user, 16)
    before, start = net.cpu(), time.monotonic()
    children = [curl(net.socks, web.url(size), user) for user in users]
    time.sleep(0.3)
    hops = net.hops()
    if any(h != 3 for h in hops):
        raise SystemExit(f"{net.name}: circuits of {hops} hops, not 3")
    for child in children:
        finish(child, size)
    seconds, after = time.monotonic() - start, net.cpu()
    gb = streams * size / 1e9
    return streams * size / MB / seconds, (after[0] - before[0]) / gb, (after[1] - before[1]) / gb, len(hops)


def compare_bulk(table, nets, web, rounds, name, streams, size):
    results = {net.name: [] for net in nets}
    for n in range(rounds):
        for net in nets:
            results[net.name].append(bulk(net, web, streams, size, f"{name}{n}".replace(" ", "")))
    seen = {name: sum(r[3] for r in rows) for name, rows in results.items()}
    if not all(seen.values()):
        print(f"(no stream was seen under way: {seen})", file=sys.stderr)

    def medians(value):
        return {net: statistics.median(value(r) for r in rows) for net, rows in results.items()}

    table.add(f"{name}, {streams} × {size // 10**6} MB, three hops", medians(lambda r: r[0]), "MB/s", "more")
    table.add(f"{name}: CPU, client and three relays", medians(lambda r: r[1] + r[2]), "s/GB", "less")
    table.add(f"{name}: CPU of the client", medians(lambda r: r[1]), "s/GB", "less")
    table.add(f"{name}: CPU of one relay, payload a CPU second", medians(lambda r: 3000 / r[2]), "MB", "more")


def latency(nets, web, count, user):
    """The medians of small fetches, the networks in turns."""
    times = {net.name: [] for net in nets}
    for n in range(count):
        for net in nets:
            times[net.name].append(fetch(net, web.url(16), user(n), 16) * 1000)
    return {name: statistics.median(of) for name, of in times.items()}


def compare_latency(table, nets, web, count):
    for net in nets:
        fetch(net, web.url(16), "warm", 16)
    warm = latency(nets, web, count, lambda n: "warm")
    table.add(f"16-byte fetch, warm circuit, median of {count}", warm, "ms", "less")
    fresh = latency(nets, web, count, lambda n: f"fresh{n}")
    table.add(f"16-byte fetch, fresh isolation, median of {count}", fresh, "ms", "less")


def idle(table, makers, web, home, rounds, count):
    """What idle circuits cost: CPU to build them, memory to hold them, throughput beside them."""
    rows = {}
    for name, make in makers.items():
        nets = [make(f"{home}/crowded{len(rows)}"), make(f"{home}/quiet{len(rows)}")]
        try:
            crowd = nets[0].crowd()
            rows[name] = crowd_costs(nets[0], crowd, count)
            beside = against(*nets, web, rounds, "beside")
            crowd.process.stop()
            # No two networks are alike on one machine: what they differ by without a crowd is no cost of it.
            rate, cpu = (with_it / alone for with_it, alone in zip(beside, against(*nets, web, rounds, "alone")))
            rows[name] |= {"lost": 100 * (1 - rate), "cpu": 100 * (cpu - 1)}
        finally:
            for net in nets:
                net.stop()

    def of(what):
        return {net: row[what] for net, row in rows.items()}

    table.add("relay: CPU of one circuit extension", of("extension"), "µs", "less")
    table.add(f"idle circuit at a relay, (RSS at {count} − RSS at 0) / {count}", of("relay"), "KB", "less")
    table.add(f"idle circuit at the client, (RSS at {count} − RSS at 0) / {count}", of("client"), "KB", "less")
    table.add(f"one stream beside {count} idle circuits: throughput lost", of("lost"), "%", None)
    table.add(f"one stream beside {count} idle circuits: CPU added", of("cpu"), "%", None)


def crowd_costs(net, crowd, count):
    # What exists once is not counted: links, first circuits, the buffers of a start.
    crowd.grow(10)
    time.sleep(2)
    relays, client, cpu = [r.rss() for r in net.relays], crowd.process.rss(), net.relays_cpu()
    seconds = crowd.grow(10 + count)
    cpu = net.relays_cpu() - cpu
    time.sleep(2)
    grown = statistics.mean(r.rss() - before for r, before in zip(net.relays, relays))
    print(f"({net.name}: {count} circuits built in {seconds:.1f} s, {crowd.failed} failed)", file=sys.stderr)
    of_client = (crowd.process.rss() - client) / count / 1000
    return {"extension": cpu / count / 3 * 1e6, "relay": grown / count / 1000, "client": of_client}


def against(net, other, web, rounds, tag):
    """Two networks take turns, so that what else the machine does meets both: rate and CPU of the first as shares of the second's."""
    turns, size = (2 * rounds, 40_000_000) if net.name == TOR else (7 * rounds, 200_000_000)
    pairs = [[bulk(n, web, 1, size, f"{tag}{turn}") for n in (net, other)] for turn in range(turns)]
    rate = statistics.median(first[0] / second[0] for first, second in pairs)
    return rate, statistics.median((first[1] + first[2]) / (second[1] + second[2]) for first, second in pairs)


def shards(table, options, web, home):
    """Relays of one shard and of two, the same links from four clients to either. The system deals the links out, each time
    otherwise, so there are as many networks of each kind as rounds."""
    rates, cpus = [], []
    for n in range(options.rounds):
        nets = [Umbel(options.umbel, f"{home}/shards{n}-{of}", shards=of) for of in (1, 2)]
        try:
            proxies = [[net.socks, *net.more_clients(SHARD_CLIENTS - 1)] for net in nets]
            for turn in range(5):
                (rate, cpu), (rate_of_two, cpu_of_two) = (at_shards(*both, web, f"turn{turn}") for both in zip(nets, proxies))
                rates.append(rate_of_two / rate)
                cpus.append(cpu_of_two / cpu)
        finally:
            for net in nets:
                net.stop()
    table.add("relays of two shards beside one: CPU a byte added", {UMBEL: 100 * (statistics.median(cpus) - 1)}, "%", None)
    grown = statistics.median(rates) if os.cpu_count() >= CORES_FOR_SHARDS else f"not measured: {os.cpu_count()} cores"
    table.add("relays of two shards beside one: times the throughput", {UMBEL: grown}, "", None)


def at_shards(net, proxies, web, user):
    """A download by each client at once: bytes a second, and the relays' CPU seconds a byte."""
    size = 100_000_000
    for socks in proxies:
        finish(curl(socks, web.url(16), user), 16)
    before, start = net.relays_cpu(), time.monotonic()
    for child in [curl(socks, web.url(size), user) for socks in proxies]:
        finish(child, size)
    total = len(proxies) * size
    return total / (time.monotonic() - start), (net.relays_cpu() - before) / total


def content(table, builds, options, web, home):
    """200 MB by its hash, from a client that has not seen them: one circuit of three relays and the custodian."""
    nets = [Umbel(program, f"{home}/content{n}", relays=5, name=name) for n, (name, program) in enumerate(builds.items())]
    try:
        links = [net.run("put", web.file)["link"] for net in nets]
        rates, cpus = {net.name: [] for net in nets}, {net.name: [] for net in nets}
        for n in range(options.rounds):
            for net, link in zip(nets, links):
                before, start = net.cpu(), time.monotonic()
                net.run("get", link, "-o", f"{home}/got{n}")
                seconds, after = time.monotonic() - start, net.cpu()
                size = os.path.getsize(f"{home}/got{n}")
                os.remove(f"{home}/got{n}")
                rates[net.name].append(size / MB / seconds)
                cpus[net.name].append((sum(after) - sum(before)) / (size / 1e9))
        medians = [{name: statistics.median(of) for name, of in figures.items()} for figures in (rates, cpus)]
        table.add("content by hash, 200 MB, one circuit of four hops", medians[0], "MB/s", "more")
        table.add("content by hash: CPU, client and all relays", medians[1], "s/GB", "less")
    finally:
        for net in nets:
            net.stop()


def machine():
    with open("/proc/cpuinfo") as f:
        model = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), "unknown")
    return f"{os.cpu_count()} cores, {model}; load {os.getloadavg()[0]:.1f} before the run"


WORKS = ["one", "eight", "fetch", "idle", "shards", "content"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--umbel", default=os.path.join(HERE, "../target/release/umbel"), help="the binary to measure")
    parser.add_argument("--tor", default=shutil.which("tor", path=os.environ["PATH"] + ":/usr/sbin"), help="C tor")
    peer = parser.add_mutually_exclusive_group()
    peer.add_argument("--no-tor", action="store_true", help="measure Umbel alone")
    peer.add_argument("--beside", metavar="UMBEL", help="measure beside another build of Umbel instead of C tor")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each bulk work, taken in turns")
    parser.add_argument("--only", default=",".join(WORKS), help="works, of: " + ",".join(WORKS))
    parser.add_argument("--idle", type=int, default=10_000, help="idle circuits")
    parser.add_argument("--json", help="write the figures into this file")
    options = parser.parse_args()
    works = options.only.split(",")
    builds = {BESIDE: options.beside, UMBEL: options.umbel} if options.beside else {UMBEL: options.umbel}
    needed = list(builds.values())
    if "idle" in works:
        needed += [os.path.join(os.path.dirname(program), "examples/circuits") for program in needed]
    for program in needed:
        if not os.path.exists(program):
            parser.error(f"{program} is missing: cargo build --release --bins --examples")
    with tempfile.TemporaryDirectory(prefix="umbel-bench-") as home:
        web, nets = Web(f"{home}/web", 200_000_000), []
        try:
            makers = {name: lambda d, p=program, n=name: Umbel(p, d, name=n) for name, program in builds.items()}
            if not options.no_tor and not options.beside:
                makers = {TOR: lambda d: Tor(options.tor, d)} | makers
            nets.extend(make(f"{home}/{n}") for n, make in enumerate(makers.values()))
            print(machine())
            table = Table(options.json, next(iter(makers)) if len(makers) > 1 else TOR)
            heads = {net.name: f"{net.name} {net.version}" for net in nets}
            print(f"| work | {heads.get(table.peer, table.peer)} | {heads[UMBEL]} | times better |")
            print("|---|---|---|---|")
            started = {net.name: net.started for net in nets}
            table.add("private network, from nothing to the first circuit", started, "s", "less")
            if "one" in works:
                compare_bulk(table, nets, web, options.rounds, "one stream", 1, 200_000_000)
            if "eight" in works:
                compare_bulk(table, nets, web, options.rounds, "eight streams", 8, 50_000_000)
            if "fetch" in works:
                compare_latency(table, nets, web, 50)
            if "idle" in works:
                idle(table, makers, web, home, options.rounds, options.idle)
            if "shards" in works:
                shards(table, options, web, home)
            if "content" in works:
                content(table, builds, options, web, home)
            table.judge(options)
        finally:
            for net in nets:
                net.stop()
            web.stop()


if __name__ == "__main__":
    main()
