"""Page 11 at a reader: the store's calls, and an object from one custodian after the other."""

from __future__ import annotations

from typing import Callable, Iterable, TypeVar

from content import ContentLink, Root, check_address, leaf_content, node_addresses, open_root
from errors import OutOfRange, Refused, Tampered, TimedOut, TrailingBytes, Unavailable, UnknownKind, WrongKey
from stream import Calls
from umbel import LARGE, SMALL, u8, u32

OUTSTANDING_MAX = 24
GET, BLOCK = 2, 2
REFUSALS = {
    128: "not held",
    129: "full",
    130: "not of the object",
    131: "not named yet",
    132: "busy",
    133: "denied by the operator",
    134: "malformed",
    135: "disk failed",
}
T = TypeVar("T")


def ask_block(locator: bytes, index: int) -> bytes:
    return u8(GET) + locator + u32(index)


def block_of(answer: bytes) -> bytes:
    if answer and answer[0] in REFUSALS:
        if len(answer) > 1:
            raise TrailingBytes("11", "bytes after a refusal")
        raise Unavailable("11", f"the custodian refuses: {REFUSALS[answer[0]]}")
    if not answer or answer[0] != BLOCK:
        raise UnknownKind("11", "an answer that is no block")
    if len(answer) - 1 not in (SMALL, LARGE):
        raise OutOfRange("CONT-6", f"a block of {len(answer) - 1} bytes")
    return answer[1:]


class ObjectReader:
    """What is verified of an object; another custodian goes on where one failed (CONT-22)."""

    def __init__(self, link: ContentLink) -> None:
        self.link = link
        self.root: Root | None = None
        self.addresses: list[bytes] = []
        self.nodes = 0
        self.content = bytearray()
        self.leaves = 0

    def read_from(self, calls: Calls) -> Root:
        """The rest of the object; its content is in `content` then."""
        root = self.root or self.read_root(calls)
        for block in self.blocks(calls, 1 + self.nodes, root.children[self.nodes : root.inner_nodes]):
            self.addresses += node_addresses(block, self.link, self.nodes, root.leaves)
            self.nodes += 1
        for block in self.blocks(calls, 1 + root.inner_nodes + self.leaves, self.addresses[self.leaves :]):
            self.content += leaf_content(block, self.link, self.leaves, root.meta.total - len(self.content))
            self.leaves += 1
        return root

    def read_root(self, calls: Calls) -> Root:
        (block,) = self.blocks(calls, 0, [self.link.root])
        self.root = open_root(block, self.link)
        self.content += self.root.inline
        self.addresses = [] if self.root.inner_nodes else list(self.root.children)
        return self.root

    def blocks(self, calls: Calls, first: int, addresses: list[bytes]) -> Iterable[bytes]:
        """Blocks in order, some asked for ahead, each checked before it is handed on."""
        asked = 0
        for at, address in enumerate(addresses):
            while asked < min(len(addresses), at + OUTSTANDING_MAX):
                calls.ask(ask_block(self.link.locator, first + asked))
                asked += 1
            block = block_of(calls.answer())
            if len(block) not in (SMALL, LARGE):
                raise OutOfRange("CONT-6", f"a block of {len(block)} bytes")
            check_address(block, address)
            yield block


def fetch(link: ContentLink, custodians: Iterable[T], open_store: Callable[[T], Calls]) -> tuple[Root, bytes]:
    """An object by its hash, from one custodian after the other (CONT-22, CONT-23)."""
    reader, failures = ObjectReader(link), []
    for custodian in custodians:
        try:
            calls = open_store(custodian)
            root = reader.read_from(calls)
            calls.end()
            return root, bytes(reader.content)
        except WrongKey:
            raise
        except Refused as why:
            failures.append(why)
    said = "; ".join(map(str, failures))
    if any(isinstance(why, Tampered) for why in failures):
        raise Tampered("CONT-23", f"custodians sent other bytes: {said}")
    if failures and all(isinstance(why, Unavailable) for why in failures):
        raise Unavailable("CONT-23", f"no custodian has the object: {said}")
    if any(isinstance(why, TimedOut) for why in failures):
        raise TimedOut("CONT-23", f"no custodian answers: {said}")
    raise Unavailable("CONT-23", f"no custodian could be reached: {said}")
