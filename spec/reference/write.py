"""Writes spec/vectors: `python3 spec/reference/write.py`. With --check it compares and writes nothing."""

import ipaddress
import sys
from pathlib import Path

import blake3 as b3
import congestion
import ed25519
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


def case(file, kind, name, spec, expect="ok", /, **fields):
    lines = [f"case: {kind}/{name}", f"spec: {spec}", f"expect: {expect}"]
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
        case("cells", "cell", name, spec, circuit=circuit, command=command, cell=cell(circuit, command, body))
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
        ("create_after_request", "CELL-5", "NonZeroPadding", cell(1, CREATE, seq(1250) + b"\x01")),
        ("created_after_reply", "CELL-5", "NonZeroPadding", cell(1, CREATED, seq(1153) + b"\x01")),
        ("destroy_after_reason", "CELL-5", "NonZeroPadding", cell(1, DESTROY, b"\x00\x01")),
        ("authenticate_after_descriptor", "CELL-5", "NonZeroPadding", cell(0, AUTHENTICATE, seq(64) + len16(b"xy") + b"\x01")),
        ("authenticate_too_long", "ENC-1", "Truncated", cell(0, AUTHENTICATE, seq(64) + u16(1335) + seq(1334))),
    ]
    for name, spec, expect, raw in bad:
        case("cells", "cell", name, spec, expect, cell=raw)


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
        case("messages", "text", name, "CELL-6 CELL-10", text=padded(text, room))
    bad = [
        ("nothing", "CELL-8", "Truncated", b""),
        ("dirt_after_the_end", "CELL-7", "NonZeroPadding", padded(message(CONNECTED, 1), 1343) + b"\x01"),
        ("dirt_after_a_zero_command", "CELL-7", "NonZeroPadding", message(CONNECTED, 1) + b"\x00\x05"),
        ("extend_too_short", "CELL-9", "Truncated", message(EXTEND, 0, seq(1281))),
        ("extended_too_long", "CELL-9", "TrailingBytes", message(EXTENDED, 0, seq(1154))),
        ("extend_failed_too_long", "CELL-9", "TrailingBytes", message(EXTEND_FAILED, 0, b"\x01\x01")),
        ("connected_with_a_body", "CELL-9", "TrailingBytes", message(CONNECTED, 1, b"x")),
        ("end_without_reason", "CELL-9", "Truncated", message(END, 1)),
        ("end_too_long", "CELL-9", "TrailingBytes", message(END, 1, b"\x00\x00")),
        ("credit_too_short", "CELL-9", "Truncated", message(CREDIT, 1, b"\x00\x00\x01")),
        ("ack_too_short", "CELL-9", "Truncated", message(ACK, 0, seq(15))),
        ("ack_too_long", "CELL-9", "TrailingBytes", message(ACK, 0, seq(17))),
        ("resolve_after_name", "CELL-9", "TrailingBytes", message(RESOLVE, 1, len8(b"a") + b"b")),
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
        ("unknown_end_reason", "CELL-12", "UnknownKind", message(END, 1, u8(9))),
        ("unknown_failure", "CELL-12", "UnknownKind", message(EXTEND_FAILED, 0, u8(5))),
        ("failure_zero", "CELL-12", "UnknownKind", message(EXTEND_FAILED, 0, u8(0))),
        ("credit_of_nothing", "CELL-13", "OutOfRange", message(CREDIT, 1, u32(0))),
        ("data_without_bytes", "CELL-13", "Truncated", message(DATA, 1)),
        ("resolved_with_nine", "CELL-13", "OutOfRange", message(RESOLVED, 1, u8(9) + (u8(4) + seq(4)) * 9)),
    ]
    for name, spec, expect, text in bad:
        fits = len(text) > 1300 or name in ("nothing", "header_cut", "dirt_after_a_zero_command")
        case("messages", "text", name, spec, expect, text=bytes(40) if name == "nothing" else text if fits else padded(text, len(text) + 20))


def handshake():
    network, relay = seq(32, 1), seq(32, 0x40)
    b, x, dz, y, m = seq(32, 0x80), seq(32, 0xA0), seq(64, 0x10), seq(32, 0xC0), seq(32, 0xE0)
    made = {}
    for position, cipher in [(1, AES), (6, CHACHA)]:
        request, _ = hs_request(position, x_public(b), x, dz)
        reply, forward, backward = hs_respond(network, relay, cipher, b, request, y, m)
        made[position] = (request, reply)
        case("handshake", "handshake", f"position_{position}", "HS-3", network=network, relay=relay, cipher=cipher, position=position,
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
        case("handshake", "request", name, spec, expect, request=raw, y=y, m=m, **common)
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
        case("handshake", "reply", name, spec, expect, reply=raw, x=x, dz=dz, position=1, **common)


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
            case("onion", "path", f"cipher_{cipher}_hop_{hop}_counter_{counter}", "ONION-1 ONION-2 ONION-6 KEY-5", cipher=cipher, hop=hop, counter=counter,
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
        case("onion", "body", name, spec, expect, to=f"relay {position}", direction="forward", **keys, body=body)
    for name, body in [("own_tag_place", flipped(back[0], 1368)), ("last_byte", flipped(back[0], 1399))]:
        case("onion", "body", f"backward_dirty_{name}", "ONION-7", "DirtyTail", to="relay 2", direction="backward", **keys, body=body)
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
        case("onion", "body", name, spec, expect, to="client", direction="backward", **keys, body=body)


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
        case("link", "link", f"cipher_{cipher}", "LINK-1 LINK-2 LINK-8 LINK-10 LINK-14", cipher=cipher, time=time, **given, message_1=one, message_2=two, hash=h,
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
        case("link", "received", name, spec, expect, cipher=AES, to="responder", **given, bytes=raw)
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
        case("link", "received", name, spec, expect, cipher=AES, to="initiator", **given, bytes=raw)
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
        case("link", "received", name, spec, expect, cipher=AES, to="open responder", **given, bytes=raw)


def ids():
    for profile, genesis in [("testing", seq(32)), ("default", bytes(32))]:
        case("ids", "network", profile, "KEY-1 ENC-4", profile=profile, genesis=genesis, network=network_id(profile, genesis),
             text=id_text(network_id(profile, genesis)))
    identity = ed_public(seq(32, 7))
    nonce = find_work(identity, 8)
    for n in (0, nonce):
        case("ids", "relay", f"nonce_{n}", "KEY-2 KEY-3", identity=identity, nonce=n, bits=work_bits(identity, n), relay=relay_id(identity, n),
             text=id_text(relay_id(identity, n)))
    text = id_text(seq(32, 0x55))
    bad = [("id_too_short", text[:51]), ("id_too_long", text + "a"), ("id_empty", ""), ("id_bad_letter", "1" + text[1:]), ("id_padded", text + "===="),
           ("id_spare_bits", text[:51] + ("b" if text[51] == "a" else chr(ord(text[51]) + 1)))]
    for name, wrong in bad:
        case("ids", "id_text", name, "ENC-3", "BadText", text=wrong)
    case("ids", "id_text", "id_upper_case", "ENC-3 ENC-4", id=seq(32, 0x55), text=text.upper(), canonical=text)


def signatures():
    secret, purpose, text = seq(32, 7), "umbel 1 link auth", seq(32, 1)
    message = len8(purpose.encode()) + text
    public = ed_public(secret)
    good = sign(secret, purpose, text)
    r, s = good[:32], int.from_bytes(good[32:], "little")
    scalar, prefix = ed25519.secret_scalar(secret)
    small = ed25519.small_points()
    eighth = small[1]
    le = lambda n: n.to_bytes(32, "little")

    def forged(a_point, a_scalar, r_extra, nonce):
        """R = [nonce]B + r_extra and the S that belongs to it, under a key whose part of large order is [a_scalar]B."""
        a, r = ed25519.encode(a_point), ed25519.encode(ed25519.add(ed25519.times(nonce, ed25519.BASE), r_extra))
        k = ed25519.challenge(r, a, message)
        return a, r + le((nonce + k * a_scalar) % ed25519.L), k

    own = ed25519.times(scalar, ed25519.BASE)
    mixed = ed25519.add(own, eighth)
    # Nonces at which the part of small order vanishes from [k]A, and at which it does not.
    tries = [forged(mixed, scalar, ed25519.ZERO, n) for n in range(1, 60)]
    vanishes = next(t for t in tries if t[2] % 8 == 0)
    stays = next(t for t in tries if t[2] % 8 != 0)
    mixed_r = forged(own, scalar, eighth, 5)
    # Of small order: with S = 0 and R = -[k]A the equation holds for any message with some R.
    small_key = next((p, q) for p in small for q in small[1:]
                     if ed25519.add(q, ed25519.times(ed25519.challenge(ed25519.encode(q), ed25519.encode(p), message), p)) == ed25519.ZERO)
    sign_of_zero = lambda point: ed25519.encode(point)[:31] + bytes([ed25519.encode(point)[31] ^ 0x80])
    above = lambda point: le(point[1] + ed25519.P)
    second_form = next(ed25519.decode(le(y)) for y in range(2, 19) if ed25519.decode(le(y)) and not ed25519.is_small(ed25519.decode(le(y))))
    cases = [
        ("good", "KEY-4", public, good),
        ("message_changed", "KEY-4", public, sign(secret, purpose, text[1:])),
        ("another_purpose", "KEY-4", public, sign(secret, "umbel 1 descriptor", text)),
        ("another_key", "KEY-4", ed_public(seq(32, 8)), good),
        ("s_plus_l", "KEY-6", public, r + le(s + ed25519.L)),
        ("s_is_l", "KEY-6", public, r + le(ed25519.L)),
        ("s_with_high_bits", "KEY-6", public, r + le(s | 1 << 255)),
        ("key_of_order_1", "KEY-6", ed25519.encode(small[0]), forged(small[0], 0, ed25519.ZERO, 5)[1]),
        ("key_of_small_order", "KEY-6", ed25519.encode(small_key[0]), ed25519.encode(small_key[1]) + bytes(32)),
        ("key_of_small_order_r_of_large", "KEY-6", ed25519.encode(small[4]),
         next(f[1] for f in (forged(small[4], 0, ed25519.ZERO, n) for n in range(1, 60)) if f[2] % 2 == 0)),
        ("r_of_order_1", "KEY-6", public, ed25519.encode(ed25519.ZERO) + le(ed25519.challenge(ed25519.encode(ed25519.ZERO), public, message) * scalar % ed25519.L)),
        ("r_of_order_8", "KEY-6", public, ed25519.encode(eighth) + good[32:]),
        ("r_of_mixed_order", "KEY-6", public, mixed_r[1]),
        ("key_of_mixed_order_that_vanishes", "KEY-6", vanishes[0], vanishes[1]),
        ("key_of_mixed_order_that_stays", "KEY-6", stays[0], stays[1]),
        ("r_second_form", "KEY-6", public, above(second_form) + good[32:]),
        ("r_second_form_of_order_1", "KEY-6", public, above(ed25519.ZERO) + le(ed25519.challenge(above(ed25519.ZERO), public, message) * scalar % ed25519.L)),
        ("r_zero_with_a_sign", "KEY-6", public, sign_of_zero(ed25519.ZERO) + good[32:]),
        ("key_second_form", "KEY-6", above(second_form), good),
        ("key_second_form_of_order_1", "KEY-6", above(ed25519.ZERO), forged(ed25519.ZERO, 0, ed25519.ZERO, 5)[1]),
        ("key_zero_with_a_sign", "KEY-6", sign_of_zero(ed25519.ZERO), forged(ed25519.ZERO, 0, ed25519.ZERO, 5)[1]),
        ("key_is_no_point", "KEY-6", next(le(y) for y in range(2, 99) if ed25519.decode(le(y)) is None), good),
        ("r_is_no_point", "KEY-6", public, next(le(y) for y in range(2, 99) if ed25519.decode(le(y)) is None) + good[32:]),
    ]
    for name, spec, key, signature in cases:
        holds = ed25519.verify(key, message, signature)
        case("signatures", "signature", name, spec, "ok" if holds else "Unproven", purpose=purpose, message=text, key=key, signature=signature)
    verdict = {name: ed25519.verify(key, message, signature) for name, _, key, signature in cases}
    assert [name for name, holds in verdict.items() if holds] == ["good", "key_of_mixed_order_that_vanishes"]
    # What sets the two equations apart is in the cases.
    for _, key, signature in [("r", public, mixed_r[1]), ("a", stays[0], stays[1])]:
        assert ed25519.with_cofactor(key, message, signature)


def addresses():
    named = ["1.1.1.1", "8.8.8.8", "192.88.99.1", "2606:4700:4700::1111", "64:ff9b::1", "64:ff9b:1::1", "2002::1", "fec0::1", "3fff::1", "::ffff:1.1.1.1",
             "::ffff:10.0.0.1", "::1.1.1.1", "100::1", "5f00::1", "fe80::1", "fc00::1", "ff02::1", "::", "::1", "255.255.255.255", "2001::1", "2001:20::1",
             "192.31.196.1", "192.52.193.1", "192.175.48.1", "2620:4f:8000::1"]
    for net in NOT_PUBLIC:
        first, last = int(net.network_address), int(net.broadcast_address)
        kind = type(net.network_address)
        top = 2 ** net.max_prefixlen - 1
        named += [str(kind(n)) for n in (first - 1, first, last, last + 1) if 0 <= n <= top]
    for text in dict.fromkeys(named):
        ip = ipaddress.ip_address(text)
        case("addresses", "address", text, "ENC-5", address=ip.packed, public="yes" if is_public(ip) else "no")


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
        case("directory", "descriptor", name, "DIR-1 DIR-8 KEY-2", network=network, private="yes", descriptor=d, relay=relay_id(identity, nonce), published=published,
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
        ("private_address", "DIR-6", "PrivateAddress", plain),
        ("too_little_work", "DIR-7 KEY-3", "Work", make(nonce=small)),
        ("signature_changed", "DIR-8", "Signature", flipped(plain, len(plain) - 1)),
        ("body_changed", "DIR-8", "Signature", flipped(plain, 90)),
        ("signed_for_another_purpose", "DIR-8 KEY-4", "Signature", body + sign(secret, "umbel 1 link auth", body)),
        ("cut", "ENC-1", "Truncated", plain[:-1]),
        ("longer", "ENC-2", "TrailingBytes", plain + b"\x00"),
    ]
    for name, spec, expect, raw in bad:
        rule = "no" if expect == "PrivateAddress" else "yes"
        case("directory", "descriptor", name, spec, expect, network=network, private=rule, descriptor=raw)
    text = invite("testing", seq(32), [plain, full])
    case("directory", "invite", "good", "DIR-10 DIR-11", profile="testing", genesis=seq(32), relays=2, invite=text.encode(), written=text.encode())
    changed = text.replace("profile testing", "profile testinh")
    checked = lambda lines: lines + f"check {id_text(b3.blake3(lines.encode()))}\n"
    lines = text[: text.index("check")]
    case("directory", "invite", "crlf", "DIR-11", profile="testing", genesis=seq(32), relays=2, invite=text.replace("\n", "\r\n").encode(), written=text.encode())
    case("directory", "invite", "white_space_after_the_end", "DIR-11", profile="testing", genesis=seq(32), relays=2, invite=(text + " \n\n").encode(), written=text.encode())
    case("directory", "invite", "no_line_end_at_the_end", "DIR-11", profile="testing", genesis=seq(32), relays=2, invite=text[:-1].encode(), written=text.encode())
    for name, spec, expect, raw in [
        ("no_relay", "DIR-10", "NoRelay", checked(lines[: lines.index("relay ")])),
        ("two_spaces", "DIR-10", "Line", checked(lines.replace("genesis ", "genesis  "))),
        ("fields_in_another_order", "DIR-10", "Line", checked("".join(lines.splitlines(True)[i] for i in (0, 2, 1, 3)))),
        ("unknown_field", "DIR-10", "Line", checked(lines + "note x\n")),
        ("base64_without_padding", "DIR-10", "Line", checked(lines.replace("=", ""))),
        ("sixty_five_relays", "DIR-10", "TooLong", checked(lines + lines.splitlines(True)[3] * 63)),
        ("version", "DIR-10", "UnknownVersion", text.replace("invite 1", "invite 2")),
        ("changed", "DIR-11", "Changed", changed),
        ("cut", "DIR-11", "CutOff", text[: text.index("check")]),
        ("cut_in_check", "DIR-11", "CutOff", text[:-9]),
        ("not_one", "DIR-10", "NotAnInvite", "hello\n"),
    ]:
        case("directory", "invite", name, spec, expect, invite=raw.encode())
    beacon = derive("umbel 1 beacon", network + u64(published // 3_600_000))
    key = seq(32, 5)
    relays = [seq(32, 10 * i) for i in range(8)]
    best = sorted(relays, key=lambda r: score(beacon, key, r), reverse=True)
    case("directory", "custodians", "best_three_of_eight", "DIR-20 DIR-21 DIR-22", network=network, cut=published, beacon=beacon, key=key, locator=derive("umbel 1 block locator", key),
         relays=b"".join(relays), best=b"".join(best[:3]))
    sets(network, base)


def sets(network, base):
    """Settled sets, their roots and their statements, of relays with fixed keys under the profile `testing`."""
    cut, margin, term = 1_800_000_000_000, 500, 3_600_000

    def relay(i, published=cut - 5_000, lifetime=60, **change):
        secret = seq(32, i)
        nonce = find_work(ed_public(secret), 8)
        record = descriptor(**(base | dict(secret=secret, nonce=nonce, published=published, lifetime=lifetime) | change))
        return relay_id(ed_public(secret), nonce), published, lifetime * 1000, record

    all_of = sorted(relay(i) for i in range(20, 27))
    lists = lambda records: b"".join(len16(r) for r in records)
    named = lambda records: dict(network=network, cut=cut, records=lists(records))
    beacon = dir_beacon(network, cut, term)
    for n in (3, 4, 5, 7):
        records = [r[3] for r in all_of[:n]]
        case("directory", "set", f"of_{n}", "DIR-19 DIR-20 DIR-28", **named(records), root=dir_root(records), beacon=beacon)
    records = [r[3] for r in all_of[:4]]
    late, over = relay(30, published=cut - margin + 1)[3], relay(31, published=cut - 60_000)[3]
    placed = lambda extra: [r for _, r in sorted((relay_id(r[35 + 0 : 67], int.from_bytes(r[67:75], "big")), r) for r in records + [extra])]
    for name, expect, change in [
        ("out_of_order", "Misplaced", named([records[1], records[0]] + records[2:])),
        ("one_twice", "Misplaced", named(records[:1] + records)),
        ("published_late", "Misplaced", named(placed(late))),
        ("over_at_the_cut", "Misplaced", named(placed(over))),
        ("two_relays", "NoCut", named(records[:2])),
        ("not_a_cut", "NoCut", named(records) | dict(cut=cut + 1)),
    ]:
        case("directory", "set", name, "DIR-28", expect, **change)
    edge = relay(32, published=cut - margin)
    twins = [relay(20, published=cut - 4_000), relay(20, published=cut - 4_000, link_key=seq(32, 9))]
    given = all_of + twins + [edge, relay(21, published=cut - margin + 1), relay(22, published=cut - 3_000, lifetime=3), relay(23, published=cut - 9_000), relay(31, published=cut - 60_000)]
    kept = settle(given, cut, margin)
    case("directory", "settle", "late_over_twice_and_older", "DIR-17 DIR-18", **named([r[3] for r in given]), kept=lists(kept), root=dir_root(kept))
    secret = seq(32, 7)
    identity = ed_public(secret)
    word = statement(secret, cut, dir_root(records), beacon, 4, seq(32, 3))
    for name, expect, raw in [
        ("good", "ok", word),
        ("cut_changed", "Unproven", flipped(word, 7)),
        ("signature_changed", "Unproven", flipped(word, len(word) - 1)),
        ("for_another_purpose", "Unproven", word[:-64] + sign(secret, "umbel 1 descriptor", word[:-64])),
        ("cut_off", "Truncated", word[:-1]),
        ("longer", "TrailingBytes", word + b"\x00"),
    ]:
        fields = dict(cut=cut, root=dir_root(records), beacon=beacon, count=4, relay=seq(32, 3)) if expect == "ok" else {}
        case("directory", "statement", name, "DIR-27", expect, identity=identity, statement=raw, **fields)


def calls():
    """Every request and answer of the two services, and what is refused."""
    records, ids, id_ = [seq(200, 1), seq(199, 2)], b"".join(seq(32, 50 + i) for i in range(2)), seq(32, 9)
    entries = b"".join(seq(32, 40 + i) + u64(1000 + i) + u64(77 + i) for i in range(2))
    keys = b"".join(seq(32, 60 + i) + u64(2000 + i) for i in range(2))
    stated = seq(76 + 32 + 64, 3)
    listed = dict(records=b"".join(len16(r) for r in records))
    refused = lambda kind, cases: [case("calls", kind, name, spec, expect, body=body) for name, spec, expect, body in cases]

    for name, body, fields in [
        ("put", u8(1) + record_list(records), listed),
        ("get", u8(2) + id_, dict(relay=id_)),
        ("compare", u8(3) + seq(2048), dict(sums=seq(2048))),
        ("digest", u8(4) + u8(3) + u8(9) + u16(2) + entries, dict(low=3, high=9, entries=entries)),
        ("statement", u8(5) + u64(1_800_000_000_000), dict(cut=1_800_000_000_000)),
        ("page", u8(6) + u64(0) + u32(192), dict(cut=0, start=192)),
    ]:
        case("calls", "directory_request", name, "DIR-12", body=body, **fields)
    refused("directory_request", [
        ("empty", "DIR-12", "Truncated", b""),
        ("kind_0", "DIR-12", "UnknownKind", u8(0)),
        ("kind_7", "DIR-12", "UnknownKind", u8(7)),
        ("put_of_129", "DIR-12", "OutOfRange", u8(1) + u8(129) + len16(b"x") * 129),
        ("put_of_a_long_record", "DIR-12", "OutOfRange", u8(1) + u8(1) + len16(seq(325))),
        ("get_cut", "DIR-12", "Truncated", u8(2) + id_[:31]),
        ("get_longer", "DIR-12", "TrailingBytes", u8(2) + id_ + b"\x00"),
        ("digest_low_above_high", "DIR-12", "OutOfRange", u8(4) + u8(9) + u8(3) + u16(0)),
        ("digest_of_1301", "DIR-12", "OutOfRange", u8(4) + u8(0) + u8(255) + u16(1301)),
    ])
    for name, body, fields in [
        ("taken", u8(1) + u16(1) + u16(2) + u16(3), dict(new=1, held=2, refused=3)),
        ("record", u8(2) + len16(records[0]), dict(record=records[0])),
        ("differs", u8(3) + seq(32), dict(differs=seq(32))),
        ("delta", u8(4) + u8(1) + record_list(records) + u16(2) + keys, dict(more=1, keys=keys) | listed),
        ("statement", u8(5) + stated, dict(statement=stated)),
        ("page", u8(6) + u64(1_800_000_000_000) + u32(900) + u32(192) + record_list(records), dict(cut=1_800_000_000_000, total=900, start=192) | listed),
        ("unknown", u8(7) + u64(0), dict(newest=0)),
        ("refused_malformed", u8(8) + u8(1), dict(reason=1)),
        ("refused_busy", u8(8) + u8(2), dict(reason=2)),
    ]:
        case("calls", "directory_answer", name, "DIR-12", body=body, **fields)
    refused("directory_answer", [
        ("kind_9", "DIR-12", "UnknownKind", u8(9)),
        ("more_is_2", "DIR-12", "OutOfRange", u8(4) + u8(2) + u8(0) + u16(0)),
        ("keys_513", "DIR-12", "OutOfRange", u8(4) + u8(0) + u8(0) + u16(513)),
        ("page_of_193", "DIR-12", "OutOfRange", u8(6) + u64(1) + u32(193) + u32(0) + u8(193) + len16(b"x") * 193),
        ("reason_3", "DIR-12", "UnknownKind", u8(8) + u8(3)),
        ("record_without_length", "DIR-12", "Truncated", u8(2) + records[0]),
    ])

    block = seq(SMALL, 5)
    for name, body, fields in [
        ("status", u8(1) + id_, dict(locator=id_)),
        ("get", u8(2) + id_ + u32(3), dict(locator=id_, index=3)),
        ("put_root", u8(3) + u32(3600) + block, dict(lease=3600, block=block)),
        ("name", u8(4) + id_ + u32(9) + u32(1) + ids, dict(locator=id_, blocks=9, **{"from": 1}, names=ids)),
        ("put", u8(5) + id_ + u32(2) + block, dict(locator=id_, index=2, block=block)),
        ("missing", u8(6) + id_, dict(locator=id_)),
        ("names", u8(7) + id_ + u32(1), dict(locator=id_, **{"from": 1})),
        ("replicate", u8(8) + id_, dict(locator=id_)),
    ]:
        case("calls", "store_request", name, "CONT-19", body=body, **fields)
    refused("store_request", [
        ("kind_9", "CONT-19", "UnknownKind", u8(9) + id_),
        ("get_index_16399", "CONT-19", "OutOfRange", u8(2) + id_ + u32(16399)),
        ("put_of_no_size", "CONT-19 CONT-6", "OutOfRange", u8(5) + id_ + u32(2) + block[1:]),
        ("name_from_0", "CONT-19", "OutOfRange", u8(4) + id_ + u32(9) + u32(0) + ids),
        ("name_past_the_end", "CONT-19", "OutOfRange", u8(4) + id_ + u32(2) + u32(1) + ids),
        ("name_of_none", "CONT-19", "OutOfRange", u8(4) + id_ + u32(9) + u32(1)),
        ("name_cut", "CONT-19", "TrailingBytes", u8(4) + id_ + u32(9) + u32(1) + ids[:-1]),
        ("name_of_2001", "CONT-19", "OutOfRange", u8(4) + id_ + u32(16399) + u32(1) + bytes(32 * 2001)),
    ])
    status = lambda kind, blocks, held, copies=3, pending=2: u8(1) + u8(kind) + u32(blocks) + u32(held) + u64(1_800_000_000_000) + u32(250) + u16(copies) + u16(pending)
    for name, body, fields in [
        ("status", status(2, 9, 9), dict({"class": 2}, blocks=9, held=9, expires=1_800_000_000_000, idle=250, copies=3, pending=2)),
        ("status_unnamed", status(2, 0, 1, 0, 0), dict({"class": 2}, blocks=0, held=1, expires=1_800_000_000_000, idle=250, copies=0, pending=0)),
        ("block", u8(2) + block, dict(block=block)),
        ("stored", u8(3), {}),
        ("missing", u8(4) + u32(11) + b"\x81\x04", dict(blocks=11, missing="0 7 10")),
        ("names", u8(5) + u32(9) + u32(1) + ids, dict(blocks=9, **{"from": 1}, names=ids)),
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
    ])


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
        fields = dict(type=1, mime="", name="", manifest=0) | {"type" if k == "kind" else k: v for k, v in about.items()}
        whole = {"root_block": blocks[0]} if len(blocks[0]) == SMALL else {}
        case("content", "object", name, "CONT-1 CONT-3 CONT-8", key=read, content=data, **fields, root=b3.blake3(blocks[0]), leaves=b"".join(map(b3.blake3, blocks[1:])), **whole)
    key = convergent_key(hello, 1, "text/plain", "hello.txt")
    case("content", "object", "convergent", "CONT-3", convergent="yes", key=key, content=hello, type=1, mime="text/plain", name="hello.txt", manifest=0,
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
        ("dirt_after_the_content", "CONT-6", "NonZeroPadding", own(root(m() + hello + b"\x01"))),
        ("unknown_kind", "CONT-10", "UnknownKind", own(root(m(kind=3) + hello))),
        ("file_with_a_manifest", "CONT-10", "OutOfRange", own(root(m(manifest=5) + hello))),
        ("content_too_long_for_this_shape", "CONT-10", "NotCanonical", own(root(m(total=5000) + hello))),
        ("name_with_a_slash", "CONT-11", "BadText", own(root(m(name="a/b") + hello))),
        ("type_with_a_line_end", "CONT-11", "BadText", own(root(m(mime="a\r\nb") + hello))),
    ]
    for name, spec, expect, fields in bad:
        case("content", "root", name, spec, expect, **fields)
    nodes(read)
    manifests()
    r, k = id_text(seq(32, 1)), id_text(seq(32, 2))
    for name, text in [("link", f"umbel:{r}/{k}"), ("link_upper", f"UMBEL:{r.upper()}/{k.upper()}"), ("url", f"http://{k}.{r}.umbel/")]:
        case("content", "link", name, "CONT-4", text=text, link_root=seq(32, 1), link_key=seq(32, 2), canonical=f"umbel:{r}/{k}", host=f"{k}.{r}.umbel",
             verify_link=f"umbel-verify:{r}/{id_text(verify_key(seq(32, 2)))}", locator=derive("umbel 1 block locator", seq(32, 1)))
    for name, expect, text in [
        ("link_wrong_scheme", "WrongScheme", f"http://{r}/{k}"), ("link_verify_only", "VerifyOnly", f"umbel-verify:{r}/{k}"),
        ("link_cut", "CutOff(Key)", f"umbel:{r}/{k[:51]}"), ("link_without_key", "CutOff(Key)", f"umbel:{r}"), ("link_root_cut", "CutOff(Root)", f"umbel:{r[:9]}/{k}"),
        ("link_long", "TooLong(Key)", f"umbel:{r}/{k}a"), ("link_mistyped", "Mistyped(Root)", f"umbel:{r[:51]}1/{k}"),
    ]:
        case("content", "link", name, "CONT-5", expect, text=text)


def nodes(read):
    """Inner nodes: the keys' numbers count nodes from 0."""
    leaves = [seq(32, 10 * i) for i in range(3)]
    for number in (0, 1):
        block = node_block(read, number, leaves)
        case("content", "node", f"number_{number}", "CONT-3", key=read, number=number, leaves=b"".join(leaves), address=b3.blake3(block))
    one_more = node_block(read, 0, leaves)
    case("content", "node", "dirt_after_the_addresses", "CONT-6", "NonZeroPadding", key=read, number=0, leaves=b"".join(leaves[:2]), block=one_more)


def manifests():
    entry = lambda path, mime, size: len16(path if isinstance(path, bytes) else path.encode()) + len8(mime.encode()) + u64(size)
    whole = lambda *entries, version=1, count=None: u8(version) + u32(len(entries) if count is None else count) + b"".join(entries)
    a, b = entry("a", "text/plain", 5), entry("b/c", "", 7)
    good = [
        ("two_files", [("a", 5), ("b/c", 7)], whole(a, b)),
        ("no_file", [], whole()),
        ("order_is_by_bytes", [("a-b", 1), ("a.txt", 2), ("a0", 3)], whole(entry("a-b", "", 1), entry("a.txt", "", 2), entry("a0", "", 3))),
        ("longest_component", [("x" * 255 + "/y", 1)], whole(entry("x" * 255 + "/y", "", 1))),
        ("text_of_any_script", [("größe ё.txt", 1)], whole(entry("größe ё.txt", "", 1))),
        ("three_dots", [("...", 1)], whole(entry("...", "", 1))),
    ]
    for name, files_, raw in good:
        case("content", "manifest", name, "CONT-12", manifest=raw, total=len(raw) + sum(n for _, n in files_), files=" ".join(f"{n}" for _, n in files_),
             paths=b"".join(len16(p.encode()) for p, _ in files_))
    bad = [
        ("version_2", "CONT-12", "UnknownVersion", whole(a, b, version=2)),
        ("too_many_files", "CONT-12", "OutOfRange", whole(a, b, count=65_537)),
        ("count_too_large", "CONT-12", "Truncated", whole(a, b, count=3)),
        ("count_too_small", "CONT-12", "TrailingBytes", whole(a, b, count=1)),
        ("not_sorted", "CONT-12", "NotCanonical", whole(b, a)),
        ("path_twice", "CONT-12", "NotCanonical", whole(a, a)),
        ("file_and_directory", "CONT-12", "NotCanonical", whole(a, entry("a/b", "", 1))),
        ("file_and_directory_apart", "CONT-12", "NotCanonical", whole(a, entry("a-b", "", 1), entry("a/b", "", 1))),
        ("total_too_large", "CONT-12", "OutOfRange", whole(entry("a", "", 2**30))),
        ("mime_with_a_line_end", "CONT-11", "BadText", whole(entry("a", "a\r\nb", 1))),
        ("mime_too_long", "CONT-11", "BadText", whole(entry("a", "m" * 128, 1))),
        ("path_too_long", "CONT-11", "OutOfRange", whole(entry("x" * 200 + ("/" + "x" * 200) * 5, "", 1))),
        ("path_not_utf8", "CONT-11", "BadText", whole(entry(b"a\xff", "", 1))),
    ] + [(f"path_{name}", "CONT-11", "BadText", whole(entry(path, "", 1))) for name, path in [
        ("empty", ""), ("absolute", "/a"), ("ends_in_a_slash", "a/"), ("empty_component", "a//b"), ("dot", "a/."), ("two_dots", "../a"), ("backslash", "a\\b"),
        ("nul", "a\0b"), ("line_end", "a\nb"), ("del", "a\x7f"), ("c1_control", "a\x85b"), ("component_of_256", "x" * 256)]]
    for name, spec, expect, raw in bad:
        sizes = 13 if name in ("version_2", "too_many_files", "count_too_large", "count_too_small", "not_sorted") else 1
        case("content", "manifest", name, spec, expect, manifest=raw, total=len(raw) + sizes)
    case("content", "manifest", "bytes_in_no_file", "CONT-12", "NotCanonical", manifest=whole(a, b), total=len(whole(a, b)) + 13)


def congestions():
    for name, spec, acks in congestion.traces():
        case("congestion", "trace", name, spec, acks=", ".join(" ".join(map(str, a)) for a in acks))
    for name, events in congestion.paced_traces():
        case("congestion", "paced", name, "CONG-9 STREAM-1", events=", ".join(" ".join(map(str, e)) for e in events))


def read_published():
    cases, text = [], (VECTORS / "mlkem.txt").read_text()
    for block in text.split("\n\n"):
        pairs = [line.split(": ", 1) for line in block.splitlines() if not line.startswith("#")]
        if pairs:
            cases.append({k: bytes.fromhex(v) for k, v in pairs if k not in ("case", "spec", "expect")})
    return cases


def main():
    b3.check()
    mlkem.check(read_published())
    for part in (cells, messages, handshake, onion, link, ids, signatures, addresses, directory, calls, content, congestions):
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
