//! Links, as programs hold them.

use super::site;
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
    /// The file named in the object, as the local proxy reads the URL: percent-encoding undone, without query, fragment and the
    /// slash in front. A folder's path ends in a slash and means its `index.html`. Empty for the object itself.
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
        let asked = site::asked(path);
        let path = site::decode(asked.trim_start_matches('/')).ok_or_else(|| {
            Error::new(ErrorKind::Link, "the URL's path has a % that is not followed by two digits, or is not UTF-8")
                .with_hint("copy the whole URL again; a % in a file's name is written %25")
        })?;
        Ok(Self { link, path: path.into_owned() })
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
