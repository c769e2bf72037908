"""Writes spec/vectors: `python3 spec/reference/write.py`. With --check it compares and writes nothing."""

import sys
from pathlib import Path

import blake3 as b3
import mlkem
from umbel import *

HERE = Path(__file__).resolve().parent
VECTORS = HERE.parent / "vectors"
files = {}


def hexed(x):
    """Hex; `00x40` is forty bytes of `00`, `05+40` forty bytes that count up from `05`."""
    out, plain, i = [], bytearray(), 0
    while i < len(x):
        for step, mark in ((0, "x"), (1, "+")):
            n = 1
            while i + n < len(x) and x[i + n] == (x[i + n - 1] + step) % 256:
                n += 1
            if n >= 16:
                if plain:
                    out.append(plain.hex())
                out.append(f"{x[i]:02x}{mark}{n}")
                plain, i = bytearray(), i + n
                break
        else:
            plain.append(x[i])
            i += 1
    return " ".join(out + ([plain.hex()] if plain else []))


def case(file, name, spec, expect="ok", /, **fields):
    lines = [f"case: {name}", f"spec: {spec}", f"expect: {expect}"]
    for key, value in fields.items():
        lines.append(f"{key}: {hexed(value) if isinstance(value, bytes) else value}".rstrip())
    files.setdefault(file, []).append("\n".join(lines))


def seq(n, start=0):
    """Bytes that count up, so that a misplaced field shows."""
    return bytes((start + i) % 256 for i in range(n))


def flipped(x, at, mask=1):
    return x[:at] + bytes([x[at] ^ mask]) + x[at + 1 :]


def put(x, at, new):
    return x[:at] + new + x[at + len(new) :]


def cells():
    good = {
        "padding": (0, PADDING, b"", "CELL-1 CELL-4"),
        "create": (1, CREATE, seq(1250, 1), "CELL-6"),
        "created": (0x01020304, CREATED, seq(1153, 2), "CELL-6"),
        "relay": (0xFFFFFFFF, RELAY, seq(1400, 3), "CELL-6"),
        "destroy": (7, DESTROY, b"", "CELL-6"),
        "destroy_with_reason": (7, DESTROY, b"\x05", "CELL-6"),
        "authenticate": (0, AUTHENTICATE, seq(64) + len16(seq(200, 9)), "CELL-6"),
        "authenticate_longest": (0, AUTHENTICATE, seq(64) + len16(seq(1334, 9)), "CELL-6"),
    }
    for name, (circuit, command, body, spec) in good.items():
        case("cells", name, spec, circuit=circuit, command=command, cell=cell(circuit, command, body))
    bad = [
        ("unknown_command", "CELL-2", "UnknownKind", cell(1, 6, b"")),
        ("unknown_command_255", "CELL-2", "UnknownKind", cell(1, 255, b"")),
        ("reserved_first", "CELL-3", "NonZeroPadding", put(cell(1, DESTROY, b""), 5, b"\x01")),
        ("reserved_last", "CELL-3", "NonZeroPadding", put(cell(1, RELAY, seq(1400)), 7, b"\x80")),
        ("create_on_circuit_0", "CELL-4", "OutOfRange", cell(0, CREATE, seq(1250))),
        ("created_on_circuit_0", "CELL-4", "OutOfRange", cell(0, CREATED, seq(1153))),
        ("relay_on_circuit_0", "CELL-4", "OutOfRange", cell(0, RELAY, seq(1400))),
        ("destroy_on_circuit_0", "CELL-4", "OutOfRange", cell(0, DESTROY, b"")),
        ("padding_on_a_circuit", "CELL-4", "OutOfRange", cell(1, PADDING, b"")),
        ("authenticate_on_a_circuit", "CELL-4", "OutOfRange", cell(1, AUTHENTICATE, seq(64) + len16(b"x"))),
        ("padding_first_byte", "CELL-5", "NonZeroPadding", cell(0, PADDING, b"\x01")),
        ("padding_last_byte", "CELL-5", "NonZeroPadding", cell(0, PADDING, bytes(1399) + b"\x01")),
        ("create_behind_request", "CELL-5", "NonZeroPadding", cell(1, CREATE, seq(1250) + b"\x01")),
        ("created_behind_reply", "CELL-5", "NonZeroPadding", cell(1, CREATED, seq(1153) + b"\x01")),
        ("destroy_behind_reason", "CELL-5", "NonZeroPadding", cell(1, DESTROY, b"\x00\x01")),
        ("authenticate_behind", "CELL-5", "NonZeroPadding", cell(0, AUTHENTICATE, seq(64) + len16(b"xy") + b"\x01")),
        ("authenticate_too_long", "ENC-1", "Truncated", cell(0, AUTHENTICATE, seq(64) + u16(1335) + seq(1334))),
    ]
    for name, spec, expect, raw in bad:
        case("cells", name, spec, expect, cell=raw)


def messages():
    host = u8(1) + len8(b"example.org") + u16(443)
    good = {
        "extend": message(EXTEND, 0, seq(32) + seq(1250, 7)),
        "extended": message(EXTENDED, 0, seq(1153, 8)),
        "extend_failed": b"".join(message(EXTEND_FAILED, 0, u8(n)) for n in range(1, 5)),
        "begin_host": message(BEGIN, 1, host + b"GET /"),
        "begin_host_longest": message(BEGIN, 1, u8(1) + len8(b"a" * 255) + u16(1)),
        "begin_ipv4": message(BEGIN, 2, u8(2) + bytes([1, 2, 3, 4]) + u16(80)),
        "begin_ipv6": message(BEGIN, 3, u8(3) + seq(16) + u16(80) + b"data"),
        "begin_directory_and_store": message(BEGIN, 4, u8(4)) + message(BEGIN, 5, u8(5) + b"call"),
        "several": message(ACK, 0, seq(16)) + message(CONNECTED, 65535) + message(DATA, 1, b"x") + message(END, 1, u8(0)),
        "ends": b"".join(message(END, 1, u8(n)) for n in range(9)),
        "credit": message(CREDIT, 9, u32(1)) + message(CREDIT, 9, u32(0xFFFFFFFF)),
        "resolve": message(RESOLVE, 9, len8(b"example.org")),
        "resolved": message(RESOLVED, 9, u8(2) + u8(4) + seq(4) + u8(6) + seq(16)) + message(RESOLVED, 8, u8(0)),
        "data_fills_a_text": message(DATA, 1, seq(1339)),
    }
    for name, text in good.items():
        room = 1376 if name in ("extend",) else 1344
        case("messages", name, "CELL-6 CELL-10", text=padded(text, room))
    bad = [
        ("nothing", "CELL-8", "Truncated", b""),
        ("dirt_behind_the_end", "CELL-7", "NonZeroPadding", padded(message(CONNECTED, 1), 1343) + b"\x01"),
        ("dirt_behind_a_zero_command", "CELL-7", "NonZeroPadding", message(CONNECTED, 1) + b"\x00\x05"),
        ("extend_too_short", "CELL-9", "Truncated", message(EXTEND, 0, seq(1281))),
        ("extended_too_long", "CELL-9", "TrailingBytes", message(EXTENDED, 0, seq(1154))),
        ("extend_failed_too_long", "CELL-9", "TrailingBytes", message(EXTEND_FAILED, 0, b"\x01\x01")),
        ("connected_with_a_body", "CELL-9", "TrailingBytes", message(CONNECTED, 1, b"x")),
        ("end_without_reason", "CELL-9", "Truncated", message(END, 1)),
        ("end_too_long", "CELL-9", "TrailingBytes", message(END, 1, b"\x00\x00")),
        ("credit_too_short", "CELL-9", "Truncated", message(CREDIT, 1, b"\x00\x00\x01")),
        ("ack_too_short", "CELL-9", "Truncated", message(ACK, 0, seq(15))),
        ("ack_too_long", "CELL-9", "TrailingBytes", message(ACK, 0, seq(17))),
        ("resolve_behind_name", "CELL-9", "TrailingBytes", message(RESOLVE, 1, len8(b"a") + b"b")),
        ("resolved_with_fewer", "CELL-9", "Truncated", message(RESOLVED, 1, u8(2) + u8(4) + seq(4))),
        ("begin_cut_in_target", "CELL-9", "Truncated", message(BEGIN, 1, host[:-1])),
        ("length_past_the_end", "ENC-1", "Truncated", u8(DATA) + u16(1) + u16(2000) + seq(1339)),
        ("header_cut", "ENC-1", "Truncated", message(CONNECTED, 1) + b"\x06\x00"),
        ("data_on_the_circuit", "CELL-10", "OutOfRange", message(DATA, 0, b"x")),
        ("begin_on_the_circuit", "CELL-10", "OutOfRange", message(BEGIN, 0, u8(4))),
        ("ack_on_a_stream", "CELL-10", "OutOfRange", message(ACK, 1, seq(16))),
        ("extend_failed_on_a_stream", "CELL-10", "OutOfRange", message(EXTEND_FAILED, 1, b"\x01")),
        ("host_empty", "CELL-11", "BadText", message(BEGIN, 1, u8(1) + len8(b"") + u16(1))),
        ("host_with_a_space", "CELL-11", "BadText", message(BEGIN, 1, u8(1) + len8(b"a b") + u16(1))),
        ("host_with_high_byte", "CELL-11", "BadText", message(RESOLVE, 1, len8(b"a\xc3\xa9"))),
        ("host_with_control_byte", "CELL-11", "BadText", message(RESOLVE, 1, len8(b"a\r\nb"))),
        ("unknown_message", "CELL-12", "UnknownKind", message(12, 1)),
        ("unknown_target", "CELL-12", "UnknownKind", message(BEGIN, 1, u8(6))),
        ("unknown_family", "CELL-12", "UnknownKind", message(RESOLVED, 1, u8(1) + u8(5) + seq(4))),
        ("unknown_end_reason", "CELL-12", "OutOfRange", message(END, 1, u8(9))),
        ("unknown_failure", "CELL-12", "OutOfRange", message(EXTEND_FAILED, 0, u8(5))),
        ("failure_zero", "CELL-12", "OutOfRange", message(EXTEND_FAILED, 0, u8(0))),
        ("credit_of_nothing", "CELL-13", "OutOfRange", message(CREDIT, 1, u32(0))),
        ("data_without_bytes", "CELL-13", "Truncated", message(DATA, 1)),
        ("resolved_with_nine", "CELL-13", "OutOfRange", message(RESOLVED, 1, u8(9) + (u8(4) + seq(4)) * 9)),
    ]
    for name, spec, expect, text in bad:
        fits = len(text) > 1300 or name in ("nothing", "header_cut", "dirt_behind_a_zero_command")
        case("messages", name, spec, expect, text=bytes(40) if name == "nothing" else text if fits else padded(text, len(text) + 20))


def handshake():
    network, relay = seq(32, 1), seq(32, 0x40)
    b, x, dz, y, m = seq(32, 0x80), seq(32, 0xA0), seq(64, 0x10), seq(32, 0xC0), seq(32, 0xE0)
    made = {}
    for position, cipher in [(1, AES), (6, CHACHA)]:
        request, _ = hs_request(position, x_public(b), x, dz)
        reply, forward, backward = hs_respond(network, relay, cipher, b, request, y, m)
        made[position] = (request, reply)
        case("handshake", f"position_{position}", "HS-3", network=network, relay=relay, cipher=cipher, position=position,
             onion_secret=b, x=x, dz=dz, y=y, m=m, request=request, reply=reply, forward=forward, backward=backward)
    request, reply = made[1]
    low, big = bytes(32), b"\xff" * 3
    common = dict(network=network, relay=relay, cipher=AES, onion_secret=b)
    bad_requests = [
        ("request_kind_0", "HS-1", "UnknownKind", put(request, 0, b"\x00")),
        ("request_kind_2", "HS-1", "UnknownKind", put(request, 0, b"\x02")),
        ("position_0", "HS-2", "OutOfRange", put(request, 1, b"\x00")),
        ("position_7", "HS-2", "OutOfRange", put(request, 1, b"\x07")),
        ("another_onion_key", "HS-4", "WrongOnionKey", flipped(request, 2)),
        ("share_of_low_order", "HS-5", "BadPublicKey", put(request, 34, low)),
        ("kem_key_over_the_modulus", "HS-5", "BadPublicKey", put(request, 66, big)),
    ]
    for name, spec, expect, raw in bad_requests:
        case("handshake", name, spec, expect, request=raw, y=y, m=m, **common)
    bad_replies = [
        ("reply_kind_2", "HS-1", "UnknownKind", put(reply, 0, b"\x02")),
        ("reply_share_of_low_order", "HS-5", "BadPublicKey", put(reply, 1, low)),
        ("reply_share_changed", "HS-6", "BadAuthenticator", flipped(reply, 1)),
        ("reply_ciphertext_changed", "HS-6", "BadAuthenticator", flipped(reply, 33)),
        ("authenticator_changed", "HS-6", "BadAuthenticator", flipped(reply, 1152)),
    ]
    for other, what in [((seq(32, 2), relay, AES), "network"), ((network, seq(32, 0x41), AES), "relay"), ((network, relay, CHACHA), "cipher")]:
        wrong, _, _ = hs_respond(*other, b, request, y, m)
        bad_replies.append((f"another_{what}", "HS-3 HS-6", "BadAuthenticator", wrong))
    for name, spec, expect, raw in bad_replies:
        case("handshake", name, spec, expect, reply=raw, x=x, dz=dz, position=1, **common)


def onion():
    def layers(cipher, counter):
        return [Layer(i, cipher, seq(32, 10 * i), seq(32, 100 + 10 * i), counter) for i in (1, 2, 3)]

    text = message(DATA, 5, b"hello") + message(END, 5, u8(0))
    keys = {f"forward_{i}": seq(32, 10 * i) for i in (1, 2, 3)} | {f"backward_{i}": seq(32, 100 + 10 * i) for i in (1, 2, 3)}
    for cipher in (AES, CHACHA):
        for hop, counter in [(1, 0), (3, 0), (3, 258)]:
            out = forward_bodies(layers(cipher, counter), hop, text)
            back = backward_bodies(layers(cipher, counter), hop, text)
            links = {f"forward_on_link_{i + 1}": x for i, x in enumerate(out)} | {f"backward_on_link_{hop - i}": x for i, x in enumerate(back)}
            case("onion", f"cipher_{cipher}_hop_{hop}_counter_{counter}", "ONION-1 ONION-2 ONION-6 KEY-5", cipher=cipher, hop=hop, counter=counter,
                 messages=text, **keys, **links)
    out = forward_bodies(layers(AES, 0), 3, text)
    back = backward_bodies(layers(AES, 0), 3, text)
    second = layers(AES, 0)
    forward_bodies(second, 3, text)
    replay_gap = forward_bodies(second, 3, text)[0]
    for_two = forward_bodies(layers(AES, 0), 2, text)
    relay_cases = [
        ("forward_changed_first_byte", "ONION-4", "BadTag", 2, flipped(out[1], 0)),
        ("forward_changed_last_covered_byte", "ONION-4", "BadTag", 2, flipped(out[1], 1367)),
        ("forward_changed_tag", "ONION-4", "BadTag", 2, flipped(out[1], 1383)),
        ("forward_dirty_tail_first", "ONION-3", "DirtyTail", 2, flipped(out[1], 1384)),
        ("forward_dirty_tail_last", "ONION-3", "DirtyTail", 2, flipped(out[1], 1399, 0x80)),
        ("forward_second_cell_first", "ONION-4", "BadTag", 1, replay_gap),
        ("forward_tag_of_hop_1_left", "ONION-3 ONION-5", "DirtyTail", 2, put(out[1], 1384, out[0][1384:])),
        ("forward_for_a_hop_that_is_not_there", "ONION-9", "BehindLastHop", 1, for_two[0]),
    ]
    for name, spec, expect, position, body in relay_cases:
        case("onion", name, spec, expect, to=f"relay {position}", direction="forward", **keys, body=body)
    for name, body in [("own_tag_place", flipped(back[0], 1368)), ("last_byte", flipped(back[0], 1399))]:
        case("onion", f"backward_dirty_{name}", "ONION-7", "DirtyTail", to="relay 2", direction="backward", **keys, body=body)
    nobody = layers(AES, 0)
    noise = padded(seq(1352, 1), 1400)
    for layer in reversed(nobody):
        noise = padded(layer.backward.seal(noise[: layer.n]), 1400)
    client_cases = [
        ("client_changed_first_byte", "ONION-8", "BadTag", flipped(back[2], 0)),
        ("client_changed_tag", "ONION-8", "BadTag", flipped(back[2], 1399)),
        ("client_marked_by_hop_1", "ONION-8", "BadTag", flipped(back[2], 700)),
        ("client_from_nobody", "ONION-8", "FromNobody", noise),
    ]
    for name, spec, expect, body in client_cases:
        case("onion", name, spec, expect, to="client", direction="backward", **keys, body=body)


def link():
    network, responder = seq(32, 1), seq(32, 0x80)
    e, dz, re_, m = seq(32, 0xA0), seq(64, 0x10), seq(32, 0xC0), seq(32, 0xE0)
    time = 1_800_000_000_123
    given = dict(network=network, responder_secret=responder, initiator_ephemeral=e, initiator_kem_seed=dz, responder_ephemeral=re_, responder_kem_seed=m)
    some = [cell(i + 1, RELAY, seq(1400, i)) for i in range(3)]
    for cipher in (AES, CHACHA):
        one, two, to_r, to_i, h = link_handshake(network, responder, e, dz, re_, m, cipher, time)
        out, back = CounterKey(cipher, to_r), CounterKey(cipher, to_i)
        first, second, answer = link_record(out, some[:1]), link_record(out, some[1:]), link_record(back, [cell(0, PADDING, b"")])
        turned = link_record(CounterKey(cipher, link_successor(to_r, h)), some[:1])
        case("link", f"cipher_{cipher}", "LINK-1 LINK-2 LINK-8 LINK-10 LINK-14", cipher=cipher, time=time, **given, message_1=one, message_2=two, hash=h,
             cell_1=some[0], cell_2=some[1], cell_3=some[2], record_1=first, record_2=second, answer=answer, record_4097=turned)
    one, two, to_r, _, _ = link_handshake(network, responder, e, dz, re_, m, AES, time)
    bad_ones = [
        ("message_1_share_changed", "LINK-3", "BadHandshake", flipped(one, 0)),
        ("message_1_key_changed", "LINK-3", "BadHandshake", flipped(one, 32)),
        ("message_1_payload_changed", "LINK-3", "BadHandshake", flipped(one, 1251)),
        ("message_1_share_of_low_order", "LINK-4", "BadPublicKey", put(one, 0, bytes(32))),
        ("message_1_for_another_network", "LINK-1", "BadHandshake", link_handshake(seq(32, 2), responder, e, dz, re_, m, AES, time)[0]),
        ("message_1_version_2", "LINK-5", "UnknownVersion", link_handshake(network, responder, e, dz, re_, m, AES, time, payload_1=b"\x02\0\0\0")[0]),
        ("message_1_reserved", "LINK-5", "NonZeroPadding", link_handshake(network, responder, e, dz, re_, m, AES, time, payload_1=b"\x01\0\0\x01")[0]),
    ]
    for name, spec, expect, raw in bad_ones:
        case("link", name, spec, expect, cipher=AES, to="responder", **given, bytes=raw)
    payload = lambda p: link_handshake(network, responder, e, dz, re_, m, AES, time, payload_2=p)[1]
    bad_twos = [
        ("message_2_share_changed", "LINK-3", "BadHandshake", flipped(two, 0)),
        ("message_2_ciphertext_changed", "LINK-3", "BadHandshake", flipped(two, 32)),
        ("message_2_payload_changed", "LINK-3", "BadHandshake", flipped(two, 1163)),
        ("message_2_version_2", "LINK-5", "UnknownVersion", payload(b"\x02\x01\0\0" + u64(time))),
        ("message_2_unknown_cipher", "LINK-5", "UnknownKind", payload(b"\x01\x03\0\0" + u64(time))),
        ("message_2_another_cipher", "LINK-6", "WrongCipher", payload(b"\x01\x02\0\0" + u64(time))),
        ("message_2_reserved", "LINK-5", "NonZeroPadding", payload(b"\x01\x01\0\x01" + u64(time))),
    ]
    for name, spec, expect, raw in bad_twos:
        case("link", name, spec, expect, cipher=AES, to="initiator", **given, bytes=raw)
    record = link_record(CounterKey(AES, to_r), some[:1])
    bad_records = [
        ("record_count_changed", "LINK-13", "BadRecord", flipped(record, 0)),
        ("record_cells_changed", "LINK-13", "BadRecord", flipped(record, 40)),
        ("record_tag_changed", "LINK-13", "BadRecord", flipped(record, len(record) - 1)),
        ("record_of_no_cell", "LINK-11", "BadCount", CounterKey(AES, to_r).seal(b"\x00")),
        ("record_of_seventeen", "LINK-11", "BadCount", CounterKey(AES, to_r).seal(b"\x11")),
        ("record_out_of_order", "LINK-13", "BadRecord", CounterKey(AES, to_r, 2).seal(b"\x01")),
    ]
    for name, spec, expect, raw in bad_records:
        case("link", name, spec, expect, cipher=AES, to="open responder", **given, bytes=raw)


def ids():
    for profile, genesis in [("testing", seq(32)), ("default", bytes(32))]:
        case("ids", f"network_{profile}", "KEY-1 ENC-4", profile=profile, genesis=genesis, network=network_id(profile, genesis),
             text=id_text(network_id(profile, genesis)))
    identity = ed_public(seq(32, 7))
    nonce = find_work(identity, 8)
    for n in (0, nonce):
        case("ids", f"relay_nonce_{n}", "KEY-2 KEY-3", identity=identity, nonce=n, bits=work_bits(identity, n), relay=relay_id(identity, n),
             text=id_text(relay_id(identity, n)))
    text = id_text(seq(32, 0x55))
    bad = [("id_too_short", text[:51]), ("id_too_long", text + "a"), ("id_empty", ""), ("id_bad_letter", "1" + text[1:]), ("id_padded", text + "===="),
           ("id_spare_bits", text[:51] + ("b" if text[51] == "a" else chr(ord(text[51]) + 1)))]
    for name, wrong in bad:
        case("ids", name, "ENC-3", "refused", text=wrong)
    case("ids", "id_upper_case", "ENC-3", id=seq(32, 0x55), upper=text.upper())


def directory():
    secret, network = seq(32, 7), network_id("testing", seq(32))
    identity = ed_public(secret)
    nonce = find_work(identity, 8)
    small = next(n for n in range(1000) if work_bits(identity, n) < 8)
    published, lifetime = 1_800_000_000_000, 60
    v4, v6 = address("127.0.0.1", 9000), address("20010db8000000000000000000000001", 443)
    base = dict(secret=secret, network=network, nonce=nonce, published=published, lifetime=lifetime, link_key=seq(32, 1), onion_key=seq(32, 2),
                cipher=AES, flags=0, family=None, addresses=[v4])

    def make(**change):
        return descriptor(**(base | change))

    plain = make()
    full = make(cipher=CHACHA, flags=7, family=seq(32, 3), addresses=[v4, v6, address("127.0.0.1", 9001), address("127.0.0.2", 9000)])
    for name, d, cipher, exit_, store, count in [("plain", plain, AES, 0, 0, 1), ("full", full, CHACHA, 1, 1, 4)]:
        case("directory", f"descriptor_{name}", "DIR-1 DIR-8 KEY-2", network=network, descriptor=d, relay=relay_id(identity, nonce), published=published,
             lifetime=lifetime, cipher=cipher, exit=exit_, store=store, addresses=count)
    resigned = lambda body: body + sign(secret, "umbel 1 descriptor", body)
    body = plain[:-64]
    bad = [
        ("version_2", "DIR-1", "UnknownVersion", resigned(put(body, 0, b"\x02"))),
        ("unknown_flag", "DIR-2", "UnknownKind", resigned(put(body, 1, b"\x08"))),
        ("unknown_cipher", "DIR-2", "UnknownKind", resigned(put(body, 2, b"\x03"))),
        ("no_address", "DIR-3", "OutOfRange", make(addresses=[])),
        ("five_addresses", "DIR-3", "OutOfRange", make(addresses=[address("127.0.0.1", p) for p in range(1, 6)])),
        ("port_zero", "DIR-3", "OutOfRange", make(addresses=[address("127.0.0.1", 0)])),
        ("same_address_twice", "DIR-3", "NotCanonical", make(addresses=[v4, v4])),
        ("mapped_address", "DIR-3", "NotCanonical", make(addresses=[address("00000000000000000000ffff7f000001", 1)])),
        ("another_network", "DIR-4", "OtherNetwork", make(network=seq(32, 99))),
        ("lifetime_zero", "DIR-5", "Lifetime", make(lifetime=0)),
        ("lifetime_too_long", "DIR-5", "Lifetime", make(lifetime=61)),
        ("too_little_work", "DIR-7 KEY-3", "Work", make(nonce=small)),
        ("signature_changed", "DIR-8", "Signature", flipped(plain, len(plain) - 1)),
        ("body_changed", "DIR-8", "Signature", flipped(plain, 90)),
        ("signed_for_another_purpose", "DIR-8 KEY-4", "Signature", body + sign(secret, "umbel 1 link auth", body)),
        ("cut", "ENC-1", "Truncated", plain[:-1]),
        ("longer", "ENC-2", "TrailingBytes", plain + b"\x00"),
    ]
    for name, spec, expect, raw in bad:
        case("directory", f"descriptor_{name}", spec, expect, network=network, descriptor=raw)
    text = invite("testing", seq(32), [plain, full])
    case("directory", "invite", "DIR-10 DIR-11", profile="testing", genesis=seq(32), relays=2, invite=text.encode())
    changed = text.replace("profile testing", "profile testinh")
    for name, spec, expect, raw in [
        ("version", "DIR-10", "UnknownVersion", text.replace("invite 1", "invite 2")),
        ("changed", "DIR-11", "Changed", changed),
        ("cut", "DIR-11", "CutOff", text[: text.index("check")]),
        ("cut_in_check", "DIR-11", "CutOff", text[:-9]),
        ("not_one", "DIR-10", "NotAnInvite", "hello\n"),
    ]:
        case("directory", f"invite_{name}", spec, expect, invite=raw.encode())
    beacon = derive("umbel 1 beacon", network + u64(published // 3_600_000))
    key = seq(32, 5)
    relays = [seq(32, 10 * i) for i in range(8)]
    best = sorted(relays, key=lambda r: score(beacon, key, r), reverse=True)
    case("directory", "rendezvous", "DIR-20 DIR-21 DIR-22", network=network, cut=published, beacon=beacon, key=key, locator=derive("umbel 1 block locator", key),
         relays=b"".join(relays), best=b"".join(best[:3]))


def content():
    read = seq(32, 0x30)
    hello = b"hello, world"
    files_of_site = [("index.html", "text/html", b"<h1>hi</h1>"), ("a/b.txt", "text/plain", b""), ("a.txt", "text/plain", b"x" * 300)]
    front = manifest(files_of_site)
    site = front + b"".join(c for _, _, c in sorted(files_of_site))
    shapes = [
        ("small_file", hello, dict(mime="text/plain", name="hello.txt")),
        ("empty_file", b"", {}),
        ("directory", site, dict(kind=2, name="site", manifest=len(front))),
        ("large_root", seq(5000, 1), dict(name="n")),
        ("three_leaves", seq(150_000, 2), dict(mime="application/octet-stream", name="big")),
    ]
    for name, data, about in shapes:
        blocks = build(read, data, **about)
        fields = dict(kind=1, mime="", name="", manifest=0) | about
        whole = {"root_block": blocks[0]} if len(blocks[0]) == SMALL else {}
        case("content", name, "CONT-1 CONT-3 CONT-8", key=read, content=data, **fields, root=b3.blake3(blocks[0]), leaves=b"".join(map(b3.blake3, blocks[1:])), **whole)
    key = convergent_key(hello, 1, "text/plain", "hello.txt")
    case("content", "convergent", "CONT-3", convergent="yes", key=key, content=hello, kind=1, mime="text/plain", name="hello.txt", manifest=0,
         root=b3.blake3(build(key, hello, mime="text/plain", name="hello.txt")[0]), leaves=b"")
    good = build(read, hello)[0]
    m = lambda **change: meta(**(dict(kind=1, total=len(hello), manifest=0, sha=None, mime="", name="") | change))
    root = lambda nested, leaves=0, **more: root_block(read, SMALL, leaves, [], nested, [], **more)
    own = lambda block: dict(block=block, root=b3.blake3(block), key=read)
    bad = [
        ("changed", "CONT-20", "Tampered", dict(block=flipped(good, 2000), root=b3.blake3(good), key=read)),
        ("commitment_changed", "CONT-8", "WrongKey", own(flipped(good, 0))),
        ("wrong_key", "CONT-20", "WrongKey", dict(block=good, root=b3.blake3(good), key=seq(32))),
        ("one_byte_short", "ENC-1", "OutOfRange", own(good[:-1])),
        ("zeros_in_front_missing", "CONT-7", "NonZeroPadding", own(root(m() + hello, zeros=bytes(31) + b"\x01"))),
        ("version_2", "CONT-7", "UnknownVersion", own(root(m() + hello, version=2))),
        ("leaves_in_a_small_root", "CONT-9", "OutOfRange", own(root(m() + hello, leaves=1))),
        ("dirt_behind_the_content", "CONT-6", "NonZeroPadding", own(root(m() + hello + b"\x01"))),
        ("unknown_kind", "CONT-10", "UnknownKind", own(root(m(kind=3) + hello))),
        ("file_with_a_manifest", "CONT-10", "OutOfRange", own(root(m(manifest=5) + hello))),
        ("content_too_long_for_this_shape", "CONT-10", "NotCanonical", own(root(m(total=5000) + hello))),
        ("name_with_a_slash", "CONT-11", "BadText", own(root(m(name="a/b") + hello))),
        ("type_with_a_line_end", "CONT-11", "BadText", own(root(m(mime="a\r\nb") + hello))),
    ]
    for name, spec, expect, fields in bad:
        case("content", f"root_{name}", spec, expect, **fields)
    r, k = id_text(seq(32, 1)), id_text(seq(32, 2))
    for name, text in [("link", f"umbel:{r}/{k}"), ("link_upper", f"UMBEL:{r.upper()}/{k.upper()}"), ("url", f"http://{k}.{r}.umbel/")]:
        case("content", name, "CONT-4", text=text, link_root=seq(32, 1), link_key=seq(32, 2), canonical=f"umbel:{r}/{k}", host=f"{k}.{r}.umbel",
             verify_link=f"umbel-verify:{r}/{id_text(verify_key(seq(32, 2)))}", locator=derive("umbel 1 block locator", seq(32, 1)))
    for name, expect, text in [
        ("link_wrong_scheme", "WrongScheme", f"http://{r}/{k}"), ("link_verify_only", "VerifyOnly", f"umbel-verify:{r}/{k}"),
        ("link_cut", "CutOff(Key)", f"umbel:{r}/{k[:51]}"), ("link_without_key", "CutOff(Key)", f"umbel:{r}"), ("link_root_cut", "CutOff(Root)", f"umbel:{r[:9]}/{k}"),
        ("link_long", "TooLong(Key)", f"umbel:{r}/{k}a"), ("link_mistyped", "Mistyped(Root)", f"umbel:{r[:51]}1/{k}"),
    ]:
        case("content", name, "CONT-5", expect, text=text)


def read_published():
    cases, text = [], (VECTORS / "mlkem.txt").read_text()
    for block in text.split("\n\n"):
        pairs = [line.split(": ", 1) for line in block.splitlines() if not line.startswith("#")]
        if pairs:
            cases.append({k: bytes.fromhex(v) for k, v in pairs if k not in ("case", "spec")})
    return cases


def main():
    b3.check()
    mlkem.check(read_published())
    for part in (cells, messages, handshake, onion, link, ids, directory, content):
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
