//! The network, as the proxy has it: the client of this thread.

use super::upstream::{Entry, Isolation, Kind, Object, ObjectBody, ObjectError, ObjectInfo, OpenError, Upstream};
use crate::api::local::{ConnectError, Local};
use crate::host::service::content::{AgentBody, AgentObject};
use crate::host::service::stream::AgentStream;
use crate::proto::content::fetch::FetchError;
use crate::role::client::{Part, SITE_ROUTE, StreamFailure};
use crate::wire::content::Kind as WireKind;
use crate::wire::message::{EndReason, Target};
use crate::wire::umbel_link::ContentLink;
use bytes::Bytes;
use core::net::IpAddr;
use core::ops::Range;

fn open_error(why: ConnectError) -> OpenError {
    match why {
        ConnectError::NotReady => OpenError::NotReady,
        ConnectError::NoExit => OpenError::NoExit,
        ConnectError::Failed(StreamFailure::Ended(reason)) => OpenError::Ended(reason),
        // Before the destination has answered, a circuit that closes is the network's failure and not the destination's.
        ConnectError::Failed(StreamFailure::NoPath | StreamFailure::CircuitClosed) => OpenError::NoPath,
        ConnectError::Failed(StreamFailure::TimedOut) => OpenError::Ended(EndReason::TimedOut),
        ConnectError::Failed(StreamFailure::TooMany | StreamFailure::TooMuchUnread) => {
            OpenError::Ended(EndReason::Resource)
        }
    }
}

fn object_error(why: FetchError) -> ObjectError {
    match why {
        FetchError::NotFound => ObjectError::NotFound,
        FetchError::WrongKey => ObjectError::WrongKey,
        FetchError::Tampered | FetchError::Malformed => ObjectError::Tampered,
        FetchError::Refused | FetchError::NoPath => ObjectError::NoPath,
        FetchError::TimedOut => ObjectError::TimedOut,
    }
}

/// Calls of one token share circuits, and no others do. They count in the share of what programs ask for.
fn route(token: Isolation) -> u64 {
    let what = match token.part {
        Part::Own(what, _) => what,
        Part::Shared(n) => u64::from(n),
    };
    let user = token.user.first_chunk().map_or(0, |b| u64::from_be_bytes(*b));
    SITE_ROUTE | (what ^ user)
}

impl Upstream for Local {
    type Stream = AgentStream;
    type Object = AgentObject;

    async fn connect(&self, target: Target, token: Isolation, first: Vec<u8>) -> Result<AgentStream, OpenError> {
        Self::connect(self, target, token, &first).await.map_err(open_error)
    }

    async fn resolve(&self, name: &str, token: Isolation) -> Result<Vec<IpAddr>, OpenError> {
        Self::resolve(self, name, token).await.map_err(open_error)
    }

    async fn open_object(&self, link: &ContentLink, token: Isolation) -> Result<AgentObject, ObjectError> {
        if !self.is_settled() {
            return Err(ObjectError::NotReady);
        }
        self.open(link, route(token)).await.map_err(object_error)
    }
}

impl Object for AgentObject {
    type Body = AgentBody;

    fn info(&self) -> ObjectInfo {
        let meta = &self.open_info().meta;
        ObjectInfo {
            kind: match meta.kind {
                WireKind::File => Kind::File,
                WireKind::Directory => Kind::Directory,
            },
            len: meta.total,
            mime: meta.mime.clone(),
            name: meta.name.clone(),
        }
    }

    fn entry(&self, path: &str) -> Option<Entry> {
        let found = self.open_info().manifest.as_ref()?.find(path)?;
        Some(Entry { offset: found.offset, len: found.len, mime: found.mime.clone() })
    }

    async fn read(&self, range: Range<u64>) -> Result<AgentBody, ObjectError> {
        self.read_at(range).map_err(object_error)
    }
}

impl ObjectBody for AgentBody {
    async fn next(&mut self) -> Result<Option<Bytes>, ObjectError> {
        Ok(self.next_bytes().await.map_err(object_error)?.map(Bytes::from))
    }
}
