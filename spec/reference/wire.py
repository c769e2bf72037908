"""Pages 01, 02 and 04 as a receiver needs them: readers, signatures, opening under a counter, cells and messages.

`umbel.py` writes; what stands here reads, and refuses whatever a writer would not have written (CELL-6).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

import ed25519
import umbel
from errors import BadText, NonZeroPadding, OutOfRange, TrailingBytes, Truncated, UnknownKind, Violation

TAG_SIZE, CELL_SIZE, BODY_SIZE, MARK_SIZE, MESSAGE_HEADER_SIZE = 16, 1408, 1400, 8, 5
REQUEST_SIZE, REPLY_SIZE = 1250, 1153
RESOLVED_MAX, EXTEND_REASONS, END_REASONS = 8, range(1, 5), range(9)
ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


class Reader:
    """Takes fields off the front of `data`; what is left over is an error at the end (ENC-1, ENC-2)."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data, self.at, self.name = data, 0, name

    def take(self, size: int) -> bytes:  # ENC-1
        if size > len(self.data) - self.at:
            raise Truncated("ENC-1", f"{self.name}: {size} bytes wanted, {len(self.data) - self.at} left")
        self.at += size
        return self.data[self.at - size : self.at]

    def uint(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def text8(self, rule: str) -> str:
        return utf8(self.take(self.uint(1)), self.name, rule)

    def rest(self) -> bytes:
        return self.take(len(self.data) - self.at)

    def end(self) -> None:  # ENC-2
        if self.at != len(self.data):
            raise TrailingBytes("ENC-2", f"{self.name}: {len(self.data) - self.at} bytes left over")

    def zeros(self, size: int, rule: str) -> None:
        if any(self.take(size)):
            raise NonZeroPadding(rule, f"{self.name}: a reserved byte is not zero")

    def end_of_zeros(self, rule: str) -> None:
        self.zeros(len(self.data) - self.at, rule)


def utf8(raw: bytes, name: str, rule: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise BadText(rule, f"{name}: not UTF-8") from None


def id_from_text(text: str, name: str) -> bytes:  # ENC-3
    value = 0
    for c in text.lower():
        if c not in ALPHABET:
            raise BadText("ENC-3", f"{name}: {c!r} is not in the alphabet")
        value = value << 5 | ALPHABET.index(c)
    if len(text) != 52 or value & 15:
        raise BadText("ENC-3", f"{name}: not 52 characters, or spare bits that are not zero")
    return (value >> 4).to_bytes(32, "big")


# 02: signatures
def _sound(point: bytes) -> bool:
    """A canonical encoding of a point that is not of small order: conditions 2 and 3."""
    decoded = ed25519.decode(point)
    return decoded is not None and not ed25519.is_small(decoded)


def is_signed(identity: bytes, purpose: str, message: bytes, signature: bytes) -> bool:  # KEY-4, KEY-7
    """The equation without the cofactor is what OpenSSL checks; the other conditions it does not."""
    if int.from_bytes(signature[32:], "little") >= ed25519.L or not _sound(identity) or not _sound(signature[:32]):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(identity).verify(signature, umbel.len8(purpose.encode()) + message)
    except (InvalidSignature, ValueError):
        return False
    return True


class CounterKey(umbel.CounterKey):
    """A counter key that opens as well; only a successful open moves the counter (KEY-5)."""

    def open(self, sealed: bytes, aad: bytes = b"") -> bytes | None:
        nonce = bytes(4) + self.counter.to_bytes(8, self.order)
        try:
            text = self.aead.decrypt(nonce, sealed, aad)
        except InvalidTag:
            return None
        self.counter += 1
        return text


# 04: the cell
@dataclass(frozen=True)
class Cell:
    circuit: int
    command: int
    body: bytes


def parse_cell(raw: bytes) -> Cell:
    r = Reader(raw, "cell")
    circuit, command = r.uint(4), r.uint(1)
    if command > umbel.PADDING_NEGOTIATE:  # CELL-2
        raise UnknownKind("CELL-2", f"a cell of command {command}")
    r.zeros(3, "CELL-3")
    if (circuit == 0) != (command in (umbel.PADDING, umbel.AUTHENTICATE, umbel.CLOSE, umbel.PADDING_NEGOTIATE)):  # CELL-4
        raise OutOfRange("CELL-4", f"command {command} on circuit {circuit}")
    if command == umbel.AUTHENTICATE:
        raise Violation("LINK-23", "an initiator was sent AUTHENTICATE")
    if command == umbel.PADDING_NEGOTIATE:
        raise Violation("LINK-36", "an initiator was sent PADDING_NEGOTIATE")
    sizes = {umbel.PADDING: 0, umbel.CLOSE: 0, umbel.CREATE: REQUEST_SIZE, umbel.CREATED: REPLY_SIZE, umbel.RELAY: BODY_SIZE, umbel.DESTROY: 1}
    body = r.take(sizes[command])
    if command == umbel.DESTROY and body[0] > umbel.DESTROY_BUSY:  # CELL-14
        raise UnknownKind("CELL-14", f"DESTROY with reason {body[0]}")
    r.end_of_zeros("CELL-5")
    return Cell(circuit, command, body)


# 04: the messages of a text
@dataclass(frozen=True)
class Message:
    command: int
    stream: int
    body: bytes


ABOUT_CIRCUIT = (umbel.EXTEND, umbel.EXTENDED, umbel.EXTEND_FAILED, umbel.ACK, umbel.LEAVING)
FIXED_SIZES = {umbel.EXTENDED: REPLY_SIZE, umbel.EXTEND_FAILED: 1, umbel.CONNECTED: 0, umbel.END: 1, umbel.CREDIT: 4, umbel.ACK: TAG_SIZE, umbel.LEAVING: 0}
FROM_CLIENT = (umbel.EXTEND, umbel.BEGIN, umbel.RESOLVE)


def parse_text(text: bytes) -> list[Message]:
    """The messages after the mark; `text` is what the hop's layer covers."""
    r, found = Reader(text, "text"), []
    r.take(MARK_SIZE)
    while r.at < len(text):
        command = r.uint(1)
        if command == 0:
            r.end_of_zeros("CELL-7")
            break
        message = Message(command, r.uint(2), r.take(r.uint(2)))
        check_message(message)
        found.append(message)
    if not found:
        raise Truncated("CELL-8", "a text without a message")
    return found


def check_message(m: Message) -> None:
    if m.command > umbel.LEAVING:
        raise UnknownKind("CELL-12", f"message {m.command}")
    if m.command in FROM_CLIENT:
        raise Violation("CIRC-10", f"message {m.command} is the client's to send")
    if (m.stream == 0) != (m.command in ABOUT_CIRCUIT):
        raise OutOfRange("CELL-10", f"message {m.command} on stream {m.stream}")
    size = FIXED_SIZES.get(m.command)
    if size is not None and len(m.body) != size:
        raise (Truncated if len(m.body) < size else TrailingBytes)("CELL-9", f"message {m.command} of {len(m.body)} bytes")
    if m.command == umbel.DATA and not m.body:
        raise Truncated("CELL-13", "a DATA without bytes")
    if m.command == umbel.CREDIT and not any(m.body):
        raise OutOfRange("CELL-13", "a CREDIT of 0")
    reasons = {umbel.END: END_REASONS, umbel.EXTEND_FAILED: EXTEND_REASONS}.get(m.command)
    if reasons is not None and m.body[0] not in reasons:
        raise UnknownKind("CELL-12", f"message {m.command} with reason {m.body[0]}")
    if m.command == umbel.RESOLVED:
        raise Violation("STREAM-13", "a RESOLVED, and this client sends no RESOLVE")


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))
