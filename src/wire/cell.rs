//! The cell: 1,408 bytes, the one unit that links carry (spec 04).
//!
//! ```text
//! 0        4         5          8                                   1408
//! | circuit | command | reserved | body                                |
//! ```
//!
//! *Seen by:* the two ends of the link. The body of a RELAY cell is an onion: its text is seen by the hop it is sealed for.

use crate::base::bytes::Reader;
use crate::wire::error::Malformed;
use crate::wire::handshake::{REPLY_SIZE, REQUEST_SIZE};

// spec: CELL-1
/// Bytes of a cell.
pub const CELL_SIZE: usize = 1408;
/// Bytes of the header.
pub const HEADER_SIZE: usize = 8;
/// Bytes of the body.
pub const BODY_SIZE: usize = CELL_SIZE - HEADER_SIZE;

/// The bytes of one cell: header and body.
pub type CellBuf = [u8; CELL_SIZE];
/// The bytes of one cell's body.
pub type Body = [u8; BODY_SIZE];

/// A circuit's number on one link, chosen by the link's initiator; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CircuitId(pub u32);

/// What a cell is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Command {
    /// Keeps an idle link from going quiet.
    Padding = 0,
    /// Asks for a circuit.
    Create = 1,
    /// Answers CREATE.
    Created = 2,
    /// Carries an onion along a circuit.
    Relay = 3,
    /// Ends a circuit.
    Destroy = 4,
    /// Proves which relay opened the link.
    Authenticate = 5,
}

impl Command {
    /// The command with this number on the wire.
    pub fn from_wire(n: u8) -> Option<Self> {
        [Self::Padding, Self::Create, Self::Created, Self::Relay, Self::Destroy, Self::Authenticate]
            .into_iter()
            .find(|&c| c as u8 == n)
    }

    fn is_for_a_circuit(self) -> bool {
        match self {
            Self::Create | Self::Created | Self::Relay | Self::Destroy => true,
            Self::Padding | Self::Authenticate => false,
        }
    }
}

/// Why a circuit ends, as far as DESTROY says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum DestroyReason {
    /// It says nothing.
    None = 0,
    /// The answer to a CREATE for which the relay has no place or no time now: it works, and may be asked again later.
    Busy = 1,
}

impl DestroyReason {
    /// The reason with this number on the wire.
    pub fn from_wire(n: u8) -> Option<Self> {
        [Self::None, Self::Busy].into_iter().find(|&r| r as u8 == n)
    }
}

/// Decodes the header: the circuit and the command. The body is not looked at.
///
/// # Errors
/// An unknown command, reserved bytes that are not zero, or a circuit number that does not suit the command (spec CELL-2
/// to CELL-4): the link is closed.
pub fn decode_header(cell: &CellBuf) -> Result<(CircuitId, Command), Malformed> {
    let mut r = Reader::new(cell);
    let circuit = r.u32()?;
    // spec: CELL-2
    let command = Command::from_wire(r.u8()?).ok_or(Malformed::UnknownKind)?;
    // spec: CELL-3
    if r.array::<3>()? != [0; 3] {
        return Err(Malformed::NonZeroPadding);
    }
    // spec: CELL-4
    if command.is_for_a_circuit() == (circuit == 0) {
        return Err(Malformed::OutOfRange);
    }
    Ok((CircuitId(circuit), command))
}

/// Writes circuit, command and the zero reserved bytes; the body is left alone.
pub fn encode_header(cell: &mut CellBuf, circuit: CircuitId, command: Command) {
    if let Some((head, _)) = cell.split_first_chunk_mut::<HEADER_SIZE>() {
        let [a, b, c, d] = circuit.0.to_be_bytes();
        *head = [a, b, c, d, command as u8, 0, 0, 0];
    }
}

/// The body: the 1,400 bytes after the header.
pub fn body(cell: &CellBuf) -> &Body {
    cell.last_chunk().expect("a cell is longer than its body")
}

/// The body, to be changed in place.
pub fn body_mut(cell: &mut CellBuf) -> &mut Body {
    cell.last_chunk_mut().expect("a cell is longer than its body")
}

/// A cell with its parts named. `decode` then `encode` gives back the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell<'a> {
    /// All zero.
    Padding,
    /// A circuit request.
    Create(CircuitId, &'a [u8; REQUEST_SIZE]),
    /// Its answer.
    Created(CircuitId, &'a [u8; REPLY_SIZE]),
    /// An onion.
    Relay(CircuitId, &'a Body),
    /// The circuit's end, or the refusal of a CREATE.
    Destroy(CircuitId, DestroyReason),
    /// A signature over the link's handshake hash, and the descriptor whose key made it.
    Authenticate {
        /// Over the handshake hash.
        signature: [u8; 64],
        /// The relay's descriptor, encoded.
        descriptor: &'a [u8],
    },
}

impl<'a> Cell<'a> {
    /// Parses a whole cell: any 1,408 bytes give a value or an error.
    pub fn decode(cell: &'a CellBuf) -> Result<Self, Malformed> {
        let (circuit, command) = decode_header(cell)?;
        let body = body(cell);
        let mut r = Reader::new(body);
        let value = match command {
            Command::Padding => Self::Padding,
            Command::Create => Self::Create(circuit, r.array_ref()?),
            Command::Created => Self::Created(circuit, r.array_ref()?),
            Command::Relay => return Ok(Self::Relay(circuit, body)),
            // spec: CELL-601
            Command::Destroy => {
                Self::Destroy(circuit, DestroyReason::from_wire(r.u8()?).ok_or(Malformed::UnknownKind)?)
            }
            Command::Authenticate => Self::Authenticate { signature: r.array()?, descriptor: r.bytes16()? },
        };
        // spec: CELL-5
        r.finish_zero()?;
        Ok(value)
    }

    /// Writes the cell over `out`: the one way to write it.
    // spec: CELL-6
    pub fn encode(&self, out: &mut CellBuf) {
        out.fill(0);
        let (circuit, command) = match *self {
            Self::Padding => (CircuitId(0), Command::Padding),
            Self::Create(c, _) => (c, Command::Create),
            Self::Created(c, _) => (c, Command::Created),
            Self::Relay(c, _) => (c, Command::Relay),
            Self::Destroy(c, _) => (c, Command::Destroy),
            Self::Authenticate { .. } => (CircuitId(0), Command::Authenticate),
        };
        encode_header(out, circuit, command);
        let body = body_mut(out);
        match *self {
            Self::Padding => {}
            Self::Create(_, request) => put(body, &[request]),
            Self::Created(_, reply) => put(body, &[reply]),
            Self::Relay(_, onion) => *body = *onion,
            Self::Destroy(_, reason) => put(body, &[&[reason as u8]]),
            Self::Authenticate { signature, descriptor } => {
                put(body, &[&signature, &(descriptor.len() as u16).to_be_bytes(), descriptor]);
            }
        }
    }
}

/// Longest descriptor that fits an AUTHENTICATE cell.
pub const AUTHENTICATE_DESCRIPTOR_MAX: usize = BODY_SIZE - 64 - 2;

fn put(body: &mut Body, parts: &[&[u8]]) {
    let mut rest = &mut body[..];
    for part in parts {
        let (head, tail) = rest.split_at_mut(part.len().min(rest.len()));
        head.copy_from_slice(part.get(..head.len()).unwrap_or_default());
        rest = tail;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // spec: CELL-2 CELL-3 CELL-4
    #[test]
    fn a_header_that_breaks_one_rule_is_refused() {
        let mut cell = [0; CELL_SIZE];
        encode_header(&mut cell, CircuitId(7), Command::Relay);
        assert_eq!(decode_header(&cell), Ok((CircuitId(7), Command::Relay)));
        for (at, value, reason) in
            [(4, 6, Malformed::UnknownKind), (6, 1, Malformed::NonZeroPadding), (4, 0, Malformed::OutOfRange)]
        {
            let mut bad = cell;
            bad[at] = value;
            assert_eq!(decode_header(&bad), Err(reason));
        }
        encode_header(&mut cell, CircuitId(0), Command::Relay);
        assert_eq!(decode_header(&cell), Err(Malformed::OutOfRange));
    }

    // spec: CELL-5
    #[test]
    fn bytes_after_the_last_field_must_be_zero() {
        let mut cell = [0; CELL_SIZE];
        Cell::Destroy(CircuitId(1), DestroyReason::None).encode(&mut cell);
        assert_eq!(Cell::decode(&cell), Ok(Cell::Destroy(CircuitId(1), DestroyReason::None)));
        cell[CELL_SIZE - 1] = 1;
        assert_eq!(Cell::decode(&cell), Err(Malformed::NonZeroPadding));
    }

    // spec: CELL-601
    #[test]
    fn destroy_takes_the_reasons_of_the_page_and_no_other() {
        for reason in 0..=u8::MAX {
            let mut cell = [0; CELL_SIZE];
            Cell::Destroy(CircuitId(1), DestroyReason::None).encode(&mut cell);
            cell[HEADER_SIZE] = reason;
            let known = DestroyReason::from_wire(reason);
            assert_eq!(known.is_some(), reason < 2);
            let expected = known.map(|r| Cell::Destroy(CircuitId(1), r)).ok_or(Malformed::UnknownKind);
            assert_eq!(Cell::decode(&cell), expected, "{reason}");
        }
    }

    proptest! {
        // spec: CELL-6
        #[test]
        fn what_is_accepted_re_encodes_to_itself(circuit in 0u32..3, command in 0u8..7, body in proptest::collection::vec(any::<u8>(), 0..BODY_SIZE)) {
            let mut cell = [0; CELL_SIZE];
            cell[..4].copy_from_slice(&circuit.to_be_bytes());
            cell[4] = command;
            cell[8..8 + body.len()].copy_from_slice(&body);
            if let Ok(value) = Cell::decode(&cell) {
                let mut again = [0; CELL_SIZE];
                value.encode(&mut again);
                prop_assert_eq!(cell, again);
            }
        }
    }
}
