//! `umbel get`, at the node: the object is opened, checked and handed over in order.

use super::control::Control;
use crate::node::control::server::GetSink;
use crate::node::control::{Entry, GetRequest, Kind, Opened};
use crate::node::error::{Error, ErrorKind};
use crate::node::service::content::AgentObject;
use crate::proto::content::fetch::FetchError;
use crate::wire::ids::to_text;
use crate::wire::umbel_link::{Link, LinkError};
use core::ops::Range;

pub(super) fn link_failure(why: &LinkError) -> Error {
    Error::new(ErrorKind::Link, why.to_string()).with_rule("CONT-5").with_hint(
        "a link is umbel:<root>/<key> with 52 letters and digits each; copy it whole, or give the site's URL",
    )
}

pub(super) fn fetch_failure(why: FetchError) -> Error {
    let (code, hint) = match why {
        FetchError::NotFound => {
            (ErrorKind::NotFound, "check the link; ask the publisher to put it again if its lease ran out")
        }
        FetchError::WrongKey => (ErrorKind::WrongKey, "check the part of the link behind the slash"),
        FetchError::Tampered => {
            (ErrorKind::Tampered, "nothing false was written; try again later, other relays may hold it")
        }
        FetchError::Malformed => (ErrorKind::Tampered, "nothing false was written; tell the publisher"),
        FetchError::Refused => (ErrorKind::NoPath, "try again later, or ask for it on another network"),
        FetchError::NoPath => (ErrorKind::NoPath, "see `umbel status`; the network may be small or this node offline"),
        FetchError::TimedOut => (ErrorKind::TimedOut, "try again; what has arrived is kept"),
    };
    Error::new(code, why.to_string()).with_hint(hint)
}

impl Control {
    pub(super) async fn fetch(&self, request: GetRequest, sink: &mut GetSink) -> Result<(), Error> {
        let (link, path) = Link::from_link_or_url(&request.link).map_err(|e| link_failure(&e))?;
        let object = self.node.open_object_at(&link, self.fresh_routes(1)).await.map_err(fetch_failure)?;
        let root = to_text(&link.root.0);
        let info = object.open_info().clone();
        let Some(manifest) = &info.manifest else {
            let whole = 0..info.meta.total;
            return self.send_one(&object, root, whole, request.offset, sink).await;
        };
        let path = path.trim_matches('/');
        if let Some(file) = manifest.find(path) {
            let range = file.offset..file.offset.saturating_add(file.len);
            return self.send_one(&object, root, range, request.offset, sink).await;
        }
        if !path.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, "the site has no such file")
                .with_hint("get the whole site without the path"));
        }
        let content = object.content_start()..info.meta.total;
        let offset = request.offset.min(content.end - content.start);
        let opened = Opened { root, bytes: content.end - content.start, kind: Kind::Directory, offset };
        sink.open(opened).await?;
        // Files lie in the order of their places; what lies before the offset is named without its bytes.
        let mut entries: Vec<_> = manifest.entries().iter().collect();
        entries.sort_by_key(|e| e.offset);
        let mut body = object.read_at(content.start + offset..content.end).map_err(fetch_failure)?;
        let mut held: Vec<u8> = Vec::new();
        let mut at = content.start + offset;
        for entry in entries {
            sink.entry(Entry { path: entry.path.clone(), bytes: entry.len }).await?;
            let end = entry.offset.saturating_add(entry.len);
            while at < end {
                if held.is_empty() {
                    held = body.next_bytes().await.map_err(fetch_failure)?.ok_or_else(cut_short)?;
                }
                let n = usize::try_from(end - at).unwrap_or(usize::MAX).min(held.len());
                let rest = held.split_off(n);
                sink.data(&held).await?;
                at += n as u64;
                held = rest;
            }
        }
        Ok(())
    }

    async fn send_one(
        &self,
        object: &AgentObject,
        root: String,
        range: Range<u64>,
        offset: u64,
        sink: &mut GetSink,
    ) -> Result<(), Error> {
        let bytes = range.end - range.start;
        let offset = offset.min(bytes);
        sink.open(Opened { root, bytes, kind: Kind::File, offset }).await?;
        let mut body = object.read_at(range.start + offset..range.end).map_err(fetch_failure)?;
        let mut left = bytes - offset;
        while left > 0 {
            let piece = body.next_bytes().await.map_err(fetch_failure)?.ok_or_else(cut_short)?;
            left = left.saturating_sub(piece.len() as u64);
            sink.data(&piece).await?;
        }
        Ok(())
    }
}

/// The object's tree is shorter than its root says.
fn cut_short() -> Error {
    fetch_failure(FetchError::Malformed)
}
