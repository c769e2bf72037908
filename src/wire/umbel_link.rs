//! Links to content, as people copy them, and the host names browsers make of them (spec 11).
//!
//! ```text
//! umbel:<root>/<read key>              reads
//! umbel-verify:<root>/<verify key>     checks, renews and repairs, but cannot read
//! http://<read key>.<root>.umbel/path  the same as the first, for a browser
//! ```
//!
//! Root and keys are 52 characters of base32. Neither link type prints itself by accident: [`core::fmt::Debug`] shows the
//! root's first characters only.
//!
//! *Seen by:* people, and the local proxy. A link never travels over the network.

use crate::base::secret::Secret;
use crate::crypto::hash::{context, derive, derive_secret};
use crate::wire::error::Malformed;
use crate::wire::ids::{Address, ID_TEXT_LEN, Locator, from_text, to_text};
use core::fmt;
use core::str::FromStr;

const SCHEME: &str = "umbel:";
const VERIFY_SCHEME: &str = "umbel-verify:";
const HOST_SUFFIX: &str = ".umbel";

/// What is wrong with a link somebody typed or pasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentLinkError {
    /// It does not begin as a link does.
    #[error(
        "this is not an umbel link: it should begin with \"umbel:\", or be an http URL of a host that ends in \".umbel\""
    )]
    WrongScheme,
    /// A verify link was given where a link that can read is needed.
    #[error("this is a verify link: it can check and renew, but not read")]
    VerifyOnly,
    /// The end is missing.
    #[error("the link is cut off: its {0} should have 52 characters")]
    CutOff(Part),
    /// There is more than a link holds.
    #[error("the link is too long: its {0} should have 52 characters")]
    TooLong(Part),
    /// A character that cannot be there.
    #[error("the link is mistyped: its {0} holds a character that cannot stand there (letters a-z and digits 2-7 can)")]
    Mistyped(Part),
}

/// The two halves of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The root's address.
    Root,
    /// The key.
    Key,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root",
            Self::Key => "key",
        })
    }
}

/// Reads an object: its root's address and its read key.
#[derive(Clone, PartialEq, Eq)]
pub struct ContentLink {
    /// The root block's address.
    pub root: Address,
    /// The read key.
    pub key: Secret<32>,
}

/// Checks, renews and repairs an object without reading it.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyLink {
    /// The root block's address.
    pub root: Address,
    /// The verify key.
    pub key: Secret<32>,
}

/// The name under which the network knows the object with this root (spec CONT-2).
pub fn locator(root: &Address) -> Locator {
    // spec: CONT-2
    Locator(derive(context::LOCATE, &[&root.0]))
}

/// The verify key that belongs to a read key (spec CONT-3).
pub fn verify_key(read: &Secret<32>) -> Secret<32> {
    derive_secret(context::VERIFY_KEY, &[read.expose()])
}

fn part(text: &str, part: Part) -> Result<[u8; 32], ContentLinkError> {
    // spec: CONT-5
    let odd = |c: char| !(c.is_ascii_alphabetic() || ('2'..='7').contains(&c));
    if text.chars().any(odd) {
        return Err(ContentLinkError::Mistyped(part));
    }
    match text.len() {
        n if n < ID_TEXT_LEN => Err(ContentLinkError::CutOff(part)),
        n if n > ID_TEXT_LEN => Err(ContentLinkError::TooLong(part)),
        _ => from_text(text).map_err(|_: Malformed| ContentLinkError::Mistyped(part)),
    }
}

fn halves(rest: &str) -> Result<([u8; 32], [u8; 32]), ContentLinkError> {
    let (root, key) = rest.split_once('/').unwrap_or((rest, ""));
    Ok((part(root, Part::Root)?, part(key, Part::Key)?))
}

fn strip<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    // spec: CONT-4
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

impl ContentLink {
    /// The name under which the network knows the object.
    pub fn locator(&self) -> Locator {
        locator(&self.root)
    }

    /// The link that checks but cannot read.
    pub fn verify_link(&self) -> VerifyLink {
        VerifyLink { root: self.root, key: verify_key(&self.key) }
    }

    /// The host name a browser uses: `<key>.<root>.umbel`.
    pub fn host(&self) -> String {
        format!("{}.{}{HOST_SUFFIX}", to_text(self.key.expose()), self.root)
    }

    /// The URL of the object's front page.
    pub fn url(&self) -> String {
        format!("http://{}/", self.host())
    }

    /// Reads a host name, with or without a dot at its end. Host names have no case.
    pub fn from_host(host: &str) -> Result<Self, ContentLinkError> {
        let host = host.strip_suffix('.').unwrap_or(host);
        let cut = host.len().checked_sub(HOST_SUFFIX.len()).ok_or(ContentLinkError::WrongScheme)?;
        let (labels, suffix) = host.split_at_checked(cut).ok_or(ContentLinkError::WrongScheme)?;
        if !suffix.eq_ignore_ascii_case(HOST_SUFFIX) {
            return Err(ContentLinkError::WrongScheme);
        }
        let (key, root) = labels.split_once('.').ok_or(ContentLinkError::CutOff(Part::Key))?;
        let (root, key) = (part(root, Part::Root)?, part(key, Part::Key)?);
        Ok(Self { root: Address(root), key: Secret::new(key) })
    }

    /// Reads a link or an `http` URL; also returns what follows the host of a URL (empty, or from its `/` on).
    pub fn from_link_or_url(text: &str) -> Result<(Self, &str), ContentLinkError> {
        let Some(rest) = strip(text, "http://") else { return text.parse().map(|l| (l, "")) };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
        Ok((Self::from_host(host)?, path))
    }
}

impl fmt::Display for ContentLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.root, to_text(self.key.expose()))
    }
}

impl fmt::Debug for ContentLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({:?})", self.root)
    }
}

impl FromStr for ContentLink {
    type Err = ContentLinkError;
    fn from_str(text: &str) -> Result<Self, ContentLinkError> {
        if strip(text, VERIFY_SCHEME).is_some() {
            return Err(ContentLinkError::VerifyOnly);
        }
        let (root, key) = halves(strip(text, SCHEME).ok_or(ContentLinkError::WrongScheme)?)?;
        Ok(Self { root: Address(root), key: Secret::new(key) })
    }
}

impl fmt::Display for VerifyLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERIFY_SCHEME}{}/{}", self.root, to_text(self.key.expose()))
    }
}

impl fmt::Debug for VerifyLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyLink({:?})", self.root)
    }
}

impl FromStr for VerifyLink {
    type Err = ContentLinkError;
    fn from_str(text: &str) -> Result<Self, ContentLinkError> {
        let (root, key) = halves(strip(text, VERIFY_SCHEME).ok_or(ContentLinkError::WrongScheme)?)?;
        Ok(Self { root: Address(root), key: Secret::new(key) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> ContentLink {
        ContentLink { root: Address([0xa5; 32]), key: Secret::new([0x17; 32]) }
    }

    // spec: CONT-4
    #[test]
    fn a_link_is_written_and_read_in_every_form() {
        let l = link();
        assert_eq!(l.to_string().parse(), Ok(l.clone()));
        assert_eq!(ContentLink::from_host(&l.host()), Ok(l.clone()));
        assert_eq!(ContentLink::from_host(&format!("{}.", l.host().to_uppercase())), Ok(l.clone()));
        let url = format!("{}a/b.html?x", l.url());
        assert_eq!(ContentLink::from_link_or_url(&url), Ok((l.clone(), "/a/b.html?x")));
        assert_eq!(ContentLink::from_link_or_url(&l.to_string()), Ok((l.clone(), "")));
        assert_eq!(l.verify_link().to_string().parse(), Ok(l.verify_link()));
        assert_eq!(l.locator(), locator(&l.verify_link().root));
    }

    // spec: CONT-5
    #[test]
    fn each_broken_link_says_what_is_wrong() {
        let text = link().to_string();
        let host = link().host();
        for (bad, error) in [
            ("http://example.org/".to_owned(), ContentLinkError::WrongScheme),
            (text.replace("umbel", "magnet"), ContentLinkError::WrongScheme),
            (String::new(), ContentLinkError::WrongScheme),
            (link().verify_link().to_string(), ContentLinkError::VerifyOnly),
            (text[..text.len() - 1].to_owned(), ContentLinkError::CutOff(Part::Key)),
            (text[..40].to_owned(), ContentLinkError::CutOff(Part::Root)),
            (text[..58].to_owned(), ContentLinkError::CutOff(Part::Key)),
            (format!("{text}a"), ContentLinkError::TooLong(Part::Key)),
            (text.replacen('u', "1", 2), ContentLinkError::WrongScheme),
            (format!("{}1{}", &text[..10], &text[11..]), ContentLinkError::Mistyped(Part::Root)),
            (format!("{} ", &text[..text.len() - 1]), ContentLinkError::Mistyped(Part::Key)),
            (format!("{}b", &text[..text.len() - 1]), ContentLinkError::Mistyped(Part::Key)),
            (format!("{}é{}", &text[..60], &text[62..]), ContentLinkError::Mistyped(Part::Key)),
            (format!("http://{}/", &host[1..]), ContentLinkError::CutOff(Part::Key)),
            (format!("http://{}", host.replace(".umbel", ".onion")), ContentLinkError::WrongScheme),
            ("http://umbel".to_owned(), ContentLinkError::WrongScheme),
            ("http://a.umbel".to_owned(), ContentLinkError::CutOff(Part::Key)),
        ] {
            assert_eq!(ContentLink::from_link_or_url(&bad), Err(error), "{bad}");
        }
    }

    #[test]
    fn a_link_does_not_print_its_key() {
        assert_eq!(format!("{:?} {:?}", link(), link().verify_link()), "Link(uws2ljnf) VerifyLink(uws2ljnf)");
    }
}
