"""Cases of pages 01 and 02: ids, signatures, addresses."""

import ipaddress

import ed25519
from cases import case, seq
from umbel import *


def ids():
    for name, profile, genesis, founders in [("testing", "testing", seq(32), []), ("public", "public", bytes(32), []), ("founders", "private", seq(32), [seq(32, 1), seq(32, 2)])]:
        case("ids", "network", name, "KEY-1 ENC-4", profile=profile, genesis=genesis, founders=b"".join(founders), network=network_id(profile, genesis, founders),
             text=id_text(network_id(profile, genesis, founders)))
    identity = ed_public(seq(32, 7))
    case("ids", "relay", "good", "KEY-2", identity=identity, relay=relay_id(identity), text=id_text(relay_id(identity)))
    works(identity)
    text = id_text(seq(32, 0x55))
    bad = [("id_too_short", text[:51]), ("id_too_long", text + "a"), ("id_empty", ""), ("id_bad_letter", "1" + text[1:]), ("id_padded", text + "===="),
           ("id_spare_bits", text[:51] + ("b" if text[51] == "a" else chr(ord(text[51]) + 1)))]
    for name, wrong in bad:
        case("ids", "id_text", name, "ENC-3", "BadText", text=wrong)
    case("ids", "id_text", "id_upper_case", "ENC-3 ENC-4", id=seq(32, 0x55), text=text.upper(), canonical=text)


# A proof under the numbers of a public network but for the effort: found by the implementation, verified here.
PUBLIC_WORK = bytes.fromhex("0000000001562607701c01e080056f96018b4607d75302597907bd58")


def works(identity):
    network, published, (bits, effort) = seq(32, 1), 1_800_000_000_000, (6, 4)
    window, good = work_window(identity, published), find_work(network, identity, published, bits, effort)
    ends = (window + 1) * WORK_WINDOW - int.from_bytes(relay_id(identity)[:8], "big") % WORK_WINDOW
    base = dict(network=network, identity=identity, published=published, bits=bits, effort=effort)
    challenge = work_challenge(network, identity, window)
    weak = next(w for n in range(1000) for w in work_solutions(challenge, n, bits) if not is_work(network, identity, published, w, bits, effort))

    def index(work, i, value=None):
        at = 4 + 3 * i
        return work[at : at + 3] if value is None else work[:at] + value + work[at + 3 :]

    halves = good[:4] + good[16:] + good[4:16]
    twice = good[:4] + good[4:16] * 2
    cases = [
        ("good", "ok", good, {}), ("last_moment_of_its_window", "ok", good, dict(published=ends - 1)), ("none_asked_for", "ok", bytes(28), dict(effort=0)),
        ("as_on_a_public_network", "ok", PUBLIC_WORK, dict(bits=18, effort=1)),
        ("of_the_window_before", "Work", good, dict(published=ends)), ("of_another_network", "Work", good, dict(network=seq(32, 2))),
        ("of_another_identity", "Work", good, dict(identity=ed_public(seq(32, 8)))), ("too_little", "Work", weak, {}),
        ("halves_swapped", "Work", halves, {}), ("first_pair_swapped", "Work", index(index(good, 0, index(good, 1)), 1, index(good, 0)), {}),
        ("four_twice", "Work", twice, {}), ("index_out_of_range", "Work", index(good, 7, (2 << bits).to_bytes(3, "big")), {}),
        ("nonce_changed", "Work", u32(int.from_bytes(good[:4], "big") + 1) + good[4:], {}), ("index_changed", "Work", index(good, 7, u32(1 + int.from_bytes(index(good, 7), "big"))[1:]), {}),
    ]
    for name, expect, work, change in cases:
        case("ids", "work", name, "KEY-3", expect, **(base | change), work=work)


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
        ("s_plus_l", "KEY-7", public, r + le(s + ed25519.L)),
        ("s_is_l", "KEY-7", public, r + le(ed25519.L)),
        ("s_with_high_bits", "KEY-7", public, r + le(s | 1 << 255)),
        ("key_of_order_1", "KEY-7", ed25519.encode(small[0]), forged(small[0], 0, ed25519.ZERO, 5)[1]),
        ("key_of_small_order", "KEY-7", ed25519.encode(small_key[0]), ed25519.encode(small_key[1]) + bytes(32)),
        ("key_of_small_order_r_of_large", "KEY-7", ed25519.encode(small[4]),
         next(f[1] for f in (forged(small[4], 0, ed25519.ZERO, n) for n in range(1, 60)) if f[2] % 2 == 0)),
        ("r_of_order_1", "KEY-7", public, ed25519.encode(ed25519.ZERO) + le(ed25519.challenge(ed25519.encode(ed25519.ZERO), public, message) * scalar % ed25519.L)),
        ("r_of_order_8", "KEY-7", public, ed25519.encode(eighth) + good[32:]),
        ("r_of_mixed_order", "KEY-7", public, mixed_r[1]),
        ("key_of_mixed_order_that_vanishes", "KEY-7", vanishes[0], vanishes[1]),
        ("key_of_mixed_order_that_stays", "KEY-7", stays[0], stays[1]),
        ("r_second_form", "KEY-7", public, above(second_form) + good[32:]),
        ("r_second_form_of_order_1", "KEY-7", public, above(ed25519.ZERO) + le(ed25519.challenge(above(ed25519.ZERO), public, message) * scalar % ed25519.L)),
        ("r_zero_with_a_sign", "KEY-7", public, sign_of_zero(ed25519.ZERO) + good[32:]),
        ("key_second_form", "KEY-7", above(second_form), good),
        ("key_second_form_of_order_1", "KEY-7", above(ed25519.ZERO), forged(ed25519.ZERO, 0, ed25519.ZERO, 5)[1]),
        ("key_zero_with_a_sign", "KEY-7", sign_of_zero(ed25519.ZERO), forged(ed25519.ZERO, 0, ed25519.ZERO, 5)[1]),
        ("key_is_no_point", "KEY-7", next(le(y) for y in range(2, 99) if ed25519.decode(le(y)) is None), good),
        ("r_is_no_point", "KEY-7", public, next(le(y) for y in range(2, 99) if ed25519.decode(le(y)) is None) + good[32:]),
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
