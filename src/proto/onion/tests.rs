use super::*;
use crate::base::secret::Secret;
use crate::crypto::aead::Cipher;

fn circuit(hops: u8, cipher: Cipher) -> (ClientLayers, Vec<RelayLayer>) {
    let mut client = ClientLayers::default();
    let mut relays = Vec::new();
    for position in 1..=hops {
        let keys = LayerKeys {
            position,
            cipher,
            forward: Secret::new([position; 32]),
            backward: Secret::new([position + 100; 32]),
        };
        client.push(&keys);
        relays.push(RelayLayer::new(&keys));
    }
    (client, relays)
}

/// As the hop's next neighbour gets the cell, over what there was.
fn peel(relay: &mut RelayLayer, body: &mut Body) -> Result<Peeled, OnionError> {
    let mut out = [0xff; BODY_SIZE];
    let peeled = relay.peel(body, &mut out)?;
    *body = out;
    Ok(peeled)
}

fn wrap(relay: &mut RelayLayer, body: &mut Body) -> Result<(), OnionError> {
    let mut out = [0xff; BODY_SIZE];
    relay.wrap(body, &mut out)?;
    *body = out;
    Ok(())
}

fn with_text(position: u8, fill: u8) -> Body {
    let mut body = [0; BODY_SIZE];
    text_mut(&mut body, position).fill(fill);
    body
}

// spec: ONION-1 ONION-2 ONION-5 ONION-6
#[test]
fn a_cell_reaches_the_hop_it_is_for_and_no_other() {
    for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
        let (mut client, mut relays) = circuit(6, cipher);
        for hop in [5, 0, 2, 2, 4, 5] {
            let mut body = with_text(hop + 1, 0x5a);
            let tag = client.seal_for(usize::from(hop), &mut body);
            for (h, relay) in relays.iter_mut().enumerate().take(usize::from(hop) + 1) {
                let peeled = peel(relay, &mut body).unwrap();
                assert_eq!(peeled, if h == usize::from(hop) { Peeled::Here(tag) } else { Peeled::Onward });
            }
            assert!(text(&body, hop + 1).iter().all(|&b| b == 0x5a));
        }
    }
}

// spec: ONION-7 ONION-8
#[test]
fn a_cell_comes_back_from_each_hop() {
    let (mut client, mut relays) = circuit(4, Cipher::Aes256Gcm);
    for hop in [3usize, 0, 1, 3, 2] {
        let mut body = with_text(hop as u8 + 1, 0xa5);
        let tag = relays[hop].originate(&mut body);
        for relay in relays[..hop].iter_mut().rev() {
            wrap(relay, &mut body).unwrap();
        }
        assert_eq!(client.open(&mut body), Ok((hop, tag)));
        assert!(text(&body, hop as u8 + 1).iter().all(|&b| b == 0xa5));
    }
}

/// Every byte of the body, changed on each link of a three-hop circuit: the next honest hop notices.
// spec: ONION-3 ONION-4
#[test]
fn forward_tampering_is_noticed_by_the_next_hop() {
    for link in 0..3usize {
        for at in 0..BODY_SIZE {
            let (mut client, mut relays) = circuit(3, Cipher::Aes256Gcm);
            let mut body = with_text(3, 7);
            client.seal_for(2, &mut body);
            for relay in &mut relays[..link] {
                peel(relay, &mut body).unwrap();
            }
            body[at] ^= 0x40;
            assert!(peel(&mut relays[link], &mut body).is_err(), "link {link} byte {at}");
        }
    }
}

/// Backward, a changed byte passes honest hops only as noise that the client refuses.
// spec: ONION-7 ONION-8
#[test]
fn backward_tampering_is_noticed_by_the_client() {
    for link in 0..3usize {
        for at in 0..BODY_SIZE {
            let (mut client, mut relays) = circuit(3, Cipher::Aes256Gcm);
            let mut body = with_text(3, 7);
            relays[2].originate(&mut body);
            let mut refused = false;
            for (h, relay) in relays[..2].iter_mut().enumerate().rev() {
                // Link `h + 1` lies between hop h and hop h + 1 (from 0).
                if link == h + 1 {
                    body[at] ^= 0x40;
                }
                if wrap(relay, &mut body).is_err() {
                    refused = true;
                    break;
                }
            }
            if link == 0 {
                body[at] ^= 0x40;
            }
            assert!(refused || client.open(&mut body).is_err(), "link {link} byte {at}");
        }
    }
}

/// Hop 1 and hop 3 know all their own keys and try every byte to get a mark past an honest hop 2.
// spec: ONION-3 ONION-5 ONION-7
#[test]
fn hops_one_and_three_cannot_pass_a_mark_through_an_honest_hop_two() {
    for at in 0..BODY_SIZE {
        let (mut client, mut relays) = circuit(3, Cipher::Aes256Gcm);
        let mut body = with_text(3, 7);
        client.seal_for(2, &mut body);
        peel(&mut relays[0], &mut body).unwrap();
        body[at] ^= 1; // hop 1 marks
        assert!(peel(&mut relays[1], &mut body).is_err(), "forward byte {at}");

        let (_, mut relays) = circuit(3, Cipher::Aes256Gcm);
        let mut body = with_text(3, 7);
        relays[2].originate(&mut body);
        let honest = body;
        body[at] ^= 1; // hop 3 marks
        if wrap(&mut relays[1], &mut body).is_ok() {
            // Hop 2 sealed it: hop 1 sees nothing but ciphertext, and zeros from its own tag on.
            assert!(at < covered(2));
            assert!(is_zero(&body[covered(1)..]));
            let (_, mut relays) = circuit(3, Cipher::Aes256Gcm);
            let mut clean = honest;
            wrap(&mut relays[1], &mut clean).unwrap();
            assert!(is_zero(&clean[covered(1)..]));
        }
    }
}

// spec: ONION-4
#[test]
fn a_replayed_dropped_or_reordered_cell_is_noticed() {
    let (mut client, mut relays) = circuit(2, Cipher::Aes256Gcm);
    let mut first = with_text(2, 1);
    client.seal_for(1, &mut first);
    let mut second = with_text(2, 2);
    client.seal_for(1, &mut second);
    assert_eq!(peel(&mut relays[0], &mut second.clone()), Err(OnionError::BadTag), "out of order");
    assert_eq!(peel(&mut relays[0], &mut first.clone()), Ok(Peeled::Onward));
    assert_eq!(peel(&mut relays[0], &mut first), Err(OnionError::BadTag), "replayed");
    assert_eq!(peel(&mut relays[0], &mut second), Ok(Peeled::Onward));
}

// spec: ONION-2
#[test]
fn a_hop_s_text_is_what_its_layer_covers_after_the_mark() {
    for position in 1..=6 {
        let n = 1400 - 16 * usize::from(position);
        assert_eq!(covered(position), n);
        let mut body = [0; BODY_SIZE];
        body.iter_mut().enumerate().for_each(|(at, b)| *b = at as u8);
        let whole = body;
        assert_eq!(text(&body, position), &whole[8..n]);
        assert_eq!(text_mut(&mut body, position), &whole[8..n]);
    }
}

// spec: ONION-3 ONION-7
#[test]
fn marks_after_a_tag_do_not_hide_each_other() {
    let (_, mut relays) = circuit(6, Cipher::ChaCha20Poly1305);
    assert_eq!(relays.iter().map(RelayLayer::position).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    for relay in &mut relays {
        let n = covered(relay.position());
        for distance in [1, 15] {
            if relay.position() > 1 {
                let mut body = [0; BODY_SIZE];
                let tail = &mut body[n + TAG_SIZE..];
                (tail[0], tail[distance]) = (0x5a, 0x5a);
                assert_eq!(peel(relay, &mut body), Err(OnionError::DirtyTail), "position {}", relay.position());
            }
            let mut body = [0; BODY_SIZE];
            (body[n], body[n + distance]) = (0x5a, 0x5a);
            assert_eq!(wrap(relay, &mut body), Err(OnionError::DirtyTail), "position {}", relay.position());
        }
    }
}

// spec: ONION-10
#[test]
fn no_hop_can_speak_in_the_name_of_the_hop_before_it() {
    for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
        for speaker in 2..=6_u8 {
            for victim in 1..speaker {
                let (mut client, mut relays) = circuit(6, cipher);
                // What the hostile hop sends in place of a sealed cell: a text that its neighbour would seal as its own.
                let mut body = with_text(speaker, 0x5a);
                let mut refused = false;
                for hop in (1..speaker).rev() {
                    let n = covered(hop);
                    body[n..].fill(0);
                    if hop == victim {
                        body[..MARK_SIZE].fill(0);
                    } else {
                        body[0] |= 1;
                    }
                    let wrapped = wrap(&mut relays[usize::from(hop) - 1], &mut body);
                    if hop == victim {
                        assert_eq!(wrapped, Err(OnionError::FalseMark), "hop {speaker} at hop {victim}");
                        refused = true;
                        break;
                    }
                    assert_eq!(wrapped, Ok(()));
                }
                assert!(refused);
                // Seven of the eight bytes are no mark: an honest cell may begin so, and the client finds nobody in it.
                let mut body = [0; BODY_SIZE];
                body[MARK_SIZE - 1] = 1;
                body[MARK_SIZE..covered(2)].fill(0x5a);
                let (_, mut relays) = circuit(2, cipher);
                assert_eq!(wrap(&mut relays[0], &mut body), Ok(()));
                assert!(client.open(&mut body).is_err());
            }
        }
    }
}
