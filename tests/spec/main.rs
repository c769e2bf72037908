//! What holds the specification and the code together. Each test fails with a sentence that says what to do.

mod corpus;
mod layers;
mod pages;
mod sizes;
mod tables;
mod trace;
mod vectors;
