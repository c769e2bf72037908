//! What the self-test knows. `spec/reference/answers.py` computes these values with other implementations and fails
//! unless they stand here.

/// What each primitive makes of the inputs in `mod.rs`.
#[derive(Clone)]
pub(super) struct Answers {
    pub(super) aes_256_gcm_tag: [u8; 16],
    pub(super) chacha20_poly1305_tag: [u8; 16],
    pub(super) x25519_public: [u8; 32],
    pub(super) x25519_shared: [u8; 32],
    pub(super) kem_public_sha256: [u8; 32],
    pub(super) kem_ciphertext_sha256: [u8; 32],
    pub(super) kem_shared: [u8; 32],
    pub(super) kem_rejected: [u8; 32],
    pub(super) ed25519_public: [u8; 32],
    pub(super) ed25519_signature: [u8; 64],
    pub(super) blake3: [u8; 32],
    pub(super) blake3_derive: [u8; 32],
    pub(super) sha256: [u8; 32],
    pub(super) hkdf_sha256: [u8; 32],
}

pub(super) const ANSWERS: Answers = Answers {
    aes_256_gcm_tag: hex("72362b9216c4a383c152c03ff01b4230"),
    chacha20_poly1305_tag: hex("3e5e5187c86141db8bcde07d29d88a10"),
    x25519_public: hex("1c9fd88f45606d932a80c71824ae151d15d73e77de38e8e000852e614fae7019"),
    x25519_shared: hex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"),
    kem_public_sha256: hex("0b7934c83125c788995e2ba6bd761e33046b3e40571be53e023309a29f398cc9"),
    kem_ciphertext_sha256: hex("dbf4e9aa48b078ad46ec1c9c47bda8c2d2fec9d0e7a21bd48d2238a2abedb856"),
    kem_shared: hex("9cddd089ffe70e3996e76f7c8d06746df34d07e8657bc0fcf2bb0e1c3084aea1"),
    kem_rejected: hex("dcfc80c6db46ff7028e3a4398651c063ae7a42c107a6dc8cb07141861698ab92"),
    ed25519_public: hex("4fd099ccd47d7893dfe9ec24414ecb0d9b5420232aad30d91c465be33cbe65c4"),
    ed25519_signature: hex(concat!(
        "02fc2d2bf4133cec7f05eeb8df568aa0d17ccf45ba6cb91a43913e0964fcf0ad",
        "e1d60ad8c072a716ad9b80ee333212fbaea54a2daa089a1e67e0485ad5035405"
    )),
    blake3: hex("62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47"),
    blake3_derive: hex("c76a51c4e3142f50347cbe198b4c03d5de1cdbba42ddef2d741cf59145d6c09c"),
    sha256: hex("bc0b6b10b89b9487a12fda2a8cc13194e7091c217aabf8b92846274026f4bcd0"),
    hkdf_sha256: hex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"),
};

/// RFC 7748, section 5.2: a secret and a peer's share.
pub(super) const X25519_SECRET: [u8; 32] = hex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4");
pub(super) const X25519_PEER: [u8; 32] = hex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c");

/// Reads lower-case hex while the program is compiled; what is no hex does not compile.
const fn hex<const N: usize>(text: &str) -> [u8; N] {
    const fn digit(c: u8) -> u8 {
        match c {
            b'0'..=b'9' => c - b'0',
            b'a'..=b'f' => c - b'a' + 10,
            _ => panic!("not a digit"),
        }
    }
    let text = text.as_bytes();
    assert!(text.len() == 2 * N, "two digits a byte");
    let mut out = [0; N];
    let mut i = 0;
    while i < N {
        out[i] = digit(text[2 * i]) << 4 | digit(text[2 * i + 1]);
        i += 1;
    }
    out
}
