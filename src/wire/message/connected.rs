//! CONNECTED: the stream's target answers. The body is empty.

use super::{Example, Message};

pub(super) fn examples() -> Vec<Example> {
    vec![("connected", Message::Connected)]
}
