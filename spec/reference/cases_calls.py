"""Cases of calls: every request and answer of pages 10 and 11, and what is refused."""

from cases import case, seq
from umbel import *


RECORDS, NAMES, ID, BLOCK = [seq(200, 1), seq(199, 2)], b"".join(seq(32, 50 + i) for i in range(2)), seq(32, 9), seq(SMALL, 5)
TAGS = u64(7) + u64(2**64 - 1)
SUMS = b"".join(u64(70 + i) + u32(80 + i) + u16(65535 - i) for i in range(3))
STATED = seq(76 + 32 + 64, 3)
MEMBERS = [member(r, 1_799_999_000_000, 5, dormant) for r, dormant in zip(RECORDS, (0, 1_799_999_500_000))]
REPORTS = [u64(1_800_000_000_000) + seq(8) + ID + len8(bits) + u8(len(entries)) + b"".join(entries) + seq(64) for bits, entries in ((b"\xff\xe0", []), (b"", [seq(16) + u8(1)]))]
CLIMBING = [u8(1) + len16(RECORDS[0]) + u8(2) + u8(3) + seq(64, 1) + u8(5) + seq(64, 2), u8(1) + len16(RECORDS[1]) + u8(0), u8(2) + REPORTS[0] + u8(1) + u8(9) + seq(64, 3), u8(3) + STATED + STATED[::-1] + u8(0)]
LISTED = dict(records=b"".join(len16(r) for r in RECORDS))


def refused(kind, cases):
    for name, spec, expect, body in cases:
        case("calls", kind, name, spec, expect, body=body)


def calls():
    directory_requests()
    directory_answers()
    store_requests()
    store_answers()
ROLL_KEYS = u8(0) + u64(7) + u64(9) + u8(3) + u64(8) + u64(1)


def directory_requests():
    for name, body, fields in [
        ("put", u8(1) + record_list(RECORDS), LISTED),
        ("get", u8(2) + ID, dict(relay=ID)),
        ("announce", u8(3) + u16(2) + TAGS, dict(tags=TAGS)),
        ("fetch", u8(4) + u16(2) + TAGS, dict(tags=TAGS)),
        ("statement", u8(5) + u64(1_800_000_000_000), dict(cut=1_800_000_000_000)),
        ("page", u8(6) + u64(0) + u32(192), dict(cut=0, start=192)),
        ("changes", u8(8) + u64(1_800_000_000_000) + u32(60_000), dict(cut=1_800_000_000_000, start=60_000)),
        ("witness", u8(7) + u64(1_800_000_000_000) + u8(2) + ID + ID[::-1], dict(cut=1_800_000_000_000, relays=ID + ID[::-1])),
        ("climb", u8(9) + u64(1_800_000_000_000) + u8(4) + b"".join(CLIMBING), dict(cut=1_800_000_000_000, climbing=b"".join(len16(c) for c in CLIMBING))),
        ("tell", u8(10) + u8(2) + STATED + STATED, dict(statements=STATED + STATED)),
        ("sketch", u8(11) + u16(48) + u16(1024), {"from": 48, "count": 1024}),
        ("list", u8(12) + u64(2**64 - 1), {"from": 2**64 - 1}),
        ("report", u8(13) + u8(2) + b"".join(REPORTS), dict(reports=b"".join(map(len16, REPORTS)))),
        ("reports", u8(14) + u64(1_800_000_000_000) + u64(7) + len16(b"\xe0"), dict(cut=1_800_000_000_000, set=7, held=b"\xe0")),
        ("rolls", u8(16) + u8(2) + ROLL_KEYS + record_list(RECORDS), dict(have=ROLL_KEYS) | LISTED),
        ("rolls_of_nobody", u8(16) + u8(0) + u8(0), dict(have=b"", records=b"")),
    ]:
        case("calls", "directory_request", name, "DIR-12", body=body, **fields)
    refused("directory_request", [
        ("empty", "DIR-12", "Truncated", b""),
        ("kind_0", "DIR-12", "UnknownKind", u8(0)),
        ("kind_99", "DIR-12", "UnknownKind", u8(99)),
        ("climb_of_13", "DIR-12", "OutOfRange", u8(9) + u64(1) + u8(13) + (u8(1) + len16(b"x") + u8(0)) * 13),
        ("climb_with_65_rungs", "DIR-12", "OutOfRange", u8(9) + u64(1) + u8(1) + u8(1) + len16(b"x") + u8(65) + bytes(65 * 65)),
        ("climb_of_what_is_no_item", "DIR-12", "UnknownKind", u8(9) + u64(1) + u8(1) + u8(9) + len16(b"x") + u8(0)),
        ("tell_of_97", "DIR-12", "OutOfRange", u8(10) + u8(97) + STATED * 97),
        ("tell_cut", "DIR-12", "Truncated", u8(10) + u8(1) + STATED[:-1]),
        ("report_of_51", "DIR-12", "OutOfRange", u8(13) + u8(51) + REPORTS[0] * 51),
        ("reports_of_more_than_there_can_be", "DIR-12", "OutOfRange", u8(14) + u64(1) + u64(7) + len16(bytes(16_385))),
        ("put_of_129", "DIR-12", "OutOfRange", u8(1) + u8(129) + len16(b"x") * 129),
        ("put_of_a_long_record", "DIR-12", "OutOfRange", u8(1) + u8(1) + len16(seq(667))),
        ("get_cut", "DIR-12", "Truncated", u8(2) + ID[:31]),
        ("get_longer", "DIR-12", "TrailingBytes", u8(2) + ID + b"\x00"),
        ("announce_of_4097", "DIR-12", "OutOfRange", u8(3) + u16(4097)),
        ("announce_cut", "DIR-12", "Truncated", u8(3) + u16(2) + TAGS[:-1]),
        ("fetch_of_129", "DIR-12", "OutOfRange", u8(4) + u16(129) + u64(1) * 129),
        ("sketch_of_1025", "DIR-12", "OutOfRange", u8(11) + u16(0) + u16(1025)),
        ("list_longer", "DIR-12", "TrailingBytes", u8(12) + u64(1) + b"\x00"),
        ("statement_longer", "DIR-12", "TrailingBytes", u8(5) + u64(0) + b"\x00"),
        ("page_without_start", "DIR-12", "Truncated", u8(6) + u64(0)),
        ("witness_of_17", "DIR-12", "OutOfRange", u8(7) + u64(0) + u8(17) + ID * 17),
        ("changes_without_start", "DIR-12", "Truncated", u8(8) + u64(0)),
        ("rolls_of_five_founders", "INVITE-10", "OutOfRange", u8(16) + u8(5) + ROLL_KEYS[:17] * 5 + u8(0)),
        ("five_rolls", "INVITE-10", "OutOfRange", u8(16) + u8(0) + u8(5) + len16(b"x") * 5),
        ("a_long_roll", "INVITE-10", "OutOfRange", u8(16) + u8(0) + u8(1) + len16(bytes(13_037))),
        ("rolls_cut", "DIR-12", "Truncated", u8(16) + u8(2) + ROLL_KEYS[:33]),
        ("witness_cut", "DIR-12", "Truncated", u8(7) + u64(0) + u8(2) + ID + ID[:31]),
    ])


def directory_answers():
    for name, body, fields in [
        ("taken", u8(1) + u16(1) + u16(2) + u16(3), dict(new=1, held=2, refused=3)),
        ("record", u8(2) + len16(RECORDS[0]), dict(record=RECORDS[0])),
        ("wanted", u8(3) + u16(2) + b"\xa0\x80", dict(wanted=b"\xa0\x80")),
        ("items", u8(4) + record_list(RECORDS), LISTED),
        ("statement", u8(5) + STATED, dict(statement=STATED)),
        ("page", u8(6) + u64(1_800_000_000_000) + u32(900) + u32(192) + u8(2) + b"".join(MEMBERS), dict(cut=1_800_000_000_000, total=900, start=192, members=b"".join(len16(m) for m in MEMBERS))),
        ("unknown", u8(7) + u64(0), dict(newest=0)),
        ("refused_malformed", u8(8) + u8(1), dict(reason=1)),
        ("refused_busy", u8(8) + u8(2), dict(reason=2)),
        ("reports", u8(13) + u8(2) + b"".join(REPORTS), dict(reports=b"".join(map(len16, REPORTS)))),
        ("changes", u8(10) + u64(1_800_000_000_000) + seq(32) + u32(60_007) + u32(60_000) + seq(7), dict(cut=1_800_000_000_000, beacon=seq(32), total=60_007, start=60_000, changes=seq(7))),
        ("witnessed", u8(9) + u8(2) + STATED + STATED, dict(statements=STATED + STATED)),
        ("witnessed_nothing", u8(9) + u8(0), dict(statements=b"")),
        ("sums", u8(11) + u64(5) + u32(9) + u16(48) + u16(3) + SUMS, {"salt": 5, "items": 9, "from": 48, "sums": SUMS}),
        ("listed", u8(12) + u8(1) + u16(2) + TAGS, dict(more=1, tags=TAGS)),
        ("rolls", u8(16) + record_list(RECORDS), LISTED),
    ]:
        case("calls", "directory_answer", name, "DIR-12", body=body, **fields)
    refused("directory_answer", [
        ("kind_99", "DIR-12", "UnknownKind", u8(99)),
        ("more_is_2", "DIR-12", "OutOfRange", u8(12) + u8(2) + u16(0)),
        ("items_of_129", "DIR-12", "OutOfRange", u8(4) + u8(129) + len16(b"x") * 129),
        ("wanted_of_513", "DIR-12", "OutOfRange", u8(3) + u16(513) + seq(513)),
        ("sums_of_1025", "DIR-12", "OutOfRange", u8(11) + u64(5) + u32(9) + u16(0) + u16(1025)),
        ("sums_cut", "DIR-12", "Truncated", u8(11) + u64(5) + u32(9) + u16(0) + u16(3) + SUMS[:-1]),
        ("reports_of_51", "DIR-12", "OutOfRange", u8(13) + u8(51) + REPORTS[0] * 51),
        ("page_of_183", "DIR-12", "OutOfRange", u8(6) + u64(1) + u32(193) + u32(0) + u8(183) + member(b"x", 1, 1) * 183),
        ("member_cut", "DIR-12", "Truncated", u8(6) + u64(1) + u32(1) + u32(0) + u8(1) + MEMBERS[0][:-1]),
        ("reason_3", "DIR-12", "UnknownKind", u8(8) + u8(3)),
        ("record_without_length", "DIR-12", "Truncated", u8(2) + RECORDS[0]),
        ("taken_cut", "DIR-12", "Truncated", u8(1) + u16(1) + u16(2)),
        ("wanted_longer", "DIR-12", "TrailingBytes", u8(3) + u16(1) + seq(2)),
        ("statement_cut", "DIR-12", "Truncated", u8(5) + STATED[:-1]),
        ("witnessed_17", "DIR-12", "OutOfRange", u8(9) + u8(17) + STATED * 17),
        ("changes_of_60001", "DIR-12", "OutOfRange", u8(10) + u64(1) + seq(32) + u32(60_001) + u32(0) + bytes(60_001)),
        ("five_rolls", "INVITE-10", "OutOfRange", u8(16) + u8(5) + len16(b"x") * 5),
        ("unknown_longer", "DIR-12", "TrailingBytes", u8(7) + u64(0) + b"\x00"),
    ])


def store_requests():
    for name, body, fields in [
        ("status", u8(1) + ID, dict(locator=ID)),
        ("get", u8(2) + ID + u32(3), dict(locator=ID, index=3)),
        ("put_root", u8(3) + u32(3600) + BLOCK, dict(lease=3600, block=BLOCK)),
        ("name", u8(4) + ID + u32(9) + u32(1) + NAMES, dict(locator=ID, blocks=9, **{"from": 1}, names=NAMES)),
        ("put", u8(5) + ID + u32(2) + BLOCK, dict(locator=ID, index=2, block=BLOCK)),
        ("missing", u8(6) + ID, dict(locator=ID)),
        ("names", u8(7) + ID + u32(1), dict(locator=ID, **{"from": 1})),
        ("replicate", u8(8) + ID, dict(locator=ID)),
    ]:
        case("calls", "store_request", name, "CONT-19", body=body, **fields)
    refused("store_request", [
        ("kind_9", "CONT-19", "UnknownKind", u8(9) + ID),
        ("get_index_16399", "CONT-19", "OutOfRange", u8(2) + ID + u32(16399)),
        ("put_of_no_size", "CONT-19 CONT-6", "OutOfRange", u8(5) + ID + u32(2) + BLOCK[1:]),
        ("name_from_0", "CONT-19", "OutOfRange", u8(4) + ID + u32(9) + u32(0) + NAMES),
        ("name_past_the_end", "CONT-19", "OutOfRange", u8(4) + ID + u32(2) + u32(1) + NAMES),
        ("name_of_none", "CONT-19", "OutOfRange", u8(4) + ID + u32(9) + u32(1)),
        ("name_cut", "CONT-19", "TrailingBytes", u8(4) + ID + u32(9) + u32(1) + NAMES[:-1]),
        ("status_cut", "CONT-19", "Truncated", u8(1) + ID[:31]),
        ("put_root_of_no_size", "CONT-19 CONT-6", "OutOfRange", u8(3) + u32(3600) + BLOCK[1:]),
        ("missing_longer", "CONT-19", "TrailingBytes", u8(6) + ID + b"\x00"),
        ("names_from_16399", "CONT-19", "OutOfRange", u8(7) + ID + u32(16399)),
        ("replicate_longer", "CONT-19", "TrailingBytes", u8(8) + ID + b"\x00"),
        ("name_of_2001", "CONT-19", "OutOfRange", u8(4) + ID + u32(16399) + u32(1) + bytes(32 * 2001)),
    ])


def store_answers():
    status = lambda kind, blocks, held, copies=3, pending=2: u8(1) + u8(kind) + u32(blocks) + u32(held) + u64(1_800_000_000_000) + u32(250) + u16(copies) + u16(pending)
    for name, body, fields in [
        ("status", status(2, 9, 9), dict({"class": 2}, blocks=9, held=9, expires=1_800_000_000_000, idle=250, copies=3, pending=2)),
        ("status_unnamed", status(2, 0, 1, 0, 0), dict({"class": 2}, blocks=0, held=1, expires=1_800_000_000_000, idle=250, copies=0, pending=0)),
        ("block", u8(2) + BLOCK, dict(block=BLOCK)),
        ("stored", u8(3), {}),
        ("missing", u8(4) + u32(11) + b"\x81\x04", dict(blocks=11, missing="0 7 10")),
        ("names", u8(5) + u32(9) + u32(1) + NAMES, dict(blocks=9, **{"from": 1}, names=NAMES)),
        ("names_past_the_last", u8(5) + u32(9) + u32(9), dict(blocks=9, **{"from": 9}, names=b"")),
    ] + [(f"refused_{n}", u8(n), dict(refusal=n)) for n in range(128, 136)]:
        case("calls", "store_answer", name, "CONT-19", body=body, **fields)
    refused("store_answer", [
        ("kind_6", "CONT-19", "UnknownKind", u8(6)),
        ("refusal_136", "CONT-19", "UnknownKind", u8(136)),
        ("class_3", "CONT-19", "UnknownKind", status(3, 9, 8)),
        ("held_above_blocks", "CONT-19", "OutOfRange", status(2, 9, 10)),
        ("missing_of_too_many", "CONT-19", "OutOfRange", u8(4) + u32(16400) + bytes(2050)),
        ("missing_with_spare_bits", "CONT-19", "NonZeroPadding", u8(4) + u32(3) + b"\x08"),
        ("stored_longer", "CONT-19", "TrailingBytes", u8(3) + b"\x00"),
        ("block_of_no_size", "CONT-19 CONT-6", "OutOfRange", u8(2) + BLOCK[1:]),
        ("names_from_0", "CONT-19", "OutOfRange", u8(5) + u32(9) + u32(0) + NAMES),
        ("refused_longer", "CONT-19", "TrailingBytes", u8(128) + b"\x00"),
    ])
