"""Ed25519 as page 02 defines it (RFC 8032 section 5.1 for keys and signing), with points in affine form: slow and plain."""

from hashlib import sha512

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ZERO = (0, 1)


def add(a, b):
    (x1, y1), (x2, y2) = a, b
    k = D * x1 * x2 * y1 * y2 % P
    return (x1 * y2 + x2 * y1) * pow(1 + k, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - k, -1, P) % P


def times(n, a):
    out = ZERO
    while n:
        if n & 1:
            out = add(out, a)
        a, n = add(a, a), n >> 1
    return out


def encode(a):
    return (a[1] | (a[0] & 1) << 255).to_bytes(32, "little")


def decode(data):
    """The point, or None where there is none or the bytes are not its canonical encoding."""
    n = int.from_bytes(data, "little")
    sign, y = n >> 255, n & (2**255 - 1)
    if y >= P:
        return None
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if v * x * x % P != u:
        x = x * pow(2, (P - 1) // 4, P) % P
    if v * x * x % P != u or (x == 0 and sign):
        return None
    return (P - x if x & 1 != sign else x, y)


BASE = decode((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def is_small(a):
    return times(8, a) == ZERO


def small_points():
    """The eight points of small order."""
    y = 2
    while True:
        point = decode(y.to_bytes(32, "little"))
        if point is not None:
            eighth = times(L, point)
            if times(4, eighth) != ZERO:
                return [times(i, eighth) for i in range(8)]
        y += 1


def challenge(r, public, message):
    return int.from_bytes(sha512(r + public + message).digest(), "little") % L


def secret_scalar(secret):
    h = sha512(secret).digest()
    a = int.from_bytes(h[:32], "little")
    return (a & (2**254 - 8)) | 2**254, h[32:]


def verify(public, message, signature):
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    a, r_point = decode(public), decode(r)
    if s >= L or a is None or r_point is None or is_small(a) or is_small(r_point):
        return False
    k = challenge(r, public, message)
    # [S]B = R + [k]A, without the cofactor.
    return times(s, BASE) == add(r_point, times(k, a))


def with_cofactor(public, message, signature):
    """What a verifier that multiplies by eight would say, of points that decode; for cases where the two differ."""
    r, s = decode(signature[:32]), int.from_bytes(signature[32:], "little")
    k = challenge(signature[:32], public, message)
    return times(8 * s, BASE) == times(8, add(r, times(k, decode(public))))
