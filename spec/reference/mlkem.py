"""ML-KEM-768 after FIPS 203, by its algorithm numbers. Slow and not constant in time: for test vectors alone."""

from hashlib import sha3_256, sha3_512, shake_128, shake_256

Q, N, K, ETA, DU, DV = 3329, 256, 3, 2, 10, 4


def _bitrev7(i):
    return int(f"{i:07b}"[::-1], 2)


ZETAS = [pow(17, _bitrev7(i), Q) for i in range(128)]
GAMMAS = [pow(17, 2 * _bitrev7(i) + 1, Q) for i in range(128)]


def _bits(data):
    return [b >> i & 1 for b in data for i in range(8)]


def encode(d, f):  # ByteEncode_d, algorithm 5
    n = sum((x & (1 << d) - 1) << (d * i) for i, x in enumerate(f))
    return n.to_bytes(32 * d, "little")


def decode(d, data):  # ByteDecode_d, algorithm 6
    n, mask = int.from_bytes(data, "little"), (1 << d) - 1
    out = [n >> (d * i) & mask for i in range(N)]
    return [x % Q for x in out] if d == 12 else out


def _compress(d, f):
    return [((x << d) + Q // 2) // Q % (1 << d) for x in f]


def _decompress(d, f):
    return [(x * Q + (1 << d - 1)) >> d for x in f]


def _sample_ntt(seed):  # algorithm 7
    stream, out, at = shake_128(seed).digest(168 * 12), [], 0
    while len(out) < N:
        a, b, c = stream[at : at + 3]
        at += 3
        for d in (a + 256 * (b % 16), b // 16 + 16 * c):
            if d < Q and len(out) < N:
                out.append(d)
    return out


def _sample_cbd(data):  # algorithm 8, eta = 2
    b = _bits(data)
    return [(b[4 * i] + b[4 * i + 1] - b[4 * i + 2] - b[4 * i + 3]) % Q for i in range(N)]


def _prf(seed, n):
    return shake_256(seed + bytes([n])).digest(64 * ETA)


def _ntt(f):  # algorithm 9
    f, i, length = list(f), 1, 128
    while length >= 2:
        for start in range(0, N, 2 * length):
            z = ZETAS[i]
            i += 1
            for j in range(start, start + length):
                t = z * f[j + length] % Q
                f[j + length] = (f[j] - t) % Q
                f[j] = (f[j] + t) % Q
        length //= 2
    return f


def _inverse_ntt(f):  # algorithm 10
    f, i, length = list(f), 127, 2
    while length <= 128:
        for start in range(0, N, 2 * length):
            z = ZETAS[i]
            i -= 1
            for j in range(start, start + length):
                t = f[j]
                f[j] = (t + f[j + length]) % Q
                f[j + length] = z * (f[j + length] - t) % Q
        length *= 2
    return [x * 3303 % Q for x in f]


def _times(f, g):  # algorithms 11 and 12
    out = []
    for i in range(128):
        a, b, c, d = f[2 * i], f[2 * i + 1], g[2 * i], g[2 * i + 1]
        out += [(a * c + b * d * GAMMAS[i]) % Q, (a * d + b * c) % Q]
    return out


def _plus(*fs):
    return [sum(xs) % Q for xs in zip(*fs)]


def _matrix(rho):
    return [[_sample_ntt(rho + bytes([j, i])) for j in range(K)] for i in range(K)]


def _pke_encrypt(ek, m, r):  # algorithm 14
    t = [decode(12, ek[384 * i : 384 * (i + 1)]) for i in range(K)]
    a = _matrix(ek[384 * K :])
    y = [_ntt(_sample_cbd(_prf(r, i))) for i in range(K)]
    e1 = [_sample_cbd(_prf(r, K + i)) for i in range(K)]
    e2 = _sample_cbd(_prf(r, 2 * K))
    u = [_plus(_inverse_ntt(_plus(*(_times(a[j][i], y[j]) for j in range(K)))), e1[i]) for i in range(K)]
    mu = _decompress(1, decode(1, m))
    v = _plus(_inverse_ntt(_plus(*(_times(t[j], y[j]) for j in range(K)))), e2, mu)
    return b"".join(encode(DU, _compress(DU, f)) for f in u) + encode(DV, _compress(DV, v))


def keygen(d, z):  # algorithms 13 and 16
    g = sha3_512(d + bytes([K])).digest()
    rho, sigma = g[:32], g[32:]
    a = _matrix(rho)
    s = [_ntt(_sample_cbd(_prf(sigma, i))) for i in range(K)]
    e = [_ntt(_sample_cbd(_prf(sigma, K + i))) for i in range(K)]
    t = [_plus(*(_times(a[i][j], s[j]) for j in range(K)), e[i]) for i in range(K)]
    ek = b"".join(encode(12, f) for f in t) + rho
    dk = b"".join(encode(12, f) for f in s) + ek + sha3_256(ek).digest() + z
    return ek, dk


def is_valid(ek):  # the modulus check of section 7.2
    return len(ek) == 1184 and all(encode(12, decode(12, ek[384 * i : 384 * (i + 1)])) == ek[384 * i : 384 * (i + 1)] for i in range(K))


def encaps(ek, m):  # algorithm 17: ciphertext and secret
    g = sha3_512(m + sha3_256(ek).digest()).digest()
    return _pke_encrypt(ek, m, g[32:]), g[:32]


def decaps(dk, c):  # algorithms 15 and 18
    s = [decode(12, dk[384 * i : 384 * (i + 1)]) for i in range(K)]
    ek, h, z = dk[384 * K : 768 * K + 32], dk[768 * K + 32 : 768 * K + 64], dk[768 * K + 64 :]
    u = [_decompress(DU, decode(DU, c[320 * i : 320 * (i + 1)])) for i in range(K)]
    v = _decompress(DV, decode(DV, c[320 * K :]))
    w = [(x - y) % Q for x, y in zip(v, _inverse_ntt(_plus(*(_times(s[i], _ntt(u[i])) for i in range(K)))))]
    m = encode(1, _compress(1, w))
    g = sha3_512(m + h).digest()
    return g[:32] if _pke_encrypt(ek, m, g[32:]) == c else shake_256(z + c).digest(32)


def check(cases):
    """Against published known answers: dicts of bytes as in vectors/mlkem.txt."""
    for c in cases:
        assert is_valid(c["ek"]) and encaps(c["ek"], c["m"]) == (c["ct"], c["ss"])
        if "d" in c:
            ek, dk = keygen(c["d"], c["z"])
            assert ek == c["ek"] and decaps(dk, c["ct"]) == c["ss"] and decaps(dk, c["bad_ct"]) == c["bad_ss"]


def accumulated(n):
    """Accumulated as github.com/C2SP/CCTV describes, over ek, ct, k and the k of a bad ciphertext, as Go's crypto/mlkem tests do."""
    stream, at, out = shake_128(b"").digest(n * (96 + 1088)), 0, shake_128()

    def draw(size):
        nonlocal at
        at += size
        return stream[at - size : at]

    for _ in range(n):
        d, z, m, bad = draw(32), draw(32), draw(32), draw(1088)
        ek, dk = keygen(d, z)
        ct, k = encaps(ek, m)
        assert decaps(dk, ct) == k
        for x in (ek, ct, k, decaps(dk, bad)):
            out.update(x)
    return out.hexdigest(32)


if __name__ == "__main__":
    assert accumulated(100) == "1114b1b6699ed191734fa339376afa7e285c9e6acf6ff0177d346696ce564415"
    print("mlkem: 100 accumulated cases hold")
