//! How many records a list of the directory service takes (spec 10).

use crate::wire::descriptor::{DESCRIPTOR_MAX, DESCRIPTOR_OPEN_MAX};
use crate::wire::directory::RECORDS_MAX;

/// Bytes beside a record in a list of records.
pub const RECORD_OVERHEAD: usize = 2;
/// Bytes beside a record in a list of members.
pub const MEMBER_OVERHEAD: usize = RECORD_OVERHEAD + 18;

/// How many records of these sizes, the first ones, go into one list of at most `most`, where each has this much beside it: no
/// more bytes than `most` of the longest records of an open network, so that the longer ones of a private network fit a body.
pub fn fitting(sizes: impl IntoIterator<Item = usize>, most: usize, overhead: usize) -> usize {
    let mut left = DESCRIPTOR_OPEN_MAX.saturating_add(overhead).saturating_mul(most);
    let takes = |size: &usize| {
        let rest = left.checked_sub(size.saturating_add(overhead));
        left = rest.unwrap_or(left);
        rest.is_some()
    };
    sizes.into_iter().take(most).take_while(takes).count()
}

/// Whether a list of records of these sizes could hold no other one, as [`fitting`] fills it.
pub fn is_full(sizes: impl IntoIterator<Item = usize>, most: usize, overhead: usize) -> bool {
    let of = |size: usize| size.saturating_add(overhead);
    let (mut count, mut bytes) = (0usize, 0usize);
    for size in sizes {
        (count, bytes) = (count.saturating_add(1), bytes.saturating_add(of(size)));
    }
    count >= most || bytes.saturating_add(of(DESCRIPTOR_MAX)) > of(DESCRIPTOR_OPEN_MAX).saturating_mul(most)
}

/// Records in as many lists of a PUT as they take.
pub fn lists<T>(records: &[T], size: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    let mut rest = records;
    core::iter::from_fn(move || {
        let n = fitting(rest.iter().map(&size), RECORDS_MAX, RECORD_OVERHEAD).max(1).min(rest.len());
        let (list, after) = rest.split_at_checked(n).filter(|(list, _)| !list.is_empty())?;
        rest = after;
        Some(list)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::directory::PAGE_MEMBERS_MAX;

    // spec: DIR-12
    #[test]
    fn longer_records_share_lists_of_as_many_bytes() {
        for (most, overhead, some) in [(RECORDS_MAX, RECORD_OVERHEAD, 66), (PAGE_MEMBERS_MAX, MEMBER_OVERHEAD, 96)] {
            let fits = |size: usize| fitting(core::iter::repeat_n(size, 500), most, overhead);
            assert_eq!((fits(DESCRIPTOR_OPEN_MAX), fits(DESCRIPTOR_MAX), fits(5)), (most, some, most));
        }
        let lists: Vec<_> = lists(&vec![vec![1; DESCRIPTOR_MAX]; 133], Vec::len).map(<[_]>::len).collect();
        assert_eq!(lists, [66, 66, 1]);
    }

    // spec: DIR-73
    #[test]
    fn a_list_is_full_where_it_was_filled_and_not_one_record_earlier() {
        for (most, overhead) in [(RECORDS_MAX, RECORD_OVERHEAD), (PAGE_MEMBERS_MAX, MEMBER_OVERHEAD)] {
            // Lengths of all kinds, in no order.
            let sizes: Vec<_> = (0..500_usize).map(|i| 227 + i * 7919 % 440).collect();
            for from in 0..200 {
                let rest = || sizes.iter().skip(from).copied();
                let n = fitting(rest(), most, overhead);
                assert!(n < most && is_full(rest().take(n), most, overhead), "{from}");
                assert!(!is_full(rest().take(n - 4), most, overhead), "{from}");
            }
            let short = |n| is_full(core::iter::repeat_n(DESCRIPTOR_OPEN_MAX, n), most, overhead);
            assert!(short(most) && !short(most - 4));
        }
    }
}
