"""The known answers of the self-test (02, KEY-6), computed by OpenSSL and by blake3.py and mlkem.py.

Fails unless each of them stands in src/crypto/self_test/answers.rs.
"""

import hashlib
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import blake3
import mlkem

ANSWERS = Path(__file__).resolve().parents[2] / "src/crypto/self_test/answers.rs"
RAW = (Encoding.Raw, PublicFormat.Raw)


def pattern(length):
    return bytes(i % 251 for i in range(length))


def count(first, length):
    return bytes(range(first, first + length))


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def answers():
    for name, cipher in [("AES-256-GCM", AESGCM), ("ChaCha20-Poly1305", ChaCha20Poly1305)]:
        sealed = cipher(count(0x80, 32)).encrypt(count(0x40, 12), pattern(1500), b"self-test")
        yield f"{name}, tag", sealed[-16:].hex()

    # Secret and share are those of RFC 7748, section 5.2.
    secret = X25519PrivateKey.from_private_bytes(
        bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
    )
    peer = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    shared = secret.exchange(X25519PublicKey.from_public_bytes(peer)).hex()
    assert shared == "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"
    yield "X25519, public", secret.public_key().public_bytes(*RAW).hex()
    yield "X25519, shared", shared

    ek, dk = mlkem.keygen(count(0, 32), count(0x20, 32))
    ciphertext, shared = mlkem.encaps(ek, count(0x40, 32))
    assert mlkem.decaps(dk, ciphertext) == shared
    forged = bytes([ciphertext[0] ^ 1]) + ciphertext[1:]
    yield "ML-KEM-768, SHA-256 of the encapsulation key", sha256(ek)
    yield "ML-KEM-768, SHA-256 of the ciphertext", sha256(ciphertext)
    yield "ML-KEM-768, shared", shared.hex()
    yield "ML-KEM-768, rejected", mlkem.decaps(dk, forged).hex()

    signer = Ed25519PrivateKey.from_private_bytes(count(0xA0, 32))
    label = b"umbel 1 link auth"
    yield "Ed25519, public", signer.public_key().public_bytes(*RAW).hex()
    yield "Ed25519, signature", signer.sign(bytes([len(label)]) + label + b"self-test").hex()

    yield "BLAKE3", blake3.blake3(pattern(31744)).hex()
    yield "BLAKE3, derive-key", blake3.derive("umbel 1 local", pattern(1025)).hex()
    yield "SHA-256", sha256(pattern(1025))
    # The first case of RFC 5869, of which 32 bytes are used.
    okm = HKDF(hashes.SHA256(), 32, count(0, 13), count(0xF0, 10)).derive(b"\x0b" * 22).hex()
    assert "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865".startswith(okm)
    yield "HKDF-SHA-256", okm


if __name__ == "__main__":
    text = "".join(c for c in ANSWERS.read_text() if c.isalnum()) if ANSWERS.exists() else ""
    missing = [(name, value) for name, value in answers() if value not in text]
    for name, value in missing:
        print(f"{name}: {value}")
    assert not missing, "these are not in answers.rs"
    print("answers: what the self-test knows holds")
