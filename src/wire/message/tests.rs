use super::*;
use crate::wire::error::Malformed;
use crate::wire::examples;
use proptest::prelude::*;

fn all(text: &[u8]) -> Result<Vec<(StreamId, Message<'_>)>, Malformed> {
    let mut walk = Messages::new(text);
    let mut out = Vec::new();
    while let Some(m) = walk.next()? {
        out.push(m);
    }
    Ok(out)
}

fn repack(messages: &[(StreamId, Message<'_>)], len: usize) -> Vec<u8> {
    let mut text = vec![0xee; len];
    let mut w = TextWriter::new(&mut text);
    for (s, m) in messages {
        assert!(w.push(*s, m));
    }
    w.finish();
    text
}

#[test]
fn every_message_is_written_and_read() {
    for (name, message) in examples::messages() {
        let stream = if message.is_for_circuit() { StreamId::CIRCUIT } else { StreamId(9) };
        let case = (stream, message);
        let text = repack(std::slice::from_ref(&case), 1336 - MARK_SIZE);
        assert_eq!(all(&text), Ok(vec![case]), "{name}");
    }
}

#[test]
fn a_message_is_legal_somewhere_and_by_streams_if_it_concerns_one() {
    for kind in MessageKind::ALL {
        let columns = kind.columns();
        let sides = [Side::Relay, Side::Client].map(|side| columns.legal_at(side));
        assert!(sides.iter().any(|legal| *legal != Legal::Never), "{kind:?} is sent by nobody");
        for legal in sides {
            match legal {
                Legal::Never => {}
                Legal::Circuit => assert_eq!(columns.scope, Scope::Circuit, "{kind:?}"),
                Legal::In(_) => assert_eq!(columns.scope, Scope::Stream, "{kind:?}"),
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_not_packed_and_leaves_no_trace() {
    let mut text = [0xee; 22];
    let mut w = TextWriter::new(&mut text);
    assert!(w.push(StreamId(1), &Message::Data(b"12345")));
    assert!(!w.push(StreamId(1), &Message::Resolve("seven!!")), "12 bytes are left, 13 are needed");
    assert!(w.push_data(StreamId(1), b"12", b"345"));
    assert!(!w.push(StreamId(1), &Message::Connected));
    w.finish();
    assert_eq!(text, *b"\x06\x00\x01\x00\x0512345\x06\x00\x01\x00\x0512345\0\0");
}

// spec: CELL-7 CELL-8
#[test]
fn an_empty_text_and_dirty_padding_are_refused() {
    assert_eq!(all(&[0; 20]), Err(Malformed::Truncated));
    let mut text = repack(&[(StreamId(1), Message::Connected)], 20);
    text[19] = 1;
    assert_eq!(all(&text), Err(Malformed::NonZeroPadding));
}

// spec: CELL-9 CELL-10
#[test]
fn a_message_has_its_own_length_and_its_own_kind_of_stream() {
    assert_eq!(all(&[5, 0, 1, 0, 1, 9]), Err(Malformed::TrailingBytes), "CONNECTED has no body");
    assert_eq!(all(&[6, 0, 1, 0, 0]), Err(Malformed::Truncated), "DATA is never empty");
    assert_eq!(all(&[7, 0, 1, 0, 0]), Err(Malformed::Truncated), "END has a reason");
    assert_eq!(all(&[8, 0, 1, 0, 4, 0, 0, 0, 0]), Err(Malformed::OutOfRange), "CREDIT is never nothing");
    assert_eq!(all(&[6, 0, 0, 0, 1, 9]), Err(Malformed::OutOfRange), "DATA needs a stream");
    assert_eq!(all(&[3, 0, 1, 0, 1, 1]), Err(Malformed::OutOfRange), "EXTEND_FAILED has none");
    assert_eq!(all(&[13, 0, 1, 0, 0]), Err(Malformed::UnknownKind));
    assert_eq!(all(&[6, 0, 1, 0, 200, 1]), Err(Malformed::Truncated), "a length is not believed");
}

proptest! {
    // spec: CELL-6
    #[test]
    fn what_is_accepted_packs_to_itself(command in 1u8..13, stream in 0u16..2, body in proptest::collection::vec(any::<u8>(), 0..40)) {
        let mut text = vec![command];
        text.extend_from_slice(&stream.to_be_bytes());
        text.extend_from_slice(&(body.len() as u16).to_be_bytes());
        text.extend_from_slice(&body);
        text.extend_from_slice(&[0; 3]);
        if let Ok(messages) = all(&text) {
            prop_assert_eq!(repack(&messages, text.len()), text);
        }
    }
}
