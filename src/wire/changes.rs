//! What changed between a settled set and the one that follows it (spec 10), as relays hand it over in parts.
//!
//! ```text
//! changes: gone places | turned places | convicted places | renewed: count u32, each place and record | new: count u32, each len16(record)
//! places: count u32, then for each the distance from the place after the one before; 65535 says: 65535 further, and on
//! record: runs u8, each offset u16 | length u8 | bytes, over the record before; or 0 | len16(record)
//! ```
//!
//! *Seen by:* the relay that is asked, directly or over a circuit.

use crate::base::bytes::{Reader, Writer};
use crate::wire::descriptor::DESCRIPTOR_MAX;
use crate::wire::error::Malformed;

/// Bytes of the longest changes that are handed over; what changed more is fetched in pages.
pub const CHANGES_MAX: usize = 4 << 20;
/// Bytes of them in one answer.
pub const CHANGES_PART_MAX: usize = 60_000;

/// A record that took the place of another of the same relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// Where it differs: offset and bytes, at least one run, each of 1 to 255 bytes.
    Runs(Vec<(u16, Vec<u8>)>),
    /// All of it.
    Whole(Vec<u8>),
}

/// What changed. Places are indices of members in the set before, in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Members that are none any more.
    pub gone: Vec<u32>,
    /// Members that became dormant, or live again.
    pub turned: Vec<u32>,
    /// Members that were convicted.
    pub convicted: Vec<u32>,
    /// Members with another record.
    pub renewed: Vec<(u32, Renewed)>,
    /// Records of new members, in the order of their ids.
    pub new: Vec<Vec<u8>>,
}

impl Renewed {
    /// The difference between two records of one relay.
    pub fn between(old: &[u8], new: &[u8]) -> Self {
        let mut runs: Vec<(u16, Vec<u8>)> = Vec::new();
        if old.len() != new.len() || old == new {
            return Self::Whole(new.to_vec());
        }
        for (at, (_, byte)) in old.iter().zip(new).enumerate().filter(|(_, (a, b))| a != b) {
            let near = |run: &(u16, Vec<u8>)| usize::from(run.0).saturating_add(run.1.len()).saturating_add(3) >= at;
            match runs.last_mut().filter(|run| near(run) && at < usize::from(run.0).saturating_add(255)) {
                Some((start, bytes)) => {
                    let from = usize::from(*start).saturating_add(bytes.len());
                    bytes.extend(new.get(from..=at).unwrap_or_default());
                }
                None => runs.push((u16::try_from(at).unwrap_or(u16::MAX), vec![*byte])),
            }
        }
        Self::Runs(runs)
    }

    /// The record, over the one before.
    pub fn over(&self, old: &[u8]) -> Result<Vec<u8>, Malformed> {
        match self {
            Self::Whole(record) => Ok(record.clone()),
            Self::Runs(runs) => {
                let mut record = old.to_vec();
                for (at, bytes) in runs {
                    let at = usize::from(*at);
                    let part = record.get_mut(at..at.saturating_add(bytes.len())).ok_or(Malformed::OutOfRange)?;
                    part.copy_from_slice(bytes);
                }
                Ok(record)
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let runs = r.u8()?;
        if runs == 0 {
            return Ok(Self::Whole(record(r)?));
        }
        let mut list = Vec::new();
        for _ in 0..runs {
            let (at, length) = (r.u16()?, r.u8()?);
            if length == 0 {
                return Err(Malformed::OutOfRange);
            }
            list.push((at, r.take(usize::from(length))?.to_vec()));
        }
        Ok(Self::Runs(list))
    }

    fn write(&self, w: &mut Writer<'_>) {
        match self {
            Self::Whole(record) => {
                w.u8(0).bytes16(record);
            }
            Self::Runs(runs) => {
                w.u8(runs.len() as u8);
                for (at, bytes) in runs {
                    w.u16(*at).u8(bytes.len() as u8).put(bytes);
                }
            }
        }
    }
}

impl Changes {
    /// Their bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut w = Writer::new(&mut out);
        write_places(&self.gone, &mut w);
        write_places(&self.turned, &mut w);
        write_places(&self.convicted, &mut w);
        let places: Vec<_> = self.renewed.iter().map(|(at, _)| *at).collect();
        write_places(&places, &mut w);
        self.renewed.iter().for_each(|(_, record)| record.write(&mut w));
        w.u32(self.new.len() as u32);
        for record in &self.new {
            w.bytes16(record);
        }
        out
    }

    /// Reads what [`Changes::encode`] wrote. Anything that it would not write is an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let (gone, turned, convicted) = (read_places(&mut r)?, read_places(&mut r)?, read_places(&mut r)?);
        let renewed = read_places(&mut r)?.into_iter().map(|at| Ok((at, Renewed::read(&mut r)?)));
        let renewed = renewed.collect::<Result<_, Malformed>>()?;
        let new = (0..r.u32()?).map(|_| record(&mut r)).collect::<Result<_, _>>()?;
        r.finish()?;
        Ok(Self { gone, turned, convicted, renewed, new })
    }
}

fn record(r: &mut Reader<'_>) -> Result<Vec<u8>, Malformed> {
    let bytes = r.bytes16()?;
    if bytes.len() > DESCRIPTOR_MAX { Err(Malformed::OutOfRange) } else { Ok(bytes.to_vec()) }
}

fn write_places(places: &[u32], w: &mut Writer<'_>) {
    w.u32(places.len() as u32);
    let mut next = 0u32;
    for place in places {
        let mut gap = place.saturating_sub(next);
        while gap >= u32::from(u16::MAX) {
            w.u16(u16::MAX);
            gap = gap.saturating_sub(u32::from(u16::MAX));
        }
        w.u16(gap as u16);
        next = place.saturating_add(1);
    }
}

fn read_places(r: &mut Reader<'_>) -> Result<Vec<u32>, Malformed> {
    let count = r.u32()?;
    let mut places = Vec::new();
    let mut next = 0u32;
    for _ in 0..count {
        loop {
            let gap = r.u16()?;
            next = next.checked_add(u32::from(gap)).ok_or(Malformed::OutOfRange)?;
            if gap != u16::MAX {
                break;
            }
        }
        places.push(next);
        next = next.checked_add(1).ok_or(Malformed::OutOfRange)?;
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_read_back_and_places_may_be_far_apart() {
        let runs = Renewed::between(&[0; 200], &[&[0; 77][..], &[1; 8], &[0; 51], &[2; 64]].concat());
        assert_eq!(runs, Renewed::Runs(vec![(77, vec![1; 8]), (136, vec![2; 64])]));
        let changes = Changes {
            gone: vec![0, 1, 65_535, 65_536, 131_072, 400_000],
            turned: vec![65_534, 131_071],
            convicted: vec![7],
            renewed: vec![(7, runs), (9, Renewed::Whole(vec![5; 230]))],
            new: vec![vec![6; 220], vec![7; 324]],
        };
        let bytes = changes.encode();
        assert_eq!(Changes::decode(&bytes), Ok(changes));
        for cut in [0, 3, 9, bytes.len() - 1] {
            assert_eq!(Changes::decode(&bytes[..cut]), Err(Malformed::Truncated));
        }
        assert_eq!(Changes::decode(&[bytes, vec![0]].concat()), Err(Malformed::TrailingBytes));
        let none = Changes::default().encode();
        assert_eq!((none.len(), Changes::decode(&none)), (20, Ok(Changes::default())));
    }

    #[test]
    fn a_record_over_another_is_the_new_one_or_an_error() {
        for (old, new) in [
            (vec![1; 100], vec![2; 100]),
            (vec![1; 300], vec![2; 300]),
            (vec![1; 90], vec![1; 91]),
            (vec![3; 9], vec![3; 9]),
        ] {
            let mut mixed = new.clone();
            mixed[0] = 1;
            for new in [new, mixed] {
                assert_eq!(Renewed::between(&old, &new).over(&old), Ok(new));
            }
        }
        assert_eq!(Renewed::Runs(vec![(95, vec![1; 6])]).over(&[0; 100]), Err(Malformed::OutOfRange));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_changes_that_encode_to_them_or_an_error(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)
        ) {
            if let Ok(changes) = Changes::decode(&bytes) {
                proptest::prop_assert_eq!(changes.encode(), bytes);
            }
        }
    }
}
