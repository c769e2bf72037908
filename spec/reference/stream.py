"""Page 08 at the client: one stream, its credit, and the calls on it."""

from __future__ import annotations

from typing import Callable

import umbel
from circuit import Circuit, Hop, text_room
from errors import OutOfRange, StreamEnded, Violation
from umbel import u8, u16, u32
from wire import MESSAGE_HEADER_SIZE, Message

CREDIT_MAX, BODY_MAX = 1 << 31, 66560
RELAY_CREDIT_FIRST = 16384
ANSWER_SECONDS = 30.0
TO_DIRECTORY, TO_STORE = u8(4), u8(5)
END_DONE, END_RESET, END_PROTOCOL = 0, 3, 8
END_REASONS = ("done", "refused", "unreachable", "reset", "not offered", "timed out", "a limit", "forbidden by policy", "protocol")

# The table ClientStream of page 07: what may come in which state. END stands for END not 0, and END_0 for the other.
END_0 = -1
ALLOWED: dict[str, set[int]] = {
    "opening": {umbel.CONNECTED, umbel.END, umbel.CREDIT},
    "open": {umbel.DATA, END_0, umbel.END, umbel.CREDIT},
    "ended": {umbel.END, umbel.CREDIT},
    "finished": {umbel.DATA, END_0, umbel.END, umbel.CREDIT},
    "aborted": {umbel.CONNECTED, umbel.DATA, END_0, umbel.END, umbel.CREDIT},
    "closed": {umbel.END, umbel.CREDIT},
}


def to_host(host: str, port: int) -> bytes:
    return u8(1) + umbel.len8(host.encode("ascii")) + u16(port)


def to_address(ip: bytes, port: int) -> bytes:
    return u8(2 if len(ip) == 4 else 3) + ip + u16(port)


class Stream:
    """A flow of bytes to one hop. The circuit keeps it under its number for as long as the circuit lives (STREAM-13)."""

    def __init__(self, circuit: Circuit, hop: Hop, target: bytes, window: int, first: bytes = b"") -> None:
        self.circuit, self.hop, self.window = circuit, hop, window
        self.state, self.reason = "opening", END_DONE
        self.credit = window
        self.granted, self.taken, self.inbox = window, 0, bytearray()
        self.number = len(hop.streams) + 1
        hop.streams[self.number] = self
        more = umbel.message(umbel.CREDIT, self.number, u32(window - RELAY_CREDIT_FIRST))  # STREAM-33
        room = min(text_room(hop.position) - MESSAGE_HEADER_SIZE - len(target) - len(more), window)
        self.credit -= len(first[:room])
        circuit.send_counted(hop, umbel.message(umbel.BEGIN, self.number, target + first[:room]) + more)
        self.write(first[room:])

    def write(self, data: bytes) -> None:
        """Sends bytes as window and credit allow; DATA before CONNECTED is held by the relay."""
        room = text_room(self.hop.position) - MESSAGE_HEADER_SIZE
        while data:
            self.wait(lambda: self.credit > 0, "credit")
            self.must_send()
            piece = data[: min(room, self.credit)]
            self.credit -= len(piece)
            self.circuit.send_counted(self.hop, umbel.message(umbel.DATA, self.number, piece))
            data = data[len(piece) :]

    def must_send(self) -> None:
        if self.state not in ("opening", "open", "ended"):
            raise self.ended()

    def ended(self) -> StreamEnded:
        return StreamEnded("08", f"hop {self.hop.position} ended stream {self.number}: {END_REASONS[self.reason]}")

    def wait(self, done: Callable[[], bool], what: str) -> None:
        self.circuit.wait(lambda: done() or self.state == "closed", ANSWER_SECONDS, what)

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes; grants as much again."""
        self.wait(lambda: len(self.inbox) >= size or self.over(), "bytes of a stream")
        if len(self.inbox) < size:
            raise self.ended()
        data = bytes(self.inbox[:size])
        del self.inbox[:size]
        self.grant(size)
        return data

    def read_to_end(self) -> bytes:
        """Everything up to the relay's END 0."""
        data = b""
        while not (self.over() and not self.inbox):
            self.wait(lambda: bool(self.inbox) or self.over(), "bytes of a stream")
            data += self.read(len(self.inbox))
        if self.reason != END_DONE:
            raise self.ended()
        return data

    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.state in ("ended", "closed", "aborted")

    def grant(self, taken: int) -> None:  # STREAM-25
        self.taken += taken
        if self.taken >= self.window // 4 and not self.over():
            self.granted += self.taken
            self.circuit.send(self.hop, umbel.message(umbel.CREDIT, self.number, u32(self.taken)))
            self.taken = 0

    def end(self, reason: int = END_DONE) -> None:
        """END 0 closes this direction, another reason gives the stream up."""
        if self.state in ("opening", "open", "ended"):
            self.wait(lambda: self.state != "opening" or reason != END_DONE, "CONNECTED")
            self.send_end(reason)
            self.state = "closed" if self.state in ("ended", "closed") else "finished" if reason == END_DONE else "aborted"
            self.circuit.link.flush()

    def send_end(self, reason: int) -> None:
        self.circuit.send(self.hop, umbel.message(umbel.END, self.number, u8(reason)))

    def on_message(self, m: Message) -> None:
        kind = END_0 if m.command == umbel.END and m.body[0] == END_DONE else m.command
        if kind not in ALLOWED[self.state]:
            raise Violation("STREAM-8", f"message {m.command} on stream {self.number}, which is {self.state}")
        if kind == umbel.CONNECTED and self.state == "opening":
            self.state = "open"
        elif kind == umbel.DATA:
            self.on_data(m.body)
        elif kind == umbel.CREDIT:
            self.on_credit(int.from_bytes(m.body, "big"))
        elif kind == END_0:  # STREAM-10
            self.state = "ended" if self.state == "open" else "closed"
        elif kind == umbel.END:
            self.on_given_up(m.body[0])

    def on_data(self, data: bytes) -> None:  # STREAM-4
        self.granted -= len(data)
        if self.granted < 0:
            raise Violation("STREAM-4", f"more bytes on stream {self.number} than were granted")
        if self.state != "aborted":
            self.inbox += data

    def on_credit(self, more: int) -> None:  # STREAM-7
        self.credit += more
        if self.credit > CREDIT_MAX:
            raise Violation("STREAM-7", f"credit of {self.credit} bytes")

    def on_given_up(self, reason: int) -> None:  # STREAM-9
        if self.state in ("opening", "open", "ended"):
            self.send_end(END_DONE)
        if self.state != "closed":
            self.state, self.reason = "closed", reason


class Calls:
    """Requests and answers on a stream to a relay's directory or store; answers come in the order of requests."""

    def __init__(self, circuit: Circuit, target: bytes, window: int) -> None:
        self.circuit, self.hop, self.target, self.window = circuit, circuit.hops[-1], target, window
        self.stream: Stream | None = None

    def ask(self, body: bytes) -> None:
        framed = u32(len(body)) + body
        if self.stream is None:
            self.stream = Stream(self.circuit, self.hop, self.target, self.window, framed)
        else:
            self.stream.write(framed)

    def answer(self) -> bytes:
        assert self.stream is not None, "nothing was asked"
        size = int.from_bytes(self.stream.read(4), "big")
        if size > BODY_MAX:  # STREAM-11
            self.stream.end(END_PROTOCOL)
            raise OutOfRange("STREAM-11", f"an answer of {size} bytes")
        return self.stream.read(size)

    def call(self, body: bytes) -> bytes:
        self.ask(body)
        return self.answer()

    def end(self) -> None:
        if self.stream is not None:
            self.stream.end()
