//! A relay's proofs of work, in one file of its folder, and the search for them: on a thread of its own for seconds or longer,
//! with its progress in the log. A search that was stopped is continued.
//!
//! ```text
//! umbel relay work 1 <check>
//! proof <window> <56 hexadecimal digits> <check>      one line each, for the newest two windows
//! tried <window> <nonce> <check>                      a search in progress, and its next nonce
//! ```
//!
//! Nothing in it is secret, and only time is lost with it: a damaged file is ignored and replaced.

use crate::base::time::{Duration, UnixMs};
use crate::crypto::work::{Search, WORK_SIZE, Work, WorkParams};
use crate::host::dir::NodeDir;
use crate::host::error::Error;
use crate::host::lines;
use crate::host::system::Timer;
use crate::wire::descriptor::{relay_id, work_challenge, work_window};
use crate::wire::ids::NetworkId;
use data_encoding::HEXLOWER;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// The file's name in the node's folder.
pub const WORK_FILE: &str = "work";

const KIND: &str = "umbel relay work 1";
/// Proofs that are kept: for the current window and the next.
const KEPT: usize = 2;
/// How often the progress of a search is logged and saved.
const SAY_EVERY: Duration = Duration::from_secs(2);

/// A relay that needs proofs of work, and how hard they are.
#[derive(Clone, Copy, Debug)]
pub struct Worker {
    /// The relay's network.
    pub network: NetworkId,
    /// Its identity key.
    pub identity: [u8; 32],
    /// The network's parameters for the work.
    pub params: WorkParams,
}

/// What the folder holds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Kept {
    proofs: BTreeMap<u32, Work>,
    /// A window, and the nonce at which its search continues.
    tried: Option<(u32, u32)>,
}

impl Worker {
    /// The relay's window at a time.
    pub fn window(&self, at: UnixMs) -> u32 {
        work_window(&relay_id(&self.identity), at)
    }

    /// The proof for a window: the one in the folder, or one that is found now and saved there. Blocks the thread meanwhile.
    ///
    /// # Errors
    /// The file cannot be read. A failed write is only logged.
    pub fn obtain(&self, dir: &NodeDir, window: u32) -> Result<Work, Error> {
        let mut hunt = match self.hunt(dir, window)? {
            Sought::Found(work) => return Ok(work),
            Sought::Begun(hunt) => hunt,
        };
        loop {
            let found = hunt.step();
            hunt.note(dir, found);
            if let Some(work) = found {
                return Ok(work);
            }
        }
    }

    /// The proof for a window, or the search for it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn hunt(&self, dir: &NodeDir, window: u32) -> Result<Sought, Error> {
        let challenge = work_challenge(self.network, &self.identity, window);
        // spec: KEY-8
        let kept = dir.load(WORK_FILE)?.and_then(|bytes| Kept::parse(&bytes)).unwrap_or_default();
        if let Some(work) = kept.proofs.get(&window).filter(|work| work.holds(&challenge, self.params)) {
            return Ok(Sought::Found(*work));
        }
        let from = kept.tried.filter(|(of, _)| *of == window).map_or(0, |(_, nonce)| nonce);
        let search = Search::new(challenge, self.params, from);
        let (begun, said) = (Timer::start(), Timer::start());
        Ok(Sought::Begun(Box::new(Hunt { worker: *self, window, search, kept, begun, said })))
    }
}

/// What [`Worker::hunt`] returns.
pub enum Sought {
    /// The folder had the proof.
    Found(Work),
    /// It has to be searched for.
    Begun(Box<Hunt>),
}

/// A search that has begun.
pub struct Hunt {
    worker: Worker,
    window: u32,
    search: Search,
    kept: Kept,
    begun: Timer,
    said: Timer,
}

impl Hunt {
    /// Makes one attempt, which takes about a tenth of a second on a public network.
    pub fn step(&mut self) -> Option<Work> {
        self.search.step()
    }

    /// Saves what the last attempt found, or every two seconds how far the search is.
    pub fn note(&mut self, dir: &NodeDir, found: Option<Work>) {
        let Self { window, search, kept, .. } = self;
        match found {
            Some(work) => {
                kept.tried = None;
                kept.proofs.insert(*window, work);
                while kept.proofs.len() > KEPT {
                    kept.proofs.pop_first();
                }
                if self.begun.elapsed() > SAY_EVERY {
                    let seconds = self.begun.elapsed().as_secs();
                    tracing::info!(seconds, "the proof of work is found and saved; one is needed every 30 days");
                }
            }
            None if self.said.elapsed() < SAY_EVERY => return,
            None => {
                self.said = Timer::start();
                kept.tried = Some((*window, search.next_nonce()));
                self.worker.say(search.next_nonce());
            }
        }
        // The folder logs a failure. The work is then done again at the next start.
        let _ = dir.save(WORK_FILE, self.kept.to_file().as_bytes());
    }
}

impl Worker {
    fn say(&self, tried: u32) {
        let needed = self.params.attempts();
        // Attempts are independent: however many failed, as many are to be expected as at the start.
        let chance = 1.0 - (-f64::from(tried) / f64::from(needed.max(1))).exp();
        tracing::info!(
            tried,
            "proof of work, needed once in 30 days: {needed} attempts on average; {:.0} % of relays would be done by now",
            chance * 100.0
        );
    }
}

impl Kept {
    fn to_file(&self) -> Zeroizing<String> {
        let proof = |(window, work): (&u32, &Work)| format!("proof {window} {}", HEXLOWER.encode(&work.to_bytes()));
        let tried = self.tried.map(|(window, nonce)| format!("tried {window} {nonce}"));
        lines::seal(KIND, self.proofs.iter().map(proof).chain(tried).map(Zeroizing::new))
    }

    /// `None` if the file is damaged.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut kept = Self::default();
        for line in lines::open(KIND, core::str::from_utf8(bytes).ok()?).ok()? {
            let mut words = line.split(' ');
            let (kind, window) = (words.next()?, words.next()?.parse().ok()?);
            match (kind, words.next()?) {
                ("proof", hex) => {
                    let bytes: [u8; WORK_SIZE] = HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok()?;
                    kept.proofs.insert(window, Work::from_bytes(&bytes));
                }
                ("tried", nonce) => kept.tried = Some((window, nonce.parse().ok()?)),
                _ => return None,
            }
        }
        Some(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: Worker =
        Worker { network: NetworkId([9; 32]), identity: [7; 32], params: WorkParams { bits: 6, effort: 40 } };

    // spec: KEY-8
    #[test]
    fn a_proof_is_found_once_for_each_window_and_kept() {
        let temp = tempfile::tempdir().unwrap();
        let dir = NodeDir::open(temp.path()).unwrap();
        let first = WORKER.obtain(&dir, 700).unwrap();
        assert!(first.holds(&work_challenge(WORKER.network, &WORKER.identity, 700), WORKER.params));
        let kept = Kept::parse(&dir.load(WORK_FILE).unwrap().unwrap()).unwrap();
        assert_eq!(kept, Kept { proofs: [(700, first)].into(), tried: None });
        let second = WORKER.obtain(&dir, 701).unwrap();
        assert_ne!(first, second);
        // A proof in the folder is used as it is, but not one of another identity.
        let before = dir.load(WORK_FILE).unwrap();
        assert_eq!((WORKER.obtain(&dir, 700).unwrap(), WORKER.obtain(&dir, 701).unwrap()), (first, second));
        assert_eq!(dir.load(WORK_FILE).unwrap(), before);
        let other = Worker { identity: [8; 32], ..WORKER };
        let theirs = other.obtain(&dir, 701).unwrap();
        assert!(theirs.holds(&work_challenge(other.network, &other.identity, 701), other.params));
        // The third window drops the first.
        WORKER.obtain(&dir, 702).unwrap();
        let kept = Kept::parse(&dir.load(WORK_FILE).unwrap().unwrap()).unwrap();
        assert_eq!(kept.proofs.keys().copied().collect::<Vec<_>>(), [701, 702]);
    }

    #[test]
    fn a_search_goes_on_where_it_was_stopped_and_a_damaged_file_is_made_anew() {
        let temp = tempfile::tempdir().unwrap();
        let dir = NodeDir::open(temp.path()).unwrap();
        let challenge = work_challenge(WORKER.network, &WORKER.identity, 700);
        let first = WORKER.obtain(&dir, 700).unwrap();
        // The nonce of the first proof. The second is found only after it.
        let at = u32::from_be_bytes(*first.to_bytes().first_chunk().unwrap());
        let stopped = Kept { proofs: BTreeMap::new(), tried: Some((700, at + 1)) };
        dir.save(WORK_FILE, stopped.to_file().as_bytes()).unwrap();
        let next = WORKER.obtain(&dir, 700).unwrap();
        assert!(next != first && next.holds(&challenge, WORKER.params));
        for damaged in [&b"umbel relay work 1\n"[..], b"", b"\xff\xff", stopped.to_file()[..30].as_bytes()] {
            dir.save(WORK_FILE, damaged).unwrap();
            assert_eq!(WORKER.obtain(&dir, 700).unwrap(), first);
        }
    }
}
