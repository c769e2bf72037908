use super::*;

// spec: KEY-6
#[test]
fn this_machine_computes_what_it_should() {
    assert_eq!(self_test(), Ok(()));
}

type Plant = fn(&mut Answers) -> &mut [u8];

/// What a changed byte in one known answer is called.
#[test]
fn every_wrong_answer_is_noticed_and_named() {
    let plants: [(&str, Plant); 14] = [
        ("AES-256-GCM", |a| &mut a.aes_256_gcm_tag),
        ("ChaCha20-Poly1305", |a| &mut a.chacha20_poly1305_tag),
        ("X25519", |a| &mut a.x25519_public),
        ("X25519", |a| &mut a.x25519_shared),
        ("ML-KEM-768", |a| &mut a.kem_public_sha256),
        ("ML-KEM-768", |a| &mut a.kem_ciphertext_sha256),
        ("ML-KEM-768", |a| &mut a.kem_shared),
        ("ML-KEM-768", |a| &mut a.kem_rejected),
        ("Ed25519", |a| &mut a.ed25519_public),
        ("Ed25519", |a| &mut a.ed25519_signature),
        ("BLAKE3", |a| &mut a.blake3),
        ("BLAKE3", |a| &mut a.blake3_derive),
        ("SHA-256", |a| &mut a.sha256),
        ("HKDF-SHA-256", |a| &mut a.hkdf_sha256),
    ];
    for (name, plant) in plants {
        let mut answers = ANSWERS;
        plant(&mut answers)[7] ^= 0x10;
        let error = run(BACKENDS, &answers).expect_err(name);
        assert_eq!((error.primitive, error.fault), (name, Fault::KnownAnswer));
    }
}

const PURE: Backend = functions_of!("pure Rust", pure);

/// Holds a backend with one wrong function against the one it was made from.
fn caught(broken: Backend) -> Result<(), (&'static str, Fault)> {
    let broken = Backend { name: "broken", ..broken };
    run(&[broken, PURE], &ANSWERS).map_err(|e| {
        assert_eq!(e.implementation, "broken");
        (e.primitive, e.fault)
    })
}

// spec: KEY-6
#[test]
fn a_backend_that_is_wrong_at_some_lengths_only_is_noticed() {
    assert_eq!(caught(PURE), Ok(()));
    // The known answers are shorter; a record's code is wrong.
    let seal = |under: Under, text: &mut [u8]| {
        let tag = (PURE.seal)(under, text);
        if under.cipher == Cipher::Aes256Gcm && text.len() > 16_384 {
            text[16_384] ^= 1;
        }
        tag
    };
    assert_eq!(caught(Backend { seal, ..PURE }), Err(("AES-256-GCM", Fault::Difference)));
    let open_to = |under: Under, sealed: &[u8], tag: &Tag, out: &mut [u8]| {
        (PURE.open_to)(under, sealed, tag, out)?;
        if under.cipher == Cipher::ChaCha20Poly1305 && out.len() == 129 {
            out[128] = 0xff;
        }
        Ok(())
    };
    assert_eq!(caught(Backend { open_to, ..PURE }), Err(("ChaCha20-Poly1305", Fault::Difference)));
    let seal_to = |under: Under, text: &[u8], out: &mut [u8]| {
        let tag = (PURE.seal_to)(under, text, out);
        out.iter_mut().skip(1408).for_each(|b| *b = 0);
        tag
    };
    assert_eq!(caught(Backend { seal_to, ..PURE }), Err(("AES-256-GCM", Fault::KnownAnswer)));
}

// spec: KEY-6
#[test]
fn a_backend_that_accepts_anything_or_nothing_is_noticed() {
    let open = |under: Under, sealed: &mut [u8]| {
        let _ = (PURE.open)(under, sealed);
        Ok(())
    };
    assert_eq!(caught(Backend { open, ..PURE }), Err(("AES-256-GCM", Fault::AcceptsForged)));
    let open = |_: Under, _: &mut [u8]| Err(OpenError);
    assert_eq!(caught(Backend { open, ..PURE }), Err(("AES-256-GCM", Fault::RefusesGenuine)));
    let open_to = |under: Under, sealed: &[u8], tag: &Tag, out: &mut [u8]| {
        let mut tag = *tag;
        // The last byte of a tag is not looked at.
        for last in 0..=255 {
            tag[TAG_SIZE - 1] = last;
            if (PURE.open_to)(under, sealed, &tag, out).is_ok() {
                return Ok(());
            }
        }
        Err(OpenError)
    };
    assert_eq!(caught(Backend { open_to, ..PURE }), Err(("AES-256-GCM", Fault::AcceptsForged)));
    let agree = |secret: &[u8; 32], peer: &[u8; 32]| {
        (PURE.agree)(secret, peer).or_else(|_| Ok::<_, BadPublicKey>(Secret::new([0; 32])))
    };
    assert_eq!(caught(Backend { agree, ..PURE }), Err(("X25519", Fault::AcceptsForged)));
}

// spec: KEY-6
#[test]
fn an_agreement_that_is_wrong_for_some_keys_only_is_noticed() {
    let agree = |secret: &[u8; 32], peer: &[u8; 32]| {
        let shared = (PURE.agree)(secret, peer)?;
        Ok(if *secret == X25519_SECRET { shared } else { Secret::new([7; 32]) })
    };
    assert_eq!(caught(Backend { agree, ..PURE }), Err(("X25519", Fault::Difference)));
    let public = |secret: &[u8; 32]| if *secret == X25519_SECRET { (PURE.public)(secret) } else { [9; 32] };
    assert_eq!(caught(Backend { public, ..PURE }), Err(("X25519", Fault::Difference)));
}
