"""Page 10: the invite, by which a client comes to a network."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import umbel
from blake3 import blake3
from directory import DESCRIPTOR_MAX, FOUNDERS_MAX, PROFILES, Network, Record, parse_record
from errors import BadText, Changed, CutOff, Line, Member, NoRelay, NotAnInvite, TooLong, UnknownKind, UnknownVersion
from wire import id_from_text, is_signed, utf8

INVITE_RELAYS_MAX, INVITE_MAX, MEMBER_KEY_SIZE = 64, 65_536, 97


@dataclass(frozen=True)
class Invite:
    network: Network
    founders: list[bytes]
    member: bytes | None
    checkpoint: tuple[int, bytes] | None
    relays: list[Record]


def parse_invite(raw: bytes) -> Invite:
    """First the first line, then the checksum, then the fields."""
    if len(raw) > INVITE_MAX:
        raise TooLong("10", f"an invite of {len(raw)} bytes")
    lines = [line.removesuffix("\r") for line in utf8(raw, "invite", "10").rstrip(" \t\r\n").split("\n")]
    if not lines[0].startswith("umbel-invite "):
        raise NotAnInvite("10", "the first line is another")
    if lines[0] != "umbel-invite 2":
        raise UnknownVersion("INVITE-1", repr(lines[0]))
    check = lines[-1].removeprefix("check ")
    if check == lines[-1] or len(check) < 52:
        raise CutOff("INVITE-2", "the invite is cut off: its checksum is missing or too short")
    body = "".join(line + "\n" for line in lines[:-1]).encode()
    try:
        holds = id_from_text(check, "check") == blake3(body)
    except BadText:
        holds = False
    if not holds:
        raise Changed("INVITE-2", "the invite was changed: its checksum does not hold")
    return read_invite_fields(lines[1:-1])


def read_invite_fields(lines: list[str]) -> Invite:
    at = 0

    def wrong(what: str) -> Line:
        return Line("10", f"line {at + 1} of the invite is no {what}")

    def optional(key: str) -> str | None:
        nonlocal at
        if at >= len(lines) or not lines[at].startswith(key + " "):
            return None
        at += 1
        return lines[at - 1][len(key) + 1 :]

    def value(key: str) -> str:
        if (text := optional(key)) is None:
            raise Line("10", f"line {at + 2} of the invite is not {key!r}")
        return text

    name, genesis, founders = value("profile"), id_of(value("genesis")), []
    while (text := optional("founder")) is not None:
        founders.append(id_of(text))
        if founders != sorted(set(founders)) or len(founders) > FOUNDERS_MAX:
            raise wrong("founder")  # INVITE-5
    if name not in PROFILES:
        raise UnknownKind("PROF-1", f"profile {name!r}")
    network = Network(PROFILES[name], umbel.network_id(name, genesis, founders))  # KEY-1
    member = checkpoint = None
    if (text := optional("member")) is not None:
        member = from_base64(text, MEMBER_KEY_SIZE)
        if not is_member_key(member, founders, network.id):
            raise Member("INVITE-6", "the member key is not signed by a founder")
    if (text := optional("checkpoint")) is not None:
        cut, _, root = text.partition(" ")
        if not cut.isdecimal() or str(int(cut)) != cut or not 0 < int(cut) < 2**64:
            raise wrong("checkpoint")
        checkpoint = (int(cut), id_of(root))
    if len(lines) - at > INVITE_RELAYS_MAX:
        raise TooLong("10", f"an invite with {len(lines) - at} relays")
    relays = [parse_record(from_base64(value("relay"), DESCRIPTOR_MAX), network) for _ in range(at, len(lines))]
    if not relays and not founders:
        raise NoRelay("10", "the invite names no relay")
    return Invite(network, founders, member, checkpoint, relays)


def is_member_key(raw: bytes, founders: list[bytes], network: bytes) -> bool:
    if len(raw) != MEMBER_KEY_SIZE:
        raise Line("10", "the member key is of another length")
    if raw[0] >= len(founders):
        return False
    return is_signed(founders[raw[0]], "umbel 1 member", network + umbel.ed_public(raw[1:33]), raw[33:])


def id_of(text: str) -> bytes:
    try:
        return id_from_text(text, "id")
    except BadText as why:
        raise Line("10", str(why)) from None


def from_base64(text: str, most: int) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raw = b""
    if not 1 <= len(raw) <= most or base64.b64encode(raw).decode() != text:
        raise Line("10", "a line of the invite is not canonical base64")
    return raw
