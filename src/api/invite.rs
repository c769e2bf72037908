//! Invites, as programs hold them.

use crate::host::error::ErrorKind;
use crate::host::error::{Error, reason};
use crate::wire::invite as wire;
use core::fmt;
use core::str::FromStr;
use std::path::Path;

const ASK: &str = "ask somebody in the network for a fresh one: umbel invite writes it on any of its nodes";

/// Names a network and some of its relays: what a node needs to join.
///
/// Parse it from text, or read a file with [`Invite::read`]; its [`Display`](fmt::Display) form is the text of an invite for
/// others. One that a founder of a private network wrote also holds a member key, which is secret: that is never printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite(pub(crate) wire::Invite);

impl Invite {
    /// Reads an invite file.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where the file cannot be read; [`ErrorKind::Config`] (rule INVITE-2) where it is cut off, changed,
    /// or no invite.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| {
            Error::config(path, format_args!("the invite cannot be read: {}", reason(&e)))
                .with_hint("give the file that somebody in the network wrote with umbel invite")
                .with_source(e)
        })?;
        Self::of_file(path, bytes)
    }

    pub(super) fn of_file(path: &Path, bytes: Vec<u8>) -> Result<Self, Error> {
        let text =
            String::from_utf8(bytes).map_err(|_| Error::config(path, "this is not an umbel invite").with_hint(ASK))?;
        let invite = wire::Invite::parse(&text);
        invite.map(Self).map_err(|why| Error::config(path, &why).with_rule("INVITE-2").with_hint(ASK).with_source(why))
    }
}

impl FromStr for Invite {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let unusable = |why: wire::InviteError| {
            Error::new(ErrorKind::Config, why.to_string()).with_rule("INVITE-2").with_hint(ASK).with_source(why)
        };
        wire::Invite::parse(text).map(Self).map_err(unusable)
    }
}

impl fmt::Display for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // spec: INVITE-7
        let without_key = wire::Invite { member: None, ..self.0.clone() };
        f.write_str(&without_key.format())
    }
}
