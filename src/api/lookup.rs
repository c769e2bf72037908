//! Who is responsible for a record or block, and who of them holds it: each is asked over a circuit of its own.

use super::local::Local;
use crate::host::error::{Error, ErrorKind};
use crate::host::service::content::JobHandle;
use crate::proto::directory::lookup::{self, Found, LookupOutput, Wanted};
use crate::role::agent::{Job, JobNews};
use crate::wire::ids::{Address, RelayId, from_text, to_text};
use crate::wire::umbel_link::locator;
#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What [`Client::lookup`](crate::Client::lookup) found: the relays responsible for a key, and who of them holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Lookup {
    /// What was asked for.
    pub key: String,
    /// `relay` for a relay's record, `block` for a block, `none` where no custodian holds either.
    pub kind: String,
    /// Of a block's address, the locator by which relays know it: what `--store-deny` lists.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub locator: Option<String>,
    /// How many custodians answered.
    pub answered: u64,
    /// How many of them hold it.
    pub holding: u64,
    /// All of them, in their order for this key.
    pub custodians: Vec<Custodian>,
}

/// What one custodian answered to a look-up, over a circuit of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Custodian {
    /// The relay.
    pub id: String,
    /// Whether it answered.
    pub answered: bool,
    /// Whether it holds what was asked for.
    pub holds: bool,
    /// Why there is no answer.
    pub error: Option<String>,
}

impl Local {
    pub(super) async fn ask_custodians(&self, key: String) -> Result<Lookup, Error> {
        let bytes = from_text(&key).map_err(|why| Error::new(ErrorKind::Usage, format!("no id or address: {why}")))?;
        let snapshot = self.agent.snapshots().borrow().clone().ok_or_else(|| {
            Error::new(ErrorKind::NoPath, "the node has no directory yet")
                .with_hint("see `umbel status`, and try again soon")
        })?;
        let relay = RelayId(bytes);
        let wanted = if snapshot.get(&relay).is_some() { Wanted::Record(relay) } else { Wanted::Content(bytes) };
        let (network, profile) = (self.about.network.id, self.about.profile);
        let routes = self.fresh_routes(profile.custodians as u64 + 1);
        let lookup = lookup::Lookup::new(&snapshot, wanted, profile, network, routes);
        let order = lookup.custodians().to_vec();
        let job = JobHandle::start(&self.agent, Job::Lookup(Box::new(lookup))).ok_or_else(|| {
            Error::new(ErrorKind::Busy, "the node is busy with too many jobs").with_hint("try again soon")
        })?;
        let mut found = BTreeMap::new();
        loop {
            match job.next().await {
                JobNews::Lookup(LookupOutput::Custodian(id, what)) => drop(found.insert(id, what)),
                JobNews::Lookup(LookupOutput::Done) => break,
                _ => {}
            }
        }
        let custodians: Vec<_> = order.iter().filter_map(|id| found.get(id).map(|f| custodian(id, f))).collect();
        let holding = custodians.iter().filter(|c| c.holds).count() as u64;
        let kind = match (holding, wanted) {
            (0, _) => "none",
            (_, Wanted::Record(_)) => "relay",
            (_, Wanted::Content(_)) => "block",
        };
        Ok(Lookup {
            key,
            kind: kind.into(),
            locator: match wanted {
                Wanted::Record(_) => None,
                Wanted::Content(address) => Some(to_text(&locator(&Address(address)).0)),
            },
            answered: custodians.iter().filter(|c| c.answered).count() as u64,
            holding,
            custodians,
        })
    }
}

fn custodian(id: &RelayId, found: &Found) -> Custodian {
    let (answered, holds, error) = match found {
        Found::Holds => (true, true, None),
        Found::Lacks => (true, false, None),
        Found::Part => (true, false, Some("it holds a part".to_owned())),
        Found::Nonsense => (true, false, Some("its answer makes no sense".to_owned())),
        Found::Failed(why) => (false, false, Some(why.to_string())),
    };
    Custodian { id: id.to_string(), answered, holds, error }
}
