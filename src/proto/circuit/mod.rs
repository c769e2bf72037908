//! Circuits (spec 07): the client's side builds and uses one, the relay's side is one hop of it.

pub mod client;
mod ends;
pub mod relay;

#[cfg(test)]
mod tests;
