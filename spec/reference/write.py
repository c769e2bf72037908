"""Writes spec/vectors: `python3 spec/reference/write.py`. With --check it compares and writes nothing."""

import sys
from pathlib import Path

import blake3 as b3
import congestion
import mlkem
from cases import case, files
from cases_calls import calls
from cases_content import content
from cases_directory import directory, sketches
from cases_keys import addresses, ids, signatures
from cases_link import cells, handshake, link, messages, onion

HERE = Path(__file__).resolve().parent
VECTORS = HERE.parent / "vectors"


def congestions():
    for name, spec, acks in congestion.traces():
        case("congestion", "trace", name, spec, acks=", ".join(" ".join(map(str, a)) for a in acks))
    for name, events in congestion.paced_traces():
        case("congestion", "paced", name, "CONG-9 STREAM-1", events=", ".join(" ".join(map(str, e)) for e in events))


def read_published():
    cases, text = [], (VECTORS / "mlkem.txt").read_text()
    for block in text.split("\n\n"):
        pairs = [line.split(": ", 1) for line in block.splitlines() if not line.startswith("#")]
        if pairs:
            cases.append({k: bytes.fromhex(v) for k, v in pairs if k not in ("case", "spec", "expect")})
    return cases


def main():
    b3.check()
    mlkem.check(read_published())
    for part in (cells, messages, handshake, onion, link, ids, signatures, addresses, directory, sketches, calls, content, congestions):
        part()
    different = []
    for name, cases in files.items():
        text = f"# Written by spec/reference/write.py: change that, not this.\n\n" + "\n\n".join(cases) + "\n"
        path = VECTORS / f"{name}.txt"
        if "--check" in sys.argv:
            if not path.exists() or path.read_text() != text:
                different.append(str(path.name))
        else:
            path.write_text(text)
    if different:
        sys.exit("these vectors are not what the reference writes: " + ", ".join(different))
    print(f"{sum(map(len, files.values()))} cases in {len(files)} files, and the published vectors hold")


main()
