//! Sketches, as the vectors have them.

use crate::calls::{pieces, sum};
use crate::case::{Case, cases};
use umbel::proto::directory::sketch::{Difference, Sketch, difference};
use umbel::wire::directory::Sum;

fn tags(case: &Case, key: &str) -> Vec<u64> {
    pieces::<8>(case, key).into_iter().map(u64::from_be_bytes).collect()
}

fn sums(case: &Case) -> Vec<Sum> {
    pieces::<14>(case, "sums").iter().map(sum).collect()
}

// spec: GOSSIP-1
#[test]
fn sketches_and_differences() {
    let mut kinds = [0, 0];
    for case in cases("sketch") {
        case.expect("ok");
        let (salt, sums) = (case.number("salt"), sums(&case));
        if case.kind == "sums" {
            let mut sketch = Sketch::new(salt, sums.len());
            tags(&case, "tags").into_iter().for_each(|tag| sketch.add(tag));
            assert_eq!(sketch.sums(0, sums.len()), sums, "{}", case.name);
            kinds[0] += 1;
            continue;
        }
        let found = difference(&sums, salt, tags(&case, "held").into_iter());
        let expected = (case.text("found") == "yes").then(|| Difference {
            theirs: tags(&case, "theirs").into_iter().collect(),
            ours: tags(&case, "ours").into_iter().collect(),
        });
        assert_eq!(found, expected, "{}", case.name);
        kinds[1] += 1;
    }
    assert!(kinds[0] >= 3 && kinds[1] >= 5);
}
