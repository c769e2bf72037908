//! Which network a node belongs to: from its invites, from its folder, or founded by it.

use super::invite::Invite;
use crate::base::rng::Rng;
use crate::base::time::UnixMs;
use crate::crypto::hash::{context, derive};
use crate::host::belongs;
use crate::host::dir::NodeDir;
use crate::host::error::{Error, ErrorKind};
use crate::host::system::unix_now;
use crate::proto::directory::client_sync::Checkpoint;
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::path::seeds::{self, INVITE_RELAYS};
use crate::proto::profile::Profile;
use crate::wire::descriptor::{DescriptorRules, SignedDescriptor};
use crate::wire::ids::NetworkId;
use crate::wire::invite as wire;
use crate::wire::membership::{Charter, MemberKey, Membership};
use data_encoding::BASE64;

/// Relays of the last good snapshot, one base64 line each: where a node begins when its invite's relays are gone.
const PEERS_FILE: &str = "peers";
const PEERS_KEPT: usize = 256;
/// A client's last verified directory. While it is fresh, a client that starts asks its guard for the next one and no seed.
const DIRECTORY_FILE: &str = "directory";
/// How many seeds vouched for the first directory that led to the kept one: what it rests on is told in later runs as well.
const VOUCHED_FILE: &str = "directory-vouched";
/// The invite's name in the node's folder: a node started once with an invite needs none later, and hands it on. It holds no
/// secret: a member key has a file of its own.
pub(crate) const INVITE_FILE: &str = "invite";

/// A network as a node knows it at its start.
#[derive(Clone)]
pub(super) struct Network {
    pub(super) profile: &'static Profile,
    charter: Charter,
    pub(super) id: NetworkId,
    /// With which a relay becomes a member of a private network.
    pub(super) member: Option<MemberKey>,
    /// The newest set that an invite vouches for, and the relays of that invite.
    checkpoint: Option<Checkpoint>,
    pub(super) seeds: Vec<SignedDescriptor>,
    /// This relay's own descriptor.
    pub(super) own: Option<SignedDescriptor>,
    /// Whether the folder keeps it. That of a testnet does not: each run is a network of its own.
    is_kept: bool,
    /// By which this node's invites name other relays than another's.
    salt: [u8; 32],
}

impl Network {
    fn new(profile: &'static Profile, charter: Charter, rng: &mut Rng) -> Self {
        let id = charter.network(profile.name);
        let (member, checkpoint, seeds, own) = (None, None, Vec::new(), None);
        Self { profile, charter, id, member, checkpoint, seeds, own, is_kept: true, salt: rng.bytes() }
    }

    /// The network of the folder and of the invites given; `None` where neither names one. What is given is kept: later starts
    /// need no invite. `wanted` is the profile that was named, `more` are further seeds.
    pub(super) fn find(
        dir: &NodeDir,
        given: &[Invite],
        wanted: Option<&'static Profile>,
        more: &[String],
        rng: &mut Rng,
    ) -> Result<Option<Self>, Error> {
        let kept = kept_invite(dir, !given.is_empty())?;
        let Some(first) = given.iter().chain(&kept).next().map(|invite| &invite.0) else {
            return match belongs::network(dir)? {
                Some(_) => Err(invite_is_gone(dir)),
                None => Ok(None),
            };
        };
        check_one_network(dir, given, kept.as_ref())?;
        let mut network = Self::new(profile_of(first, wanted)?, first.charter.clone(), rng);
        network.member = belongs::member_key(dir)?.filter(|key| key.verify(&network.charter, network.id).is_ok());
        let rules = network.profile.descriptor_rules(network.id);
        let now = unix_now();
        for invite in given {
            network.take_checkpoint(&invite.0, &rules, now)?;
            network.take(&invite.0, &rules).map_err(|why| {
                Error::new(ErrorKind::Config, format!("the invite cannot be used: {why}")).with_rule("INVITE-2")
            })?;
        }
        if let Some(kept) = &kept {
            // Of what the node wrote itself, what does not verify any more is left out.
            let _ = network.take(&kept.0, &rules);
            let _ = network.take_checkpoint(&kept.0, &rules, now);
        }
        network.take_seeds(more, &rules)?;
        network.keep(dir)?;
        network.take_peers(dir, &rules)?;
        Ok(Some(network))
    }

    /// A new network that anybody may join, of which this node is the first relay.
    pub(super) fn found(profile: &'static Profile, rng: &mut Rng) -> Self {
        Self::new(profile, Charter::open(rng.bytes()), rng)
    }

    /// The same, begun with these relays.
    pub(super) fn with_seeds(&self, seeds: Vec<SignedDescriptor>) -> Self {
        Self { seeds, ..self.clone() }
    }

    /// The same, without a trace in the node's folder.
    pub(super) fn forgotten(self) -> Self {
        Self { is_kept: false, ..self }
    }

    /// Takes over what an invite says: of each relay its newest record.
    // spec: INVITE-4
    fn take(&mut self, invite: &wire::Invite, rules: &DescriptorRules) -> Result<(), wire::InviteError> {
        for seed in invite.seeds(rules)? {
            self.add_seed(seed);
        }
        if invite.member.is_some() {
            self.member.clone_from(&invite.member);
        }
        Ok(())
    }

    /// Of several checkpoints the newest counts. One of a later time than ours would keep every set from us.
    // spec: INVITE-8
    fn take_checkpoint(&mut self, invite: &wire::Invite, rules: &DescriptorRules, now: UnixMs) -> Result<(), Error> {
        let Some((cut, root)) = invite.checkpoint else { return Ok(()) };
        if cut > now.plus(self.profile.clock_tolerance) {
            tracing::warn!(
                "an invite names a set of the future and is believed in all else: is this machine's clock right?"
            );
            return Ok(());
        }
        match &self.checkpoint {
            Some(point) if point.cut == cut && point.root != root => {
                return Err(Error::new(ErrorKind::Config, "two invites say different things of the same network")
                    .with_rule("INVITE-8")
                    .with_hint("one of them is false: use only the one whose writer you trust"));
            }
            Some(point) if point.cut >= cut => return Ok(()),
            _ => {}
        }
        let relays = invite.seeds(rules).map_or_else(|_| Vec::new(), |seeds| seeds.iter().map(|s| s.id()).collect());
        self.checkpoint = Some(Checkpoint { cut, root, relays });
        Ok(())
    }

    /// The newest set that an invite vouches for.
    pub(super) fn checkpoint(&self) -> Option<Checkpoint> {
        self.checkpoint.clone()
    }

    fn add_seed(&mut self, seed: SignedDescriptor) {
        match self.seeds.iter_mut().find(|s| s.id() == seed.id()) {
            Some(old) if old.published < seed.published => *old = seed,
            Some(_) => {}
            None => self.seeds.push(seed),
        }
    }

    fn take_seeds(&mut self, more: &[String], rules: &DescriptorRules) -> Result<(), Error> {
        for text in more {
            let bytes = BASE64.decode(text.as_bytes()).ok();
            let seed = bytes.and_then(|b| SignedDescriptor::decode(&b, rules).ok()).ok_or_else(|| {
                Error::new(ErrorKind::Config, "a seed of the configuration is no relay of this network")
                    .with_hint("a seed is what follows \"relay \" in an invite of the same network")
            })?;
            self.add_seed(seed);
        }
        Ok(())
    }

    /// The relays of the last run. The file is a cache: what does not verify is left out.
    fn take_peers(&mut self, dir: &NodeDir, rules: &DescriptorRules) -> Result<(), Error> {
        let known = dir.load(PEERS_FILE)?.unwrap_or_default();
        for (n, line) in known.split(|&b| b == b'\n').take(PEERS_KEPT).enumerate().filter(|(_, line)| !line.is_empty())
        {
            match BASE64.decode(line).ok().and_then(|b| SignedDescriptor::decode(&b, rules).ok()) {
                Some(seed) => self.add_seed(seed),
                // spec: NODE-24
                None => {
                    tracing::warn!(file = %dir.file(PEERS_FILE).display(), line = n + 1, "a line is damaged and left out");
                }
            }
        }
        Ok(())
    }

    /// Keeps what the next start needs: the network's id, an invite, a member key.
    pub(super) fn keep(&self, dir: &NodeDir) -> Result<(), Error> {
        if !self.is_kept {
            return Ok(());
        }
        belongs::set_network(dir, self.id)?;
        if let Some(key) = &self.member {
            belongs::set_member_key(dir, key)?;
        }
        let text = self.invite(None).to_string();
        if dir.load(INVITE_FILE)?.as_deref() == Some(text.as_bytes()) {
            return Ok(());
        }
        dir.save(INVITE_FILE, text.as_bytes())
    }

    /// An invite for others: to a few relays of the set, or before there is one, to those that this node began with. It never
    /// holds the member key.
    // spec: INVITE-3
    // spec: INVITE-7
    pub(super) fn invite(&self, set: Option<&Snapshot>) -> Invite {
        let Some(set) = set else {
            let relays = self.own.iter().chain(&self.seeds);
            let invite = wire::Invite::new(self.profile.name, self.charter.clone(), relays);
            let checkpoint = self.checkpoint.as_ref().map(|point| (point.cut, point.root));
            return Invite(wire::Invite { checkpoint, ..invite });
        };
        let own = self.own.as_ref().map(SignedDescriptor::id);
        let mut rng = Rng::from_seed(derive(context::LOCAL, &[b"invite", &self.salt, &set.root]));
        let chosen = seeds::choose(set, own.as_ref(), INVITE_RELAYS, self.profile, &mut rng);
        // A relay that is not a member yet can be asked all the same.
        let new = self.own.iter().filter(|own| set.get(&own.id()).is_none());
        let relays = new.chain(chosen.iter().map(|r| &**r)).take(INVITE_RELAYS);
        let invite = wire::Invite::new(self.profile.name, self.charter.clone(), relays);
        Invite(wire::Invite { checkpoint: Some((set.cut, set.root)), ..invite })
    }

    /// The keys of a private network's founders.
    pub(super) fn founders(&self) -> &[[u8; 32]] {
        self.charter.founders()
    }

    /// What makes the relay of this identity a member of a private network.
    pub(super) fn membership(&self, identity: &[u8; 32]) -> Option<Membership> {
        self.member.as_ref().map(|key| key.admit(&self.charter, self.id, identity))
    }

    /// An invite that names these relays.
    pub(super) fn invite_to(&self, relays: &[SignedDescriptor]) -> Invite {
        Invite(wire::Invite::new(self.profile.name, self.charter.clone(), relays))
    }
}

/// Founds a private network in a folder that has none yet: whatever node starts there is its first member. `issue` makes the
/// member key of a network's id.
///
/// # Errors
/// [`ErrorKind::Config`] (rule NODE-29) where the folder belongs to a network; the files cannot be written.
// spec: NODE-29
pub(crate) fn found(
    dir: &NodeDir,
    charter: &Charter,
    issue: impl FnOnce(NetworkId) -> Option<MemberKey>,
) -> Result<(NetworkId, MemberKey), Error> {
    if belongs::network(dir)?.is_some() || dir.has(INVITE_FILE) {
        let message = format!("the folder {} belongs to a network already", dir.path().display());
        return Err(Error::new(ErrorKind::Config, message)
            .with_rule("NODE-29")
            .with_hint("give each network a folder of its own with --dir"));
    }
    let mut network = Network::new(&Profile::PRIVATE, charter.clone(), &mut crate::host::system::rng()?);
    let no_founder = || Error::new(ErrorKind::Config, "the key is not that of a founder").with_rule("INVITE-6");
    let key = issue(network.id).ok_or_else(no_founder)?;
    network.member = Some(key.clone());
    network.keep(dir)?;
    Ok((network.id, key))
}

/// The invite that the folder keeps. One that cannot be read is no loss where others are given.
fn kept_invite(dir: &NodeDir, others: bool) -> Result<Option<Invite>, Error> {
    let kept = dir.load(INVITE_FILE)?.map(|bytes| Invite::of_file(&dir.file(INVITE_FILE), bytes)).transpose();
    match kept {
        Err(why) if others => {
            tracing::warn!(%why, "the invite that the folder kept is replaced by the one given");
            Ok(None)
        }
        kept => kept,
    }
}

// spec: NODE-29
fn check_one_network(dir: &NodeDir, given: &[Invite], kept: Option<&Invite>) -> Result<(), Error> {
    let mut ids = given.iter().map(|invite| invite.0.network());
    let first = ids.next();
    if ids.any(|id| Some(id) != first) {
        return Err(Error::new(ErrorKind::Config, "the invites are for different networks")
            .with_rule("NODE-29")
            .with_hint("give each network a node and a folder of its own"));
    }
    let (bound, kept) = (belongs::network(dir)?, kept.map(|kept| kept.0.network()));
    let Some(own) = bound.or(kept) else { return Ok(()) };
    let Some(other) = [first, kept].into_iter().flatten().find(|id| *id != own) else { return Ok(()) };
    let what = format!("the folder {} belongs to network {own:?}…, the invite to {other:?}…", dir.path().display());
    Err(Error::new(ErrorKind::Config, what)
        .with_rule("NODE-29")
        .with_hint("give each network a folder of its own with --dir"))
}

fn invite_is_gone(dir: &NodeDir) -> Error {
    Error::config(&dir.file(INVITE_FILE), "the invite is gone, but this is the folder of a network's node")
        .with_rule("NODE-29")
        .with_hint("give an invite to the same network with --invite, or another folder with --dir")
}

// spec: PROF-1
fn profile_of(invite: &wire::Invite, wanted: Option<&'static Profile>) -> Result<&'static Profile, Error> {
    let profile = Profile::named(&invite.profile).ok_or_else(|| {
        Error::new(ErrorKind::Config, format!("this program knows no network profile named {:?}", invite.profile))
            .with_hint(if invite.profile == "default" {
                "the network is of an older version of umbel: ask for an invite to one of profile \"public\""
            } else {
                "use a newer version of umbel"
            })
    })?;
    if let Some(wanted) = wanted.filter(|w| w.name != profile.name) {
        let message = format!("the invite is for profile {}, not {}", profile.name, wanted.name);
        return Err(Error::new(ErrorKind::Config, message).with_hint("leave --profile out: the invite names it"));
    }
    Ok(profile)
}

/// Keeps the relays of a good set for the next start and in the folder's invite; what cannot be written is remembered by the
/// folder.
pub(super) fn keep_set(dir: &NodeDir, network: &Network, set: &Snapshot) {
    let lines: Vec<_> = set.relays().iter().take(PEERS_KEPT).map(|r| BASE64.encode(r.bytes())).collect();
    let _ = dir.save(PEERS_FILE, lines.join("\n").as_bytes());
    if network.is_kept {
        let _ = dir.save(INVITE_FILE, network.invite(Some(set)).to_string().as_bytes());
    }
}

/// Keeps a client's directory.
pub(super) fn keep_directory(dir: &NodeDir, set: &Snapshot) {
    let _ = dir.save(DIRECTORY_FILE, &set.encode());
}

/// The directory of an earlier run, for a client. The file is a cache: one that does not verify is not there.
pub(super) fn kept_directory(dir: &NodeDir, profile: &Profile, network: NetworkId) -> Result<Option<Snapshot>, Error> {
    Ok(dir.load(DIRECTORY_FILE)?.and_then(|bytes| Snapshot::decode(&bytes, profile, network).ok()))
}

/// How many seeds vouched for the directory of an earlier run, where that is known.
pub(super) fn kept_vouched(dir: &NodeDir) -> Result<Option<usize>, Error> {
    let text = dir.load(VOUCHED_FILE)?.and_then(|bytes| String::from_utf8(bytes).ok());
    Ok(text.and_then(|text| text.trim().parse().ok()))
}

/// Keeps how many seeds vouched for the first directory.
pub(super) fn keep_vouched(dir: &NodeDir, vouched: usize) {
    let _ = dir.save(VOUCHED_FILE, format!("{vouched}\n").as_bytes());
}

#[cfg(test)]
mod tests;
