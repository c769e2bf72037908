"""Page 10 at the client: profiles, records, settled sets, statements, and the relays that a key belongs to."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

import umbel
from circuit import Target
from errors import (
    Lifetime,
    Membership,
    Misplaced,
    NoCut,
    NotCanonical,
    OtherNetwork,
    OutOfRange,
    PrivateAddress,
    Signature,
    Unavailable,
    UnknownKind,
    UnknownVersion,
    Unproven,
    Work,
)
from link import Endpoint
from umbel import u8, u32, u64
from wire import Reader, is_signed

EXIT, KEEPS_CONTENT, FAMILY, MEMBER = 1, 2, 4, 8
FOUNDERS_MAX = 4
DESCRIPTOR_MAX, ADDRS_MAX, MEMBERS_MAX, RELAYS_MIN = 666, 4, 131_072, 3
CUSTODY_LEAST = 48
PAGE_MEMBERS_MAX, WITNESSED_MAX = 182, 16
STATEMENT, PAGE, WITNESS = 5, 6, 7
UNKNOWN, REFUSED, WITNESSED = 7, 8, 9


@dataclass(frozen=True)
class Profile:
    """The numbers of page 15 that a client needs, by their names there; times in milliseconds."""

    name: str
    period_min: int
    period_max: int
    dormant_max: int
    descriptor_lifetime: int
    term: int
    signers_asked: int
    work_bits: int
    work_effort: int
    custodians: int
    distinct_prefixes: bool
    private_relays: bool
    members_only: bool
    clock_tolerance: int
    stream_window_bytes: int


SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
PROFILES = {
    p.name: p
    for p in (
        Profile("public", 30 * SECOND, HOUR, DAY, DAY, 30 * DAY, 49, 18, 256, 12, True, False, False, 10 * MINUTE, 262_144),
        Profile("private", 5 * SECOND, MINUTE, DAY, 2 * MINUTE, 30 * DAY, 49, 2, 0, 12, False, True, True, 10 * MINUTE, 262_144),
        Profile("testing", SECOND, SECOND, 60 * SECOND, 60 * SECOND, HOUR, 49, 6, 1, 12, False, True, False, 5 * MINUTE, 262_144),
    )
}


@dataclass(frozen=True)
class Network:
    profile: Profile
    id: bytes


@dataclass(frozen=True)
class Record:
    """A record that was parsed and verified."""

    raw: bytes
    relay: bytes
    identity: bytes
    flags: int
    published: int
    lifetime: int
    family: bytes | None
    endpoint: Endpoint
    target: Target

    def is_over(self, now: int) -> bool:
        return self.published + self.lifetime * SECOND <= now

    def marks(self) -> set[bytes]:
        """What it may have in common with another relay: its family and the prefixes of its addresses."""
        packed = [ipaddress.ip_address(ip).packed for ip, _ in self.endpoint.addresses]
        return {ip[: 2 if len(ip) == 4 else 4] for ip in packed} | ({self.family} if self.family else set())


def parse_address(r: Reader, profile: Profile) -> tuple[str, int]:  # DIR-3, DIR-6
    family = r.uint(1)
    if family not in (4, 6):
        raise UnknownKind("DIR-3", f"address family {family}")
    ip, port = ipaddress.ip_address(r.take(4 if family == 4 else 16)), r.uint(2)
    if port == 0 or ip.is_unspecified or ip.is_multicast:
        raise OutOfRange("DIR-3", f"a relay cannot be reached at {ip} port {port}")
    if getattr(ip, "ipv4_mapped", None) is not None:
        raise NotCanonical("DIR-3", f"{ip} is a mapped address")
    if not profile.private_relays and not umbel.is_public(ip):
        raise PrivateAddress("DIR-6", f"{ip} is not public")
    return str(ip), port


@dataclass(frozen=True)
class Charter:
    genesis: bytes
    founders: list[bytes]


@dataclass(frozen=True)
class MemberProof:
    charter: Charter
    founder: int
    key: bytes
    by_founder: bytes
    by_member: bytes


def parse_membership(r: Reader) -> MemberProof:
    genesis, count = r.take(32), r.uint(1)
    if not 1 <= count <= FOUNDERS_MAX:
        raise OutOfRange("INVITE-5", f"{count} founders")
    founders = [r.take(32) for _ in range(count)]
    if founders != sorted(set(founders)):
        raise NotCanonical("INVITE-5", "the founders are not in ascending order")
    return MemberProof(Charter(genesis, founders), r.uint(1), r.take(32), r.take(64), r.take(64))


def is_member(m: MemberProof, network: Network, identity: bytes) -> bool:  # INVITE-6
    if umbel.network_id(network.profile.name, m.charter.genesis, m.charter.founders) != network.id or m.founder >= len(m.charter.founders):
        return False
    by_founder = is_signed(m.charter.founders[m.founder], "umbel 1 member", network.id + m.key, m.by_founder)
    return by_founder and is_signed(m.key, "umbel 1 membership", network.id + identity, m.by_member)


def parse_record(raw: bytes, network: Network) -> Record:
    r = Reader(raw, "record")
    if (version := r.uint(1)) != 1:
        raise UnknownVersion("DIR-1", f"a record of version {version}")
    flags, cipher = r.uint(1), r.uint(1)
    if flags & ~(EXIT | KEEPS_CONTENT | FAMILY | MEMBER) or cipher not in (umbel.AES, umbel.CHACHA):
        raise UnknownKind("DIR-2", f"flags {flags}, cipher {cipher}")
    if r.take(32) != network.id:
        raise OtherNetwork("DIR-4", "the record is of another network")
    identity, work, published, lifetime = r.take(32), r.take(28), r.uint(8), r.uint(4)
    link_key, onion_key = r.take(32), r.take(32)
    family = r.take(32) if flags & FAMILY else None
    member = parse_membership(r) if flags & MEMBER else None
    count = r.uint(1)
    if not 1 <= count <= ADDRS_MAX:
        raise OutOfRange("DIR-3", f"{count} addresses")
    addresses = tuple(parse_address(r, network.profile) for _ in range(count))
    if len(set(addresses)) != count:
        raise NotCanonical("DIR-3", "two addresses are alike")
    signed = raw[: r.at]
    signature = r.take(64)
    r.end()
    if not 0 < lifetime * SECOND <= network.profile.descriptor_lifetime:
        raise Lifetime("DIR-5", f"a lifetime of {lifetime} s")
    if (member is not None) != network.profile.members_only or member and not is_member(member, network, identity):
        raise Membership("INVITE-6", "the relay is no member of this network")
    if not umbel.is_work(network.id, identity, published, work, network.profile.work_bits, network.profile.work_effort):
        raise Work("DIR-7", "the proof of work does not hold in the window of the publication")
    if not is_signed(identity, "umbel 1 descriptor", signed, signature):
        raise Signature("DIR-8", "the record is not signed by its identity")
    relay = umbel.relay_id(identity)
    endpoint, target = Endpoint(relay, link_key, cipher, addresses), Target(relay, onion_key, cipher)
    return Record(raw, relay, identity, flags, published, lifetime, family, endpoint, target)


@dataclass(frozen=True)
class Statement:
    cut: int
    root: bytes
    beacon: bytes
    count: int
    relay: bytes
    signed: bytes
    signature: bytes


def ask_statement(cut: int) -> bytes:
    return u8(STATEMENT) + u64(cut)


def ask_page(cut: int, start: int) -> bytes:
    return u8(PAGE) + u64(cut) + u32(start)


def ask_witness(cut: int, relays: list[bytes]) -> bytes:
    return u8(WITNESS) + u64(cut) + u8(len(relays)) + b"".join(relays)


def answer_reader(body: bytes, kind: int) -> Reader:
    r = Reader(body, "answer of a directory")
    found = r.uint(1)
    if found == UNKNOWN:
        newest = r.uint(8)
        r.end()
        raise Unavailable("DIR-26", f"the relay does not have that cut; its newest is {newest}")
    if found == REFUSED:
        reason = r.uint(1)
        r.end()
        if reason not in (1, 2):
            raise UnknownKind("10", f"refused for reason {reason}")
        raise Unavailable("GOSSIP-4", "the relay is busy" if reason == 2 else "the relay finds the request malformed")
    if found != kind:
        raise UnknownKind("10", f"answer {found} to request {kind}")
    return r


def parse_statement(body: bytes) -> Statement:
    return read_statement(answer_reader(body, STATEMENT))


def parse_witnessed(body: bytes) -> list[Statement]:
    r = answer_reader(body, WITNESSED)
    count = r.uint(1)
    if count > WITNESSED_MAX:
        raise OutOfRange("DIR-12", f"{count} statements")
    found = [take_statement(r) for _ in range(count)]
    r.end()
    return found


def read_statement(r: Reader) -> Statement:
    found = take_statement(r)
    r.end()
    return found


def take_statement(r: Reader) -> Statement:
    begun = r.at
    cut, root, beacon, count, relay = r.uint(8), r.take(32), r.take(32), r.uint(4), r.take(32)
    signed, signature = r.data[begun : r.at], r.take(64)
    return Statement(cut, root, beacon, count, relay, signed, signature)


def check_statement_signature(s: Statement, network: Network, identity: bytes) -> None:  # DIR-27
    if not is_signed(identity, "umbel 1 root statement", network.id + s.signed, s.signature):
        raise Unproven("DIR-27", "the statement is not signed by the relay it names")


def check_statement(s: Statement, network: Network, relay: bytes, identity: bytes, now: int) -> None:
    profile = network.profile
    check_statement_signature(s, network, identity)
    if s.relay != relay:
        raise Unproven("DIR-41", "the statement names another relay")
    if s.cut % profile.period_min or not RELAYS_MIN <= s.count <= MEMBERS_MAX:
        raise NoCut("DIR-23", f"a set of {s.count} relays at {s.cut}")
    if not now - profile.clock_tolerance - 3 * profile.period_max <= s.cut <= now + profile.clock_tolerance:
        raise OutOfRange("DIR-52", f"clocks differ: the cut lies {(s.cut - now) / SECOND:+.0f} s from this one")


@dataclass(frozen=True)
class Member:
    """A member as a page has it; its record is not verified."""

    raw: bytes
    since: int
    samples: int
    dormant: int
    whole: bytes


def parse_member(r: Reader) -> Member:
    begun = r.at
    raw, since, samples, dormant = r.take(r.uint(2)), r.uint(8), r.uint(2), r.uint(8)
    if len(raw) > DESCRIPTOR_MAX:
        raise OutOfRange("DIR-12", f"a record of {len(raw)} bytes")
    return Member(raw, since, samples, dormant, r.data[begun : r.at])


def parse_page(body: bytes) -> tuple[int, int, int, list[Member]]:
    """Cut, number of members of the set, index of the first one here, and these."""
    r = answer_reader(body, PAGE)
    cut, total, start, count = r.uint(8), r.uint(4), r.uint(4), r.uint(1)
    if count > PAGE_MEMBERS_MAX:
        raise OutOfRange("DIR-28", f"a page of {count} members")
    members = [parse_member(r) for _ in range(count)]
    r.end()
    return cut, total, start, members


# The settled set
@dataclass(frozen=True)
class SettledSet:
    network: Network
    cut: int
    root: bytes
    beacon: bytes
    relays: list[Record]
    """The records of live members, in the order of ids."""
    since: dict[bytes, int]
    """The cut since which each of them is a member."""

    def find(self, relay: bytes) -> Record:
        return next(r for r in self.relays if r.relay == relay)

    def custodians(self, key: bytes, flag: int) -> list[Record]:
        """The relays with all bits of `flag` that keep `key`, the greatest score first (DIR-84)."""
        able = self.taking_part([r for r in self.relays if r.flags & flag == flag])
        return custodians(self.beacon, key, able, self.network.profile.custodians)

    def taking_part(self, able: list[Record]) -> list[Record]:  # DIR-83
        since = sorted(self.since[r.relay] for r in able)
        least = min(max((len(since) + 1) // 2, CUSTODY_LEAST), len(since))
        before_the_term = self.cut - self.cut % self.network.profile.term - 1
        youngest = max([before_the_term] + since[least - 1 : least])
        return [r for r in able if self.since[r.relay] <= youngest]


def custodians(now: bytes, key: bytes, able: list[Record], n: int) -> list[Record]:  # DIR-84
    by_id = {record.relay: record for record in able}
    return [by_id[relay] for relay in umbel.custodians(now, key, [(record.relay, record.marks()) for record in able], n)]


def belongs(record: Record, m: Member, cut: int, profile: Profile) -> bool:
    if m.dormant:
        return m.since < m.dormant <= cut < m.dormant + profile.dormant_max
    return m.since <= cut and not record.is_over(cut)


def settled(network: Network, cut: int, beacon: bytes, members: list[Member]) -> SettledSet:
    """What is given out as the set of a cut (DIR-19, DIR-28)."""
    records = [parse_record(m.raw, network) for m in members]
    if not all(m.samples for m in members):
        raise OutOfRange("DIR-28", "samples without a leading one")
    live = [r for r, m in zip(records, members) if not m.dormant]
    if cut % network.profile.period_min or len(live) < RELAYS_MIN or len(members) > MEMBERS_MAX:
        raise NoCut("DIR-23", f"{len(live)} live members at {cut}")
    if any(a.relay >= b.relay for a, b in zip(records, records[1:])):
        raise Misplaced("DIR-28", "the set is not in order")
    if not all(belongs(r, m, cut, network.profile) for r, m in zip(records, members)):
        raise Misplaced("DIR-28", "a member that does not belong to this cut is in the set")
    root = umbel.dir_root(beacon, [m.whole for m in members])
    return SettledSet(network, cut, root, beacon, live, {r.relay: m.since for r, m in zip(records, members)})


def settle(network: Network, named: Statement, members: list[Member]) -> SettledSet:
    """The set that a statement names (DIR-28)."""
    found = settled(network, named.cut, named.beacon, members)
    if len(members) != named.count or found.root != named.root:
        raise Unproven("DIR-28", "the members do not have the root of the statement")
    return found
