//! Requests and answers on a stream to a relay's own service: `length u32 | body`, answers in the sequence of the requests.

use crate::proto::rpc::BODY_MAX;
use crate::proto::violation::Violation;

/// Requests that may wait for their answers on one stream (spec STREAM-17).
pub const CALLS_OUTSTANDING_MAX: usize = 32;

/// Frames a body: its length and then the body.
pub fn frame(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + body.len());
    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
    out.extend_from_slice(body);
    out
}

/// Cuts a byte stream into bodies. Holds at most one body, and allocates no more than has arrived.
#[derive(Default)]
pub struct Deframer {
    held: Vec<u8>,
}

impl Deframer {
    /// Takes stream bytes in and hands every whole body to `sink`.
    pub fn push(&mut self, mut bytes: &[u8], mut sink: impl FnMut(Vec<u8>)) -> Result<(), Violation> {
        while !bytes.is_empty() {
            let have_length = self.held.len() >= 4;
            let want = if have_length { 4 + self.body_len()? - self.held.len() } else { 4 - self.held.len() };
            let (now, later) = bytes.split_at(want.min(bytes.len()));
            self.held.extend_from_slice(now);
            bytes = later;
            if self.held.len() >= 4 && self.held.len() == 4 + self.body_len()? {
                let mut whole = core::mem::take(&mut self.held);
                whole.drain(..4);
                sink(whole);
            }
        }
        Ok(())
    }

    fn body_len(&self) -> Result<usize, Violation> {
        let len = self.held.first_chunk::<4>().map_or(0, |b| u32::from_be_bytes(*b)) as usize;
        // spec: STREAM-11
        if len > BODY_MAX { Err(Violation::TooMuch) } else { Ok(len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: STREAM-11
    #[test]
    fn bodies_survive_any_cutting_and_a_large_length_is_refused() {
        let stream = [frame(b"one"), frame(b""), frame(&[7; 1000])].concat();
        for step in [1, 2, 3, 5, 999, stream.len()] {
            let (mut d, mut got) = (Deframer::default(), Vec::new());
            for piece in stream.chunks(step) {
                d.push(piece, |b| got.push(b)).unwrap();
            }
            assert_eq!(got, vec![b"one".to_vec(), Vec::new(), vec![7; 1000]], "step {step}");
        }
        let mut d = Deframer::default();
        assert_eq!(d.push(&(BODY_MAX as u32 + 1).to_be_bytes(), |_| ()), Err(Violation::TooMuch));
    }
}
