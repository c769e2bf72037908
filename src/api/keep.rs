//! Keeps what a node learns of its network for its next start, as it learns it.

use super::local::Local;
use super::network;
use core::time::Duration;

/// How often the files are written at most; a node that just started writes sooner.
const KEEP_EVERY: Duration = Duration::from_secs(60);
const KEEP_FIRST: Duration = Duration::from_secs(2);

/// Keeps the relays of good snapshots in the folder, for others in its invite, and for a client the snapshot whole.
// spec: NODE-30
pub(super) async fn keep_current(local: Local) {
    let mut snapshots = local.agent.snapshots();
    let mut pause = KEEP_FIRST;
    loop {
        let newest = snapshots.borrow_and_update().clone();
        if let Some(snapshot) = newest {
            let (dir, network) = (&local.about.dir, &local.about.network);
            // A failure is remembered by the folder, and the next snapshot tries again.
            network::keep_set(dir, network, &snapshot);
            if local.about.relay.is_none() {
                network::keep_directory(dir, &snapshot);
                if let Some(vouched) = local.agent.with(|n, _| n.report().and_then(|r| r.vouched)) {
                    network::keep_vouched(dir, vouched);
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(KEEP_EVERY);
        }
        if snapshots.changed().await.is_err() {
            return;
        }
    }
}
