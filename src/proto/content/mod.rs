//! Content by hash: what a file becomes, who keeps it, and how it comes back (spec 11).
//!
//! - [`tree`] makes an object of a file, [`view`] reads one back, [`block`] seals and opens single blocks.
//! - [`service`] keeps blocks for others on a relay, over a [`store::BlockStore`]. [`server`] is its queue: calls ([`call`])
//!   go in, and come out answered when what they promise is durable. [`replicate`] brings the objects to their other custodians.
//! - [`push`] publishes, [`fetch`] reads. Neither knows a [`store::BlockStore`]: what a node's own user fetches or publishes
//!   never enters the store from which it serves others (spec CONT-30).

// spec: CONT-30
pub mod batches;
pub mod block;
pub mod call;
pub mod fetch;
pub mod manifest;
pub mod peers;
pub mod push;
pub mod replicate;
pub mod server;
pub mod service;
pub mod store;
pub mod tree;
pub mod view;

#[cfg(test)]
mod harness;

#[cfg(test)]
mod tests {
    // spec: CONT-30
    #[test]
    fn nothing_that_reads_or_publishes_knows_a_store() {
        let files = [
            ("fetch", include_str!("fetch.rs")),
            ("push", include_str!("push.rs")),
            ("view", include_str!("view.rs")),
            ("tree", include_str!("tree.rs")),
            ("block", include_str!("block.rs")),
            ("peers", include_str!("peers.rs")),
        ];
        for (name, text) in files {
            for word in ["BlockStore", "StoreService", "super::store", "super::service", "super::replicate"] {
                assert!(!text.contains(word), "{name}.rs uses {word}");
            }
        }
    }
}
