//! Which network a node belongs to: from its invite, from its folder, or founded by it.

use crate::base::rng::Rng;
use crate::node::config::INVITE_FILE;
use crate::node::dir::{NodeDir, SHARED, write_atomic};
use crate::node::error::{Error, ErrorKind};
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::profile::Profile;
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::ids::NetworkId;
use crate::wire::invite::{INVITE_RELAYS_MAX, Invite};
use data_encoding::BASE64;
use std::path::Path;

/// Relays of the last good snapshot, one base64 line each: where a node begins when its invite's relays are gone.
const PEERS_FILE: &str = "peers";
/// The guards of a client.
/// A founder's genesis bytes stand in its folder's invite.
const PEERS_KEPT: usize = 256;

/// A network as a node knows it at its start.
pub(super) struct Network {
    pub(super) profile: &'static Profile,
    pub(super) genesis: [u8; 32],
    pub(super) id: NetworkId,
    pub(super) seeds: Vec<SignedDescriptor>,
}

/// Reads the invite given, or the one kept in the folder; `None` where there is neither.
pub(super) fn invite(dir: &NodeDir, given: Option<&Path>) -> Result<Option<Invite>, Error> {
    let bytes = match given {
        Some(path) => Some(std::fs::read(path).map_err(|e| Error::file("read", path, &e))?),
        None => dir.load(INVITE_FILE)?,
    };
    let Some(bytes) = bytes else { return Ok(None) };
    let name = given.map_or_else(|| dir.file(INVITE_FILE), Path::to_path_buf);
    const ASK: &str = "ask whoever runs the relay for a fresh invite file";
    let text =
        String::from_utf8(bytes).map_err(|_| Error::config(&name, "this is not an umbel invite").with_hint(ASK))?;
    let invite = Invite::parse(&text).map_err(|why| Error::config(&name, why).with_rule("DIR-11").with_hint(ASK))?;
    if given.is_some() {
        // From now on the node finds it in its own folder.
        dir.save(INVITE_FILE, text.as_bytes())?;
    }
    Ok(Some(invite))
}

impl Network {
    /// The network of an invite. `wanted` is the profile named on the command line, `more` are seeds from the configuration.
    pub(super) fn join(
        dir: &NodeDir,
        invite: &Invite,
        wanted: Option<&'static Profile>,
        more: &[String],
    ) -> Result<Self, Error> {
        let profile = Profile::named(&invite.profile).ok_or_else(|| {
            Error::new(ErrorKind::Config, format!("this program knows no network profile named {:?}", invite.profile))
                .with_hint("use a newer version of umbel")
        })?;
        if let Some(wanted) = wanted.filter(|w| w.name != profile.name) {
            let message = format!("the invite is for profile {}, not {}", profile.name, wanted.name);
            return Err(Error::new(ErrorKind::Config, message).with_hint("leave --profile out: the invite names it"));
        }
        let id = invite.network();
        let rules = profile.descriptor_rules(id);
        let unusable =
            |why| Error::new(ErrorKind::Config, format!("the invite cannot be used: {why}")).with_rule("DIR-11");
        let mut seeds = invite.seeds(&rules).map_err(unusable)?;
        for text in more {
            let bytes = BASE64.decode(text.as_bytes()).ok();
            let seed = bytes.and_then(|b| SignedDescriptor::decode(&b, &rules).ok()).ok_or_else(|| {
                Error::new(ErrorKind::Config, "a seed of the configuration is no relay of this network".to_string())
                    .with_hint("a seed is what stands behind \"relay \" in an invite of the same network")
            })?;
            seeds.push(seed);
        }
        let known = dir.load(PEERS_FILE)?.unwrap_or_default();
        for line in known.split(|&b| b == b'\n').take(PEERS_KEPT) {
            // The file is a cache: what does not verify is left out.
            let seed = BASE64.decode(line).ok().and_then(|b| SignedDescriptor::decode(&b, &rules).ok());
            if let Some(seed) = seed.filter(|s| seeds.iter().all(|k| k.id() != s.id())) {
                seeds.push(seed);
            }
        }
        Ok(Self { profile, genesis: invite.genesis, id, seeds })
    }

    /// A new network, of which this node is the first relay.
    pub(super) fn found(profile: &'static Profile, rng: &mut Rng) -> Self {
        let genesis = rng.bytes();
        Self { profile, genesis, id: Invite::new(profile.name, genesis, &[]).network(), seeds: Vec::new() }
    }

    /// An invite that names these relays.
    pub(super) fn invite(&self, relays: &[SignedDescriptor]) -> Invite {
        Invite::new(self.profile.name, self.genesis, relays)
    }
}

/// Keeps the relays of a good snapshot for the next start.
pub(super) fn keep_peers(dir: &NodeDir, snapshot: &Snapshot) {
    let lines: Vec<_> = snapshot.relays().iter().take(PEERS_KEPT).map(|r| BASE64.encode(r.bytes())).collect();
    if let Err(why) = dir.save(PEERS_FILE, lines.join("\n").as_bytes()) {
        tracing::warn!(%why, "the known relays could not be kept for the next start");
    }
}

/// Writes an invite for others, seeded by the snapshot's relays or, before there is one, by this relay.
pub(super) fn write_invite(path: &Path, network: &Network, relays: &[SignedDescriptor]) -> Result<(), Error> {
    let few: Vec<_> = relays.iter().take(INVITE_RELAYS_MAX).cloned().collect();
    write_atomic(path, network.invite(&few).format().as_bytes(), SHARED)
}
