"""What page 12 and the end of page 10 ask of a client: one guard, paths, and a directory that drawn signers stand for.

Nothing is kept from one run to the next, so each run draws its guard anew. A client to be anonymous with must keep it (CLIENT-2).
"""

from __future__ import annotations

import ipaddress
import random
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field

from circuit import Circuit
from directory import Member, Network, Record, SettledSet, Statement, ask_page, ask_statement, ask_witness, check_statement, parse_page, parse_statement, parse_witnessed, settle
from errors import OutOfRange, Refused, Unavailable, Unproven
from link import Link, connect
from stream import TO_DIRECTORY, Calls
from umbel import id_text

PATH_RELAYS, GUARDS_KEPT = 3, 3
SIGNERS_ESCALATED, SIGNER_TRIES, SIGNERS_PER_WITNESS, WITNESS_ROUNDS = 193, 3, 13, 4
SOURCE_TRIES, PAUSE_SECONDS, PAUSE_MAX_SECONDS = 30, 0.1, 2.0
chance = random.SystemRandom()


def now() -> int:
    return time.time_ns() // 1_000_000


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def short(relay: bytes) -> str:
    return id_text(relay)[:8]


def prefix(record: Record) -> bytes:
    ip = ipaddress.ip_address(record.endpoint.addresses[0][0])
    return ip.packed[: 2 if ip.version == 4 else 4]


def may_share_a_path(a: Record, b: Record, network: Network) -> bool:  # CLIENT-9
    alike = a.relay == b.relay or (a.family is not None and a.family == b.family)
    return not alike and not (network.profile.distinct_prefixes and prefix(a) == prefix(b))


@dataclass
class Session:
    """The open links, and the guards: a path begins with the first that can stand in it."""

    network: Network
    guards: list[Record] = field(default_factory=list)
    links: dict[bytes, Link] = field(default_factory=dict)

    def link(self, to: Record) -> Link:
        link = self.links.get(to.relay)
        if link is None or link.closed is not None:
            link = self.links[to.relay] = connect(self.network.id, to.endpoint)
        return link

    def circuit(self, path: list[Record]) -> Circuit:
        circuit = Circuit(self.link(path[0]), self.network.id)
        circuit.build([record.target for record in path])
        return circuit

    def path(self, relays: list[Record], last: Record, length: int = PATH_RELAYS, turn: int = 0) -> list[Record]:
        """A guard, the first unless it is another's turn (CLIENT-27), middles drawn uniformly, and `last` (CLIENT-7)."""
        guards = self.able(self.guards, [last])
        path = [guards[turn % len(guards)], last]
        while len(path) < length:
            path.insert(-1, chance.choice(self.able(relays, path)))
        return path

    def path_to(self, relays: list[Record], given: Record) -> list[Record]:
        """A full path, and after it a relay that chance did not choose: a custodian."""
        return self.path(relays, given, PATH_RELAYS + 1)

    def able(self, relays: list[Record], path: list[Record]) -> list[Record]:
        able = [r for r in relays if all(may_share_a_path(r, other, self.network) for other in path)]
        if not able:
            raise Unavailable("CLIENT-9", f"no relay can stand in a path to {short(path[-1].relay)}")
        return able

    def close(self) -> None:
        for link in self.links.values():
            link.socket.close()


def fetch_set(calls: Calls, named: Statement, network: Network) -> SettledSet:
    """The set of a statement, page by page."""
    members: list[Member] = []
    while len(members) < named.count:
        cut, total, start, page = parse_page(calls.call(ask_page(named.cut, len(members))))
        if (cut, total, start) != (named.cut, named.count, len(members)) or not page:
            raise Unproven("DIR-28", f"a page of cut {cut} with {len(page)} members from {start} of {total}")
        members += page
    return settle(network, named, members)


def ask_for_statement(calls: Calls, of: Record, cut: int, network: Network) -> Statement:
    statement = parse_statement(calls.call(ask_statement(cut)))
    check_statement(statement, network, of.relay, of.identity, now())
    if cut and statement.cut != cut:
        raise OutOfRange("DIR-41", "a statement of another cut")
    return statement


def ask_directly(session: Session, seed: Record) -> Calls:
    """A circuit of one hop to a seed, and a stream to its directory."""
    return Calls(session.circuit([seed]), TO_DIRECTORY, session.network.profile.stream_window_bytes)


Votes = dict[bytes, list[tuple[Calls, Statement]]]


def ask_signer(session: Session, candidate: SettledSet, signer: Record, turn: int) -> tuple[Calls, Statement] | None:
    """One signer over a circuit of its own, again through another guard while it gives no answer (DIR-47, DIR-65)."""
    for again in range(SIGNER_TRIES):
        try:
            path = session.path(candidate.relays, signer, turn=turn + again)
            calls = Calls(session.circuit(path), TO_DIRECTORY, session.network.profile.stream_window_bytes)
            return calls, ask_for_statement(calls, signer, candidate.cut, session.network)
        except Refused as why:
            say(f"directory: signer {short(signer.relay)}: {why}")
    return None


def ask_witnesses(session: Session, candidate: SettledSet, signers: list[Record], votes: Votes) -> None:
    """Relays drawn by chance ask the signers for us; a statement that did not come is asked for again elsewhere (DIR-79, DIR-65)."""
    for turn in range(SIGNER_TRIES):
        batches = [signers[i : i + SIGNERS_PER_WITNESS] for i in range(0, len(signers), SIGNERS_PER_WITNESS)]
        signers = []
        for batch in batches:
            missing = {signer.relay: signer for signer in batch}
            try:
                path = session.path(candidate.relays, chance.choice(candidate.relays), turn=turn)
                calls = Calls(session.circuit(path), TO_DIRECTORY, session.network.profile.stream_window_bytes)
                for _ in range(WITNESS_ROUNDS):
                    for s in parse_witnessed(calls.call(ask_witness(candidate.cut, list(missing)))):
                        if s.cut == candidate.cut and (signer := missing.pop(s.relay, None)) is not None:
                            check_statement(s, session.network, s.relay, signer.identity, now())
                            votes[s.root].append((calls, s))
                    if not missing:
                        break
                    time.sleep(1.5)
            except Refused as why:
                say(f"directory: a witness: {why}")
            signers += missing.values()


def ask_signers(session: Session, candidate: SettledSet) -> tuple[Votes, int]:
    """The roots that drawn signers name, and how many were drawn: the silent are replaced by nobody (DIR-42, DIR-63, DIR-64)."""
    relays = len(candidate.relays)
    order = chance.sample(candidate.relays, min(SIGNERS_ESCALATED, relays))
    votes: Votes = defaultdict(list)
    asked = 0
    for wanted in (min(session.network.profile.signers_asked, relays), len(order)):
        if relays > session.network.profile.signers_asked:
            ask_witnesses(session, candidate, order[asked:wanted], votes)
            asked = wanted
        for turn, signer in enumerate(order[asked:wanted]):
            if (answer := ask_signer(session, candidate, signer, turn)) is not None:
                votes[answer[1].root].append(answer)
        asked = wanted
        if any(5 * len(named) > 3 * wanted for named in votes.values()):
            break
    return votes, asked


def check_seeds(session: Session, seeds: list[Record], source: Record, cut: int, source_root: bytes, root: bytes) -> None:  # DIR-48
    """More than half of the seeds that answer must name the root as well."""
    named = [source_root]
    for seed in seeds:
        if seed.relay != source.relay:
            try:
                named.append(ask_for_statement(ask_directly(session, seed), seed, cut, session.network).root)
            except Refused as why:
                say(f"directory: seed {short(seed.relay)}: {why}")
    if 2 * named.count(root) <= len(named):
        raise Unproven("DIR-48", f"{named.count(root)} of {len(named)} seeds name the root that the signers name")


def verified_set(session: Session, seeds: list[Record], source: Record) -> SettledSet:
    """A set from `source`, held against signers and the other seeds (10, *At a client*)."""
    calls = ask_directly(session, source)
    statement = ask_for_statement(calls, source, 0, session.network)
    candidate = fetch_set(calls, statement, session.network)
    calls.end()
    session.guards = chance.sample(candidate.relays, min(GUARDS_KEPT, len(candidate.relays)))  # CLIENT-30
    votes, wanted = ask_signers(session, candidate)
    root, named = max(votes.items(), key=lambda item: len(item[1]), default=(b"", []))
    if 5 * len(named) <= 3 * wanted:  # DIR-43
        raise Unproven("DIR-43", f"{len(named)} of {wanted} signers name one root")
    check_seeds(session, seeds, source, candidate.cut, candidate.root, root)
    say(f"directory: cut {candidate.cut}, {len(candidate.relays)} relays, {len(named)} of {wanted} signers name its root")
    if root != candidate.root:  # DIR-49
        candidate = fetch_set(named[0][0], named[0][1], session.network)
    for calls, _ in sum(votes.values(), []):
        calls.end()
    return candidate


def bootstrap(session: Session, seeds: list[Record]) -> SettledSet:
    """Tries sources in turn, with growing pauses; for ever in a node (DIR-45), and for some tries here."""
    pause = PAUSE_SECONDS
    failure: Refused = Unavailable("DIR-45", "no seed was tried")
    for _ in range(SOURCE_TRIES):
        source = chance.choice(seeds)
        try:
            return verified_set(session, seeds, source)
        except Refused as why:
            say(f"directory: source {short(source.relay)}: {why}")
            failure, session.guards = why, []  # CLIENT-10
        time.sleep(pause)
        pause = min(2 * pause, PAUSE_MAX_SECONDS)
    raise failure
