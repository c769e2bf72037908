//! What a relay's audits for one cut found: one signed item of about a hundred bytes (spec 16).
//!
//! ```text
//! cut u64 | set 8 | auditor 32 | length u8 | bits, without zero bytes at the end | count u8
//! | count times: subject 8, endpoint 8, address bits u8, in ascending order | signature 64, over all that comes before it
//! ```
//!
//! *Seen by:* all relays.

use crate::base::bytes::{Reader, Writer};
use crate::base::time::UnixMs;
use crate::crypto::hash::{context, derive};
use crate::crypto::identity::{self, IdentityKey, Purpose};
use crate::wire::descriptor::Descriptor;
use crate::wire::error::Malformed;
use crate::wire::field::{Field, Sink};
use crate::wire::ids::RelayId;

/// Most bytes of a report's bits: of at most 256 members.
pub const REPORT_BITS_MAX: usize = 32;
/// Most entries of a report.
pub const REPORT_ENTRIES_MAX: usize = 64;
/// The longest report.
#[cfg(any(test, feature = "unstable"))]
pub const REPORT_MAX: usize = 8 + 8 + 32 + 1 + REPORT_BITS_MAX + 1 + REPORT_ENTRIES_MAX * 17 + 64;

const SIGNATURE_SIZE: usize = 64;

/// What was found at the addresses of one relay: those that were reached, and those that the auditor has no way to, because its
/// own machine has none to any address of that family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportEntry {
    /// First eight bytes of the relay's id.
    pub subject: u64,
    /// What was dialled: [`endpoint`] of the record.
    pub endpoint: u64,
    /// Bit `i`: the record's address `i` was reached. Bit `4 + i`: there was no way to try it.
    pub addresses: u8,
}

impl ReportEntry {
    fn order(&self) -> (u64, u64) {
        (self.subject, self.endpoint)
    }
}

/// Names where a relay is to be reached, and under which link key: records that say the same of that need no new audit.
pub fn endpoint(d: &Descriptor) -> u64 {
    let mut bytes = Vec::new();
    let mut w = Writer::new(&mut bytes);
    w.put(&d.identity).put(&d.link_key);
    for a in &d.addrs {
        match a.ip() {
            core::net::IpAddr::V4(ip) => w.u8(4).put(&ip.octets()),
            core::net::IpAddr::V6(ip) => w.u8(6).put(&ip.octets()),
        };
        w.u16(a.port());
    }
    // spec: ADM-1
    short(&derive(context::ENDPOINT, &[&bytes]))
}

/// The bits of all addresses of a record, as an entry has them.
pub fn all_addresses(d: &Descriptor) -> u8 {
    (1_u8 << d.addrs.len().min(4)).wrapping_sub(1)
}

/// Whether bit `at` is set, where bit 7 of byte 0 is the first. Bytes that are missing are zero.
pub fn has_bit(bits: &[u8], at: usize) -> bool {
    bits.get(at / 8).is_some_and(|byte| byte & (0x80 >> (at % 8)) != 0)
}

/// Sets bit `at`, where there is such a byte.
pub fn set_bit(bits: &mut [u8], at: usize) {
    if let Some(byte) = bits.get_mut(at / 8) {
        *byte |= 0x80 >> (at % 8);
    }
}

/// The first eight bytes as a number.
pub fn short(bytes: &[u8; 32]) -> u64 {
    bytes.first_chunk::<8>().map_or(0, |b| u64::from_be_bytes(*b))
}

/// The audits of one relay for one cut. Unproven until [`Report::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The cut it is made for.
    pub cut: UnixMs,
    /// First eight bytes of the root of the set from which the auditor's subjects were drawn.
    pub set: u64,
    /// Who says so.
    pub auditor: RelayId,
    /// A bit for each member that the auditor was drawn for, in the order of their points; bit 7 of byte 0 is the first. Set
    /// where all addresses of the record in that set were reached.
    pub members: Vec<u8>,
    /// What was found at candidates, at members that moved, and at those of which not all addresses were reached.
    pub entries: Vec<ReportEntry>,
    /// The auditor's signature.
    pub signature: [u8; SIGNATURE_SIZE],
}

impl Report {
    /// Reports under our own name. Brings bits and entries into their one form.
    pub fn sign(
        cut: UnixMs,
        set: u64,
        auditor: RelayId,
        (mut members, mut entries): (Vec<u8>, Vec<ReportEntry>),
        key: &IdentityKey,
    ) -> Self {
        members.truncate(REPORT_BITS_MAX);
        while members.last() == Some(&0) {
            members.pop();
        }
        entries.sort_unstable_by_key(ReportEntry::order);
        entries.dedup_by_key(|e| e.order());
        entries.truncate(REPORT_ENTRIES_MAX);
        let mut report = Self { cut, set, auditor, members, entries, signature: [0; SIGNATURE_SIZE] };
        report.signature = key.sign(Purpose::Report, &report.signed());
        report
    }

    /// Checks the signature under the identity key of the relay it names.
    pub fn verify(&self, identity: &[u8; 32]) -> Result<(), Malformed> {
        // spec: ADM-2
        identity::verify(identity, Purpose::Report, &self.signed(), &self.signature).map_err(|_| Malformed::Unproven)
    }

    /// Its bytes.
    #[cfg(any(test, feature = "unstable"))]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.signed();
        out.extend_from_slice(&self.signature);
        out
    }

    /// From its bytes. Anything that [`Report::encode`] would not write is an error.
    #[cfg(any(test, feature = "unstable"))]
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let report = Self::read(&mut r)?;
        r.finish()?;
        Ok(report)
    }

    fn signed(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut w = Writer::new(&mut out);
        w.u64(self.cut.0).u64(self.set).put(&self.auditor.0);
        w.u8(self.members.len() as u8).put(&self.members).u8(self.entries.len() as u8);
        for e in &self.entries {
            w.u64(e.subject).u64(e.endpoint).u8(e.addresses);
        }
        out
    }
}

impl Field<'_> for Report {
    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (cut, set, auditor) = (UnixMs(r.u64()?), r.u64()?, RelayId(r.array()?));
        let length = usize::from(r.u8()?);
        if length > REPORT_BITS_MAX {
            return Err(Malformed::OutOfRange);
        }
        let members = r.take(length)?.to_vec();
        // spec: ADM-3
        if members.last() == Some(&0) {
            return Err(Malformed::NotCanonical);
        }
        let count = usize::from(r.u8()?);
        if count > REPORT_ENTRIES_MAX {
            return Err(Malformed::OutOfRange);
        }
        let mut entries: Vec<ReportEntry> = Vec::with_capacity(count);
        for _ in 0..count {
            let entry = ReportEntry { subject: r.u64()?, endpoint: r.u64()?, addresses: r.u8()? };
            if entries.last().is_some_and(|last| last.order() >= entry.order()) {
                return Err(Malformed::NotCanonical);
            }
            // An address cannot be reached and out of reach, and an entry says something.
            if entry.addresses == 0 || entry.addresses & entry.addresses >> 4 != 0 {
                return Err(Malformed::OutOfRange);
            }
            entries.push(entry);
        }
        Ok(Self { cut, set, auditor, members, entries, signature: r.array()? })
    }

    fn write(&self, out: &mut impl Sink) {
        out.put(&self.signed());
        out.put(&self.signature);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(subject: u64, addresses: u8) -> ReportEntry {
        ReportEntry { subject, endpoint: 7, addresses }
    }

    fn report(members: Vec<u8>, entries: Vec<ReportEntry>) -> Report {
        let key = IdentityKey::from_bytes([3; 32]);
        Report::sign(UnixMs(9), 8, RelayId([1; 32]), (members, entries), &key)
    }

    // spec: ADM-2
    #[test]
    fn a_report_comes_back_as_it_was_signed_and_any_changed_byte_is_noticed() {
        let identity = IdentityKey::from_bytes([3; 32]).public();
        let ours = report(vec![0xa0, 1, 0], vec![entry(5, 1), entry(2, 0x21), entry(5, 1)]);
        assert_eq!(ours.members, [0xa0, 1]);
        assert_eq!(ours.entries, [entry(2, 0x21), entry(5, 1)]);
        let bytes = ours.encode();
        assert_eq!(bytes.len(), 8 + 8 + 32 + 1 + 2 + 1 + 2 * 17 + 64);
        assert_eq!(Report::decode(&bytes).as_ref(), Ok(&ours));
        assert_eq!(ours.verify(&identity), Ok(()));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Report::decode(&changed).and_then(|r| r.verify(&identity)).is_err(), "byte {at}");
            assert!(Report::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    // spec: ADM-3
    #[test]
    fn a_report_has_one_form() {
        let read = |change: &dyn Fn(&mut Report)| {
            let mut r = report(vec![1], vec![entry(1, 1), entry(2, 1)]);
            change(&mut r);
            Report::decode(&r.encode()).map(|_| ())
        };
        assert_eq!(read(&|_| ()), Ok(()));
        assert_eq!(read(&|r| r.members.push(0)), Err(Malformed::NotCanonical));
        assert_eq!(read(&|r| r.entries.swap(0, 1)), Err(Malformed::NotCanonical));
        assert_eq!(read(&|r| r.entries[1] = r.entries[0]), Err(Malformed::NotCanonical));
        assert_eq!(read(&|r| r.entries[0].addresses = 0), Err(Malformed::OutOfRange));
        assert_eq!(read(&|r| r.entries[0].addresses = 0x11), Err(Malformed::OutOfRange));
        assert_eq!(read(&|r| r.members = vec![1; REPORT_BITS_MAX + 1]), Err(Malformed::OutOfRange));
        let many = |n: usize| (0..n as u64).map(|i| entry(i, 1)).collect::<Vec<_>>();
        assert_eq!(read(&|r| r.entries = many(REPORT_ENTRIES_MAX)), Ok(()));
        assert_eq!(read(&|r| r.entries = many(REPORT_ENTRIES_MAX + 1)), Err(Malformed::OutOfRange));
        assert_eq!(report(vec![1; 99], many(500)).encode().len(), REPORT_MAX);
    }

    // spec: ADM-1
    #[test]
    fn an_endpoint_is_the_link_key_and_the_addresses() {
        let plain = Descriptor {
            network: crate::wire::ids::NetworkId([1; 32]),
            identity: [2; 32],
            work: crate::crypto::work::Work::NONE,
            published: UnixMs(5),
            lifetime_s: 60,
            link_key: [3; 32],
            onion_key: [4; 32],
            cipher: crate::crypto::aead::Cipher::Aes256Gcm,
            exit: false,
            store: false,
            family: None,
            membership: None,
            addrs: vec!["1.2.3.4:5".parse().unwrap(), "[2a00::1]:5".parse().unwrap()],
        };
        let changed = |change: &dyn Fn(&mut Descriptor)| {
            let mut d = plain.clone();
            change(&mut d);
            endpoint(&d) != endpoint(&plain)
        };
        assert!(!changed(&|d| (d.published, d.onion_key, d.exit) = (UnixMs(9), [9; 32], true)), "refreshed");
        assert!(changed(&|d| d.link_key = [9; 32]));
        assert!(changed(&|d| d.identity = [9; 32]));
        assert!(changed(&|d| d.addrs.swap(0, 1)));
        assert!(changed(&|d| d.addrs[0].set_port(6)));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_give_a_report_of_the_same_bytes_or_an_error(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            if let Ok(report) = Report::decode(&bytes) {
                proptest::prop_assert_eq!(report.encode(), bytes);
            }
        }
    }
}
