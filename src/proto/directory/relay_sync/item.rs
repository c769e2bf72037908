//! What may be late at a cut, verified: records, and reports of audits.

use crate::wire::climbing::{ItemBytes, report_hash};
use crate::wire::descriptor::SignedDescriptor;
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
}

impl Item {
    /// Names it: what members sign.
    pub(super) fn hash(&self) -> [u8; 32] {
        match self {
            Self::Record(record) => record.hash(),
            Self::Report(report) => report_hash(report),
        }
    }

    /// Who released it.
    pub(super) fn author(&self) -> RelayId {
        match self {
            Self::Record(record) => record.id(),
            Self::Report(report) => report.auditor,
        }
    }

    pub(super) fn to_wire(&self) -> ItemBytes {
        match self {
            Self::Record(record) => ItemBytes::Record(record.bytes().to_vec()),
            Self::Report(report) => ItemBytes::Report(Box::new((**report).clone())),
        }
    }

    pub(super) fn record(&self) -> Option<&Arc<SignedDescriptor>> {
        match self {
            Self::Record(record) => Some(record),
            Self::Report(_) => None,
        }
    }

    pub(super) fn report(&self) -> Option<&Arc<Report>> {
        match self {
            Self::Record(_) => None,
            Self::Report(report) => Some(report),
        }
    }
}
