"""Pages 05, 06 and 07 at the client: handshakes, layers, the path, and the window of each hop (08)."""

from __future__ import annotations

import hmac
import secrets
from collections import deque
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Callable, Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

import mlkem
import umbel
from errors import BadAuthenticator, BadPublicKey, BadTag, CircuitClosed, FromNobody, OutOfRange, Refused, UnknownKind, Violation
from link import Link
from umbel import u8
from wire import BODY_SIZE, MARK_SIZE, TAG_SIZE, Cell, CounterKey, Message, Reader, parse_text

POSITION_MAX, ACK_EVERY, CONTROL_MAX = 6, 16, 2048
# The window is the sender's own affair (09); this client has little to send and keeps to a fixed one.
WINDOW = 64
BUILD_SECONDS = 10.0
EXTEND_FAILURES = {1: "unknown relay", 2: "unreachable", 3: "refused", 4: "a limit"}


@dataclass(frozen=True)
class Target:
    """A relay as the next hop, from its record."""

    relay: bytes
    onion_key: bytes
    cipher: int


# 05: the circuit handshake
class Handshake:
    """The client's side of one handshake (HS-3)."""

    def __init__(self, network: bytes, to: Target, position: int, x: bytes, dz: bytes) -> None:
        self.network, self.to, self.position, self.x = network, to, position, x
        self.request, self.dk = umbel.hs_request(position, to.onion_key, x, dz)

    def agree(self, public: bytes) -> bytes:  # HS-5
        try:
            return umbel.x_agree(self.x, public)
        except ValueError:
            raise BadPublicKey("HS-5", "a share of small order") from None

    def finish(self, reply: bytes) -> Hop:
        r = Reader(reply, "reply")
        if (kind := r.uint(1)) != 1:
            raise UnknownKind("HS-1", f"a reply of kind {kind}")
        share, ciphertext, auth = r.take(32), r.take(1088), r.take(32)
        r.end()
        th = sha256(b"umbel circuit 1" + self.network + self.to.relay + u8(self.to.cipher) + self.request + share + ciphertext).digest()
        prk = umbel.hmac256(th, self.agree(share) + self.agree(self.to.onion_key) + mlkem.decaps(self.dk, ciphertext))
        expected, forward, backward = (
            HKDFExpand(hashes.SHA256(), 32, b"umbel circuit 1 " + part).derive(prk) for part in (b"auth", b"forward", b"backward")
        )
        if not hmac.compare_digest(expected, auth):
            raise BadAuthenticator("HS-6", f"the authenticator of hop {self.position} is not the derived one")
        cipher = self.to.cipher
        return Hop(self.position, CounterKey(cipher, forward), CounterKey(cipher, backward))


class Receiver(Protocol):
    """A stream, as the circuit sees it."""

    def on_message(self, message: Message) -> None: ...


@dataclass
class Hop:
    """One hop: its two keys, its streams, and its window each way."""

    position: int
    forward: CounterKey
    backward: CounterKey
    streams: dict[int, Receiver] = field(default_factory=dict)
    sent: int = 0
    acknowledged: int = 0
    due: deque[bytes] = field(default_factory=deque)
    received: int = 0
    leaving: bool = False

    def in_flight(self) -> int:
        return self.sent - self.acknowledged

    def on_sent(self, tag: bytes) -> None:
        """A counted cell went out; the tag of each sixteenth is what its ACK must show."""
        self.sent += 1
        if self.sent % ACK_EVERY == 0:
            self.due.append(tag)

    def on_ack(self, tag: bytes) -> None:  # STREAM-3
        if not self.due or self.due.popleft() != tag:
            raise Violation("STREAM-3", f"an ACK of hop {self.position} that is not due")
        self.acknowledged += ACK_EVERY


# 06: the onion
def seal_onion(hops: list[Hop], messages: bytes) -> tuple[bytes, bytes]:
    """The body for the last of `hops`, and the tag of that hop's layer (ONION-1, ONION-2)."""
    body = umbel.onion_text(hops[-1].position, messages)
    tag = b""
    for hop in reversed(hops):
        body = hop.forward.seal(body)
        tag = tag or body[-TAG_SIZE:]
    return body, tag


def open_onion(hops: list[Hop], body: bytes) -> tuple[Hop, bytes, bytes]:
    """The hop that a body came from, its text, and the tag of its layer (ONION-8)."""
    for hop in hops:
        tag = body[-TAG_SIZE:]
        opened = hop.backward.open(body)
        if opened is None:
            raise BadTag("ONION-8", f"the layer of hop {hop.position} does not open")
        if not any(opened[:MARK_SIZE]):
            return hop, opened, tag
        body = opened
    raise FromNobody("ONION-8", "a cell from nobody")


def text_room(position: int) -> int:
    """Bytes for messages in a text."""
    return umbel.covered(position) - MARK_SIZE


# 07: the circuit
class Circuit:
    """A path of relays, built hop by hop over one link."""

    def __init__(self, link: Link, network: bytes) -> None:
        self.link, self.network = link, network
        self.hops: list[Hop] = []
        self.asked: Handshake | None = None
        self.failed = 0
        self.closed: Refused | None = None
        self.number = link.register(self)

    def build(self, path: list[Target]) -> None:
        for to in path:
            self.add(to)

    def add(self, to: Target) -> None:
        """CREATE for the first hop, EXTEND to the last one for each further hop (CIRC-2)."""
        position = len(self.hops) + 1
        if position > POSITION_MAX:  # CIRC-1
            raise OutOfRange("CIRC-1", "a circuit of more than 6 hops")
        self.asked = Handshake(self.network, to, position, secrets.token_bytes(32), secrets.token_bytes(64))
        if position == 1:
            self.link.send(self.number, umbel.CREATE, self.asked.request)
        else:
            self.send(self.hops[-1], umbel.message(umbel.EXTEND, 0, to.relay + self.asked.request))
        self.wait(lambda: self.asked is None, BUILD_SECONDS, f"hop {position}")
        if self.failed:  # CIRC-7: the circuit stands as it stood
            reason, self.failed = self.failed, 0
            raise CircuitClosed("CIRC-7", f"hop {position} cannot be reached: {EXTEND_FAILURES[reason]}")

    def wait(self, done: Callable[[], bool], seconds: float, what: str) -> None:
        def ready() -> bool:
            if self.closed is not None:
                raise self.closed
            return done()

        self.link.wait(ready, seconds, what)

    def send(self, hop: Hop, messages: bytes) -> None:
        """A cell that needs no window: no BEGIN and no DATA in it."""
        if len(self.link.queue) > CONTROL_MAX:  # STREAM-12
            raise CircuitClosed("STREAM-12", "too many control messages wait")
        body, _ = seal_onion(self.hops[: hop.position], messages)
        self.link.send(self.number, umbel.RELAY, body)

    def send_counted(self, hop: Hop, messages: bytes) -> None:  # STREAM-1
        self.wait(lambda: hop.in_flight() < WINDOW, BUILD_SECONDS, "an ACK")
        body, tag = seal_onion(self.hops[: hop.position], messages)
        hop.on_sent(tag)
        self.link.send(self.number, umbel.RELAY, body)

    def close(self, why: Refused) -> None:
        """Ends the circuit, and tells the first relay (CIRC-13)."""
        if self.closed is None:
            self.closed = why
            self.link.circuits.pop(self.number, None)
            self.link.send(self.number, umbel.DESTROY, u8(0))
            self.link.flush()

    def on_link_closed(self, why: Refused) -> None:
        self.closed = self.closed or why

    def on_cell(self, cell: Cell) -> None:
        """One cell of this circuit; what does not hold closes the circuit and leaves the link."""
        try:
            if cell.command == umbel.CREATED:
                self.on_created(cell.body)
            elif cell.command == umbel.RELAY:
                self.on_relay(cell.body)
            else:
                self.on_destroy(cell.body[0])
        except Refused as why:
            self.close(why)

    def on_created(self, reply: bytes) -> None:
        if self.asked is None or self.hops:  # CIRC-4
            raise Violation("CIRC-4", "a CREATED that was not asked for")
        self.on_reply(self.asked, reply)

    def on_reply(self, asked: Handshake, reply: bytes) -> None:
        self.asked = None
        self.hops.append(asked.finish(reply))

    def on_destroy(self, reason: int) -> None:
        if reason == umbel.DESTROY_BUSY and self.hops:
            raise Violation("CIRC-19", "a relay is busy after it answered CREATE")
        why = "the first relay is busy" if reason == umbel.DESTROY_BUSY else f"the path ended the circuit, of {len(self.hops)} hops"
        self.closed = CircuitClosed("CIRC-13", why)
        self.link.circuits.pop(self.number, None)

    def on_relay(self, body: bytes) -> None:
        if not self.hops:  # table LinkCells: asked
            raise Violation("07", "a RELAY before CREATED")
        assert len(body) == BODY_SIZE
        hop, text, tag = open_onion(self.hops, body)
        messages = parse_text(text)
        if any(m.command == umbel.DATA for m in messages):
            hop.received += 1
            if hop.received % ACK_EVERY == 0:  # STREAM-2
                self.send(hop, umbel.message(umbel.ACK, 0, tag))
        for message in messages:
            self.on_message(hop, message)

    def on_message(self, hop: Hop, m: Message) -> None:
        if m.command == umbel.ACK:
            hop.on_ack(m.body)
        elif m.command in (umbel.EXTENDED, umbel.EXTEND_FAILED):
            if self.asked is None or hop is not self.hops[-1]:  # CIRC-6
                raise Violation("CIRC-6", f"hop {hop.position} answers an EXTEND that it was not sent")
            if m.command == umbel.EXTENDED:
                self.on_reply(self.asked, m.body)
            else:
                self.asked, self.failed = None, m.body[0]
        elif m.command == umbel.LEAVING:
            if hop.leaving:  # CIRC-20
                raise Violation("CIRC-20", f"hop {hop.position} leaves twice")
            hop.leaving = True
        elif m.stream in hop.streams:
            hop.streams[m.stream].on_message(m)
        else:  # STREAM-13
            raise Violation("STREAM-13", f"a message for stream {m.stream}, which hop {hop.position} has not got")
