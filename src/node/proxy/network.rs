//! The network, as the proxy has it: the client of this thread.

use super::upstream::{Entry, Isolation, Kind, Object, ObjectBody, ObjectError, ObjectInfo, OpenError, Upstream};
use crate::api::local::{ConnectError, Local};
use crate::host::service::content::{AgentBody, AgentObject};
use crate::host::service::stream::AgentStream;
use crate::proto::content::fetch::FetchError;
use crate::role::client::StreamFailure;
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
        ConnectError::Failed(StreamFailure::NoPath) => OpenError::NoPath,
        ConnectError::Failed(StreamFailure::CircuitClosed) => OpenError::Ended(EndReason::Reset),
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

/// The circuit that streams with this token share.
fn isolation(token: Isolation) -> [u8; 32] {
    let mut wide = [0; 32];
    wide.iter_mut().zip(token.as_bytes()).for_each(|(to, from)| *to = *from);
    wide
}

/// Calls of one token share circuits, and no others do.
fn route(token: Isolation) -> u64 {
    token.as_bytes().first_chunk().map_or(0, |b| u64::from_be_bytes(*b))
}

impl Upstream for Local {
    type Stream = AgentStream;
    type Object = AgentObject;

    async fn connect(&self, target: Target, token: Isolation, first: Vec<u8>) -> Result<AgentStream, OpenError> {
        Self::connect(self, target, isolation(token), &first).await.map_err(open_error)
    }

    async fn resolve(&self, name: &str, token: Isolation) -> Result<Vec<IpAddr>, OpenError> {
        Self::resolve(self, name, isolation(token)).await.map_err(open_error)
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
