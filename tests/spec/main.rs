//! What holds the specification and the code together. Each test fails with a sentence that says what to do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod circles;
mod corpus;
mod layers;
mod links;
mod pages;
mod promises;
mod sizes;
mod tables;
mod trace;
mod vectors;
