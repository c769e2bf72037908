"""Cases of page 16: reports, endpoints, and who audits whom."""

from cases import case, flipped, put, seq
from umbel import *


def reports():
    secret, auditor = seq(32, 7), relay_id(ed_public(seq(32, 7)))
    entries = [u64(1) + u64(9) + u8(1), u64(2) + u64(5) + u8(0x21), u64(2) + u64(6) + u8(0x30)]
    head = u64(1_800_000_000_000) + seq(8, 40) + auditor

    def make(members=b"\xa0\x01", listed=entries, count=None, by=secret, purpose="umbel 1 audit report"):
        body = head + len8(members) + u8(len(listed) if count is None else count) + b"".join(listed)
        return body + sign(by, purpose, body)

    good = make()
    for name, raw, members, listed in [("good", good, b"\xa0\x01", entries), ("empty", make(b"", []), b"", []),
                                       ("fullest", make(b"\xff" * 32, [u64(i) + u64(i) + u8(15) for i in range(64)]), b"\xff" * 32, [u64(i) + u64(i) + u8(15) for i in range(64)])]:
        case("reports", "report", name, "ADM-2", identity=ed_public(secret), report=raw, cut=1_800_000_000_000, set=seq(8, 40), auditor=auditor, members=members,
             entries=b"".join(listed))
    for name, spec, expect, raw in [
        ("another_key", "ADM-2", "Unproven", make(by=seq(32, 8))), ("another_purpose", "ADM-2 KEY-4", "Unproven", make(purpose="umbel 1 descriptor")),
        ("cut_changed", "ADM-2", "Unproven", flipped(good, 7)), ("bit_changed", "ADM-2", "Unproven", flipped(good, 49)),
        ("zero_byte_at_the_end", "ADM-3", "NotCanonical", make(b"\xa0\x00")), ("bits_too_long", "ADM-3", "OutOfRange", make(b"\x01" * 33)),
        ("entries_out_of_order", "ADM-3", "NotCanonical", make(listed=entries[::-1])), ("entry_twice", "ADM-3", "NotCanonical", make(listed=entries[:1] * 2)),
        ("too_many_entries", "ADM-3", "OutOfRange", make(listed=[u64(i) + u64(i) + u8(1) for i in range(65)])),
        ("entry_says_nothing", "ADM-3", "OutOfRange", make(listed=[u64(1) + u64(1) + u8(0)])),
        ("reached_and_out_of_reach", "ADM-3", "OutOfRange", make(listed=[u64(1) + u64(1) + u8(0x11)])),
        ("cut", "ENC-1", "Truncated", good[:-1]), ("longer", "ENC-2", "TrailingBytes", good + b"\0"),
    ]:
        case("reports", "report", name, spec, expect, identity=ed_public(secret), report=raw)
    one, two = address("1.2.3.4", 9000), address("2a000000000000000000000000000001", 443)
    record = dict(secret=secret, network=seq(32, 1), work=bytes(28), published=5, lifetime=60, onion_key=seq(32, 2), cipher=AES, flags=0, family=None)
    for name, link_key, addresses in [("one_address", seq(32, 1), [one]), ("two_addresses", seq(32, 1), [one, two]), ("in_another_order", seq(32, 1), [two, one]), ("another_link_key", seq(32, 2), [one])]:
        case("reports", "endpoint", name, "ADM-1", descriptor=descriptor(link_key=link_key, addresses=addresses, **record),
             endpoint=endpoint(ed_public(secret), link_key, addresses))
