//! What may be late at a cut, verified: records, reports of audits, and convictions.

use crate::proto::directory::conviction::Conviction;
use crate::proto::directory::ladder::Owner;
use crate::proto::directory::snapshot::Snapshot;
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::directory::climbing::{ItemBytes, conviction_hash, report_hash};
use crate::wire::ids::RelayId;
use crate::wire::report::Report;
use std::sync::Arc;

/// A verified item that may be late (spec 17).
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// What a relay says of itself.
    Record(Arc<SignedDescriptor>),
    /// What an auditor found.
    Report(Arc<Report>),
    /// That a relay signed two roots.
    Conviction(Arc<Conviction>),
}

impl Item {
    /// Names it: what members sign.
    pub(super) fn hash(&self) -> [u8; 32] {
        match self {
            Self::Record(record) => record.hash(),
            Self::Report(report) => report_hash(report),
            Self::Conviction(conviction) => conviction_hash(&conviction.relay()),
        }
    }

    /// In whose share of late items it is, on top of this set.
    pub(super) fn owner(&self, previous: Option<&Snapshot>) -> Owner {
        let Some(author) = self.author() else { return Owner::Nobody };
        match previous.and_then(|set| set.member(&author)) {
            Some(_) => Owner::Member(author),
            None => Owner::Strangers,
        }
    }

    /// Whose report or record it is.
    pub(super) fn author(&self) -> Option<RelayId> {
        match self {
            Self::Record(record) => Some(record.id()),
            Self::Report(report) => Some(report.auditor),
            Self::Conviction(_) => None,
        }
    }

    pub(super) fn to_wire(&self) -> ItemBytes {
        match self {
            Self::Record(record) => ItemBytes::Record(record.bytes().to_vec()),
            Self::Report(report) => ItemBytes::Report(Box::new((**report).clone())),
            Self::Conviction(conviction) => ItemBytes::Conviction(Box::new(*conviction.statements())),
        }
    }

    pub(super) fn record(&self) -> Option<&Arc<SignedDescriptor>> {
        match self {
            Self::Record(record) => Some(record),
            _ => None,
        }
    }

    pub(super) fn report(&self) -> Option<&Arc<Report>> {
        match self {
            Self::Report(report) => Some(report),
            _ => None,
        }
    }

    pub(super) fn convicted(&self) -> Option<RelayId> {
        match self {
            Self::Conviction(conviction) => Some(conviction.relay()),
            _ => None,
        }
    }
}
