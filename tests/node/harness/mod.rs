//! Networks of real processes for the stories of this folder.
//!
//! Every wait has an end ([`START_MAX`], [`COMMAND_MAX`], or what the caller says), a process dies with the test that
//! started it, and a test that fails prints the last lines of its nodes' logs.

mod nodes;
mod process;
mod web;

pub(crate) use nodes::{Client, Net, RelayNode, Testnet, umbel_program};
pub(crate) use process::{Process, Ran, run, shell};
pub(crate) use web::Web;

use std::path::Path;
use std::time::Duration;
use umbel::crypto::hash::sha256;
use umbel::host::system::Timer;

/// The longest start of a node on a busy machine.
pub(crate) const START_MAX: Duration = Duration::from_secs(60);
/// The longest run of a command that is expected to take seconds.
pub(crate) const COMMAND_MAX: Duration = Duration::from_secs(60);

/// Waits until `done` is true, and says what it waited for when that takes too long. For what gives no event.
pub(crate) fn until(what: &str, most: Duration, mut done: impl FnMut() -> bool) {
    let begun = Timer::start();
    while !done() {
        assert!(begun.elapsed() < most, "waited {most:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Bytes without a pattern, so that no two places can be mistaken for each other.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 32);
    let mut word = [0; 32];
    word[..8].copy_from_slice(&seed.to_be_bytes());
    let mut rng = umbel::base::rng::Rng::from_seed(word);
    while bytes.len() < len {
        bytes.extend_from_slice(&rng.bytes::<32>());
    }
    bytes.truncate(len);
    bytes
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&sha256(&[bytes]))
}

/// Whether a program is installed; a test says which one it leaves out.
pub(crate) fn installed(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let more = [Path::new("/usr/sbin").to_path_buf()];
    let found = std::env::split_paths(&paths).chain(more).any(|dir| dir.join(program).is_file());
    if !found {
        eprintln!("LEFT OUT: {program} is not installed");
    }
    found
}

/// The command that starts another in a network namespace of its own: root may do so, others where the system lets them make a
/// user namespace too. `None`, and says so, where neither is allowed.
pub(crate) fn own_network() -> Option<&'static str> {
    let may = |command: &str| {
        let ran = std::process::Command::new("sh").args(["-c", &format!("{command} true")]).output();
        ran.is_ok_and(|ran| ran.status.success())
    };
    let command = ["unshare -n", "unshare -rn"].into_iter().find(|command| may(command));
    if command.is_none() {
        eprintln!("LEFT OUT: this system allows no network namespace");
    }
    command
}

/// A text for a command line.
pub(crate) fn text(path: &Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}
