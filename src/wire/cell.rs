//! The cell: 1,408 bytes, the one unit that links carry (spec 04).
//!
//! ```text
//! 0        4         5          8                                   1408
//! | circuit | command | reserved | body                                |
//! ```
//!
//! *Seen by:* the two ends of the link. The body of a RELAY cell is an onion: its text is seen by the hop it is sealed for.

use crate::base::bytes::Reader;
use crate::base::numbered::numbered;
use crate::wire::descriptor::DESCRIPTOR_MAX;
use crate::wire::error::Malformed;
use crate::wire::field::{Sink, bytes16};
use crate::wire::handshake::{REPLY_SIZE, REQUEST_SIZE};
use crate::wire::table::table;
use core::ops::{Deref, DerefMut};

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

/// What a cell concerns; its circuit number is 0 exactly for [`Scope::Link`] (spec CELL-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The link itself.
    Link,
    /// One circuit on it.
    Circuit,
}

/// Which end of a link sends a cell; the other end takes it for a breach, or for late news of a circuit that is gone (table
/// `LinkCells` of spec 07).
#[cfg(feature = "unstable")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The end that opened the link.
    Initiator,
    /// The end that accepted it.
    Responder,
    /// Both.
    Either,
}

/// The columns of one line of the table.
#[derive(Clone, Copy, Debug)]
pub struct CellColumns {
    /// Whether it concerns a circuit or the link.
    pub scope: Scope,
    /// Which end sends it.
    #[cfg(feature = "unstable")]
    pub sender: Sender,
}

macro_rules! cell_columns {
    ($scope:ident, $sender:ident) => {
        CellColumns {
            scope: Scope::$scope,
            #[cfg(feature = "unstable")]
            sender: Sender::$sender,
        }
    };
}

// number NAME: Variant and its fields [link or circuit, which end of a link sends it].
table! {
    /// A cell with its parts named. `decode` then `encode` gives back the same bytes.
    pub enum Cell<'a>;
    /// What a cell is for: its command on the wire.
    kind Command, read from CellReader<'a>, written to CellWriter<'_>, columns cell_columns -> CellColumns;

    /// Keeps an idle link from going quiet. All zero.
    0 PADDING: Padding [Link, Either];

    /// Asks for a circuit, with a handshake request.
    1 CREATE: Create(id: CircuitId => circuit, request: &'a [u8; REQUEST_SIZE]) [Circuit, Initiator];

    /// Answers CREATE, with the handshake's reply.
    2 CREATED: Created(id: CircuitId => circuit, reply: &'a [u8; REPLY_SIZE]) [Circuit, Responder];

    /// Carries an onion along a circuit.
    3 RELAY: Relay(id: CircuitId => circuit, onion: &'a Body) [Circuit, Either];

    /// Ends a circuit, or refuses a CREATE.
    4 DESTROY: Destroy(id: CircuitId => circuit, reason: DestroyReason) [Circuit, Either];

    /// Proves which relay opened the link: a signature over its handshake hash, and the descriptor whose key made it.
    5 AUTHENTICATE: Authenticate {
        /// Over the handshake hash.
        signature: [u8; 64],
        /// The relay's descriptor, encoded.
        descriptor: &'a [u8] => bytes16,
    } [Link, Initiator];

    /// Asks for the end of a link that carries no circuit.
    6 CLOSE: Close [Link, Responder];

    /// Says whether the link is padded from now on.
    7 PADDING_NEGOTIATE: PaddingNegotiate(padded: bool) [Link, Initiator];
}

numbered! {
    /// Why a circuit ends, as far as DESTROY says it.
    // spec: CELL-14
    #[derive(PartialOrd, Ord)]
    pub enum DestroyReason {
        /// It says nothing.
        None = 0,
        /// The answer to a CREATE for which the relay has no place or no time now: it works, and may be asked again later.
        Busy = 1,
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
    if (command.columns().scope == Scope::Circuit) == (circuit == 0) {
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

impl<'a> Cell<'a> {
    /// Parses a whole cell: any 1,408 bytes give a value or an error.
    pub fn decode(cell: &'a CellBuf) -> Result<Self, Malformed> {
        let (circuit, command) = decode_header(cell)?;
        let mut r = CellReader { circuit, body: Reader::new(body(cell)) };
        let value = Self::read(command, &mut r)?;
        // spec: CELL-5
        r.body.finish_zero()?;
        Ok(value)
    }

    /// Writes the cell over `out`: the one way to write it.
    // spec: CELL-6
    pub fn encode(&self, out: &mut CellBuf) {
        out.fill(0);
        let mut writer = CellWriter { circuit: CircuitId(0), rest: body_mut(out) };
        self.write(&mut writer);
        let circuit = writer.circuit;
        encode_header(out, circuit, self.kind());
    }
}

/// What a cell's fields are read from: its body, and the circuit in its header.
struct CellReader<'a> {
    circuit: CircuitId,
    body: Reader<'a>,
}

impl<'a> Deref for CellReader<'a> {
    type Target = Reader<'a>;

    fn deref(&self) -> &Reader<'a> {
        &self.body
    }
}

impl<'a> DerefMut for CellReader<'a> {
    fn deref_mut(&mut self) -> &mut Reader<'a> {
        &mut self.body
    }
}

/// What a cell's fields are written to. The types of the fields bound them to the body.
struct CellWriter<'a> {
    circuit: CircuitId,
    rest: &'a mut [u8],
}

impl Sink for CellWriter<'_> {
    fn put(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= self.rest.len());
        let (head, tail) = core::mem::take(&mut self.rest).split_at_mut_checked(bytes.len()).unwrap_or_default();
        head.copy_from_slice(bytes.get(..head.len()).unwrap_or_default());
        self.rest = tail;
    }
}

/// The number of the circuit, from the header.
mod circuit {
    use super::{CellReader, CellWriter, CircuitId, Malformed};

    pub(super) fn read(r: &mut CellReader<'_>) -> Result<CircuitId, Malformed> {
        Ok(r.circuit)
    }

    pub(super) fn write(id: &CircuitId, out: &mut CellWriter<'_>) {
        out.circuit = *id;
    }
}

/// Longest descriptor that fits an AUTHENTICATE cell.
pub const AUTHENTICATE_DESCRIPTOR_MAX: usize = BODY_SIZE - 64 - 2;
const _: () = assert!(DESCRIPTOR_MAX <= AUTHENTICATE_DESCRIPTOR_MAX);

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
            [(4, 8, Malformed::UnknownKind), (6, 1, Malformed::NonZeroPadding), (4, 0, Malformed::OutOfRange)]
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

    // spec: CELL-14
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
        fn what_is_accepted_re_encodes_to_itself(circuit in 0u32..3, command in 0u8..9, body in proptest::collection::vec(any::<u8>(), 0..BODY_SIZE)) {
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
