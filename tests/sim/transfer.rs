//! Bytes through three hops.

use crate::seeds;
use umbel::base::time::Duration;
use umbel::sim::web::content;
use umbel::sim::world::{Shape, World, task};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

pub(crate) fn served(n: u64) -> Vec<u8> {
    (0..n).map(content).collect()
}

#[test]
fn a_file_comes_through_three_hops() {
    seeds("a_file_comes_through_three_hops", 3, |seed| {
        let mut w = World::new(seed, Shape::SMALL);
        let t = w.start(task(1, b"GET 300000\n", false));
        assert!(w.run(MINUTE), "in time");
        let user = w.user.get();
        assert_eq!(user.transfer(t).end, Some(Ok(())));
        assert!(user.transfer(t).got == served(300_000));
    });
}
