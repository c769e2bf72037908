"""Cases of page 10: records, invites, custodians, settled sets, statements."""

import blake3 as b3
from cases import case, flipped, put, seq
from sketch import difference, sketch
from umbel import *


def directory():
    secret, network = seq(32, 7), network_id("testing", seq(32))
    identity = ed_public(secret)
    published, lifetime = 1_800_000_000_000, 60
    work = find_work(network, identity, published)
    window_later = find_work(network, identity, published + WORK_WINDOW)
    v4, v6 = address("127.0.0.1", 9000), address("20010db8000000000000000000000001", 443)
    base = dict(secret=secret, network=network, work=work, published=published, lifetime=lifetime, link_key=seq(32, 1), onion_key=seq(32, 2),
                cipher=AES, flags=0, family=None, addresses=[v4])

    def make(**change):
        return descriptor(**(base | change))

    plain = make()
    full = make(cipher=CHACHA, flags=7, family=seq(32, 3), addresses=[v4, v6, address("127.0.0.1", 9001), address("127.0.0.2", 9000)])
    for name, d, cipher, exit_, store, count in [("plain", plain, AES, 0, 0, 1), ("full", full, CHACHA, 1, 1, 4)]:
        case("directory", "descriptor", name, "DIR-1 DIR-8 KEY-2", network=network, private="yes", members="no", descriptor=d, relay=relay_id(identity), published=published,
             lifetime=lifetime, cipher=cipher, exit=exit_, store=store, addresses=count)
    resigned = lambda body: body + sign(secret, "umbel 1 descriptor", body)
    body = plain[:-64]
    bad = [
        ("version_2", "DIR-1", "UnknownVersion", resigned(put(body, 0, b"\x02"))),
        ("unknown_flag", "DIR-2", "UnknownKind", resigned(put(body, 1, b"\x10"))),
        ("unknown_cipher", "DIR-2", "UnknownKind", resigned(put(body, 2, b"\x03"))),
        ("no_address", "DIR-3", "OutOfRange", make(addresses=[])),
        ("five_addresses", "DIR-3", "OutOfRange", make(addresses=[address("127.0.0.1", p) for p in range(1, 6)])),
        ("port_zero", "DIR-3", "OutOfRange", make(addresses=[address("127.0.0.1", 0)])),
        ("same_address_twice", "DIR-3", "NotCanonical", make(addresses=[v4, v4])),
        ("mapped_address", "DIR-3", "NotCanonical", make(addresses=[address("00000000000000000000ffff7f000001", 1)])),
        ("another_network", "DIR-4", "OtherNetwork", make(network=seq(32, 99))),
        ("lifetime_zero", "DIR-5", "Lifetime", make(lifetime=0)),
        ("lifetime_too_long", "DIR-5", "Lifetime", make(lifetime=61)),
        ("private_address", "DIR-6", "PrivateAddress", plain),
        ("no_work", "DIR-7 KEY-3", "Work", make(work=bytes(28))),
        ("work_of_another_window", "DIR-7 KEY-3", "Work", make(work=window_later)),
        ("signature_changed", "DIR-8", "Signature", flipped(plain, len(plain) - 1)),
        ("body_changed", "DIR-8", "Signature", flipped(plain, 120)),
        ("signed_for_another_purpose", "DIR-8 KEY-4", "Signature", body + sign(secret, "umbel 1 link auth", body)),
        ("cut", "ENC-1", "Truncated", plain[:-1]),
        ("longer", "ENC-2", "TrailingBytes", plain + b"\x00"),
    ]
    for name, spec, expect, raw in bad:
        rule = "no" if expect == "PrivateAddress" else "yes"
        case("directory", "descriptor", name, spec, expect, network=network, private=rule, members="no", descriptor=raw)
    member_cases(base, plain)
    text = invite("testing", seq(32), [plain, full])
    case("directory", "invite", "good", "INVITE-1 INVITE-2", profile="testing", genesis=seq(32), founders=b"", member=b"", checkpoint=b"", relays=2, invite=text.encode(), written=text.encode())
    changed = text.replace("profile testing", "profile testinh")
    checked = lambda lines: lines + f"check {id_text(b3.blake3(lines.encode()))}\n"
    lines = text[: text.index("check")]
    case("directory", "invite", "crlf", "INVITE-2", profile="testing", genesis=seq(32), founders=b"", member=b"", checkpoint=b"", relays=2, invite=text.replace("\n", "\r\n").encode(), written=text.encode())
    case("directory", "invite", "white_space_after_the_end", "INVITE-2", profile="testing", genesis=seq(32), founders=b"", member=b"", checkpoint=b"", relays=2, invite=(text + " \n\n").encode(), written=text.encode())
    case("directory", "invite", "no_line_end_at_the_end", "INVITE-2", profile="testing", genesis=seq(32), founders=b"", member=b"", checkpoint=b"", relays=2, invite=text[:-1].encode(), written=text.encode())
    for name, spec, expect, raw in [
        ("no_relay", "INVITE-1", "NoRelay", checked(lines[: lines.index("relay ")])),
        ("two_spaces", "INVITE-1", "Line", checked(lines.replace("genesis ", "genesis  "))),
        ("fields_in_another_order", "INVITE-1", "Line", checked("".join(lines.splitlines(True)[i] for i in (0, 2, 1, 3)))),
        ("unknown_field", "INVITE-1", "Line", checked(lines + "note x\n")),
        ("base64_without_padding", "INVITE-1", "Line", checked(lines.replace("=", ""))),
        ("sixty_five_relays", "INVITE-1", "TooLong", checked(lines + lines.splitlines(True)[3] * 63)),
        ("version", "INVITE-1", "UnknownVersion", text.replace("invite 2", "invite 1")),
        ("changed", "INVITE-2", "Changed", changed),
        ("cut", "INVITE-2", "CutOff", text[: text.index("check")]),
        ("cut_in_check", "INVITE-2", "CutOff", text[:-9]),
        ("not_one", "INVITE-1", "NotAnInvite", "hello\n"),
    ]:
        case("directory", "invite", name, spec, expect, invite=raw.encode())
    invite_cases(plain, checked)
    roll_cases()
    sets(network, base)


FOUNDERS, MEMBER = [seq(32, 60), seq(32, 61)], seq(32, 62)


def member_cases(base, plain):
    """Records of a network with founders, under the numbers of the profile `testing`."""
    network = network_id("testing", seq(32), map(ed_public, FOUNDERS))
    identity = ed_public(base["secret"])
    good = membership(seq(32), FOUNDERS, FOUNDERS[1], MEMBER, network, identity)
    work = find_work(network, identity, base["published"])

    def make(raw, **change):
        return descriptor(**(base | dict(network=network, work=work, flags=8, member=raw) | change))

    record = make(good)
    case("directory", "descriptor", "member", "INVITE-6 INVITE-5", network=network, private="yes", members="yes", descriptor=record, relay=relay_id(identity),
         published=base["published"], lifetime=base["lifetime"], cipher=AES, exit=0, store=0, addresses=1)
    swapped = good[:33] + good[65:97] + good[33:65] + good[97:]
    for name, spec, expect, members, raw in [
        ("no_member", "INVITE-6", "Membership", "yes", make(None, flags=0)),
        ("member_where_none_is_asked_for", "INVITE-6", "Membership", "no", record),
        ("member_of_other_founders", "INVITE-6", "Membership", "yes", make(membership(seq(32), FOUNDERS[:1], FOUNDERS[0], MEMBER, network, identity))),
        ("membership_of_another_relay", "INVITE-6", "Membership", "yes", make(membership(seq(32), FOUNDERS, FOUNDERS[1], MEMBER, network, seq(32, 1)))),
        ("signed_by_another_founder", "INVITE-6", "Membership", "yes", make(put(good, 97, bytes([1 - good[97]])))),
        ("founder_that_is_not_there", "INVITE-6", "Membership", "yes", make(put(good, 97, b"\x02"))),
        ("founder_s_signature_changed", "INVITE-6", "Membership", "yes", make(flipped(good, 140))),
        ("member_s_signature_changed", "INVITE-6", "Membership", "yes", make(flipped(good, len(good) - 1))),
        ("no_founder", "INVITE-5", "OutOfRange", "yes", make(put(good, 32, b"\x00"))),
        ("five_founders", "INVITE-5", "OutOfRange", "yes", make(put(good, 32, b"\x05"))),
        ("founders_out_of_order", "INVITE-5", "NotCanonical", "yes", make(swapped)),
        ("founder_twice", "INVITE-5", "NotCanonical", "yes", make(good[:65] + good[33:65] + good[97:])),
    ]:
        case("directory", "descriptor", name, spec, expect, network=network, private="yes", members=members, descriptor=raw)


def roll_cases():
    """Rolls, and what they come to at a cut of the profile `private`."""
    network, genesis = network_id("private", seq(32), map(ed_public, FOUNDERS)), seq(32)
    one, two, three = sorted([seq(32, 50), seq(32, 60), ed_public(MEMBER)])
    cut, margin = 1_800_000_000_000, 2_000
    make = lambda founder, written, *keys: roll(genesis, FOUNDERS, FOUNDERS[founder], network, written, keys)
    good = make(0, cut, one, three)
    case("directory", "roll", "of_two", "INVITE-9", network=network, roll=good, founder=charter_index(FOUNDERS, FOUNDERS[0]), written=cut, revoked=one + three)
    case("directory", "roll", "of_nobody", "INVITE-9", network=network, roll=make(1, cut), founder=charter_index(FOUNDERS, FOUNDERS[1]), written=cut, revoked=b"")
    longest = make(0, cut, *sorted(seq(28, 3) + u32(i) for i in range(400)))
    case("directory", "roll", "the_longest", "INVITE-10", network=network, roll=longest, founder=charter_index(FOUNDERS, FOUNDERS[0]), written=cut, revoked=longest[108:-64])
    strange = network_id("private", genesis, map(ed_public, FOUNDERS[:1]))
    for name, spec, expect, raw in [
        ("of_another_network", "INVITE-9", "Membership", roll(genesis, FOUNDERS[:1], FOUNDERS[0], strange, cut, [one])),
        ("of_another_founder", "INVITE-9", "Membership", put(good, 97, bytes([1 - good[97]]))),
        ("founder_that_is_not_there", "INVITE-9", "Membership", put(good, 97, b"\x02")),
        ("written_later", "INVITE-9", "Membership", flipped(good, 105)),
        ("key_changed", "INVITE-9", "Membership", flipped(good, len(good) - 65)),
        ("signed_as_a_member_key", "INVITE-9 KEY-4", "Membership", good[:-64] + sign(FOUNDERS[0], "umbel 1 member", network + good[97:-64])),
        ("keys_out_of_order", "INVITE-10", "NotCanonical", make(0, cut, three, one)),
        ("key_twice", "INVITE-10", "NotCanonical", make(0, cut, one, one)),
        ("of_401", "INVITE-10", "OutOfRange", make(0, cut, *sorted(seq(28, 3) + u32(i) for i in range(401)))),
        ("cut", "ENC-1", "Truncated", good[:-1]),
        ("longer", "ENC-2", "TrailingBytes", good + b"\x00"),
    ]:
        case("directory", "roll", name, spec, expect, network=network, roll=raw)
    lists = lambda rolls: b"".join(len16(r) for r in rolls)
    for name, rolls, keys in [
        ("newest_in_time", [make(0, cut - 9_000, one), make(0, cut - margin, one, two), make(0, cut - margin + 1, three)], [one, two]),
        ("of_both_founders", [make(0, cut - 9_000, one), make(1, cut - 8_000, two)], [one, two]),
        ("taken_back", [make(0, cut - 9_000, one), make(0, cut - 8_000)], []),
        ("none_in_time", [make(1, cut, one)], []),
    ]:
        case("directory", "revoked", name, "INVITE-11", network=network, cut=cut, rolls=lists(rolls), revoked=b"".join(sorted(keys)))


def invite_cases(plain, checked):
    """Invites with founders, a member key and a checkpoint."""
    network, public = network_id("testing", seq(32), map(ed_public, FOUNDERS)), sorted(map(ed_public, FOUNDERS))
    key, point = member_key(FOUNDERS, FOUNDERS[0], MEMBER, network), (1_800_000_000_000, seq(32, 9))
    told = dict(profile="testing", genesis=seq(32), founders=b"".join(public))
    text = invite("testing", seq(32), [], public, key, point)
    case("directory", "invite", "member", "INVITE-6 INVITE-5", **told, member=key, checkpoint=u64(point[0]) + point[1], relays=0, invite=text.encode(), written=text.encode())
    client = invite("testing", seq(32), [], public)
    case("directory", "invite", "founders_and_no_key", "INVITE-5", **told, member=b"", checkpoint=b"", relays=0, invite=client.encode(), written=client.encode())
    plainly = invite("testing", seq(32), [plain], checkpoint=point)
    case("directory", "invite", "checkpoint", "INVITE-1", profile="testing", genesis=seq(32), founders=b"", member=b"", checkpoint=u64(point[0]) + point[1], relays=1,
         invite=plainly.encode(), written=plainly.encode())
    lines = text.splitlines(True)
    body = lambda *order: checked("".join(lines[i] for i in order))
    stranger = member_key([MEMBER], MEMBER, seq(32, 63), network)
    for name, spec, expect, raw in [
        ("founders_out_of_order", "INVITE-5", "Line", body(0, 1, 2, 4, 3)),
        ("founder_twice", "INVITE-5", "Line", body(0, 1, 2, 3, 3)),
        ("five_founders", "INVITE-5", "Line", invite("testing", seq(32), [], [seq(32, i) for i in range(5)])),
        ("member_key_of_a_stranger", "INVITE-6", "Member", invite("testing", seq(32), [], public, stranger)),
        ("member_key_without_founders", "INVITE-6", "Member", body(0, 1, 2, 5)),
        ("member_key_too_short", "INVITE-6", "Line", invite("testing", seq(32), [], public, key[:-1])),
        ("checkpoint_before_the_key", "INVITE-1", "Line", body(0, 1, 2, 3, 4, 6, 5)),
        ("checkpoint_with_a_leading_zero", "INVITE-1", "Line", checked("".join(lines[:-1]).replace("checkpoint 1", "checkpoint 01"))),
        ("checkpoint_zero", "INVITE-1", "Line", checked("".join(lines[:-1]).replace("checkpoint 1800000000000", "checkpoint 0"))),
    ]:
        case("directory", "invite", name, spec, expect, invite=raw.encode())


def sets(network, base):
    """Settled sets, their roots and their statements, of relays with fixed keys under the profile `testing`."""
    cut, term = 1_800_000_000_000, 3_600_000

    def relay(i, published=cut - 5_000, lifetime=60, **change):
        secret = seq(32, i)
        work = find_work(network, ed_public(secret), published)
        record = descriptor(**(base | dict(secret=secret, work=work, published=published, lifetime=lifetime) | change))
        return relay_id(ed_public(secret)), published, lifetime * 1000, record

    all_of = sorted(relay(i) for i in range(20, 27))
    lists = lambda records: b"".join(len16(r) for r in records)
    beacon = dir_beacon(network, cut, term)
    named = lambda members: dict(network=network, cut=cut, beacon=beacon, members=lists(members))
    live = lambda r, since=cut - 9_000, samples=0b1101: member(r[3], since, samples)
    for n in (3, 4, 5, 7):
        records = [live(r) for r in all_of[:n]]
        case("directory", "set", f"of_{n}", "DIR-19 DIR-28", **named(records), root=dir_root(beacon, records))
    key, last = seq(32, 5), seq(32, 77)
    given_places = [dict(addresses=[address(f"10.{i % 5}.0.{i + 1}", 9000)], flags=4 if i % 4 == 1 else 0, family=seq(32, 3) if i % 4 == 1 else None) for i in range(16)]
    spread = sorted(relay(40 + i, **place) for i, place in enumerate(given_places))
    marks = {relay(40 + i)[0]: {i % 5} | ({"family"} if i % 4 == 1 else set()) for i in range(16)}
    drawn_by = dir_beacon(network, cut, term, last)
    for n in (3, 12):
        best = custodians(drawn_by, key, [(r[0], marks[r[0]]) for r in spread], n)
        case("directory", "custodians", f"best_{n}_of_sixteen", "DIR-20 DIR-22 DIR-84", network=network, cut=cut, last=last, beacon=drawn_by, key=key, locator=derive("umbel 1 block locator", key),
             records=lists(r[3] for r in spread), number=n, best=b"".join(best))
    sleeping = [live(r) for r in all_of[:4]] + [member(all_of[4][3], cut - 90_000, 0xFFFE, cut - 59_999)]
    case("directory", "set", "one_dormant", "DIR-19 DIR-28", **named(sleeping), root=dir_root(beacon, sleeping))
    records = [live(r) for r in all_of[:4]]
    over = live(relay(31, published=cut - 60_000))
    placed = lambda extra: [m for _, m in sorted((relay_id(m[37:69]), m) for m in records + [extra])]
    other = all_of[5]
    for name, expect, change in [
        ("out_of_order", "Misplaced", named([records[1], records[0]] + records[2:])),
        ("one_twice", "Misplaced", named(records[:1] + records)),
        ("since_after_the_cut", "Misplaced", named(placed(live(other, since=cut + 1)))),
        ("dormant_for_too_long", "Misplaced", named(placed(member(other[3], cut - 90_000, 1, cut - 60_000)))),
        ("dormant_before_it_was_a_member", "Misplaced", named(placed(member(other[3], cut - 9_000, 1, cut - 9_000)))),
        ("samples_without_a_leading_one", "OutOfRange", named(placed(live(other, samples=0)))),
        ("over_at_the_cut", "Misplaced", named(placed(over))),
        ("two_relays", "NoCut", named(records[:2])),
        ("two_live_relays", "NoCut", named(records[:2] + sleeping[4:])),
        ("not_a_cut", "NoCut", named(records) | dict(cut=cut + 1)),
    ]:
        case("directory", "set", name, "DIR-28", expect, **change)
    twins = [relay(20, published=cut - 4_000), relay(20, published=cut - 4_000, link_key=seq(32, 9))]
    given = all_of + twins + [relay(21, published=cut - 1), relay(22, published=cut - 3_000, lifetime=3), relay(23, published=cut - 9_000), relay(31, published=cut - 60_000)]
    wire = lambda members: [member(r[3], since, samples, dormant) for r, since, samples, dormant in members.values()]
    settled = lambda before, records, at: settle(before, records, at, 60_000, 3_600_000)
    first = settled(None, given, cut)
    spec = "DIR-18 DIR-19 DIR-20 DIR-54 DIR-55 DIR-56"
    fields = lambda members: dict(members=lists(wire(members)), root=dir_root(beacon, wire(members)))
    records_of = lambda given: lists([r[3] for r in given])
    case("directory", "settle", "over_twice_and_older", spec, network=network, cut=cut, records=records_of(given), beacon=beacon, **fields(first))
    # A minute later: relay 20 is there again, 24 retires, 28 is new, and the others' time is over.
    then = cut + 57_000
    later = [relay(20, published=then - 1_000), relay(24, published=then - 1_500, lifetime=1), relay(28, published=then - 2_000), relay(25, published=then - 3_000)]
    before = (cut, dir_root(beacon, wire(first)), first)
    second = settled(before, later + all_of, then)
    case("directory", "settle", "on_top_of_another", spec, network=network, cut=then, records=records_of(later + all_of), before=cut, old_members=lists(wire(first)), old_beacon=beacon,
         beacon=beacon, **fields(second))
    # And in the next term.
    last = cut - cut % term + term
    third = settled((then, dir_root(beacon, wire(second)), second), [relay(i, published=last - 1_000) for i in (20, 25, 28)], last)
    beacon_3 = dir_beacon(network, last, term, dir_root(beacon, wire(second)))
    case("directory", "settle", "in_the_next_term", spec, network=network, cut=last, records=records_of([relay(i, published=last - 1_000) for i in (20, 25, 28)]), before=then,
         old_members=lists(wire(second)), old_beacon=beacon, beacon=beacon_3, members=lists(wire(third)), root=dir_root(beacon_3, wire(third)))
    drawn = group(beacon, cut + 1_000, [r[0] for r in all_of], 5)
    secrets = {relay(i)[0]: seq(32, i) for i in range(20, 27)}
    item = record_hash(relay(28)[3])
    steps = b"".join(rung(secrets[member], network, cut + 1_000, item, place) for place, member in enumerate(drawn[:3]))
    case("directory", "group", "five_of_seven", "AGREE-1 AGREE-2", network=network, cut=cut, beacon=beacon, members=lists(wire(settled(None, all_of, cut))), next=cut + 1_000, drawn=b"".join(drawn),
         item=item, rungs=steps)
    step = lambda old, new, at, old_beacon, beacon, following: dict(
        network=network, before=at, old_members=lists(wire(old)), old_beacon=old_beacon, changes=changes(old, new), cut=following, beacon=beacon, members=lists(wire(new)),
        root=dir_root(beacon, wire(new)))  # fmt: skip
    case("directory", "changes", "of_a_minute", "DIR-80", **step(first, second, cut, beacon, beacon, then))
    case("directory", "changes", "over_a_term", "DIR-80", **step(second, third, then, beacon, beacon_3, last))
    good = changes(first, second)
    for name, expect, raw in [
        ("nothing", "Truncated", b""),
        ("one_byte_more", "TrailingBytes", good + b"\x00"),
        ("one_byte_less", "Truncated", good[:-1]),
        ("a_run_of_no_bytes", "OutOfRange", places([]) + places([]) + places([]) + places([0]) + u8(1) + u16(0) + u8(0) + u32(0)),
        ("places_beyond_all_numbers", "Truncated", u32(1) + u16(65535)),
    ]:
        case("directory", "changes", name, "DIR-80", expect, changes=raw)
    secret = seq(32, 7)
    identity = ed_public(secret)
    word = statement(secret, network, cut, dir_root(beacon, records), beacon, 4, seq(32, 3))
    for name, expect, raw in [
        ("good", "ok", word),
        ("cut_changed", "Unproven", flipped(word, 7)),
        ("signature_changed", "Unproven", flipped(word, len(word) - 1)),
        ("for_another_purpose", "Unproven", word[:-64] + sign(secret, "umbel 1 descriptor", network + word[:-64])),
        ("of_another_network", "Unproven", statement(secret, seq(32, 9), cut, dir_root(beacon, records), beacon, 4, seq(32, 3))),
        ("cut_off", "Truncated", word[:-1]),
        ("longer", "TrailingBytes", word + b"\x00"),
    ]:
        fields = dict(cut=cut, root=dir_root(beacon, records), beacon=beacon, count=4, relay=seq(32, 3)) if expect == "ok" else {}
        case("directory", "statement", name, "DIR-27", expect, network=network, identity=identity, statement=raw, **fields)


def sketches():
    tags = lambda n, by: [int.from_bytes(b3.blake3(u32(i) + u8(by))[:8], "big") for i in range(n)]
    row = lambda sums: b"".join(u64(t) + u32(c) + u16(n) for t, c, n in sums)
    listed = lambda found: b"".join(map(u64, sorted(found)))
    for name, held, salt, sums in [("of_nothing", [], 1, 3), ("of_one", tags(1, 1), 2**64 - 1, 40), ("of_many", tags(300, 2), 5, 64)]:
        case("sketch", "sums", name, "GOSSIP-1", salt=salt, tags=listed(held), sums=row(sketch(held, salt, sums)))
    common = tags(200, 3)
    for name, theirs, ours, sums in [("none", 0, 0, 1), ("one", 1, 0, 8), ("ours", 0, 5, 24), ("both", 20, 30, 100), ("too_few_sums", 20, 30, 40)]:
        theirs, ours = tags(theirs, 4), tags(ours, 5)
        found = difference(sketch(common + theirs, 9, sums), 9, common + ours)
        assert (found == (set(theirs), set(ours))) is (name != "too_few_sums"), name
        more = {} if found is None else dict(theirs=listed(theirs), ours=listed(ours))
        case("sketch", "difference", name, "GOSSIP-1", salt=9, held=listed(common + ours), sums=row(sketch(common + theirs, 9, sums)),
             found="yes" if found else "no", **more)
    # A sum that names the same record again and again is no sum of a sketch.
    one = sketch([5], 9, 1)
    assert difference(one * 64, 9, []) is None
    case("sketch", "difference", "one_again_and_again", "GOSSIP-1", salt=9, held=b"", sums=row(one * 64), found="no")
