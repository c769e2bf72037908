"""Page 03, the initiator: the handshake of two messages, records of cells, and a loop that waits for them."""

from __future__ import annotations

import random
import secrets
import select
import socket
import time
from dataclasses import dataclass
from typing import Callable, Protocol

import mlkem
import umbel
from errors import (
    BadCount,
    BadHandshake,
    BadPublicKey,
    BadRecord,
    LinkClosed,
    NonZeroPadding,
    Refused,
    TimedOut,
    UnknownKind,
    UnknownVersion,
    Violation,
    WrongCipher,
)
from umbel import u8, u32
from wire import CELL_SIZE, TAG_SIZE, Cell, CounterKey, Reader, parse_cell, pieces

MESSAGE_1_SIZE, MESSAGE_2_SIZE, PAYLOAD_2_SIZE = 1256, 1164, 12
RECORD_CELLS_MAX, RECORDS_PER_KEY, KEM_CIPHERTEXT_SIZE = 16, 4096, 1088
HANDSHAKE_SECONDS, SILENCE_SECONDS, STUCK_SECONDS = 10.0, 30.0, 60.0
PADDING_SECONDS = (1.5, 9.5)


@dataclass(frozen=True)
class Endpoint:
    """What an initiator knows of a responder, from its record (10)."""

    relay: bytes
    link_key: bytes
    cipher: int
    addresses: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Established:
    to_responder: bytes
    to_initiator: bytes
    handshake_hash: bytes
    time: int


class Initiator(umbel.Noise):
    """The initiator of `Noise_NKhfs_25519+MLKEM768_ChaChaPoly_SHA256` (LINK-1)."""

    def __init__(self, network: bytes, responder: bytes, e: bytes, dz: bytes, seconds: int) -> None:
        super().__init__(network, responder)
        self.e = e
        ek, self.dk = mlkem.keygen(dz[:32], dz[32:])
        self.mix_hash(umbel.x_public(e))
        self.mix_key(self.agree(responder))
        self.message_1 = umbel.x_public(e) + self.encrypt_and_hash(ek) + self.encrypt_and_hash(u8(1) + bytes(3) + u32(seconds))
        assert len(self.message_1) == MESSAGE_1_SIZE  # LINK-2

    def mix_key(self, data: bytes) -> None:
        self.ck, key = self.hkdf2(data)
        self.key = CounterKey(umbel.CHACHA, key)

    def agree(self, public: bytes) -> bytes:  # LINK-4
        try:
            return umbel.x_agree(self.e, public)
        except ValueError:
            raise BadPublicKey("LINK-4", "an X25519 share of small order") from None

    def decrypt_and_hash(self, sealed: bytes) -> bytes:  # LINK-3
        text = self.key.open(sealed, self.h)
        if text is None:
            raise BadHandshake("LINK-3", "message 2 does not open: the responder has not got the link key of its record, or is in another network")
        self.mix_hash(sealed)
        return text

    def finish(self, message_2: bytes, cipher: int) -> Established:
        r = Reader(message_2, "message 2")
        share = r.take(32)
        self.mix_hash(share)
        self.mix_key(self.agree(share))  # ee
        ciphertext = self.decrypt_and_hash(r.take(KEM_CIPHERTEXT_SIZE + TAG_SIZE))
        self.mix_key(mlkem.decaps(self.dk, ciphertext))  # ekem1
        clock = check_payload_2(self.decrypt_and_hash(r.take(PAYLOAD_2_SIZE + TAG_SIZE)), cipher)
        r.end()
        to_responder, to_initiator = self.hkdf2(b"")
        return Established(to_responder, to_initiator, self.h, clock)


def check_payload_2(payload: bytes, cipher: int) -> int:
    """The responder's clock; refuses what LINK-5 and LINK-6 name."""
    r = Reader(payload, "payload of message 2")
    version, named = r.uint(1), r.uint(1)
    if version != 1:
        raise UnknownVersion("LINK-5", f"a link of version {version}")
    if named not in (umbel.AES, umbel.CHACHA):
        raise UnknownKind("LINK-5", f"cipher {named}")
    if any(r.take(2)):
        raise NonZeroPadding("LINK-5", "a reserved byte of message 2 is not zero")
    if named != cipher:
        raise WrongCipher("LINK-6", f"the responder names cipher {named}, its record cipher {cipher}")
    return r.uint(8)


class Direction:
    """The key of one direction, and its successors (LINK-14)."""

    def __init__(self, cipher: int, secret: bytes, handshake_hash: bytes) -> None:
        self.cipher, self.secret, self.hash = cipher, secret, handshake_hash
        self.key, self.records = CounterKey(cipher, secret), 0

    def end_of_record(self) -> None:
        self.records += 1
        if self.records == RECORDS_PER_KEY:
            self.secret = umbel.link_successor(self.secret, self.hash)
            self.key, self.records = CounterKey(self.cipher, self.secret), 0


class RecordReader:
    """Cells out of bytes, however they are split on their way (LINK-9)."""

    def __init__(self, direction: Direction) -> None:
        self.direction, self.buffer, self.count = direction, bytearray(), 0

    def feed(self, data: bytes) -> list[bytes]:
        self.buffer += data
        cells: list[bytes] = []
        while (piece := self.next_piece()) is not None:
            cells += piece
        return cells

    def next_piece(self) -> list[bytes] | None:
        size = TAG_SIZE + (self.count * CELL_SIZE or 1)
        if len(self.buffer) < size:
            return None
        text = self.direction.key.open(bytes(self.buffer[:size]))
        del self.buffer[:size]
        if text is None:
            raise BadRecord("LINK-13", "a record does not open")
        if self.count:
            self.count = 0
            self.direction.end_of_record()
            return list(pieces(text, CELL_SIZE))
        self.count = text[0]
        if not 1 <= self.count <= RECORD_CELLS_MAX:
            raise BadCount("LINK-11", f"a record of {self.count} cells")
        return []


class CellSink(Protocol):
    """A circuit, as the link sees it."""

    def on_cell(self, cell: Cell) -> None: ...
    def on_link_closed(self, why: Refused) -> None: ...


class Link:
    """One open link. A link that failed stays closed and says why to whoever waits on it."""

    def __init__(self, connection: socket.socket, keys: Established, cipher: int) -> None:
        self.socket = connection
        self.out = Direction(cipher, keys.to_responder, keys.handshake_hash)
        self.reader = RecordReader(Direction(cipher, keys.to_initiator, keys.handshake_hash))
        self.circuits: dict[int, CellSink] = {}
        self.numbers = 0
        self.queue: list[bytes] = []
        self.closed: Refused | None = None
        self.heard = time.monotonic()
        self.pad_at = self.heard + random.uniform(*PADDING_SECONDS)

    def register(self, circuit: CellSink) -> int:
        """A number greater than all before it: late cells of an older circuit must not arrive on this one (LINK-28)."""
        self.numbers += 1
        self.circuits[self.numbers] = circuit
        return self.numbers

    def send(self, circuit: int, command: int, body: bytes) -> None:
        self.queue.append(umbel.cell(circuit, command, body))

    def flush(self) -> None:  # LINK-10, LINK-12
        while self.queue and self.closed is None:
            cells, self.queue = self.queue[:RECORD_CELLS_MAX], self.queue[RECORD_CELLS_MAX:]
            record = umbel.link_record(self.out.key, cells)
            self.out.end_of_record()
            try:
                self.socket.sendall(record)
            except OSError as error:  # LINK-26: the socket's time-out
                self.close(LinkClosed("LINK-26", f"nothing can be written: {error}"))
            self.pad_at = time.monotonic() + random.uniform(*PADDING_SECONDS)

    def close(self, why: Refused) -> None:
        if self.closed is None:
            self.closed = why
            self.socket.close()
            for circuit in self.circuits.values():
                circuit.on_link_closed(why)

    def wait(self, done: Callable[[], bool], seconds: float, what: str) -> None:
        """Runs the link until `done`, which looks at what the circuits were told and raises where they ended."""
        end = time.monotonic() + seconds
        self.flush()
        while not done():
            if self.closed is not None:
                raise self.closed
            if time.monotonic() > end:
                raise TimedOut("03", f"waited {seconds:g} s for {what}")
            self.pump(end)

    def pump(self, end: float) -> None:
        now = time.monotonic()
        until = max(0.0, min(end, self.pad_at, self.heard + SILENCE_SECONDS) - now)
        readable = select.select([self.socket], [], [], until)[0]
        now = time.monotonic()
        if readable:
            self.receive()
        elif now >= self.heard + SILENCE_SECONDS:  # LINK-25
            self.close(LinkClosed("LINK-25", "nothing has arrived for 30 s"))
        if now >= self.pad_at:  # LINK-22
            self.send(0, umbel.PADDING, b"")
        self.flush()

    def receive(self) -> None:
        try:
            data = self.socket.recv(1 << 16)
            if not data:
                raise LinkClosed("03", "the relay ended the connection")
            self.heard = time.monotonic()
            for raw in self.reader.feed(data):
                self.dispatch(parse_cell(raw))
        except OSError as error:
            self.close(LinkClosed("03", f"the connection broke: {error}"))
        except Refused as why:  # LINK-15: cells after this one stay unread
            self.close(why)

    def dispatch(self, cell: Cell) -> None:
        """The columns *initiator* of the table LinkCells on page 07."""
        if cell.command == umbel.CREATE:  # LINK-29
            raise Violation("LINK-29", "an initiator was sent CREATE")
        if cell.command == umbel.CLOSE and not self.circuits:  # LINK-34
            self.close(LinkClosed("LINK-34", "the relay needs the place of an idle link"))
        circuit = self.circuits.get(cell.circuit)
        if circuit is not None:  # CIRC-12: any other number is dropped without effect
            circuit.on_cell(cell)


def receive_exactly(connection: socket.socket, size: int, end: float) -> bytes:
    data = b""
    while len(data) < size:
        connection.settimeout(max(0.01, end - time.monotonic()))
        more = connection.recv(size - len(data))
        if not more:
            raise LinkClosed("LINK-7", "the responder ended the connection without an answer: it refused message 1")
        data += more
    return data


def connect(network: bytes, to: Endpoint) -> Link:
    """Opens a link to a relay, at the first of its addresses that answers."""
    failures = []
    for address in to.addresses:
        end = time.monotonic() + HANDSHAKE_SECONDS  # LINK-20
        try:
            connection = socket.create_connection(address, HANDSHAKE_SECONDS)
        except OSError as error:
            failures.append(f"{address[0]} port {address[1]}: {error}")
            continue
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            noise = Initiator(network, to.link_key, secrets.token_bytes(32), secrets.token_bytes(64), int(time.time()))
            connection.sendall(noise.message_1)
            keys = noise.finish(receive_exactly(connection, MESSAGE_2_SIZE, end), to.cipher)  # LINK-8
            connection.settimeout(STUCK_SECONDS)
            return Link(connection, keys, to.cipher)
        except OSError as error:
            connection.close()
            failures.append(f"{address[0]} port {address[1]}: {error}")
        except Refused:
            connection.close()
            raise
    raise LinkClosed("03", "no address answers: " + "; ".join(failures))
