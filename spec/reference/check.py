"""Holds the client's readers against the vectors: what is right is accepted and gives what the case says, what is broken is refused with its class.

    python3 -B spec/reference/check.py

`write.py` made the cases from the formulas in `umbel.py`, and the readers read them back without it wherever that is possible.
"""

from __future__ import annotations

import ipaddress
import sys
from collections import Counter
from dataclasses import replace
from typing import Callable

import directory
import pages
import umbel
from circuit import Handshake, Hop, Target, open_onion, seal_onion
from content import NODE_FAN, ContentLink, check_address, leaf_content, node_addresses, open_root, parse_link, parse_manifest
from directory import (
    EXIT, KEEPS_CONTENT, PAGE, PROFILES, STATEMENT, WITNESS, WITNESSED, Network, answer_reader, ask_page, ask_statement, ask_witness,
    check_statement_signature, parse_member, parse_page, parse_record, parse_statement, parse_witnessed, read_statement, settled,
)
from errors import Refused, Unavailable, Unproven, Violation, Work
from fetch import GET, ask_block, block_of
from invite import parse_invite
from link import RECORDS_PER_KEY, Direction, Initiator, RecordReader
from vectors import VECTORS, Case, NotForAClient, read_cases, same
from wire import MARK_SIZE, CounterKey, Reader, id_from_text, is_signed, parse_cell, parse_text


def id_text(case: Case) -> None:
    same(id_from_text(case.text("text"), "id"), case.raw("id"))


def address(case: Case) -> None:
    same(umbel.is_public(ipaddress.ip_address(case.raw("address"))), case.text("public") == "yes")


def signature(case: Case) -> None:
    if not is_signed(case.raw("key"), case.text("purpose"), case.raw("message"), case.raw("signature")):
        raise Unproven("KEY-7", "the signature does not hold")


def cell(case: Case) -> None:
    found = parse_cell(case.raw("cell"))
    same((found.circuit, found.command), (case.number("circuit"), case.number("command")))


def text(case: Case) -> None:
    parse_text(bytes(MARK_SIZE) + case.raw("text"))


def reply(case: Case) -> None:
    cipher = case.number("cipher")
    to = Target(case.raw("relay"), umbel.x_public(case.raw("onion_secret")), cipher)
    hop = Handshake(case.raw("network"), to, case.number("position"), case.raw("x"), case.raw("dz")).finish(case.raw("reply"))
    for way, key in (("forward", hop.forward), ("backward", hop.backward)):
        same(key.seal(b"text"), CounterKey(cipher, case.raw(way)).seal(b"text"))


def hops_of(case: Case, cipher: int, counter: int) -> list[Hop]:
    def key(way: str, i: int) -> CounterKey:
        return CounterKey(cipher, case.raw(f"{way}_{i}"), counter)

    return [Hop(i, key("forward", i), key("backward", i)) for i in (1, 2, 3)]


def onion_path(case: Case) -> None:
    at, messages = case.number("hop"), case.raw("messages")
    hops = hops_of(case, case.number("cipher"), case.number("counter"))
    same(seal_onion(hops[:at], messages)[0], case.raw("forward_on_link_1"))
    hop, opened, _ = open_onion(hops, case.raw("backward_on_link_1"))
    same((hop.position, opened), (at, umbel.onion_text(at, messages)))


def onion_body(case: Case) -> None:
    if case.text("to") != "client":
        raise NotForAClient
    open_onion(hops_of(case, umbel.AES, 0), case.raw("body"))


def initiator(case: Case) -> Initiator:
    responder = umbel.x_public(case.raw("responder_secret"))
    return Initiator(case.raw("network"), responder, case.raw("initiator_ephemeral"), case.raw("initiator_kem_seed"), case.number("time") // 1000)


def link(case: Case) -> None:
    noise, cipher = initiator(case), case.number("cipher")
    same(noise.message_1, case.raw("message_1"))
    keys = noise.finish(case.raw("message_2"), cipher)
    same((keys.handshake_hash, keys.time), (case.raw("hash"), case.number("time")))
    there = RecordReader(Direction(cipher, keys.to_responder, keys.handshake_hash))
    sent = case.raw("record_1") + case.raw("record_2")
    found = [cell for at in range(0, len(sent), 7) for cell in there.feed(sent[at : at + 7])]
    same(found, [case.raw(f"cell_{i}") for i in (1, 2, 3)])
    later = Direction(cipher, keys.to_responder, keys.handshake_hash)
    for _ in range(RECORDS_PER_KEY):
        later.end_of_record()
    same(RecordReader(later).feed(case.raw("record_4097")), found[:1])
    back = RecordReader(Direction(cipher, keys.to_initiator, keys.handshake_hash))
    same(back.feed(case.raw("answer")), [umbel.cell(0, umbel.PADDING, b"")])


def link_received(case: Case) -> None:
    noise, cipher, to = initiator(case), case.number("cipher"), case.text("to")
    if to == "initiator":
        noise.finish(case.raw("bytes"), cipher)
    elif to == "open responder":  # records are read alike at both ends
        given = [case.raw(f"responder_{name}") for name in ("secret", "ephemeral", "kem_seed")]
        e, dz = case.raw("initiator_ephemeral"), case.raw("initiator_kem_seed")
        _, _, to_responder, _, h = umbel.link_handshake(case.raw("network"), given[0], e, dz, given[1], given[2], cipher, 0)
        RecordReader(Direction(cipher, to_responder, h)).feed(case.raw("bytes"))
    else:
        raise NotForAClient


def network_of(case: Case, private: bool = True, members: bool = False) -> Network:
    return Network(replace(PROFILES["testing"], private_relays=private, members_only=members), case.raw("network"))


def descriptor(case: Case) -> None:
    record = parse_record(case.raw("descriptor"), network_of(case, case.text("private") == "yes", case.text("members") == "yes"))
    same((record.relay, record.published, record.lifetime), (case.raw("relay"), case.number("published"), case.number("lifetime")))
    same((record.endpoint.cipher, len(record.endpoint.addresses)), (case.number("cipher"), case.number("addresses")))
    same([bool(record.flags & flag) for flag in (EXIT, KEEPS_CONTENT)], [case.number("exit") == 1, case.number("store") == 1])


def invite(case: Case) -> None:
    found = parse_invite(case.raw("invite"))
    same((found.network.profile.name, len(found.relays)), (case.text("profile"), case.number("relays")))
    same((b"".join(found.founders), found.member or b""), (case.raw("founders"), case.raw("member")))
    same(found.checkpoint, (int.from_bytes(case.raw("checkpoint")[:8], "big"), case.raw("checkpoint")[8:]) if case.raw("checkpoint") else None)
    same(found.network.id, umbel.network_id(case.text("profile"), case.raw("genesis"), case.ids("founders")))


def custodians(case: Case) -> None:
    network = network_of(case)
    now = umbel.dir_beacon(network.id, case.number("cut"), network.profile.term, case.raw("last"))
    same(now, case.raw("beacon"))
    able = [parse_record(record, network) for record in case.elements("records")]
    best = directory.custodians(now, case.raw("key"), able, case.number("number"))
    same([record.relay for record in best], case.ids("best"))
    same(ContentLink(case.raw("key"), b"").locator, case.raw("locator"))


def work(case: Case) -> None:
    numbers = (case.number("published"), case.raw("work"), case.number("bits"), case.number("effort"))
    if not umbel.is_work(case.raw("network"), case.raw("identity"), *numbers):
        raise Work("KEY-3", "it does not hold")


def settled_set(case: Case) -> None:
    members = [parse_member(Reader(m, "member")) for m in case.elements("members")]
    found = settled(network_of(case), case.number("cut"), case.raw("beacon"), members)
    same([record.raw for record in found.relays], [m.raw for m in members if not m.dormant])
    same(found.root, case.raw("root"))


def group(case: Case) -> None:
    members = [parse_member(Reader(m, "member")) for m in case.elements("members")]
    found, cut = settled(network_of(case), case.number("cut"), case.raw("beacon"), members), case.number("next")
    drawn = umbel.group(found.beacon, cut, [r.relay for r in found.relays], 5)
    same(drawn, case.ids("drawn"))
    rungs = case.raw("rungs")
    for at in range(0, len(rungs), 65):
        signed = found.network.id + umbel.u64(cut) + case.raw("item") + rungs[at : at + 1]
        same(is_signed(found.find(drawn[rungs[at]]).identity, "umbel 1 rung", signed, rungs[at + 1 : at + 65]), True)


def statement(case: Case) -> None:
    found = read_statement(Reader(case.raw("statement"), "statement"))
    check_statement_signature(found, network_of(case), case.raw("identity"))
    same((found.cut, found.count), (case.number("cut"), case.number("count")))
    same((found.root, found.beacon, found.relay), (case.raw("root"), case.raw("beacon"), case.raw("relay")))


def directory_request(case: Case) -> None:
    body = case.raw("body")
    if case.text("expect") != "ok":
        raise NotForAClient
    if body[:1] == umbel.u8(STATEMENT):
        same(ask_statement(case.number("cut")), body)
    elif body[:1] == umbel.u8(PAGE):
        same(ask_page(case.number("cut"), case.number("start")), body)
    elif body[:1] == umbel.u8(WITNESS):
        relays = case.raw("relays")
        same(ask_witness(case.number("cut"), [relays[i : i + 32] for i in range(0, len(relays), 32)]), body)
    else:
        raise NotForAClient


def directory_answer(case: Case) -> None:
    body = case.raw("body")
    if 1 <= body[0] <= 4 or body[0] in (10, 11, 12, 13, 16):
        raise NotForAClient
    if body[0] == PAGE:
        cut, total, start, members = parse_page(body)
        same((cut, total, start), (case.number("cut"), case.number("total"), case.number("start")))
        same([m.whole for m in members], case.elements("members"))
    elif body[0] == STATEMENT:
        parse_statement(body)
    elif body[0] == WITNESSED:
        same(len(parse_witnessed(body)) * 172, len(case.raw("statements")))
    else:
        answer_reader(body, STATEMENT)


def store_request(case: Case) -> None:
    body = case.raw("body")
    if body[:1] != umbel.u8(GET) or case.text("expect") != "ok":
        raise NotForAClient
    same(ask_block(case.raw("locator"), case.number("index")), body)


def store_answer(case: Case) -> None:
    body = case.raw("body")
    if body[0] in (1, 3, 4, 5):
        raise NotForAClient
    same(block_of(body), case.raw("block"))


def content_object(case: Case) -> None:
    key, data = case.raw("key"), case.raw("content")
    blocks = umbel.build(key, data, case.number("kind" if "kind" in case else "type"), case.text("mime"), case.text("name"), case.number("manifest"))
    link = ContentLink(case.raw("root"), key)
    check_address(blocks[0], link.root)
    root = open_root(blocks[0], link)
    found = root.inline
    for number, (block, leaf) in enumerate(zip(blocks[1:], case.ids("leaves"))):
        check_address(block, leaf)
        found += leaf_content(block, link, number, len(data) - len(found))
    same((found, root.meta.name, root.meta.mime), (data, case.text("name"), case.text("mime")))


def content_root(case: Case) -> None:
    check_address(case.raw("block"), case.raw("root"))
    open_root(case.raw("block"), ContentLink(case.raw("root"), case.raw("key")))


def content_node(case: Case) -> None:
    key, number, leaves = case.raw("key"), case.number("number"), case.ids("leaves")
    block = case.raw("block") if "block" in case else umbel.node_block(key, number, leaves)
    if "address" in case:
        check_address(block, case.raw("address"))
    same(node_addresses(block, ContentLink(b"", key), number, number * NODE_FAN + len(leaves)), leaves)


def manifest(case: Case) -> None:
    entries = parse_manifest(case.raw("manifest"), case.number("total"))
    same([entry.path.encode() for entry in entries], case.elements("paths"))
    same([entry.size for entry in entries], [int(size) for size in case.text("files").split()])


def content_link(case: Case) -> None:
    if case.text("text").lower().startswith("http://") and "link_root" in case:
        raise NotForAClient
    found = parse_link(case.text("text"))
    same((found, found.locator), (ContentLink(case.raw("link_root"), case.raw("link_key")), case.raw("locator")))


READERS: dict[str, Callable[[Case], None]] = {
    "addresses/address": address, "calls/directory_answer": directory_answer, "calls/directory_request": directory_request,
    "calls/store_answer": store_answer, "calls/store_request": store_request, "cells/cell": cell, "content/link": content_link,
    "content/manifest": manifest, "content/node": content_node, "content/object": content_object, "content/root": content_root,
    "directory/custodians": custodians, "directory/descriptor": descriptor, "directory/group": group, "directory/invite": invite, "directory/set": settled_set,
    "directory/statement": statement, "handshake/handshake": reply, "handshake/reply": reply, "ids/id_text": id_text, "ids/work": work, "link/link": link,
    "link/received": link_received, "messages/text": text, "onion/body": onion_body, "onion/path": onion_path, "signatures/signature": signature,
}  # fmt: skip


def judge(read: Callable[[Case], None], case: Case) -> str:
    """What a case came to: `held`, `left out`, or what is wrong."""
    expect = case.text("expect")
    try:
        read(case)
    except (NotForAClient, Violation):  # a message that is right, and not one that a client may be sent
        return "left out"
    except AssertionError as why:
        return str(why)
    except Unavailable:
        return "held" if expect == "ok" else f"{expect} was expected, and it was accepted"
    except Refused as why:
        return "held" if why.kind == expect else f"{expect} was expected, and it came to {why}"
    return "held" if expect == "ok" else f"{expect} was expected, and it was accepted"


def main() -> None:
    outcomes: Counter[str] = Counter()
    wrong = pages.streams() + pages.profiles()
    kinds: set[str] = set()
    for path in sorted(VECTORS.glob("*.txt")):
        for case in read_cases(path):
            kind = f"{path.stem}/{case.text('case').partition('/')[0]}"
            kinds.add(kind)
            outcome = judge(READERS[kind], case) if kind in READERS else "left out"
            outcomes[outcome] += 1
            if outcome not in ("held", "left out"):
                wrong.append(f"{path.name}, {case.text('case')}: {outcome}")
    wrong += [f"no vector is a {kind}" for kind in READERS.keys() - kinds]
    for line in wrong:
        print(line[:300], file=sys.stderr)
    if wrong:
        sys.exit("the readers differ from the vectors or the pages")
    print(f"readers: {outcomes['held']} cases hold, {outcomes['left out']} are not a client's affair")


if __name__ == "__main__":
    main()
