//! An invite: the text file that names a network and some of its relays (spec 18).
//!
//! ```text
//! umbel-invite 2
//! profile testing
//! genesis <52 base32>
//! founder <52 base32>                        of a private network: one or more, ascending
//! member <base64 of a member key>            secret; of a private network, for who is to run a relay
//! checkpoint <cut> <52 base32: its root>     a set that the writer had verified
//! relay <base64 of a signed descriptor>      any number; at least one where there is no founder
//! check <52 base32: BLAKE3 of all lines before, each with its line feed>
//! ```
//!
//! *Seen by:* whoever is given it. With a member key it is a secret; without one it holds none, but for a private network its
//! name is what keeps strangers out.

use crate::base::secret::Zeroizing;
use crate::base::time::UnixMs;
use crate::crypto::hash::blake3;
use crate::wire::descriptor::{DESCRIPTOR_MAX, DescriptorError, DescriptorRules, SignedDescriptor};
use crate::wire::ids::{self, NetworkId};
use crate::wire::membership::{Charter, MEMBER_KEY_SIZE, MemberKey};
use data_encoding::BASE64;

/// Most relays in one invite.
pub const INVITE_RELAYS_MAX: usize = 64;
/// The longest invite, in bytes.
pub const INVITE_MAX: usize = 64 * 1024;

const MAGIC: &str = "umbel-invite ";
const VERSION: &str = "2";

/// Why a text is no invite.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// The first line is not an invite's.
    #[error("this is not an umbel invite (its first line should be \"umbel-invite 2\")")]
    NotAnInvite,
    /// Another version (spec INVITE-1).
    #[error("this invite is of another version of umbel: this one reads \"umbel-invite 2\"")]
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
    /// The member key is not signed by a founder (spec INVITE-6).
    #[error("the member key of the invite is not signed by a founder of its network")]
    Member,
    /// A line's descriptor does not verify.
    #[error("relay {number} of the invite is not usable: {error}")]
    Relay {
        /// Which of the relays, from 1.
        number: usize,
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
    /// The network's genesis bytes, and the founders of a private one.
    pub charter: Charter,
    /// With which the reader makes relays members of a private network.
    pub member: Option<MemberKey>,
    /// A cut and its root, which the writer had verified.
    pub checkpoint: Option<(UnixMs, [u8; 32])>,
    /// The relays' signed descriptors, unverified.
    pub relays: Vec<Vec<u8>>,
}

impl Invite {
    /// An invite to the network of that profile and charter.
    pub fn new<'a>(profile: &str, charter: Charter, relays: impl IntoIterator<Item = &'a SignedDescriptor>) -> Self {
        let relays = relays.into_iter().take(INVITE_RELAYS_MAX).map(|r| r.bytes().to_vec()).collect();
        Self { profile: profile.to_owned(), charter, member: None, checkpoint: None, relays }
    }

    /// The network's id: a hash of the profile's name and the charter.
    pub fn network(&self) -> NetworkId {
        self.charter.network(&self.profile)
    }

    /// The text of the file, the member key included.
    pub fn format(&self) -> Zeroizing<String> {
        // Long enough to hold it all: a text that grows leaves a copy of the member key.
        let mut out = Zeroizing::new(String::with_capacity(INVITE_MAX));
        out.push_str(&format!("{MAGIC}{VERSION}\nprofile {}\n", self.profile));
        out.push_str(&format!("genesis {}\n", ids::to_text(&self.charter.genesis)));
        for founder in self.charter.founders() {
            out.push_str(&format!("founder {}\n", ids::to_text(founder)));
        }
        if let Some(key) = &self.member {
            let text = Zeroizing::new(BASE64.encode(&key.encode()));
            out.push_str("member ");
            out.push_str(&text);
            out.push('\n');
        }
        if let Some((cut, root)) = &self.checkpoint {
            out.push_str(&format!("checkpoint {} {}\n", cut.0, ids::to_text(root)));
        }
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
        // spec: INVITE-1
        if version != VERSION {
            return Err(InviteError::UnknownVersion);
        }
        let (last, middle) = rest.split_last().ok_or(InviteError::CutOff)?;
        let check = last.strip_prefix("check ").ok_or(InviteError::CutOff)?;
        let mut checked = Zeroizing::new(String::with_capacity(text.len().saturating_add(1)));
        for line in core::iter::once(first).chain(middle) {
            checked.push_str(line);
            checked.push('\n');
        }
        // spec: INVITE-2
        match ids::from_text(check) {
            Ok(hash) if hash == blake3(checked.as_bytes()) => Self::body(middle),
            Ok(_) => Err(InviteError::Changed),
            Err(_) if check.len() < ids::ID_TEXT_LEN => Err(InviteError::CutOff),
            Err(_) => Err(InviteError::Changed),
        }
    }

    fn body(lines: &[&str]) -> Result<Self, InviteError> {
        let mut lines = Lines { lines, at: 0 };
        let profile = lines.field("profile")?;
        let is_name =
            (1..=usize::from(u8::MAX)).contains(&profile.len()) && profile.bytes().all(|b| b.is_ascii_graphic());
        if !is_name {
            return Err(lines.wrong());
        }
        let genesis = ids::from_text(lines.field("genesis")?).map_err(|_| lines.wrong())?;
        let mut founders = Vec::new();
        while let Some(text) = lines.optional("founder") {
            let founder = ids::from_text(text).map_err(|_| lines.wrong())?;
            if founders.last().is_some_and(|last| *last >= founder) {
                return Err(lines.wrong());
            }
            founders.push(founder);
        }
        let charter = match founders.is_empty() {
            true => Charter::open(genesis),
            false => Charter::private(genesis, founders).ok_or(lines.wrong())?,
        };
        let mut invite = Self { profile: profile.to_owned(), charter, member: None, checkpoint: None, relays: vec![] };
        if let Some(text) = lines.optional("member") {
            let bytes = Zeroizing::new(lines.base64(text, MEMBER_KEY_SIZE)?);
            let key = MemberKey::decode(&bytes).map_err(|_| lines.wrong())?;
            key.verify(&invite.charter, invite.network()).map_err(|_| InviteError::Member)?;
            invite.member = Some(key);
        }
        if let Some(text) = lines.optional("checkpoint") {
            invite.checkpoint = Some(checkpoint(text).ok_or(lines.wrong())?);
        }
        invite.relays(&mut lines)?;
        Ok(invite)
    }

    fn relays(&mut self, lines: &mut Lines<'_>) -> Result<(), InviteError> {
        if lines.left() > INVITE_RELAYS_MAX {
            return Err(InviteError::TooLong);
        }
        while lines.left() > 0 {
            let text = lines.field("relay")?;
            self.relays.push(lines.base64(text, DESCRIPTOR_MAX)?);
        }
        // The first relay of a private network joins by an invite that can name none yet.
        let none = self.relays.is_empty() && self.charter.founders().is_empty();
        if none { Err(InviteError::NoRelay) } else { Ok(()) }
    }

    /// The relays, verified under the network's rules. Their lifetimes may be over: a seed is worth trying all the same.
    pub fn seeds(&self, rules: &DescriptorRules) -> Result<Vec<SignedDescriptor>, InviteError> {
        let verify = |(i, bytes): (usize, &Vec<u8>)| {
            SignedDescriptor::decode(bytes, rules)
                .map_err(|error| InviteError::Relay { number: i.saturating_add(1), error })
        };
        self.relays.iter().enumerate().map(verify).collect()
    }
}

/// A cut in decimal without leading zeros, and its root.
fn checkpoint(text: &str) -> Option<(UnixMs, [u8; 32])> {
    let (cut, root) = text.split_once(' ')?;
    let number: u64 = cut.parse().ok()?;
    let canonical = number != 0 && number.to_string() == cut;
    Some((UnixMs(number), ids::from_text(root).ok()?)).filter(|_| canonical)
}

/// The lines between the first and the check, one after the other.
struct Lines<'a> {
    lines: &'a [&'a str],
    at: usize,
}

impl<'a> Lines<'a> {
    /// What the line that was read last is not; before the first, the first.
    fn wrong(&self) -> InviteError {
        // The line with the version comes before these, and people count from 1.
        InviteError::Line(self.at.max(1).saturating_add(1))
    }

    fn left(&self) -> usize {
        self.lines.len().saturating_sub(self.at)
    }

    /// The value of the next line, where it is of this field.
    fn optional(&mut self, name: &str) -> Option<&'a str> {
        let value = self.lines.get(self.at)?.strip_prefix(name)?.strip_prefix(' ')?;
        self.at = self.at.saturating_add(1);
        Some(value)
    }

    fn field(&mut self, name: &str) -> Result<&'a str, InviteError> {
        self.optional(name).ok_or(InviteError::Line(self.at.saturating_add(2)))
    }

    /// The canonical base64 of at most `most` bytes, and at least one.
    fn base64(&self, text: &str, most: usize) -> Result<Vec<u8>, InviteError> {
        let bytes = BASE64.decode(text.as_bytes()).map_err(|_| self.wrong())?;
        if (1..=most).contains(&bytes.len()) { Ok(bytes) } else { Err(self.wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;
    use crate::crypto::identity::IdentityKey;
    use crate::crypto::work::WorkParams;
    use crate::wire::examples::description;

    const WORK: WorkParams = WorkParams { bits: 6, effort: 1 };

    fn rules(network: NetworkId) -> DescriptorRules {
        DescriptorRules { network, work: WORK, private_addrs: true, lifetime_max_s: 60, members_of: None }
    }

    fn sample() -> Invite {
        let key = IdentityKey::from_bytes([7; 32]);
        let network = ids::network_id("testing", &[5; 32], &[]);
        let descriptor = description(network, &key, UnixMs(1_000_000), WORK);
        Invite::new("testing", Charter::open([5; 32]), &[SignedDescriptor::sign(descriptor, &key)])
    }

    fn private() -> Invite {
        let founder = IdentityKey::from_bytes([1; 32]);
        let charter = Charter::private([5; 32], vec![founder.public(), [9; 32]]).unwrap();
        let key = MemberKey::issue(&charter, charter.network("private"), &founder, Secret::new([6; 32]));
        let invite = Invite::new("private", charter, []);
        Invite { member: key, checkpoint: Some((UnixMs(60_000), [3; 32])), ..invite }
    }

    #[test]
    fn an_invite_is_read_back_and_its_relays_verify() {
        let invite = sample();
        let read = Invite::parse(&invite.format()).unwrap();
        assert_eq!(read, invite);
        assert_eq!(read.seeds(&rules(read.network())).unwrap().len(), 1);
        assert_eq!(Invite::parse(&invite.format().replace('\n', "\r\n")), Ok(invite), "a mailer's line ends");
        assert_eq!(Invite::parse(&private().format()), Ok(private()));
    }

    fn checked(lines: &str) -> String {
        format!("{lines}check {}\n", ids::to_text(&blake3(lines.as_bytes())))
    }

    // spec: INVITE-5
    // spec: INVITE-6
    #[test]
    fn a_private_network_s_lines_have_one_form_and_its_key_a_founder() {
        let text = private().format();
        let lines: Vec<&str> = text.lines().collect();
        let parse = |order: &[usize]| {
            let body: String = order.iter().map(|n| format!("{}\n", lines[*n])).collect();
            Invite::parse(&checked(&body))
        };
        assert_eq!(parse(&[0, 1, 2, 3, 4, 5, 6]), Ok(private()));
        assert_eq!(parse(&[0, 1, 2, 3, 4]).map(|i| i.member), Ok(None), "for a client");
        assert_eq!(parse(&[0, 1, 2, 4, 3, 5]), Err(InviteError::Line(5)), "founders out of order");
        assert_eq!(parse(&[0, 1, 2, 3, 3, 5]), Err(InviteError::Line(5)), "a founder twice");
        assert_eq!(parse(&[0, 1, 2, 3, 4, 6, 5]), Err(InviteError::Line(7)), "the key after the checkpoint");
        assert_eq!(parse(&[0, 1, 2, 5]), Err(InviteError::Member), "no founder");
        assert_eq!(parse(&[0, 1, 2, 4, 5]), Err(InviteError::Member), "another network");
        for cut in ["0", "060000", "+60000", "60000 ", "x"] {
            let body: String = text[..text.find("check ").unwrap()].replace(" 60000 ", &format!(" {cut} "));
            assert_eq!(Invite::parse(&checked(&body)), Err(InviteError::Line(7)), "{cut}");
        }
    }

    // spec: INVITE-1
    // spec: INVITE-2
    #[test]
    fn each_damage_has_its_own_error() {
        let text = sample().format();
        let parse = |t: &str| Invite::parse(t).unwrap_err();
        assert_eq!(parse("hello"), InviteError::NotAnInvite);
        assert_eq!(parse(""), InviteError::NotAnInvite);
        assert_eq!(parse(&text.replace("invite 2", "invite 1")), InviteError::UnknownVersion);
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
        assert!(matches!(seeds, Err(InviteError::Relay { number: 1, .. })));
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
