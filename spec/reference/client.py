"""A client made from the pages alone: joins a network by its invite, fetches a page through an exit, and an object by its hash.

    python3 -B spec/reference/client.py --invite FILE [--exit URL] [--get umbel:... --out PATH]

The page goes to standard output; what the client does and why it refuses something goes to standard error.
"""

from __future__ import annotations

import argparse
import http.client
import io
import ipaddress
import sys
import time
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from content import DIRECTORY, ContentLink, parse_link, parse_manifest
from directory import EXIT, KEEPS_CONTENT, Record, SettledSet
from errors import OutOfRange, Refused, Unavailable
from fetch import fetch
from invite import parse_invite
from session import Session, bootstrap, chance, say, short
from stream import TO_STORE, Calls, Stream, to_address, to_host


def target_of(url: SplitResult) -> bytes:
    if url.scheme != "http" or not url.hostname:
        raise OutOfRange("usage", f"{url.geturl()!r} is not an http URL")
    port = url.port or 80
    try:
        return to_address(ipaddress.ip_address(url.hostname).packed, port)
    except ValueError:
        return to_host(url.hostname, port)


class Received:
    """Bytes in the place of a socket, for the parser of the standard library."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def makefile(self, *_args: object) -> io.BytesIO:
        return io.BytesIO(self.data)


def parse_response(data: bytes) -> bytes:
    response = http.client.HTTPResponse(Received(data))  # type: ignore[arg-type]
    try:
        response.begin()
        body = response.read()
    except http.client.HTTPException as error:
        raise OutOfRange("HTTP", f"the answer is no page: {error!r}") from None
    if response.status != 200:
        raise Unavailable("HTTP", f"the server answers {response.status} {response.reason}")
    return body


def fetch_page(session: Session, directory: SettledSet, text: str) -> bytes:
    """A page over three relays, of which the last is an exit (STREAM-15)."""
    url = urlsplit(text)
    target = target_of(url)
    exits = [r for r in directory.relays if r.flags & EXIT]
    if not exits:
        raise Unavailable("STREAM-15", "no relay of the directory is an exit")
    path = session.path(directory.relays, chance.choice(exits))
    circuit = session.circuit(path)
    say(f"exit: {describe(path)}")
    request = f"GET {url.path or '/'}{'?' + url.query if url.query else ''} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: close\r\n\r\n"
    stream = Stream(circuit, circuit.hops[-1], target, session.network.profile.stream_window_bytes, request.encode("ascii"))
    data = stream.read_to_end()
    stream.end()
    return parse_response(data)


def describe(path: list[Record]) -> str:
    return " - ".join(short(record.relay) for record in path)


def fetch_object(session: Session, directory: SettledSet, link: ContentLink, out: Path) -> None:
    """An object from a custodian, read through three relays, written as a file or a folder."""
    custodians = directory.custodians(link.locator, KEEPS_CONTENT)
    chance.shuffle(custodians)

    def open_store(custodian: Record) -> Calls:
        path = session.path_to(directory.relays, custodian)
        circuit = session.circuit(path)
        say(f"store: {describe(path)}")
        return Calls(circuit, TO_STORE, session.network.profile.stream_window_bytes)

    begun = time.monotonic()
    root, content = fetch(link, custodians, open_store)
    say(f"object: {root.leaves} leaves, {len(content)} bytes, every block verified, {time.monotonic() - begun:.1f} s")
    if root.meta.kind == DIRECTORY:
        entries = parse_manifest(content[: root.meta.manifest], len(content))
        out.mkdir()
        at = root.meta.manifest
        for entry in entries:
            place = out.joinpath(*entry.path.split("/"))
            if entry.path.endswith("/"):
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content[at : at + entry.size])
            at += entry.size
        say(f"folder: {len(entries)} files")
    else:
        out.write_bytes(content)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A client made from the pages of the specification alone.")
    parser.add_argument("--invite", type=Path, required=True, help="the invite file of the network")
    parser.add_argument("--exit", metavar="URL", help="fetch this http page through an exit, to standard output")
    parser.add_argument("--get", metavar="LINK", help="fetch the object of this umbel: link")
    parser.add_argument("--out", type=Path, help="where the object goes: a file, or a folder that does not exist yet")
    given = parser.parse_args()
    if bool(given.get) != bool(given.out):
        parser.error("--get and --out belong together")
    if given.out and given.out.exists():
        parser.error(f"{given.out} exists already")
    return given


def run(given: argparse.Namespace) -> None:
    link = parse_link(given.get) if given.get else None
    invite = parse_invite(given.invite.read_bytes())
    session = Session(invite.network)
    try:
        directory = bootstrap(session, invite.relays)
        if given.exit:
            sys.stdout.buffer.write(fetch_page(session, directory, given.exit))
        if link:
            fetch_object(session, directory, link, given.out)
    finally:
        session.close()


def main() -> None:
    try:
        run(arguments())
    except (Refused, OSError) as why:
        sys.exit(f"client.py: {why}")


if __name__ == "__main__":
    main()
