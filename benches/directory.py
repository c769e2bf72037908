#!/usr/bin/env python3
"""What the simulator says of the directory: runs the lines below and prints a table of each kind.

    cargo build --release && benches/directory.py [--long] [--bin target/release/umbel] [--only TEXT]

The short form takes a few minutes, the long one about an hour. Every line can be run alone: it is printed with its figures.
"""

import argparse
import json
import subprocess
import sys

ATTACKS = ["none", "late", "spray", "split", "denial", "flap"]
CHURN = ["steady", "hourly", "halves", "loss", "tor"]


def lines(long):
    """Pairs of a kind and a command line."""
    days, checks = (30, 200_000) if long else (3, 20_000)
    for attack in ATTACKS:
        hostile = "--hostile 0.2 " if attack != "none" else ""
        yield "agreement", (f"directory --relays 1000 {hostile}--attack {attack} --churn hourly --days {days} "
                            f"--checks {checks} --paths 20000")
    for identities in [1, 17, 200]:
        yield "agreement", (f"directory --relays 1000 --hostile 0.2 --attack late --identities {identities} "
                            f"--churn hourly --days {days} --checks 2000 --paths 2000")
    yield "agreement", f"directory --relays 1000 --hostile 0.2 --attack late --without ladder --days {days} --paths 2000"
    yield "agreement", f"directory --relays 1000 --hostile 0.2 --attack ghosts --days {days} --paths 2000"
    yield "agreement", f"directory --relays 1000 --hostile 0.3 --attack split --days {days} --checks {checks} --paths 2000"
    for churn in CHURN:
        yield "churn", f"directory --relays 1000 --churn {churn} --days {days} --checks 2000 --paths 50000"
    for relays in [100, 1_000, 10_000] + ([100_000] if long else []):
        yield "size", f"directory --relays {relays} --hostile 0.2 --churn tor --days 1 --checks 2000 --paths 100000"
    for churn in ["halves", "loss"]:
        yield "content", f"content --relays 1000 --objects {300 if long else 50} --churn {churn} --days {days}"


def run(program, line):
    done = subprocess.run([program, "sim", *line.split(), "--json"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{line}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def percent(x):
    return f"{100 * x:.2f} %"


COLUMNS = {
    "agreement": [
        ("cuts", lambda r: str(r["cuts"])),
        ("agreement, worst cut", lambda r: percent(r["agreement"])),
        ("divided cuts", lambda r: str(r["divided_cuts"])),
        ("wrong roots", lambda r: f"{r['wrong_roots']} of {r['root_checks']['of']:,}"),
        ("right roots", lambda r: percent(r["right_roots"]["share"])),
        ("invented", lambda r: str(r["ghosts_settled"])),
    ],
    "churn": [
        ("dead, mean", lambda r: percent(r["dead"]["mean"])),
        ("dead, worst", lambda r: percent(r["dead"]["greatest"])),
        ("noticed, mean", lambda r: f"{r['noticed_hours']['mean']:.2f} h"),
        ("noticed, worst", lambda r: f"{r['noticed_hours']['greatest']:.2f} h"),
        ("listed, mean", lambda r: percent(r["view_completeness"]["mean"])),
        ("first build works", lambda r: percent(r["first_build"]["share"])),
    ],
    "size": [
        ("compromise over f²", lambda r: f"{r['compromise_over_f2']:.3f} (at most {r['compromise_over_f2_high']:.3f})"),
        ("a relay sends a day", lambda r: f"{r['bytes_per_relay_day'] / 1e6:.2f} MB"),
        ("kbit/s", lambda r: f"{r['bytes_per_relay_day'] * 8 / 86_400 / 1e3:.2f}"),
        ("a client receives a day", lambda r: f"{r['bytes_per_client_day'] / 1e6:.2f} MB"),
        ("first directory", lambda r: f"{r['bytes_first_directory'] / 1e6:.2f} MB"),
        ("a path", lambda r: f"{r['spent']['choose_path_us']:.1f} µs"),
        ("custodians", lambda r: f"{r['spent']['custodians_us']:.1f} µs"),
        ("took", lambda r: f"{r['spent']['seconds']:.0f} s, {r['spent']['peak_mib']} MiB"),
    ],
    "content": [
        ("lost", lambda r: f"{r['lost']} of {r['objects']}"),
        ("reads without a copy", lambda r: percent(r["reads_without_copy"]["share"])),
        ("copies moved, object and day", lambda r: f"{r['copies_moved_per_object_day']:.2f}"),
    ],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default="target/release/umbel")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--only", default="", help="lines that hold this text")
    args = parser.parse_args()
    kind = None
    for of, line in lines(args.long):
        if args.only not in f"{of} {line}":
            continue
        if of != kind:
            names = [name for name, _ in COLUMNS[of]]
            print(f"\n| `umbel sim` | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}")
            kind = of
        found = run(args.bin, line)
        print(f"| `{line}` | {' | '.join(show(found) for _, show in COLUMNS[of])} |", flush=True)


main()
