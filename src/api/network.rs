//! Which network a node belongs to: from its invite, from its folder, or founded by it.

use super::invite::Invite;
use super::local::Local;
use crate::base::rng::Rng;
use crate::host::dir::NodeDir;
use crate::host::error::{Error, ErrorKind};
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::profile::Profile;
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::ids::{NetworkId, network_id};
use crate::wire::invite as wire;
use core::time::Duration;
use data_encoding::BASE64;

/// Relays of the last good snapshot, one base64 line each: where a node begins when its invite's relays are gone.
const PEERS_FILE: &str = "peers";
const PEERS_KEPT: usize = 256;
/// A client's last verified directory. While it is fresh, a client that starts asks its guard for the next one and no seed.
const DIRECTORY_FILE: &str = "directory";
/// How many seeds vouched for the first directory that led to the kept one: what it rests on is told in later runs as well.
const VOUCHED_FILE: &str = "directory-vouched";
/// How often these are written at most.
const KEEP_PEERS_EVERY: Duration = Duration::from_secs(60);
/// The invite's name in the node's folder: a node started once with an invite needs none later. A founder's genesis bytes
/// stand in it.
pub(crate) const INVITE_FILE: &str = "invite";

/// A network as a node knows it at its start.
#[derive(Clone)]
pub(super) struct Network {
    pub(super) profile: &'static Profile,
    pub(super) genesis: [u8; 32],
    pub(super) id: NetworkId,
    pub(super) seeds: Vec<SignedDescriptor>,
}

/// The invites given, or the one kept in the folder; none where there is neither. What is given is kept.
pub(super) fn invites(dir: &NodeDir, given: Vec<Invite>) -> Result<Vec<Invite>, Error> {
    if let Some(first) = given.first() {
        // From now on the node finds it in its own folder.
        dir.save(INVITE_FILE, first.to_string().as_bytes())?;
        return Ok(given);
    }
    let kept = dir.load(INVITE_FILE)?.map(|bytes| Invite::of_file(&dir.file(INVITE_FILE), bytes));
    Ok(kept.transpose()?.into_iter().collect())
}

impl Network {
    /// The network of one or more invites. `wanted` is the profile that was named, `more` are further seeds.
    pub(super) fn join(
        dir: &NodeDir,
        invites: &[Invite],
        wanted: Option<&'static Profile>,
        more: &[String],
    ) -> Result<Self, Error> {
        let invite = &invites.first().ok_or_else(|| Error::new(ErrorKind::Config, "no invite was given"))?.0;
        // spec: PROF-1
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
        let id = invite.network();
        let rules = profile.descriptor_rules(id);
        let unusable =
            |why| Error::new(ErrorKind::Config, format!("the invite cannot be used: {why}")).with_rule("DIR-11");
        let mut seeds = Vec::new();
        for other in invites {
            if other.0.network() != id {
                return Err(Error::new(ErrorKind::Config, "the invites are for different networks")
                    .with_hint("give each network a client and a folder of its own"));
            }
            seeds.extend(other.0.seeds(&rules).map_err(unusable)?);
        }
        for text in more {
            let bytes = BASE64.decode(text.as_bytes()).ok();
            let seed = bytes.and_then(|b| SignedDescriptor::decode(&b, &rules).ok()).ok_or_else(|| {
                Error::new(ErrorKind::Config, "a seed of the configuration is no relay of this network".to_string())
                    .with_hint("a seed is what follows \"relay \" in an invite of the same network")
            })?;
            seeds.push(seed);
        }
        let known = dir.load(PEERS_FILE)?.unwrap_or_default();
        for (n, line) in known.split(|&b| b == b'\n').take(PEERS_KEPT).enumerate().filter(|(_, line)| !line.is_empty())
        {
            // The file is a cache: what does not verify is left out.
            let seed = BASE64.decode(line).ok().and_then(|b| SignedDescriptor::decode(&b, &rules).ok());
            if seed.is_none() {
                // spec: NODE-24
                tracing::warn!(file = %dir.file(PEERS_FILE).display(), line = n + 1, "a line is damaged and left out");
            }
            if let Some(seed) = seed.filter(|s| seeds.iter().all(|k| k.id() != s.id())) {
                seeds.push(seed);
            }
        }
        Ok(Self { profile, genesis: invite.genesis, id, seeds })
    }

    /// A new network, of which this node is the first relay.
    pub(super) fn found(profile: &'static Profile, rng: &mut Rng) -> Self {
        let genesis = rng.bytes();
        Self { profile, genesis, id: network_id(profile.name, &genesis), seeds: Vec::new() }
    }

    /// An invite that names these relays, or the first few of them.
    pub(super) fn invite(&self, relays: &[SignedDescriptor]) -> Invite {
        Invite(wire::Invite::new(self.profile.name, self.genesis, relays))
    }
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

/// Keeps the relays of good snapshots for the next start, and for a client the snapshot whole.
pub(super) async fn keep_peers(local: Local) {
    let mut snapshots = local.agent.snapshots();
    loop {
        let newest = snapshots.borrow_and_update().clone();
        if let Some(snapshot) = newest {
            let lines: Vec<_> = snapshot.relays().iter().take(PEERS_KEPT).map(|r| BASE64.encode(r.bytes())).collect();
            // A failure is remembered by the folder, and the next snapshot tries again.
            let _ = local.about.dir.save(PEERS_FILE, lines.join("\n").as_bytes());
            if local.about.relay.is_none() {
                let _ = local.about.dir.save(DIRECTORY_FILE, &snapshot.encode());
                if let Some(vouched) = local.agent.with(|n, _| n.report().and_then(|r| r.vouched)) {
                    let _ = local.about.dir.save(VOUCHED_FILE, format!("{vouched}\n").as_bytes());
                }
            }
            tokio::time::sleep(KEEP_PEERS_EVERY).await;
        }
        if snapshots.changed().await.is_err() {
            return;
        }
    }
}
