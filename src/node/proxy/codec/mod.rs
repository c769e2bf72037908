//! What local programs say to the proxy, as types: SOCKS 4, 4a and 5, and the head and body of HTTP/1.1.
//!
//! Pure: bytes to types and back, no state, no time. The fuzzer runs both parsers.

pub mod http;
pub mod socks;
