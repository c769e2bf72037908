"""Page 10: the invite, by which a client comes to a network."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import umbel
from blake3 import blake3
from directory import DESCRIPTOR_MAX, PROFILES, Network, Record, parse_record
from errors import BadText, Changed, CutOff, Line, NoRelay, NotAnInvite, TooLong, UnknownKind, UnknownVersion
from wire import id_from_text, utf8

INVITE_RELAYS_MAX, INVITE_MAX = 64, 65_536


@dataclass(frozen=True)
class Invite:
    network: Network
    relays: list[Record]


def parse_invite(raw: bytes) -> Invite:
    """First the first line, then the checksum, then the fields."""
    if len(raw) > INVITE_MAX:
        raise TooLong("10", f"an invite of {len(raw)} bytes")
    lines = [line.removesuffix("\r") for line in utf8(raw, "invite", "10").rstrip(" \t\r\n").split("\n")]
    if not lines[0].startswith("umbel-invite "):
        raise NotAnInvite("10", "the first line is another")
    if lines[0] != "umbel-invite 1":
        raise UnknownVersion("DIR-10", repr(lines[0]))
    check = lines[-1].removeprefix("check ")
    if check == lines[-1] or len(check) < 52:
        raise CutOff("DIR-11", "the invite is cut off: its checksum is missing or too short")
    body = "".join(line + "\n" for line in lines[:-1]).encode()
    try:
        holds = id_from_text(check, "check") == blake3(body)
    except BadText:
        holds = False
    if not holds:
        raise Changed("DIR-11", "the invite was changed: its checksum does not hold")
    return read_invite_fields(lines[1:-1])


def read_invite_fields(lines: list[str]) -> Invite:
    def value(at: int, key: str) -> str:
        if at >= len(lines) or not lines[at].startswith(key + " "):
            raise Line("10", f"line {at + 2} of the invite is not {key!r}")
        return lines[at][len(key) + 1 :]

    name, genesis = value(0, "profile"), genesis_of(value(1, "genesis"))
    if name not in PROFILES:
        raise UnknownKind("PROF-1", f"profile {name!r}")
    network = Network(PROFILES[name], umbel.network_id(name, genesis))  # KEY-1
    if len(lines) == 2:
        raise NoRelay("10", "the invite names no relay")
    if len(lines) > 2 + INVITE_RELAYS_MAX:
        raise TooLong("10", f"an invite with {len(lines) - 2} relays")
    return Invite(network, [parse_record(from_base64(value(at, "relay")), network) for at in range(2, len(lines))])


def genesis_of(text: str) -> bytes:
    try:
        return id_from_text(text, "genesis")
    except BadText as why:
        raise Line("10", str(why)) from None


def from_base64(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raw = b""
    if not raw or len(raw) > DESCRIPTOR_MAX or base64.b64encode(raw).decode() != text:
        raise Line("10", "a relay of the invite is not canonical base64 of a record")
    return raw
