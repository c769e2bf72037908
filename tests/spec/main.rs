//! What holds the specification and the code together. Each test fails with a sentence that says what to do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod addresses;
mod calls;
mod case;
mod circles;
mod corpus;
mod layers;
mod links;
mod messages;
mod pages;
mod profiles;
mod promises;
mod records;
mod sizes;
mod sketch;
mod tables;
mod trace;
mod vectors;
mod words;
