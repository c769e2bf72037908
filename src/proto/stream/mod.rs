//! Streams over one hop of a circuit (spec 08): numbers, credit, half close, and the window of cells in flight.
//!
//! A [`Mux`](mux::Mux) is one end of all streams between a client and one hop. Both ends use it; which messages an end
//! may receive differs, and is in the tables `RelayStream` and `ClientStream` of spec 07.

pub mod call;
pub mod flow;
pub mod mux;
