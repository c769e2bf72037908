//! Links, as programs hold them.

use crate::host::error::{Error, ErrorKind};
use crate::wire::umbel_link::{self as wire, ContentLinkError};
use core::fmt;
use core::str::FromStr;

/// Names an object and reads it: `umbel:<root>/<key>`, or a URL `http://<key>.<root>.umbel/path` that names a file in it.
///
/// Whoever has the link can read. [`Debug`](fmt::Debug) shows a few characters of the root only.
///
/// ```
/// let root = "a".repeat(52);
/// let link: umbel::Link = format!("http://{root}.{root}.umbel/docs/index.html").parse()?;
/// assert_eq!(link.path(), "docs/index.html");
/// assert_eq!(link.to_string(), format!("umbel:{root}/{root}"));
/// # Ok::<(), umbel::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Link {
    pub(crate) link: wire::ContentLink,
    path: String,
}

impl Link {
    /// The file named in the object, without slashes around it; empty for the object itself.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The object in a browser that uses the proxy: `http://<key>.<root>.umbel/`, without a path.
    pub fn url(&self) -> String {
        self.link.url()
    }
}

impl FromStr for Link {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (link, path) = wire::ContentLink::from_link_or_url(text).map_err(|why| {
            let hint = match why {
                ContentLinkError::VerifyOnly => "ask the publisher for the link that reads",
                _ => "copy the whole link again: umbel:<root>/<key>, or http://<key>.<root>.umbel/path",
            };
            Error::new(ErrorKind::Link, why.to_string()).with_rule("CONT-5").with_hint(hint).with_source(why)
        })?;
        Ok(Self { link, path: path.trim_matches('/').to_owned() })
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.link, f)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.link, f)
    }
}
