//! `umbel lookup`, at the node: the custodians of a record or block are asked, each over a circuit of its own.

use super::control::Control;
use crate::node::control::LookupRequest;
use crate::node::control::report::{CustodianReport, LookupReport};
use crate::node::error::{Error, ErrorKind};
use crate::node::service::content::JobHandle;
use crate::proto::directory::lookup::{Found, Lookup, LookupOutput, Wanted};
use crate::role::agent::{Job, JobNews};
use crate::wire::ids::{RelayId, from_text};
use std::collections::BTreeMap;

impl Control {
    pub(super) async fn ask_custodians(&self, request: LookupRequest) -> Result<LookupReport, Error> {
        let bytes =
            from_text(&request.key).map_err(|why| Error::new(ErrorKind::Usage, format!("no id or address: {why}")))?;
        let snapshot = self.node.snapshots().borrow().clone().ok_or_else(|| {
            Error::new(ErrorKind::NoPath, "the node has no directory yet")
                .with_hint("see `umbel status`, and try again soon")
        })?;
        let relay = RelayId(bytes);
        let wanted = if snapshot.get(&relay).is_some() { Wanted::Record(relay) } else { Wanted::Content(bytes) };
        let network = self.node.with(|n, _| n.network());
        let routes = self.fresh_routes(self.profile.custodians as u64 + 1);
        let lookup = Lookup::new(&snapshot, wanted, self.profile, network, routes);
        let order = lookup.custodians().to_vec();
        let job = JobHandle::start(&self.node, Job::Lookup(Box::new(lookup))).ok_or_else(|| {
            Error::new(ErrorKind::NoPath, "the node is busy with too many jobs").with_hint("try again soon")
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
        Ok(LookupReport {
            key: request.key,
            kind: kind.into(),
            answered: custodians.iter().filter(|c| c.answered).count() as u64,
            holding,
            custodians,
        })
    }
}

fn custodian(id: &RelayId, found: &Found) -> CustodianReport {
    let (answered, holds, error) = match found {
        Found::Holds => (true, true, None),
        Found::Lacks => (true, false, None),
        Found::Part => (true, false, Some("it holds a part".to_owned())),
        Found::Nonsense => (true, false, Some("its answer makes no sense".to_owned())),
        Found::Failed(why) => (false, false, Some(why.to_string())),
    };
    CustodianReport { id: id.to_string(), answered, holds, error }
}
