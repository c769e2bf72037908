//! Layer 3: one protocol machine a folder. Time and randomness are arguments; nothing here touches a socket.

pub mod circuit;
pub mod congestion;
pub mod content;
pub mod directory;
pub mod handshake;
pub mod link;
pub mod onion;
pub mod path;
pub mod profile;
pub mod rpc;
pub mod stream;
pub mod turns;
pub mod violation;
