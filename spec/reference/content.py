"""Page 11 at a reader: links, blocks, roots, trees and manifests. Fetching stands in `fetch.py`."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

import umbel
from blake3 import blake3, derive
from errors import (
    BadText,
    CutOff,
    Mistyped,
    NonZeroPadding,
    NotCanonical,
    OutOfRange,
    Tampered,
    TooLong,
    UnknownKind,
    UnknownVersion,
    VerifyOnly,
    WrongKey,
    WrongScheme,
)
from umbel import LARGE, LEAF_DATA, SMALL
from wire import Reader, id_from_text, utf8

ROOT_FAN, NODE_FAN, VOLUME_MAX = 2012, 2047, 1 << 30
LEAVES_MAX = -(-VOLUME_MAX // LEAF_DATA)
MANIFEST_MAX, FILES_MAX, PATH_MAX, COMPONENT_MAX, MIME_MAX = 8 << 20, 65_536, 1024, 255, 127
FILE, DIRECTORY = 1, 2
ROOT, INNER, LEAF, NESTED = 0, 1, 2, 3


@dataclass(frozen=True)
class ContentLink:
    root: bytes
    read_key: bytes

    @property
    def locator(self) -> bytes:  # CONT-2
        return derive("umbel 1 block locator", self.root)

    @property
    def verify_key(self) -> bytes:
        return umbel.verify_key(self.read_key)


def parse_link(text: str) -> ContentLink:  # CONT-4, CONT-5
    scheme, _, rest = text.partition(":")
    if scheme.lower() == "umbel-verify":
        raise VerifyOnly("CONT-5", "a verify link reads nothing")
    if scheme.lower() != "umbel":
        raise WrongScheme("CONT-5", f"{scheme!r} is another scheme, umbel: is wanted")
    root, _, key = rest.partition("/")
    return ContentLink(link_part(root, "Root"), link_part(key, "Key"))


def link_part(text: str, part: str) -> bytes:
    if len(text) < 52:
        raise CutOff("CONT-5", "the link is cut off", part)
    if len(text) > 52:
        raise TooLong("CONT-5", "the link is too long", part)
    try:
        return id_from_text(text, "a link")
    except BadText as why:
        raise Mistyped("CONT-5", str(why), part) from None


# Blocks
def check_address(block: bytes, address: bytes) -> None:  # CONT-1, CONT-20
    if blake3(block) != address:
        raise Tampered("CONT-20", "a custodian sent a block with another hash")


def open_once(key: bytes, sealed: bytes, aad: bytes = b"") -> bytes:
    try:
        return ChaCha20Poly1305(key).decrypt(bytes(12), sealed, aad)
    except InvalidTag:
        raise WrongKey("CONT-23", "the key does not open the object") from None


@dataclass(frozen=True)
class Meta:
    kind: int
    total: int
    manifest: int
    sha256: bytes | None
    mime: str
    name: str


@dataclass(frozen=True)
class Root:
    leaves: int
    children: list[bytes]
    meta: Meta
    inline: bytes

    @property
    def inner_nodes(self) -> int:
        return len(self.children) if self.leaves > ROOT_FAN else 0


def children_of(leaves: int) -> int:
    return leaves if leaves <= ROOT_FAN else -(-leaves // NODE_FAN)


def open_root(block: bytes, link: ContentLink) -> Root:
    if len(block) not in (SMALL, LARGE):  # CONT-6
        raise OutOfRange("CONT-6", f"a block of {len(block)} bytes")
    members, sealed = block[:32], block[32:]
    r = Reader(open_once(umbel.block_key(link.verify_key, ROOT, 0), sealed, members), "root")  # CONT-8
    r.zeros(32, "CONT-7")
    if (version := r.uint(1)) != 1:
        raise UnknownVersion("CONT-7", f"a root of version {version}")
    r.zeros(3, "CONT-7")
    leaves = r.uint(4)
    if leaves > (LEAVES_MAX if len(block) == LARGE else 0):
        raise OutOfRange("CONT-9", f"a root of {len(block)} bytes with {leaves} leaves")
    children = [r.take(32) for _ in range(children_of(leaves))]
    nested = Reader(open_once(umbel.block_key(link.read_key, NESTED, 0), r.rest()), "nested section")
    meta = parse_meta(nested)
    check_shape(len(block), leaves, nested.at, meta.total)
    inline = nested.take(meta.total) if leaves == 0 else b""
    nested.end_of_zeros("CONT-6")
    return Root(leaves, children, meta, inline)


def parse_meta(r: Reader) -> Meta:
    kind, flags = r.uint(1), r.uint(1)
    if kind not in (FILE, DIRECTORY) or flags & ~1:  # CONT-10
        raise UnknownKind("CONT-10", f"an object of kind {kind} with flags {flags}")
    total, manifest = r.uint(8), r.uint(4)
    if total > VOLUME_MAX:  # CONT-9
        raise OutOfRange("CONT-9", f"content of {total} bytes")
    if manifest > min(total, MANIFEST_MAX) or (kind == FILE) != (manifest == 0):
        raise OutOfRange("CONT-10", f"kind {kind} with a manifest of {manifest} bytes")
    digest = r.take(32) if flags & 1 else None
    mime, name = r.text8("CONT-11"), r.text8("CONT-11")
    check_mime(mime)
    if name:
        check_name(name)
    return Meta(kind, total, manifest, digest, mime, name)


def check_shape(size: int, leaves: int, meta: int, total: int) -> None:  # CONT-10
    """Content lies in the root, small if it fits and else large; if it fits neither, in leaves."""
    small, large = (meta + total <= umbel.nested_size(s, 0) for s in (SMALL, LARGE))
    expected = (SMALL if small else LARGE, 0 if small or large else -(-total // LEAF_DATA))
    if (size, leaves) != expected:
        raise NotCanonical("CONT-10", f"{total} bytes in a root of {size} with {leaves} leaves")


def check_mime(mime: str) -> None:  # CONT-11
    if len(mime) > MIME_MAX or not all(" " <= c <= "~" for c in mime):
        raise BadText("CONT-11", "a MIME type that is not printable ASCII")


def check_components(parts: list[str]) -> None:  # CONT-11
    for part in parts:
        if part in ("", ".", "..") or "/" in part or "\0" in part or len(part.encode()) > COMPONENT_MAX:
            raise BadText("CONT-11", f"a name or path with the component {part!r}")


def check_name(name: str) -> None:  # CONT-11
    check_components([name])
    if "\\" in name or any(unicodedata.category(c) == "Cc" for c in name):
        raise BadText("CONT-11", f"the name {name!r}")


def node_addresses(block: bytes, link: ContentLink, number: int, leaves: int) -> list[bytes]:
    r = Reader(open_once(umbel.block_key(link.verify_key, INNER, number), block), "inner node")
    addresses = [r.take(32) for _ in range(min(NODE_FAN, leaves - number * NODE_FAN))]
    r.end_of_zeros("CONT-6")
    return addresses


def leaf_content(block: bytes, link: ContentLink, number: int, left: int) -> bytes:
    """A leaf's part of the content, of which `left` bytes are still to come."""
    text = open_once(umbel.block_key(link.read_key, LEAF, number), block)
    if any(text[left:]):
        raise NonZeroPadding("CONT-6", "the last leaf's padding is not zero")
    return text[:left]


# Manifests
@dataclass(frozen=True)
class Entry:
    path: str
    mime: str
    size: int


def parse_manifest(manifest: bytes, total: int) -> list[Entry]:  # CONT-12
    """The files that follow a manifest in `total` bytes of content."""
    r = Reader(manifest, "manifest")
    if (version := r.uint(1)) != 1:
        raise UnknownVersion("CONT-12", f"a manifest of version {version}")
    count = r.uint(4)
    if count > FILES_MAX:
        raise OutOfRange("CONT-12", f"{count} files")
    entries: list[Entry] = []
    files: set[str] = set()
    for _ in range(count):
        path, mime, size = utf8(r.take(r.uint(2)), "path", "CONT-11"), r.text8("CONT-11"), r.uint(8)
        check_path(path)
        check_mime(mime)
        if path.endswith("/") and (mime or size):  # CONT-34
            raise BadText("CONT-34", "an empty folder with a MIME type or a length")
        check_order(path, entries, files)
        files.add(path)
        entries.append(Entry(path, mime, size))
    r.end()
    filled = len(manifest) + sum(entry.size for entry in entries)
    if filled > VOLUME_MAX:
        raise OutOfRange("CONT-12", f"{filled} bytes of content")
    if filled != total:
        raise NotCanonical("CONT-12", f"the files end at {filled} and the content at {total}")
    return entries


def check_path(path: str) -> None:
    if len(path.encode()) > PATH_MAX:
        raise OutOfRange("CONT-11", f"a path of more than {PATH_MAX} bytes")
    check_components(path.removesuffix("/").split("/"))


def check_order(path: str, before: list[Entry], files: set[str]) -> None:  # CONT-12
    if before and before[-1].path.encode() >= path.encode():
        raise NotCanonical("CONT-12", f"{path!r} is not in order, or named twice")
    if before and before[-1].path.endswith("/") and path.startswith(before[-1].path):
        raise NotCanonical("CONT-34", f"{before[-1].path!r} is an empty folder, and holds {path!r}")
    parts = path.split("/")
    if any("/".join(parts[:n]) in files for n in range(1, len(parts))):
        raise NotCanonical("CONT-12", f"a part of {path!r} is a file as well")
