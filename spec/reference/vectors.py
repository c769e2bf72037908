"""The cases of the vectors, as `vectors/README.md` describes them."""

from __future__ import annotations

from pathlib import Path

from wire import Reader

VECTORS = Path(__file__).resolve().parent.parent / "vectors"


class NotForAClient(Exception):
    """The case is about what only a relay or a publisher does."""


class Case(dict[str, str]):
    """One case by its keys. A case that is to be refused has no key for what a reader would find."""

    def text(self, key: str) -> str:
        if key not in self:
            raise AssertionError(f"{self['expect'].strip()} was expected, and it was accepted; the case has no {key}")
        return self[key].strip()

    def number(self, key: str) -> int:
        return int(self.text(key))

    def raw(self, key: str) -> bytes:
        """Hex, with `00x40` and `05+40` written out."""
        out = bytearray()
        for piece in self.text(key).split():
            mark, step = ("x", 0) if "x" in piece else ("+", 1)
            first, _, count = piece.partition(mark)
            out += bytes((int(first, 16) + step * i) % 256 for i in range(int(count))) if count else bytes.fromhex(piece)
        return bytes(out)

    def elements(self, key: str) -> list[bytes]:
        r, out = Reader(self.raw(key), key), []
        while r.at < len(r.data):
            out.append(r.take(r.uint(2)))
        return out

    def ids(self, key: str) -> list[bytes]:
        data = self.raw(key)
        return [data[at : at + 32] for at in range(0, len(data), 32)]


def read_cases(path: Path) -> list[Case]:
    blocks = [[line for line in block.splitlines() if line and not line.startswith("#")] for block in path.read_text().split("\n\n")]
    return [Case(line.partition(":")[::2] for line in block) for block in blocks if block]


def same(found: object, expected: object) -> None:
    if found != expected:
        raise AssertionError(f"{found!r} is not {expected!r}")
