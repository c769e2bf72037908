//! What a relay's directory needs to go on after a restart, in a file of the relay's folder.

use crate::host::dir::NodeDir;
use crate::host::error::Error;
use crate::host::service::AgentHandle;
use crate::proto::directory::kept::Kept;
use crate::proto::profile::Profile;
use crate::wire::ids::NetworkId;
use core::time::Duration;

/// The newest settled sets, and records.
const SETS_FILE: &str = "sets";
/// How long a relay that ends tells others so, at most.
const RETIRE_MAX: Duration = Duration::from_secs(1);
/// How often it looks whether they know.
const RETIRE_LOOK: Duration = Duration::from_millis(5);

/// What an earlier run left. The file is a cache: one that does not verify is not there.
pub(super) fn read(dir: &NodeDir, profile: &Profile, network: NetworkId) -> Result<Kept, Error> {
    let Some(bytes) = dir.load(SETS_FILE)? else { return Ok(Kept::default()) };
    Ok(Kept::decode(&bytes, profile, network).unwrap_or_else(|why| {
        // spec: NODE-24
        tracing::warn!(file = %dir.file(SETS_FILE).display(), %why, "the file is damaged and left out");
        Kept::default()
    }))
}

/// Writes it whenever a cut was settled, until the node is gone.
pub(super) async fn keep(agent: &AgentHandle, dir: &NodeDir) {
    let mut kept = agent.kept();
    while kept.changed().await.is_ok() {
        let bytes = kept.borrow_and_update().clone();
        // A failure is remembered by the folder, and the next cut tries again.
        let _ = dir.save(SETS_FILE, &bytes);
    }
}

/// A relay's last words: it tells others that it ends, and writes down what its directory is now.
pub(super) async fn retire(agent: &AgentHandle, dir: &NodeDir) {
    agent.with(|node, now| node.retire(now));
    let gone = async {
        while !agent.with(|node, _| node.has_retired()) {
            tokio::time::sleep(RETIRE_LOOK).await;
        }
    };
    // Whoever does not hear of it finds out at one of the next cuts.
    let _ = tokio::time::timeout(RETIRE_MAX, gone).await;
    if let Some(bytes) = agent.with(|node, _| node.to_keep()) {
        let _ = dir.save(SETS_FILE, &bytes);
    }
}
