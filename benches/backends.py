#!/usr/bin/env python3
"""Runs cells.rs and handshakes.rs with AWS-LC and with the implementations in Rust, and prints the medians side by side.

  benches/backends.py            both builds as they are shipped, with link-time optimisation
  benches/backends.py --fast     without it, which builds in a fraction of the time
"""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BENCHES = ["--bench", "cells", "--bench", "handshakes"]
BUILDS = {
    "AWS-LC": ([], "target"),
    "Rust": (["--no-default-features", "--features", "pure"], "target/pure"),
}
SECONDS = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
TIME = re.compile(r"([\d.]+) (ns|µs|ms|s)$")


def run(features, target):
    env = dict(os.environ, CARGO_TARGET_DIR=str(ROOT / target))
    if "--fast" in sys.argv[1:]:
        env |= {"CARGO_PROFILE_BENCH_LTO": "off", "CARGO_PROFILE_BENCH_CODEGEN_UNITS": "1"}
    command = ["cargo", "bench", "--quiet", "--locked", *features, *BENCHES]
    return subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout


def medians(text):
    """Name to median in seconds and, where bytes are counted, to bytes a second."""
    out, group, last = {}, "", None
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("│")]
        head = re.match(r"^(│  |   )?[├╰]─ (\S+)\s*(.*)$", line)
        if head:
            inner, name = head.group(1), head.group(2)
            columns = [cell.strip() for cell in head.group(3).split("│")]
            if not TIME.search(columns[0]):
                group, last = name, None
                continue
            last = f"{group} {name}" if inner else name
            number, unit = TIME.search(columns[2]).groups()
            out[last] = [float(number) * SECONDS[unit], None]
        elif last and line.rstrip().endswith("│") and len(cells) >= 5 and any("B/s" in c for c in cells):
            rates = [c for c in cells if "B/s" in c]
            number, unit = re.match(r"([\d.]+) (\w?)B/s", rates[2]).groups()
            out[last][1] = float(number) * {"": 1, "K": 1e3, "M": 1e6, "G": 1e9}[unit]
    return out


def time(seconds):
    for unit, size in (("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def cell(measured):
    seconds, rate = measured
    return time(seconds) + (f", {rate / 1e6:.0f} MB/s" if rate else "")


def main():
    both = {name: medians(run(*build)) for name, build in BUILDS.items()}
    fast, pure = both.values()
    assert fast and fast.keys() == pure.keys(), "the builds ran different benchmarks"
    print("| median | " + " | ".join(both) + " | Rust takes |\n|---|---|---|---|")
    for name in fast:
        print(f"| `{name}` | {cell(fast[name])} | {cell(pure[name])} | {pure[name][0] / fast[name][0]:.2f} × |")


if __name__ == "__main__":
    main()
