//! The service thread's side of the store's thread: questions of shards and of the node's own replicator go there, and
//! answers come back, without the service thread ever waiting.

use super::AgentHandle;
use crate::host::driver::Core;
use crate::host::shard::ShardCommand;
use crate::host::store::thread::{Answers, Share, StoreThread};
use crate::proto::content::call::{StoreCall, StoreCallId, StoreReply};
use crate::proto::content::replicate::{STORE_CALLS_CARE, STORE_CALLS_MAX};
use crate::role::agent::Agent;
use crate::role::driven::Driven;
use crate::role::{AskId, Input};
use crate::wire::content::store::Refusal;
use std::rc::Rc;

/// Calls of the replicator under way.
const OWN_CALLS_MAX: usize = STORE_CALLS_MAX + STORE_CALLS_CARE;

/// The store and who may ask it how much.
pub(super) struct StoreAccess {
    thread: StoreThread,
    shards: Vec<Share>,
    own: Share,
}

/// Where the answers come from: those of each shard, and the replicator's.
pub(super) struct StoreAnswers {
    shards: Vec<Answers>,
    own: Answers,
}

impl StoreAccess {
    pub(super) fn new(thread: StoreThread, shards: usize) -> (Self, StoreAnswers) {
        let (shares, shards) = (0..shards).map(|_| thread.shard_share(shards)).unzip();
        let (own, own_answers) = thread.share(OWN_CALLS_MAX, OWN_CALLS_MAX);
        (Self { thread, shards: shares, own }, StoreAnswers { shards, own: own_answers })
    }

    pub(super) fn figures(&self) -> (u64, u64, u64) {
        self.thread.figures()
    }

    /// Passes on what the node's replicator wants to know.
    pub(super) fn call(&self, core: &Rc<Core<Driven<Agent>>>, id: StoreCallId, call: StoreCall) {
        if self.own.call(id.0, call).is_err() {
            // The role is being asked for its effects: it takes the answer after them.
            let core = Rc::clone(core);
            let busy = async move { core.input(Input::Stored(id, StoreReply::refused(Refusal::Busy))) };
            tokio::task::spawn_local(busy);
        }
    }
}

impl AgentHandle {
    /// Passes a shard's question on; one that finds no place is answered at once.
    pub(super) fn ask_store(&self, shard: usize, ask: AskId, body: Vec<u8>) {
        let share = self.shared.store.as_ref().and_then(|s| s.shards.get(shard));
        // spec: CONT-33
        if share.is_none_or(|s| s.call(ask.0, StoreCall::Request(body)).is_err()) {
            self.answer_shard(shard, ask.0, StoreReply::refused(Refusal::Busy));
        }
    }

    fn answer_shard(&self, shard: usize, ask: u64, reply: StoreReply) {
        let shard = self.shared.relay.as_ref().and_then(|r| r.shards.get(shard));
        if let (Some(shard), StoreReply::Answer(body)) = (shard, reply) {
            shard.tell(ShardCommand::Answer(AskId(ask), body));
        }
    }

    /// Hands answers on until the store ends.
    pub(super) fn pass_answers(&self, answers: StoreAnswers) {
        for (shard, mut answers) in answers.shards.into_iter().enumerate() {
            let handle = self.clone();
            tokio::task::spawn_local(async move {
                while let Some((ask, reply)) = answers.next().await {
                    handle.answer_shard(shard, ask, reply);
                }
            });
        }
        let (core, mut own) = (Rc::clone(&self.core), answers.own);
        tokio::task::spawn_local(async move {
            while let Some((id, reply)) = own.next().await {
                core.input(Input::Stored(StoreCallId(id), reply));
            }
        });
    }
}
