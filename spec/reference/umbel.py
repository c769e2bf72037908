"""What spec pages 01 to 06, 10 and 11 say, in Python: each function is one formula of a page."""

import base64
import ipaddress
from hashlib import sha256

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import mlkem
from blake3 import blake3, derive, keyed

AES, CHACHA = 1, 2


def u8(n):
    return n.to_bytes(1, "big")


def u16(n):
    return n.to_bytes(2, "big")


def u32(n):
    return n.to_bytes(4, "big")


def u64(n):
    return n.to_bytes(8, "big")


def len8(x):
    return u8(len(x)) + x


def len16(x):
    return u16(len(x)) + x


def padded(x, size):
    assert len(x) <= size
    return x + bytes(size - len(x))


# 01: ids in text
def id_text(x):
    return base64.b32encode(x).decode().rstrip("=").lower()


# 02: keys
def network_id(profile, genesis, founders=()):
    return derive("umbel 1 network id", len8(profile.encode()) + genesis + b"".join(sorted(founders)))


def relay_id(identity):
    return derive("umbel 1 relay id", identity)


WORK_WINDOW = 30 * 86_400_000


def work_window(identity, published):
    offset = int.from_bytes(relay_id(identity)[:8], "big") % WORK_WINDOW
    return (published + offset) // WORK_WINDOW


def work_challenge(network, identity, window):
    return derive("umbel 1 relay work", network + identity + u32(window))


def work_string(challenge, nonce, index, bits):
    size = bits // 2
    block, at = divmod(index, 32 // size)
    return int.from_bytes(keyed(challenge, u32(nonce) + u32(block))[size * at : size * (at + 1)], "big")


def is_work(network, identity, published, work, bits, effort):
    if effort == 0:
        return True
    challenge = work_challenge(network, identity, work_window(identity, published))
    nonce, indices = int.from_bytes(work[:4], "big"), [int.from_bytes(work[i : i + 3], "big") for i in range(4, 28, 3)]
    if max(indices) >= 2 << bits or len(set(indices)) < 8:
        return False
    if any(indices[i] > indices[i + half] for half in (1, 2, 4) for i in range(0, 8, 2 * half)):
        return False
    level = [work_string(challenge, nonce, i, bits) for i in indices]
    for left in (3, 2, 0):
        level = [a ^ b for a, b in zip(level[::2], level[1::2])]
        if any(v >> left * bits for v in level):
            return False
    value = int.from_bytes(derive("umbel 1 relay work value", challenge + work)[:8], "big")
    return value <= (2**64 - 1) // effort


def work_solutions(challenge, nonce, bits):
    """All proofs of one nonce, whatever their value: by sorting, for small `bits`."""
    trees = [((i,), work_string(challenge, nonce, i, bits)) for i in range(2 << bits)]
    for left in (3, 2, 0):
        places = {}
        for tree in trees:
            places.setdefault(tree[1] >> left * bits, []).append(tree)
        pairs = ((a, b) for place in places.values() for a in place for b in place if a[0] < b[0] and not set(a[0]) & set(b[0]))
        trees = [(a[0] + b[0], a[1] ^ b[1]) for a, b in pairs]
    return [u32(nonce) + b"".join(i.to_bytes(3, "big") for i in indices) for indices, _ in trees]


def find_work(network, identity, published, bits=6, effort=1):
    challenge, nonce = work_challenge(network, identity, work_window(identity, published)), 0
    while True:
        for work in work_solutions(challenge, nonce, bits):
            if is_work(network, identity, published, work, bits, effort):
                return work
        nonce += 1


def x_public(secret):
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def x_agree(secret, public):
    return X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(public))


def ed_public(secret):
    return Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def sign(secret, purpose, message):
    return Ed25519PrivateKey.from_private_bytes(secret).sign(len8(purpose.encode()) + message)


class CounterKey:
    def __init__(self, cipher, key, counter=0):
        self.aead = AESGCM(key) if cipher == AES else ChaCha20Poly1305(key)
        self.order = "big" if cipher == AES else "little"
        self.counter = counter

    def seal(self, text, aad=b""):
        nonce = bytes(4) + self.counter.to_bytes(8, self.order)
        self.counter += 1
        return self.aead.encrypt(nonce, text, aad)


def hmac256(key, data):
    h = hmac.HMAC(key, hashes.SHA256())
    h.update(data)
    return h.finalize()


# 04: cells and messages
PADDING, CREATE, CREATED, RELAY, DESTROY, AUTHENTICATE, CLOSE, PADDING_NEGOTIATE = range(8)
DESTROY_BUSY = 1
EXTEND, EXTENDED, EXTEND_FAILED, BEGIN, CONNECTED, DATA, END, CREDIT, ACK, RESOLVE, RESOLVED, LEAVING = range(1, 13)


def cell(circuit, command, body):
    return u32(circuit) + u8(command) + bytes(3) + padded(body, 1400)


def message(command, stream, body=b""):
    return u8(command) + u16(stream) + len16(body)


# 05: the circuit handshake
def hs_request(position, onion_public, x, dz):
    ek, dk = mlkem.keygen(dz[:32], dz[32:])
    return u8(1) + u8(position) + onion_public + x_public(x) + ek, dk


def hs_respond(network, relay, cipher, onion_secret, request, y, m):
    X, ek = request[34:66], request[66:]
    ct, kem = mlkem.encaps(ek, m)
    Y = x_public(y)
    th = sha256(b"umbel circuit 1" + network + relay + u8(cipher) + request + Y + ct).digest()
    prk = hmac256(th, x_agree(y, X) + x_agree(onion_secret, X) + kem)
    auth, forward, backward = (
        HKDFExpand(hashes.SHA256(), 32, b"umbel circuit 1 " + part).derive(prk) for part in (b"auth", b"forward", b"backward")
    )
    return u8(1) + Y + ct + auth, forward, backward


# 06: the onion
def covered(position):
    return 1400 - 16 * position


class Layer:
    def __init__(self, position, cipher, forward, backward, counter=0):
        self.n = covered(position)
        self.forward = CounterKey(cipher, forward, counter)
        self.backward = CounterKey(cipher, backward, counter)


def onion_text(position, messages):
    return padded(bytes(8) + messages, covered(position))


def seal_at(key, n, body):
    return padded(key.seal(body[:n]), 1400)


def forward_bodies(layers, hop, messages):
    """The body on each link from the client to `hop` (from 1)."""
    body, out = padded(onion_text(hop, messages), 1400), []
    for layer in reversed(layers[:hop]):
        body = body[: layer.n] + bytes(1400 - layer.n)
        # What precedes this layer's tag: the text and the tags of the later hops.
        inner = out[-1][: layer.n] if out else body[: layer.n]
        out.append(padded(layer.forward.seal(inner), 1400))
    return out[::-1]


def backward_bodies(layers, hop, messages):
    """The body on each link from `hop` (from 1) to the client."""
    inner, out = onion_text(hop, messages), []
    for layer in reversed(layers[:hop]):
        out.append(padded(layer.backward.seal(padded(inner, 1400)[: layer.n]), 1400))
        inner = out[-1]
    return out


# 03: links
class Noise:
    def __init__(self, network, responder_public):
        self.h = self.ck = sha256(b"Noise_NKhfs_25519+MLKEM768_ChaChaPoly_SHA256").digest()
        self.mix_hash(b"umbel link 1" + network)
        self.mix_hash(responder_public)
        self.key = None

    def mix_hash(self, data):
        self.h = sha256(self.h + data).digest()

    def hkdf2(self, data):
        temp = hmac256(self.ck, data)
        one = hmac256(temp, b"\x01")
        return one, hmac256(temp, one + b"\x02")

    def mix_key(self, data):
        self.ck, key = self.hkdf2(data)
        self.key = CounterKey(CHACHA, key)

    def encrypt_and_hash(self, text):
        sealed = self.key.seal(text, self.h)
        self.mix_hash(sealed)
        return sealed


def link_handshake(network, responder, e, dz, re, m, cipher, time, payload_1=None, payload_2=None):
    """Both messages, both keys (to the responder, to the initiator) and the hash."""
    noise, ek = Noise(network, x_public(responder)), mlkem.keygen(dz[:32], dz[32:])[0]
    noise.mix_hash(x_public(e))
    noise.mix_key(x_agree(e, x_public(responder)))
    one = x_public(e) + noise.encrypt_and_hash(ek) + noise.encrypt_and_hash(payload_1 or u8(1) + bytes(3) + u32(time // 1000))
    noise.mix_hash(x_public(re))
    noise.mix_key(x_agree(re, x_public(e)))
    ct, shared = mlkem.encaps(ek, m)
    two = x_public(re) + noise.encrypt_and_hash(ct)
    noise.mix_key(shared)
    two += noise.encrypt_and_hash(payload_2 or u8(1) + u8(cipher) + bytes(2) + u64(time))
    to_responder, to_initiator = noise.hkdf2(b"")
    return one, two, to_responder, to_initiator, noise.h


def link_successor(key, handshake_hash):
    prk = hmac256(handshake_hash, key)
    return HKDFExpand(hashes.SHA256(), 32, b"umbel link 1 rekey").derive(prk)


def link_record(key, cells):
    return key.seal(u8(len(cells))) + key.seal(b"".join(cells))


# 10: descriptors, invites, custodians
def address(ip, port):
    raw = bytes(map(int, ip.split("."))) if "." in ip else bytes.fromhex(ip)
    return u8(4 if len(raw) == 4 else 6) + raw + u16(port)


def member_key(founders, founder, member, network):
    """A member key as an invite has it; all keys are secrets."""
    return u8(charter_index(founders, founder)) + member + sign(founder, "umbel 1 member", network + ed_public(member))


def charter_index(founders, founder):
    return sorted(map(ed_public, founders)).index(ed_public(founder))


def membership(genesis, founders, founder, member, network, identity):
    keys = sorted(map(ed_public, founders))
    signatures = sign(founder, "umbel 1 member", network + ed_public(member)) + sign(member, "umbel 1 membership", network + identity)
    return genesis + u8(len(keys)) + b"".join(keys) + u8(charter_index(founders, founder)) + ed_public(member) + signatures


def roll(genesis, founders, founder, network, written, revoked):
    keys = sorted(map(ed_public, founders))
    body = u8(charter_index(founders, founder)) + u64(written) + u16(len(revoked)) + b"".join(revoked)
    return genesis + u8(len(keys)) + b"".join(keys) + body + sign(founder, "umbel 1 roll", network + body)


def descriptor(secret, network, work, published, lifetime, link_key, onion_key, cipher, flags, family, addresses, member=None):
    body = u8(1) + u8(flags) + u8(cipher) + network + ed_public(secret) + work + u64(published) + u32(lifetime)
    body += link_key + onion_key + (family or b"") + (member or b"") + u8(len(addresses)) + b"".join(addresses)
    return body + sign(secret, "umbel 1 descriptor", body)


def invite(profile, genesis, relays, founders=(), member=None, checkpoint=None):
    text = f"umbel-invite 2\nprofile {profile}\ngenesis {id_text(genesis)}\n"
    text += "".join(f"founder {id_text(key)}\n" for key in sorted(founders))
    text += f"member {base64.b64encode(member).decode()}\n" if member else ""
    text += f"checkpoint {checkpoint[0]} {id_text(checkpoint[1])}\n" if checkpoint else ""
    text += "".join(f"relay {base64.b64encode(r).decode()}\n" for r in relays)
    return text + f"check {id_text(blake3(text.encode()))}\n"


def score(beacon, key, relay):
    return derive("umbel 1 rendezvous score", beacon + key + relay)


RING_STEPS_MAX = 512


def custodians(beacon, key, members, n):
    """The n members after the key's point, unrelated while there are enough, the greatest score first. A member is its id and the set of its family and prefixes."""
    place = lambda relay: int.from_bytes(derive("umbel 1 ring place", beacon + relay)[:8], "big")
    point = int.from_bytes(derive("umbel 1 ring point", beacon + key)[:8], "big")
    around = sorted(members, key=lambda m: ((place(m[0]) - point) % 2**64, m[0]))
    chosen, passed = [], []
    for relay, marks in around[: max(RING_STEPS_MAX, n)]:
        if len(chosen) < n:
            (passed if any(marks & other for _, other in chosen) else chosen).append((relay, marks))
    chosen += passed[: n - len(chosen)]
    return sorted((relay for relay, _ in chosen), key=lambda relay: score(beacon, key, relay), reverse=True)


# 16: admission
def endpoint(identity, link_key, addresses):
    return derive("umbel 1 relay endpoint", identity + link_key + b"".join(addresses))[:8]


# 11: content
SMALL, LARGE = 4096, 65536
LEAF_DATA, ROOT_HEADER = LARGE - 16, 40


def verify_key(read):
    return derive("umbel 1 content verify key", read)


def block_key(base, use, number):
    return derive("umbel 1 content block key", base + u8(use) + u32(number))


def seal_once(key, text, aad=b""):
    return ChaCha20Poly1305(key).encrypt(bytes(12), text, aad)


def meta(kind, total, manifest, sha, mime, name):
    return u8(kind) + u8(1 if sha else 0) + u64(total) + u32(manifest) + (sha or b"") + len8(mime.encode()) + len8(name.encode())


def nested_size(size, children):
    return size - 32 - 16 - ROOT_HEADER - 16 - 32 * children


def root_block(read, size, leaves, children, nested, others, version=1, zeros=bytes(32)):
    """`nested` is meta and inline content; `others` are the addresses of all blocks but the root."""
    members = derive("umbel 1 content members", b"".join(others))
    sealed = seal_once(block_key(read, 3, 0), padded(nested, nested_size(size, len(children))))
    text = zeros + u8(version) + bytes(3) + u32(leaves) + b"".join(children) + sealed
    return members + seal_once(block_key(verify_key(read), 0, 0), text, members)


def build(read, content, kind=1, mime="", name="", manifest=0):
    """All blocks of an object with at most 2,012 leaves, the root first."""
    m = meta(kind, len(content), manifest, sha256(content).digest(), mime, name)
    for size in (SMALL, LARGE):
        if len(m) + len(content) <= nested_size(size, 0):
            return [root_block(read, size, 0, [], m + content, [])]
    pieces = [content[i : i + LEAF_DATA] for i in range(0, len(content), LEAF_DATA)]
    leaves = [seal_once(block_key(read, 2, i), padded(p, LEAF_DATA)) for i, p in enumerate(pieces)]
    names = [blake3(b) for b in leaves]
    return [root_block(read, LARGE, len(leaves), names, m, names)] + leaves


def convergent_key(content, kind, mime, name, manifest=0):
    digest = derive("umbel 1 content convergent key", content)
    return derive("umbel 1 content convergent key", digest + meta(kind, len(content), manifest, bytes(32), mime, name))


def manifest(files):
    files = sorted(files)
    return u8(1) + u32(len(files)) + b"".join(len16(p.encode()) + len8(m.encode()) + u64(len(c)) for p, m, c in files)


def node_block(read, number, leaves):
    """Inner node `number` (from 0) over these leaves' addresses."""
    return seal_once(block_key(verify_key(read), 1, number), padded(b"".join(leaves), LEAF_DATA))


# 01: addresses that are not public
NOT_PUBLIC = [ipaddress.ip_network(p) for p in (
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 "
    "198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/3 ::/3 2001::/23 2001:db8::/32 2002::/16 3fff::/20 4000::/2 8000::/1").split()]


def is_public(ip):
    return not any(ip.version == net.version and ip in net for net in NOT_PUBLIC)


# 10: the settled set
def record_hash(record):
    return derive("umbel 1 record", record[:-64])


def member(record, since, samples, dormant=0):
    """A member as pages have it."""
    return len16(record) + u64(since) + u16(samples) + u64(dormant)


def dir_leaf(member):
    return derive("umbel 1 directory leaf", record_hash(member[2:-18]) + member[-18:])


def dir_root(beacon, members):
    """The root over members in the order of their relays' ids."""
    level = [dir_leaf(m) for m in members]
    while len(level) > 1:
        pairs = [derive("umbel 1 directory node", b"".join(level[i : i + 2])) for i in range(0, len(level) - 1, 2)]
        level = pairs + level[len(pairs) * 2 :]
    return derive("umbel 1 directory node", u32(len(members)) + beacon + (level[0] if level else bytes(32)))


def newest_of_each(records):
    """`records` as tuples (relay id, published, lifetime in ms, bytes); of each relay the one that counts."""
    newest = {}
    for r in records:
        if r[0] not in newest or record_rank(r) > record_rank(newest[r[0]]):
            newest[r[0]] = r
    return newest


def record_rank(r):
    return r[1], record_hash(r[3])


def is_sampled(root, cut, relay, passed, interval):
    drawn = derive("umbel 1 presence sample", root + u64(cut) + relay)
    return int.from_bytes(drawn[:4], "big") * interval < passed << 32


def sampled(samples, present):
    """Fifteen samples are remembered under a leading one."""
    return (samples & 0x3FFF | 0x4000 if samples >= 0x8000 else samples) << 1 | present


def settle(previous, records, cut, dormant_max, sample_interval):
    """The members of `cut` on top of the set (cut, root, {relay id: (record tuple, since, samples, dormant)}) before it."""
    before, root, old = previous or (0, bytes(32), {})
    heard, members = newest_of_each(records), {}
    for relay, (record, since, samples, dormant) in old.items():
        new = heard.pop(relay, None)
        record = new if new and record_rank(new) > record_rank(record) else record
        live = new is not None and record[1] + record[2] > cut
        if is_sampled(root, cut, relay, cut - before, sample_interval):
            samples = sampled(samples, live)
        dormant = 0 if live else dormant or cut
        if not dormant or dormant + dormant_max > cut:
            members[relay] = record, since, samples, dormant
    members |= {r[0]: (r, cut, 1, 0) for r in heard.values() if r[1] + r[2] > cut}
    return dict(sorted(members.items()))


def group(beacon, cut, relays, n):
    """The group of a cut, of the live members of the set before it."""
    return sorted(relays, key=lambda r: derive("umbel 1 cut group", beacon + u64(cut) + r))[:n]


def rung(secret, network, cut, item, place):
    return u8(place) + sign(secret, "umbel 1 rung", network + u64(cut) + item + u8(place))


def places(indices):
    """Indices in ascending order, each as its distance from the place after the one before it."""
    out, following = u32(len(indices)), 0
    for index in indices:
        gap, following = index - following, index + 1
        out += u16(65535) * (gap // 65535) + u16(gap % 65535)
    return out


def renewal(old, new):
    """A record over the one before it: one run from the first byte that differs to the last, where that fits; else all of it."""
    differ = [i for i in range(len(new)) if len(old) == len(new) and old[i] != new[i]]
    if not differ or differ[-1] - differ[0] >= 255:
        return u8(0) + len16(new)
    return u8(1) + u16(differ[0]) + u8(differ[-1] - differ[0] + 1) + new[differ[0] : differ[-1] + 1]


def changes(old, new):
    """What changed from one set's members to those of the set that follows it."""
    kept = {relay for relay in old if relay in new and new[relay][1] == old[relay][1]}
    at = {relay: i for i, relay in enumerate(old)}
    gone = [at[relay] for relay in old if relay not in kept]
    turned = [at[relay] for relay in old if relay in kept and bool(old[relay][3]) != bool(new[relay][3])]
    renewed = [relay for relay in old if relay in kept and old[relay][0][3] != new[relay][0][3]]
    added = [new[relay][0][3] for relay in new if relay not in kept]
    return (
        places(gone) + places(turned) + places([]) + places([at[relay] for relay in renewed])
        + b"".join(renewal(old[relay][0][3], new[relay][0][3]) for relay in renewed)
        + u32(len(added)) + b"".join(len16(record) for record in added)
    )  # fmt: skip


def dir_beacon(network, cut, term, last=bytes(32)):
    return derive("umbel 1 beacon", network + u64(cut // term) + last)


def statement(secret, network, cut, root, beacon, count, relay):
    fields = u64(cut) + root + beacon + u32(count) + relay
    return fields + sign(secret, "umbel 1 root statement", network + fields)


def record_list(records):
    return u8(len(records)) + b"".join(len16(r) for r in records)
