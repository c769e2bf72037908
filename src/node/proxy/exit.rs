//! What both protocols do for a destination outside the network.

use super::client::Client;
use super::upstream::{OpenError, Upstream};
use super::{OPEN_TIMEOUT, Shared};
use crate::node::proxy::codec::socks::Credentials;
use crate::wire::message::{EndReason, Target};
use std::io;
use tokio::time::timeout;

/// Opens a stream through an exit, with its first bytes, unless the client gives up before.
pub(super) async fn open<U: Upstream>(
    shared: &Shared<U>,
    client: &Client,
    who: &Credentials,
    target: Target,
    first: Vec<u8>,
) -> io::Result<Result<U::Stream, OpenError>> {
    let isolation = shared.isolator.stream(who, &target);
    let opening = timeout(OPEN_TIMEOUT, shared.upstream.connect(target, isolation, first));
    let opened = client.unless_gone(opening).await?;
    Ok(opened.unwrap_or(Err(OpenError::Ended(EndReason::TimedOut))))
}
