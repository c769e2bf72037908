//! `umbel network`: what a founder of a private network does: found it, make people members, and take that back.
//!
//! The commands work on the folder's files, beside a node that runs there or without one. One of them prints a secret, because
//! that is what it is for: `invite`, an invite with a member key. Nothing else does.

use crate::api::{INVITE_FILE, Invite, found};
use crate::base::secret::{Secret, Zeroizing};
use crate::base::time::UnixMs;
use crate::crypto::identity::IdentityKey;
use crate::host::dir::NodeDir;
use crate::host::error::{Error, ErrorKind};
use crate::host::founder::{self, Issued, MEMBER_NAME_MAX};
use crate::host::system::{self, unix_now};
use crate::node::control::client::Conversation;
use crate::node::control::report::{InviteReport, RollReport};
use crate::node::control::{Request, RollRequest};
use crate::node::output::{Report, program};
use crate::proto::profile::Profile;
use crate::wire::ids::{from_text, to_text};
use crate::wire::invite as wire;
use crate::wire::membership::{Charter, MemberKey};
use crate::wire::roll::{ROLL_REVOKED_MAX, Roll};
use data_encoding::BASE64;
use serde::{Serialize, Serializer};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The lock of a founder's commands, which run beside a node.
const LOCK: &str = "founder-lock";
/// The name under which a founder's own machine is a member.
const SELF: &str = "founder";

/// What `umbel network create` and `umbel network key` report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FounderReport {
    /// The network's id; null before there is one.
    network: Option<String>,
    /// The public key of this folder's founder.
    founder: String,
    /// All founders of the network.
    founders: Vec<String>,
    /// The folder.
    dir: String,
}

impl Report for FounderReport {
    fn text(&self) -> String {
        let (dir, umbel) = (&self.dir, program());
        let Some(network) = &self.network else {
            return format!("{}\n", self.founder);
        };
        let founders = match self.founders.len() {
            1 => "1 founder".to_owned(),
            n => format!("{n} founders"),
        };
        format!(
            "Founded the private network {network} with {founders}.\n\n\
             Start its first relay on this machine:\n  {umbel} relay --dir {dir} --listen ADDRESS:6251\n\
             Then make each of the others a member; the invite is a secret of theirs:\n  {umbel} --dir {dir} network invite NAME > NAME.invite\n\
             Who only uses the network needs no member key:\n  {umbel} --dir {dir} invite\n\n\
             The network is there when three relays know each other. {dir}/founder is the key to it: keep a copy where nobody\n\
             else can read it.\n"
        )
    }
}

/// What `umbel network invite` reports: a secret.
#[derive(Serialize)]
pub(crate) struct MemberInvite {
    network: String,
    name: String,
    member: String,
    relays: u64,
    #[serde(serialize_with = "as_text")]
    invite: Zeroizing<String>,
}

fn as_text<S: Serializer>(text: &Zeroizing<String>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(text)
}

impl Report for MemberInvite {
    fn text(&self) -> String {
        self.invite.to_string()
    }
}

/// What `umbel network members` reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct MembersReport {
    network: String,
    members: Vec<MemberRow>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct MemberRow {
    name: String,
    member: String,
    issued_unix: u64,
    revoked: bool,
}

impl Report for MembersReport {
    fn text(&self) -> String {
        let mut text = String::new();
        for m in &self.members {
            let _ = writeln!(text, "{}  {}{}", m.member, m.name, if m.revoked { " (taken back)" } else { "" });
        }
        let count = self.members.len();
        let _ = writeln!(text, "{count} member keys, signed by this founder for network {}", self.network);
        text
    }
}

/// What `umbel network revoke` reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct RevokedReport {
    network: String,
    /// As the founder called them; null for a key that another founder signed.
    name: Option<String>,
    member: String,
    /// Whether a relay runs in the folder, and tells the others now.
    told: bool,
    next_cut_s: Option<u64>,
}

impl Report for RevokedReport {
    fn text(&self) -> String {
        let whose = self.name.as_ref().map_or(self.member.clone(), |name| format!("{name:?}"));
        let when = match (self.told, self.next_cut_s) {
            (true, Some(s)) => {
                format!("Its relays are out of the network from a cut on that comes in {s} s, or the one after it")
            }
            (true, None) => "Its relays are in no set from the next one on".to_owned(),
            (false, _) => "No relay runs on this folder: start one, and it tells the others".to_owned(),
        };
        format!("Took the member key of {whose} back. {when}.\n")
    }
}

/// A founder's folder, for one command at a time.
fn open(dir: &Path) -> Result<NodeDir, Error> {
    NodeDir::open_beside(dir, LOCK)
}

fn no_founder(dir: &Path) -> Error {
    Error::new(ErrorKind::Config, format!("{} holds no founder's key", dir.display()))
        .with_hint("name the founder's folder with --dir; umbel network create founds a network")
}

fn founder_key(dir: &NodeDir) -> Result<IdentityKey, Error> {
    founder::load_key(dir)?.ok_or_else(|| no_founder(dir.path()))
}

fn key_or_new(dir: &NodeDir) -> Result<IdentityKey, Error> {
    match founder::load_key(dir)? {
        Some(key) => Ok(key),
        None => founder::make_key(dir, &Secret::new(system::rng()?.bytes())),
    }
}

/// Makes a founder's key, where there is none, and tells its public part: for whoever creates the network.
pub(crate) fn key(dir: &Path) -> Result<FounderReport, Error> {
    let dir = open(dir)?;
    let founder = to_text(&key_or_new(&dir)?.public());
    Ok(FounderReport { network: None, founder, founders: Vec::new(), dir: dir.path().display().to_string() })
}

/// Founds a private network with this folder's key and those of other founders.
pub(crate) fn create(dir: &Path, others: &[String]) -> Result<FounderReport, Error> {
    // The node's own lock: no node may run in the folder while it gets a network.
    let dir = NodeDir::open(dir)?;
    let mut founders = Vec::new();
    for text in others {
        founders.push(from_text(text).map_err(|_| {
            Error::new(ErrorKind::Usage, format!("{text:?} is no founder's key"))
                .with_hint("a founder gets it with umbel network key, and it has 52 letters and digits")
        })?);
    }
    let key = key_or_new(&dir)?;
    founders.push(key.public());
    let mut rng = system::rng()?;
    let charter = Charter::private(rng.bytes(), founders).ok_or_else(|| {
        Error::new(ErrorKind::Usage, "a private network has one to four founders, each with a key of its own")
            .with_rule("INVITE-5")
    })?;
    let network = found(&dir, &charter, |id| MemberKey::issue(&charter, id, &key, Secret::new(rng.bytes())))?;
    let own = network.1.public();
    founder::save_members(&dir, &[Issued { name: SELF.into(), key: own, issued: unix_now().secs() }])?;
    Ok(FounderReport {
        network: Some(network.0.to_string()),
        founder: to_text(&key.public()),
        founders: charter.founders().iter().map(to_text).collect(),
        dir: dir.path().display().to_string(),
    })
}

/// Makes a member key under a name, and an invite that holds it.
pub(crate) async fn invite(dir: &Path, name: &str, from: Option<PathBuf>) -> Result<MemberInvite, Error> {
    check_name(name)?;
    // What the node knows now, where one runs; else what the folder keeps.
    let current = match from {
        Some(path) => Invite::read(path)?,
        None => current_invite(dir).await?.ok_or_else(|| no_founder(dir))?.invite.parse()?,
    };
    let dir = open(dir)?;
    let key = founder_key(&dir)?;
    let (charter, network) = (current.0.charter.clone(), current.0.network());
    let mut members = founder::members(&dir)?;
    if members.iter().any(|m| m.name == name) {
        return Err(Error::new(ErrorKind::Usage, format!("there is a member named {name:?} already"))
            .with_hint("give another name; umbel network members lists them"));
    }
    if current.0.relays.is_empty() {
        return Err(Error::new(ErrorKind::Config, "no relay of the network is known that the invite could name")
            .with_hint("start the first relay: umbel relay --dir DIR --listen ADDRESS:6251"));
    }
    let secret = Secret::new(system::rng()?.bytes());
    let member = MemberKey::issue(&charter, network, &key, secret).ok_or_else(|| {
        Error::new(ErrorKind::Config, "the key of this folder is not that of a founder of its network")
            .with_rule("INVITE-6")
            .with_hint("name the folder of a founder with --dir")
    })?;
    let public = member.public();
    members.push(Issued { name: name.to_owned(), key: public, issued: unix_now().secs() });
    founder::save_members(&dir, &members)?;
    let invite = wire::Invite { member: Some(member), ..current.0 };
    Ok(MemberInvite {
        network: network.to_string(),
        name: name.to_owned(),
        member: to_text(&public),
        relays: invite.relays.len() as u64,
        invite: invite.format(),
    })
}

fn check_name(name: &str) -> Result<(), Error> {
    let is_name = (1..=MEMBER_NAME_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
    if is_name && name.trim() == name {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Usage, format!("{name:?} is no name for a member"))
        .with_hint(format!("give one to {MEMBER_NAME_MAX} bytes of text, such as alice or \"Alice's laptop\"")))
}

/// The invite that a node would write now, where one runs in the folder; else the one that an earlier run kept there, if any.
pub(crate) async fn current_invite(dir: &Path) -> Result<Option<InviteReport>, Error> {
    match Conversation::ask(dir, &Request::Invite).await {
        Ok(talk) => Ok(Some(talk.report(|_| ()).await?)),
        Err(why) if why.kind() != ErrorKind::NotRunning => Err(why),
        Err(_) if !dir.join(INVITE_FILE).is_file() => Ok(None),
        Err(_) => Ok(Some(InviteReport::of(&Invite::read(dir.join(INVITE_FILE))?))),
    }
}

/// Whom this founder made a member.
pub(crate) fn members(dir: &Path) -> Result<MembersReport, Error> {
    let dir = open(dir)?;
    founder_key(&dir)?;
    let network = Invite::read(dir.file(INVITE_FILE))?.0.network().to_string();
    let roll = founder::load_roll(&dir)?;
    let is_revoked = |key: &[u8; 32]| roll.as_ref().is_some_and(|roll| roll.revoked().contains(key));
    let row = |m: Issued| {
        let (member, revoked) = (to_text(&m.key), is_revoked(&m.key));
        MemberRow { name: m.name, member, issued_unix: m.issued, revoked }
    };
    Ok(MembersReport { network, members: founder::members(&dir)?.into_iter().map(row).collect() })
}

/// Takes a member key back: by the name that this founder gave it, or a key that another founder signed.
pub(crate) async fn revoke(path: &Path, whose: &str) -> Result<RevokedReport, Error> {
    let (report, roll) = sign_roll(path, whose)?;
    let request = Request::Roll(RollRequest { roll: BASE64.encode(&roll.encode()) });
    match Conversation::ask(path, &request).await {
        Ok(talk) => {
            let told = talk.report::<RollReport>(|_| ()).await?;
            Ok(RevokedReport { told: true, next_cut_s: told.next_cut_s, ..report })
        }
        Err(why) if why.kind() == ErrorKind::NotRunning => Ok(report),
        Err(why) => Err(why),
    }
}

/// Later than the one before, whatever the clock says; but one that a clock far ahead wrote was taken by nobody.
fn written_after(before: Option<&Roll>, now: UnixMs) -> UnixMs {
    let taken = before.filter(|roll| roll.written <= now.plus(Profile::PRIVATE.clock_tolerance));
    taken.map_or(now, |roll| UnixMs(roll.written.0.saturating_add(1)).max(now))
}

/// Signs and keeps a roll with one key more.
fn sign_roll(path: &Path, whose: &str) -> Result<(RevokedReport, Roll), Error> {
    let dir = open(path)?;
    let founder = founder_key(&dir)?;
    let invite = Invite::read(dir.file(INVITE_FILE))?.0;
    let (charter, network) = (&invite.charter, invite.network());
    let named = founder::members(&dir)?.into_iter().find(|m| m.name == whose || to_text(&m.key) == whose);
    let key = match &named {
        Some(member) => member.key,
        None => from_text(whose).map_err(|_| {
            Error::new(ErrorKind::Usage, format!("this founder made nobody a member under the name {whose:?}"))
                .with_hint("umbel network members lists the names; of another founder's member give the key")
        })?,
    };
    let before = founder::load_roll(&dir)?;
    let mut revoked = before.as_ref().map_or_else(Vec::new, |roll| roll.revoked().to_vec());
    if !revoked.contains(&key) {
        revoked.push(key);
    }
    let written = written_after(before.as_ref(), unix_now());
    let is_founder = charter.index(&founder.public()).is_some();
    let roll = Roll::sign(charter, network, &founder, written, revoked).ok_or_else(|| match is_founder {
        true => Error::new(ErrorKind::Usage, format!("this founder took {ROLL_REVOKED_MAX} member keys back already"))
            .with_rule("INVITE-10")
            .with_hint("another founder may take further ones back"),
        false => Error::new(ErrorKind::Config, "the key of this folder is not that of a founder of its network")
            .with_rule("INVITE-9")
            .with_hint("name the folder of a founder with --dir"),
    })?;
    founder::save_roll(&dir, &roll)?;
    let name = named.map(|member| member.name);
    let report =
        RevokedReport { network: network.to_string(), name, member: to_text(&key), told: false, next_cut_s: None };
    Ok((report, roll))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roll_is_later_than_the_one_before_but_not_than_one_of_the_future() {
        let founder = IdentityKey::from_bytes([1; 32]);
        let charter = Charter::private([2; 32], vec![founder.public()]).unwrap();
        let network = charter.network(Profile::PRIVATE.name);
        let now = UnixMs(1_700_000_000_000);
        let after = |written| {
            let before = Roll::sign(&charter, network, &founder, written, vec![]).unwrap();
            written_after(Some(&before), now)
        };
        let minute = crate::base::time::Duration::from_secs(60);
        assert_eq!((written_after(None, now), after(now.minus(minute))), (now, now));
        assert_eq!(after(now.plus(minute)), UnixMs(now.plus(minute).0 + 1));
        assert_eq!(after(now.plus(minute * 60 * 24)), now);
    }
}
