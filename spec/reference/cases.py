"""What all cases share: how one is written down, and the bytes they are made of."""

files = {}


def hexed(x):
    """Hex; `00x40` is forty bytes of `00`, `05+40` forty bytes that count up from `05`."""
    out, plain, i = [], bytearray(), 0
    while i < len(x):
        for step, mark in ((0, "x"), (1, "+")):
            n = 1
            while i + n < len(x) and x[i + n] == (x[i + n - 1] + step) % 256:
                n += 1
            if n >= 16:
                if plain:
                    out.append(plain.hex())
                out.append(f"{x[i]:02x}{mark}{n}")
                plain, i = bytearray(), i + n
                break
        else:
            plain.append(x[i])
            i += 1
    return " ".join(out + ([plain.hex()] if plain else []))


def case(file, kind, name, spec, expect="ok", /, **fields):
    lines = [f"case: {kind}/{name}", f"spec: {spec}", f"expect: {expect}"]
    for key, value in fields.items():
        lines.append(f"{key}: {hexed(value) if isinstance(value, bytes) else value}".rstrip())
    files.setdefault(file, []).append("\n".join(lines))


def seq(n, start=0):
    """Bytes that count up, so that a misplaced field shows."""
    return bytes((start + i) % 256 for i in range(n))


def flipped(x, at, mask=1):
    return x[:at] + bytes([x[at] ^ mask]) + x[at + 1 :]


def put(x, at, new):
    return x[:at] + new + x[at + len(new) :]
