//! The store's health, for the operator: in the log once when it changes, and in the status at any time.

use super::OpenError;
use crate::base::time::UnixMs;
use crate::host::system::unix_now;
use crate::proto::content::store::{StoreError, StoreHealth};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What went wrong with the disk, and the system's error message.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) health: StoreHealth,
    pub(super) words: String,
    /// Whether the index can no longer be trusted.
    pub(super) damaged: bool,
}

impl Trouble {
    pub(super) fn of(error: &io::Error) -> Self {
        let health = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                StoreHealth::DiskFull
            }
            io::ErrorKind::ReadOnlyFilesystem => StoreHealth::ReadOnly,
            io::ErrorKind::PermissionDenied => StoreHealth::Denied,
            _ => StoreHealth::Failed,
        };
        Self { health, words: crate::host::error::reason(error), damaged: false }
    }

    pub(super) fn of_index(error: &redb::Error) -> Self {
        match error {
            redb::Error::Io(e) if !super::is_damage(e) => Self::of(e),
            redb::Error::Io(e) => Self { damaged: true, ..Self::of(e) },
            redb::Error::Corrupted(_) => Self { health: StoreHealth::Failed, words: error.to_string(), damaged: true },
            e => Self { health: StoreHealth::Failed, words: e.to_string(), damaged: false },
        }
    }

    pub(super) fn of_opening(error: &OpenError) -> Self {
        match error {
            OpenError::Files(e) => Self::of(e),
            OpenError::Index(_) => Self { health: StoreHealth::Failed, words: error.to_string(), damaged: true },
            e => Self { health: StoreHealth::Failed, words: e.to_string(), damaged: false },
        }
    }

    /// The error for whoever asked.
    pub(super) fn error(&self) -> StoreError {
        if self.health == StoreHealth::DiskFull { StoreError::DiskFull } else { StoreError::Broken }
    }
}

/// The store's health now and before, and its counts since the start.
#[derive(Clone, Debug, Default)]
pub struct StoreState {
    /// The health now.
    pub health: StoreHealth,
    /// Why, in the system's words where it has any.
    pub words: String,
    /// Since when, in milliseconds since 1970.
    pub since: UnixMs,
    /// The last health that was not good, from when, and until when.
    pub before: Option<(StoreHealth, UnixMs, UnixMs)>,
    /// How often content was refused for want of room since the start, and when last.
    pub refused: (u64, UnixMs),
    /// Blocks found damaged or missing since the start.
    pub lost: u64,
    /// Whether the index was damaged and rebuilt, at this start or since.
    pub rebuilt: bool,
    /// Bytes that are free on the disk, and how many have to stay free.
    pub free: (u64, u64),
}

/// The state of a store, shared with whoever reports it.
#[derive(Debug, Default)]
pub struct StoreReport(Mutex<StoreState>);

impl StoreReport {
    fn state(&self) -> MutexGuard<'_, StoreState> {
        // Nothing that can panic is done under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state now.
    pub fn get(&self) -> StoreState {
        self.state().clone()
    }

    pub(super) fn update(&self, act: impl FnOnce(&mut StoreState)) {
        act(&mut self.state());
    }

    /// Notes the health, and logs it if it changed.
    // spec: NODE-18
    pub(super) fn note(&self, health: StoreHealth, words: &str) {
        let mut state = self.state();
        if state.health == health {
            return;
        }
        let now = unix_now();
        let (was, since) = (state.health, state.since);
        if was != StoreHealth::Good {
            state.before = Some((was, since, now));
        }
        (state.health, state.since, state.words) = (health, now, words.to_owned());
        drop(state);
        if health == StoreHealth::Good {
            let seconds = now.0.saturating_sub(since.0) / 1_000;
            tracing::info!(was = %was, seconds, "the store works again and takes content in");
        } else {
            tracing::error!(why = %health, words, "the store takes nothing in, but serves what it holds; it is tried again");
        }
    }
}
