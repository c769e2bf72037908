//! An invite: the text file that names a network and some of its relays (spec 10).
//!
//! ```text
//! umbel-invite 1
//! profile testing
//! genesis <52 base32>
//! relay <base64 of a signed descriptor>      one or more
//! check <52 base32: BLAKE3 of all lines before, each with its line feed>
//! ```
//!
//! *Seen by:* whoever is given it. It holds nothing secret.

use crate::crypto::hash::blake3;
use crate::wire::descriptor::{DESCRIPTOR_MAX, DescriptorError, DescriptorRules, SignedDescriptor};
use crate::wire::ids::{self, NetworkId};
use data_encoding::BASE64;

/// Most relays in one invite.
pub const INVITE_RELAYS_MAX: usize = 64;
/// The longest invite, in bytes.
pub const INVITE_MAX: usize = 64 * 1024;

const MAGIC: &str = "umbel-invite ";
const VERSION: &str = "1";

/// Why a text is no invite.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// The first line is not an invite's.
    #[error("this is not an umbel invite (its first line should be \"umbel-invite 1\")")]
    NotAnInvite,
    /// A newer or unknown version (spec DIR-10).
    #[error("this invite has a version that this program does not read")]
    UnknownVersion,
    /// The last line is missing.
    #[error("the invite is cut off: its last line, \"check\", is missing")]
    CutOff,
    /// The checksum does not hold.
    #[error("the invite was changed: its checksum does not hold")]
    Changed,
    /// A line that is not the one expected there.
    #[error("line {0} of the invite is not what should stand there")]
    Line(usize),
    /// A line's descriptor does not verify.
    #[error("the relay in line {line} of the invite is not usable: {error}")]
    Relay {
        /// Line number, from 1.
        line: usize,
        /// What is wrong with it.
        error: DescriptorError,
    },
    /// More than [`INVITE_RELAYS_MAX`] relays or [`INVITE_MAX`] bytes.
    #[error("the invite is too long")]
    TooLong,
    /// No relay at all.
    #[error("the invite names no relay")]
    NoRelay,
}

/// A parsed invite. Its relays are not verified before the caller knows the profile's rules: see [`Invite::seeds`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// The profile's name; whether this program knows it is for the caller to find out.
    pub profile: String,
    /// The network's genesis bytes.
    pub genesis: [u8; 32],
    /// The relays' signed descriptors, unverified.
    pub relays: Vec<Vec<u8>>,
}

impl Invite {
    /// An invite to the network of that profile and genesis.
    pub fn new(profile: &str, genesis: [u8; 32], relays: &[SignedDescriptor]) -> Self {
        let relays = relays.iter().take(INVITE_RELAYS_MAX).map(|r| r.bytes().to_vec()).collect();
        Self { profile: profile.to_owned(), genesis, relays }
    }

    /// The network's id: a hash of the profile's name and the genesis.
    pub fn network(&self) -> NetworkId {
        ids::network_id(&self.profile, &self.genesis)
    }

    /// The text of the file.
    pub fn format(&self) -> String {
        let mut out = format!("{MAGIC}{VERSION}\nprofile {}\ngenesis {}\n", self.profile, ids::to_text(&self.genesis));
        for r in &self.relays {
            out.push_str(&format!("relay {}\n", BASE64.encode(r)));
        }
        let check = ids::to_text(&blake3(out.as_bytes()));
        out.push_str(&format!("check {check}\n"));
        out
    }

    /// Reads a file's text. Line ends may be CR LF; the checksum is over line feeds.
    pub fn parse(text: &str) -> Result<Self, InviteError> {
        if text.len() > INVITE_MAX {
            return Err(InviteError::TooLong);
        }
        let lines: Vec<&str> = text
            .trim_end_matches([' ', '\t', '\r', '\n'])
            .split('\n')
            .map(|l| l.strip_suffix('\r').unwrap_or(l))
            .collect();
        let (first, rest) = lines.split_first().ok_or(InviteError::NotAnInvite)?;
        let version = first.strip_prefix(MAGIC).ok_or(InviteError::NotAnInvite)?;
        // spec: DIR-10
        if version != VERSION {
            return Err(InviteError::UnknownVersion);
        }
        let (last, middle) = rest.split_last().ok_or(InviteError::CutOff)?;
        let check = last.strip_prefix("check ").ok_or(InviteError::CutOff)?;
        let mut checked = format!("{first}\n");
        for line in middle {
            checked.push_str(line);
            checked.push('\n');
        }
        // spec: DIR-11
        match ids::from_text(check) {
            Ok(hash) if hash == blake3(checked.as_bytes()) => Self::body(middle),
            Ok(_) => Err(InviteError::Changed),
            Err(_) if check.len() < ids::ID_TEXT_LEN => Err(InviteError::CutOff),
            Err(_) => Err(InviteError::Changed),
        }
    }

    fn body(lines: &[&str]) -> Result<Self, InviteError> {
        // The line with the version comes before these, and people count from 1.
        let line = |i: usize| InviteError::Line(i.saturating_add(2));
        let field = |i: usize, name: &str| {
            lines.get(i).and_then(|l| l.strip_prefix(name)).and_then(|l| l.strip_prefix(' ')).ok_or(line(i))
        };
        let profile = field(0, "profile")?;
        let is_name =
            (1..=usize::from(u8::MAX)).contains(&profile.len()) && profile.bytes().all(|b| b.is_ascii_graphic());
        if !is_name {
            return Err(InviteError::Line(2));
        }
        let genesis = ids::from_text(field(1, "genesis")?).map_err(|_| InviteError::Line(3))?;
        let count = lines.len().saturating_sub(2);
        if count > INVITE_RELAYS_MAX {
            return Err(InviteError::TooLong);
        }
        let mut relays = Vec::with_capacity(count);
        for i in 2..lines.len() {
            let bytes = BASE64.decode(field(i, "relay")?.as_bytes()).map_err(|_| line(i))?;
            if bytes.len() > DESCRIPTOR_MAX {
                return Err(line(i));
            }
            relays.push(bytes);
        }
        if relays.is_empty() {
            return Err(InviteError::NoRelay);
        }
        Ok(Self { profile: profile.to_owned(), genesis, relays })
    }

    /// The relays, verified under the network's rules. Their lifetimes may be over: a seed is worth trying all the same.
    pub fn seeds(&self, rules: &DescriptorRules) -> Result<Vec<SignedDescriptor>, InviteError> {
        let verify = |(i, bytes): (usize, &Vec<u8>)| {
            SignedDescriptor::decode(bytes, rules)
                .map_err(|error| InviteError::Relay { line: i.saturating_add(4), error })
        };
        self.relays.iter().enumerate().map(verify).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::UnixMs;
    use crate::crypto::aead::Cipher;
    use crate::crypto::identity::IdentityKey;
    use crate::crypto::work::WorkParams;
    use crate::wire::descriptor::{Descriptor, find_work};

    const WORK: WorkParams = WorkParams { bits: 6, effort: 1 };

    fn rules(network: NetworkId) -> DescriptorRules {
        DescriptorRules { network, work: WORK, private_addrs: true, lifetime_max_s: 60 }
    }

    fn sample() -> Invite {
        let key = IdentityKey::from_bytes([7; 32]);
        let network = ids::network_id("testing", &[5; 32]);
        let descriptor = Descriptor {
            network,
            identity: key.public(),
            work: find_work(network, &key.public(), UnixMs(1_000_000), WORK),
            published: UnixMs(1_000_000),
            lifetime_s: 60,
            link_key: [1; 32],
            onion_key: [2; 32],
            cipher: Cipher::Aes256Gcm,
            exit: false,
            store: true,
            family: None,
            addrs: vec!["127.0.0.1:9000".parse().unwrap()],
        };
        Invite::new("testing", [5; 32], &[SignedDescriptor::sign(descriptor, &key)])
    }

    #[test]
    fn an_invite_is_read_back_and_its_relays_verify() {
        let invite = sample();
        let read = Invite::parse(&invite.format()).unwrap();
        assert_eq!(read, invite);
        assert_eq!(read.seeds(&rules(read.network())).unwrap().len(), 1);
        assert_eq!(Invite::parse(&invite.format().replace('\n', "\r\n")), Ok(invite), "a mailer's line ends");
    }

    // spec: DIR-10
    // spec: DIR-11
    #[test]
    fn each_damage_has_its_own_error() {
        let text = sample().format();
        let parse = |t: &str| Invite::parse(t).unwrap_err();
        assert_eq!(parse("hello"), InviteError::NotAnInvite);
        assert_eq!(parse(""), InviteError::NotAnInvite);
        assert_eq!(parse(&text.replace("invite 1", "invite 2")), InviteError::UnknownVersion);
        assert_eq!(parse(&text[..text.len() - 60]), InviteError::CutOff);
        assert_eq!(parse(&text[..text.len() - 9]), InviteError::CutOff);
        assert_eq!(parse(&text.replace("testing", "public")), InviteError::Changed);
        assert_eq!(parse(&"x".repeat(INVITE_MAX + 1)), InviteError::TooLong);
        let none = Invite { relays: vec![], ..sample() };
        assert_eq!(parse(&none.format()), InviteError::NoRelay);
        let many = Invite { relays: vec![vec![0]; INVITE_RELAYS_MAX + 1], ..sample() };
        assert_eq!(parse(&many.format()), InviteError::TooLong);
        let junk = Invite { relays: vec![vec![0; 9]], ..sample() };
        let seeds = Invite::parse(&junk.format()).unwrap().seeds(&rules(junk.network()));
        assert!(matches!(seeds, Err(InviteError::Relay { line: 4, .. })));
    }

    proptest::proptest! {
        #[test]
        fn a_changed_character_never_passes(at in 0usize..900, to in proptest::char::range(' ', '~')) {
            let text = sample().format();
            let at = at % text.len();
            let mut changed = text.clone();
            changed.replace_range(at..=at, &to.to_string());
            let ok = Invite::parse(&changed);
            let same = changed == text || changed.eq_ignore_ascii_case(&text) || changed.trim_end() == text.trim_end();
            proptest::prop_assert!(ok.is_err() || same);
        }
    }
}
