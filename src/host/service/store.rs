//! The service thread's access to the store's thread: passes the calls of the node's own replicator there and the answers
//! back, and never waits.

use super::AgentHandle;
use crate::host::driver::Core;
use crate::host::store::thread::{Answers, Share, StoreThread};
use crate::proto::content::call::{StoreCall, StoreCallId, StoreReply};
use crate::proto::content::replicate::{STORE_CALLS_CARE, STORE_CALLS_MAX};
use crate::role::Input;
use crate::role::agent::Agent;
use crate::role::driven::Driven;
use crate::wire::content::store::Refusal;
use std::rc::Rc;

/// Most calls of the replicator in progress.
const OWN_CALLS_MAX: usize = STORE_CALLS_MAX + STORE_CALLS_CARE;

/// The store, and the replicator's part of its queue. The shards ask it themselves.
pub(super) struct StoreAccess {
    thread: StoreThread,
    own: Share,
}

impl StoreAccess {
    pub(super) fn new(thread: StoreThread) -> (Self, Answers) {
        let (own, answers) = thread.share(OWN_CALLS_MAX, OWN_CALLS_MAX);
        (Self { thread, own }, answers)
    }

    pub(super) fn figures(&self) -> (u64, u64, u64) {
        self.thread.figures()
    }

    /// Passes on a call of the node's replicator.
    pub(super) fn call(&self, core: &Rc<Core<Driven<Agent>>>, id: StoreCallId, call: StoreCall) {
        if self.own.call(id.0, call).is_err() {
            // The role's outputs are being carried out. It gets the answer after them.
            let core = Rc::clone(core);
            let busy = async move { core.input(Input::Stored(id, StoreReply::refused(Refusal::Busy))) };
            tokio::task::spawn_local(busy);
        }
    }
}

impl AgentHandle {
    /// Passes answers on to the replicator until the store ends.
    pub(super) fn pass_answers(&self, mut answers: Answers) {
        let core = Rc::clone(&self.core);
        tokio::task::spawn_local(async move {
            while let Some((id, reply)) = answers.next().await {
                core.input(Input::Stored(StoreCallId(id), reply));
            }
        });
    }
}
