"""Cases of pages 03 to 06: cells, messages, handshakes, onions, links."""

from cases import case, flipped, put, seq
from umbel import *


def cells():
    good = {
        "padding": (0, PADDING, b"", "CELL-1 CELL-4"),
        "create": (1, CREATE, seq(1250, 1), "CELL-6"),
        "created": (0x01020304, CREATED, seq(1153, 2), "CELL-6"),
        "relay": (0xFFFFFFFF, RELAY, seq(1400, 3), "CELL-6"),
        "destroy": (7, DESTROY, b"", "CELL-6"),
        "destroy_busy": (7, DESTROY, b"\x01", "CELL-6 CELL-14"),
        "authenticate": (0, AUTHENTICATE, seq(64) + len16(seq(200, 9)), "CELL-6"),
        "authenticate_longest": (0, AUTHENTICATE, seq(64) + len16(seq(1334, 9)), "CELL-6"),
        "close": (0, CLOSE, b"", "CELL-6"),
        "padding_negotiate_0": (0, PADDING_NEGOTIATE, b"\x00", "CELL-6"),
        "padding_negotiate_1": (0, PADDING_NEGOTIATE, b"\x01", "CELL-6"),
    }
    for name, (circuit, command, body, spec) in good.items():
        case("cells", "cell", name, spec, circuit=circuit, command=command, cell=cell(circuit, command, body))
    bad = [
        ("unknown_command", "CELL-2", "UnknownKind", cell(1, 8, b"")),
        ("unknown_command_255", "CELL-2", "UnknownKind", cell(1, 255, b"")),
        ("reserved_first", "CELL-3", "NonZeroPadding", put(cell(1, DESTROY, b""), 5, b"\x01")),
        ("reserved_last", "CELL-3", "NonZeroPadding", put(cell(1, RELAY, seq(1400)), 7, b"\x80")),
        ("create_on_circuit_0", "CELL-4", "OutOfRange", cell(0, CREATE, seq(1250))),
        ("created_on_circuit_0", "CELL-4", "OutOfRange", cell(0, CREATED, seq(1153))),
        ("relay_on_circuit_0", "CELL-4", "OutOfRange", cell(0, RELAY, seq(1400))),
        ("destroy_on_circuit_0", "CELL-4", "OutOfRange", cell(0, DESTROY, b"")),
        ("padding_on_a_circuit", "CELL-4", "OutOfRange", cell(1, PADDING, b"")),
        ("authenticate_on_a_circuit", "CELL-4", "OutOfRange", cell(1, AUTHENTICATE, seq(64) + len16(b"x"))),
        ("close_on_a_circuit", "CELL-4", "OutOfRange", cell(1, CLOSE, b"")),
        ("close_first_byte", "CELL-5", "NonZeroPadding", cell(0, CLOSE, b"\x01")),
        ("padding_negotiate_on_a_circuit", "CELL-4", "OutOfRange", cell(1, PADDING_NEGOTIATE, b"\x01")),
        ("padding_negotiate_2", "CELL-6", "OutOfRange", cell(0, PADDING_NEGOTIATE, b"\x02")),
        ("padding_negotiate_after", "CELL-5", "NonZeroPadding", cell(0, PADDING_NEGOTIATE, b"\x01\x01")),
        ("padding_first_byte", "CELL-5", "NonZeroPadding", cell(0, PADDING, b"\x01")),
        ("padding_last_byte", "CELL-5", "NonZeroPadding", cell(0, PADDING, bytes(1399) + b"\x01")),
        ("create_after_request", "CELL-5", "NonZeroPadding", cell(1, CREATE, seq(1250) + b"\x01")),
        ("created_after_reply", "CELL-5", "NonZeroPadding", cell(1, CREATED, seq(1153) + b"\x01")),
        ("destroy_after_reason", "CELL-5", "NonZeroPadding", cell(1, DESTROY, b"\x00\x01")),
        ("destroy_unknown_reason", "CELL-14", "UnknownKind", cell(1, DESTROY, b"\x02")),
        ("destroy_largest_reason", "CELL-14", "UnknownKind", cell(1, DESTROY, b"\xff")),
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
        "leaving": message(LEAVING, 0),
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
        ("leaving_with_a_body", "CELL-9", "TrailingBytes", message(LEAVING, 0, b"x")),
        ("leaving_on_a_stream", "CELL-10", "OutOfRange", message(LEAVING, 1)),
        ("extend_failed_on_a_stream", "CELL-10", "OutOfRange", message(EXTEND_FAILED, 1, b"\x01")),
        ("host_empty", "CELL-11", "BadText", message(BEGIN, 1, u8(1) + len8(b"") + u16(1))),
        ("host_with_a_space", "CELL-11", "BadText", message(BEGIN, 1, u8(1) + len8(b"a b") + u16(1))),
        ("host_with_high_byte", "CELL-11", "BadText", message(RESOLVE, 1, len8(b"a\xc3\xa9"))),
        ("host_with_control_byte", "CELL-11", "BadText", message(RESOLVE, 1, len8(b"a\r\nb"))),
        ("unknown_message", "CELL-12", "UnknownKind", message(13, 1)),
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
    for position in [1, 2]:  # hop 3 would speak as hop 2, hop 2 as hop 1
        body = padded(bytes(8) + back[0][8:1352], 1400)
        case("onion", "body", f"backward_marked_at_hop_{position}", "ONION-10", "FalseMark", to=f"relay {position}", direction="backward", **keys, body=body)
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
        ("message_1_payload_changed", "LINK-3", "BadHandshake", flipped(one, 1255)),
        ("message_1_share_of_low_order", "LINK-4", "BadPublicKey", put(one, 0, bytes(32))),
        ("message_1_for_another_network", "LINK-1", "BadHandshake", link_handshake(seq(32, 2), responder, e, dz, re_, m, AES, time)[0]),
        ("message_1_version_2", "LINK-5", "UnknownVersion", link_handshake(network, responder, e, dz, re_, m, AES, time, payload_1=b"\x02\0\0\0" + u32(time // 1000))[0]),
        ("message_1_reserved", "LINK-5", "NonZeroPadding", link_handshake(network, responder, e, dz, re_, m, AES, time, payload_1=b"\x01\0\0\x01" + u32(time // 1000))[0]),
    ]
    for name, spec, expect, raw in bad_ones:
        case("link", "received", name, spec, expect, cipher=AES, time=time, to="responder", **given, bytes=raw)
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
        case("link", "received", name, spec, expect, cipher=AES, time=time, to="initiator", **given, bytes=raw)
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
        case("link", "received", name, spec, expect, cipher=AES, time=time, to="open responder", **given, bytes=raw)
