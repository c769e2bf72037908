//! A relay's long-term secrets, in one file of its folder, written once.
//!
//! ```text
//! umbel relay keys 3 <check>
//! identity <52 characters of base32> <check>
//! link <52> <check>
//! onion <52> <check>
//! ```
//!
//! Each line ends with a check of 8 characters (`lines`). Versions 1, without checks, and 2 are read and rewritten: they had one
//! more line, with the proof of work that the relay's id depended on then. The file `relay-id` says which relay the folder is
//! of, so that lost keys are not silently replaced by others.

use crate::base::rng::Rng;
use crate::crypto::agree::AgreeSecret;
use crate::crypto::identity::IdentityKey;
use crate::host::dir::NodeDir;
use crate::host::error::Error;
use crate::host::lines;
use crate::wire::descriptor::relay_id;
use crate::wire::ids::{RelayId, from_text, to_text};
use zeroize::Zeroizing;

/// The file's name in the node's folder.
pub const KEYS_FILE: &str = "keys";

/// The file that says which relay the folder is of.
const ID_FILE: &str = "relay-id";

const KIND: &str = "umbel relay keys 3";
const KIND_WITH_WORK: &str = "umbel relay keys 2";
const KIND_PLAIN: &str = "umbel relay keys 1";
const ID_KIND: &str = "umbel relay id 1";
/// Other files of a relay's folder once the relay has run.
const TRACES: [&str; 2] = ["store", "peers"];
/// A file that only a client's folder has.
const CLIENT_TRACE: &str = "guards";

/// A relay's long-term secrets.
pub struct RelayKeys {
    /// Signs descriptors, link proofs and root statements.
    pub identity: IdentityKey,
    /// The static key of its links.
    pub link: AgreeSecret,
    /// The static key of its circuit handshake.
    pub onion: AgreeSecret,
}

impl RelayKeys {
    /// Fresh keys.
    pub fn generate(rng: &mut Rng) -> Self {
        let identity = IdentityKey::from_bytes(rng.bytes());
        let (link, onion) = (AgreeSecret::from_bytes(rng.bytes()), AgreeSecret::from_bytes(rng.bytes()));
        Self { identity, link, onion }
    }

    /// The folder's keys. If there are none, they are made and saved; if other files show that there were some, only if `anew`.
    ///
    /// # Errors
    /// `ErrorKind::Config` if others have access to the file (NODE-1), if it is damaged (NODE-24), or if it is gone or another
    /// relay's (NODE-25).
    pub fn load_or_create(dir: &NodeDir, anew: bool, rng: &mut Rng) -> Result<Self, Error> {
        let known = known_id(dir)?;
        let Some(bytes) = dir.load_secret(KEYS_FILE)?.map(Zeroizing::new) else {
            if !anew && let Some(trace) = trace(dir, known) {
                return Err(gone(dir, &trace));
            }
            let keys = Self::generate(rng);
            dir.save(KEYS_FILE, keys.to_file().as_bytes())?;
            save_id(dir, keys.relay_id())?;
            return Ok(keys);
        };
        let damaged = |line: usize| {
            Error::config(&dir.file(KEYS_FILE), format_args!("line {line} is damaged")).with_rule("NODE-24").with_hint(
                "restore the file from a backup; without it the relay needs a new --dir and becomes a new relay",
            )
        };
        let keys = core::str::from_utf8(&bytes)
            .map_err(|e| 1 + bytes.iter().take(e.valid_up_to()).filter(|b| **b == b'\n').count())
            .and_then(Self::parse)
            .map_err(damaged)?;
        let id = keys.relay_id();
        let is_old = !bytes.starts_with(KIND.as_bytes());
        // The id of an old version cannot be compared: it depended on the proof of work.
        if let Some(other) = known.filter(|known| *known != id && !anew && !is_old) {
            let what = format_args!("these are the keys of relay {id}, but the folder is relay {other}'s").to_string();
            return Err(Error::config(&dir.file(KEYS_FILE), what)
                .with_rule("NODE-25")
                .with_hint("restore the right file; to go on as this other relay start once with --new-identity"));
        }
        if known != Some(id) {
            save_id(dir, id)?;
        }
        if is_old {
            dir.save(KEYS_FILE, keys.to_file().as_bytes())?;
        }
        Ok(keys)
    }

    /// The relay's id.
    pub fn relay_id(&self) -> RelayId {
        relay_id(&self.identity.public())
    }

    fn to_file(&self) -> Zeroizing<String> {
        let text = |secret: &[u8; 32]| Zeroizing::new(to_text(secret));
        let (identity, link, onion) = (
            text(self.identity.to_bytes().expose()),
            text(self.link.to_bytes().expose()),
            text(self.onion.to_bytes().expose()),
        );
        let line = |name: &str, value: &str| Zeroizing::new(format!("{name} {value}"));
        let lines = [("identity", identity.as_str()), ("link", &link), ("onion", &onion)];
        lines::seal(KIND, lines.map(|(name, value)| line(name, value)))
    }

    /// The keys, or the number of the line that is wrong.
    fn parse(text: &str) -> Result<Self, usize> {
        let mut lines = match text.strip_prefix(KIND_PLAIN).and_then(|rest| rest.strip_prefix('\n')) {
            // A line without its line end may be incomplete.
            Some(rest) => rest.strip_suffix('\n').ok_or(1 + text.matches('\n').count())?.split('\n').collect(),
            None if text.starts_with(KIND_WITH_WORK) => lines::open(KIND_WITH_WORK, text)?,
            None => lines::open(KIND, text)?,
        };
        if !text.starts_with(KIND) && lines.pop().is_none_or(|line| !line.starts_with("work ")) {
            return Err(5);
        }
        let field = |name: &str, line: usize| {
            let text = lines.get(line - 2).and_then(|l| l.strip_prefix(name)?.strip_prefix(' '));
            text.ok_or(line)
        };
        let secret = |text: &str, line: usize| from_text(text).map_err(|_| line);
        let keys = Self {
            identity: IdentityKey::from_bytes(secret(field("identity", 2)?, 2)?),
            link: AgreeSecret::from_bytes(secret(field("link", 3)?, 3)?),
            onion: AgreeSecret::from_bytes(secret(field("onion", 4)?, 4)?),
        };
        if lines.len() == 3 { Ok(keys) } else { Err(5) }
    }
}

fn known_id(dir: &NodeDir) -> Result<Option<RelayId>, Error> {
    let Some(bytes) = dir.load(ID_FILE)? else { return Ok(None) };
    let damaged = |line: usize| {
        Error::config(&dir.file(ID_FILE), format_args!("line {line} is damaged"))
            .with_rule("NODE-24")
            .with_hint("if the keys beside it are the right ones, remove this file: it is made again")
    };
    let text = core::str::from_utf8(&bytes).map_err(|_| damaged(1))?;
    let lines = lines::open(ID_KIND, text).map_err(damaged)?;
    let id = lines.first().and_then(|line| line.strip_prefix("id ")?.parse().ok());
    id.map(Some).ok_or_else(|| damaged(2))
}

fn save_id(dir: &NodeDir, id: RelayId) -> Result<(), Error> {
    let text = lines::seal(ID_KIND, [Zeroizing::new(format!("id {id}"))]);
    dir.save(ID_FILE, text.as_bytes())
}

/// Whose keys the folder had, as far as its other files show.
fn trace(dir: &NodeDir, known: Option<RelayId>) -> Option<String> {
    let other = || TRACES.iter().find(|name| dir.has(name)).filter(|_| !dir.has(CLIENT_TRACE));
    known.map(|id| format!("relay {id}")).or_else(|| other().map(|name| format!("a relay ({name})")))
}

// spec: NODE-25
fn gone(dir: &NodeDir, whose: &str) -> Error {
    let what = format!("the keys are gone, but the folder belongs to {whose}");
    Error::config(&dir.file(KEYS_FILE), what).with_rule("NODE-25").with_hint(
        "restore the file from a backup; to go on without it, as a new relay with a new id, start once with --new-identity",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::error::ErrorKind;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn keys_are_made_once_and_read_back() {
        let temp = tempfile::tempdir().unwrap();
        let dir = NodeDir::open(temp.path()).unwrap();
        let mut rng = Rng::from_seed([3; 32]);
        let made = RelayKeys::load_or_create(&dir, false, &mut rng).unwrap();
        let read = RelayKeys::load_or_create(&dir, false, &mut rng).unwrap();
        assert_eq!(made.relay_id(), read.relay_id());
        assert!(made.link.public() == read.link.public() && made.onion.public() == read.onion.public());
        assert_eq!(std::fs::metadata(dir.file(KEYS_FILE)).unwrap().permissions().mode() & 0o777, 0o600);
    }

    fn refused(dir: &NodeDir) -> Error {
        let refused = RelayKeys::load_or_create(dir, false, &mut Rng::from_seed([3; 32])).map(|_| ()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Config);
        refused
    }

    // spec: NODE-24
    #[test]
    fn a_changed_byte_in_any_line_of_any_file_is_named_with_its_line_and_kept() {
        let temp = tempfile::tempdir().unwrap();
        let dir = NodeDir::open(temp.path()).unwrap();
        RelayKeys::load_or_create(&dir, false, &mut Rng::from_seed([3; 32])).unwrap();
        for file in [KEYS_FILE, ID_FILE] {
            let good = dir.load(file).unwrap().unwrap();
            for at in 0..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 1;
                dir.save(file, &bad).unwrap();
                let line = 1 + good[..at].iter().filter(|b| **b == b'\n').count();
                let said = refused(&dir).to_string();
                assert!(said.contains(&format!("{file}: line {line} ")), "byte {at}: {said}");
                assert_eq!(dir.load(file).unwrap().unwrap(), bad);
            }
            dir.save(file, &[&good[..], b"more\n"].concat()).unwrap();
            assert!(refused(&dir).to_string().contains("is damaged"));
            dir.save(file, &good).unwrap();
        }
        RelayKeys::load_or_create(&dir, false, &mut Rng::from_seed([4; 32])).unwrap();
    }

    #[test]
    fn keys_of_older_versions_are_read_and_rewritten() {
        let temp = tempfile::tempdir().unwrap();
        let dir = NodeDir::open(temp.path()).unwrap();
        let mut rng = Rng::from_seed([3; 32]);
        let made = RelayKeys::load_or_create(&dir, false, &mut rng).unwrap();
        let sealed = dir.load(KEYS_FILE).unwrap().unwrap();
        let text = core::str::from_utf8(&sealed).unwrap();
        let mut plain: Vec<String> = lines::open(KIND, text).unwrap().into_iter().map(str::to_owned).collect();
        plain.push("work 622".to_owned());
        let form_1 = format!("{KIND_PLAIN}\n{}\n", plain.join("\n"));
        let form_2 = lines::seal(KIND_WITH_WORK, plain.into_iter().map(Zeroizing::new));
        for old in [&form_1, &*form_2] {
            dir.save(KEYS_FILE, old.as_bytes()).unwrap();
            save_id(&dir, RelayId([5; 32])).unwrap();
            let read = RelayKeys::load_or_create(&dir, false, &mut rng).unwrap();
            assert_eq!((read.relay_id(), dir.load(KEYS_FILE).unwrap().unwrap()), (made.relay_id(), sealed.clone()));
            assert_eq!(known_id(&dir).unwrap(), Some(made.relay_id()));
        }
        dir.save(KEYS_FILE, form_1.trim_end().as_bytes()).unwrap();
        assert!(refused(&dir).to_string().contains("line 5 "));
        let (without_work, _) = form_1.split_at(form_1.find("work").unwrap());
        dir.save(KEYS_FILE, without_work.as_bytes()).unwrap();
        assert!(refused(&dir).to_string().contains("line 5 "));
    }

    // spec: NODE-25
    #[test]
    fn lost_keys_are_not_replaced_silently() {
        let temp = tempfile::tempdir().unwrap();
        let dir = NodeDir::open(temp.path()).unwrap();
        let mut rng = Rng::from_seed([3; 32]);
        let made = RelayKeys::load_or_create(&dir, false, &mut rng).unwrap();
        std::fs::remove_file(dir.file(KEYS_FILE)).unwrap();
        let said = refused(&dir);
        assert!(said.to_string().contains(&made.relay_id().to_string()), "{said}");
        assert!(said.rule() == Some("NODE-25") && said.hint().unwrap().contains("--new-identity"));
        // A folder from before `relay-id` existed, and a client's folder.
        std::fs::remove_file(dir.file(ID_FILE)).unwrap();
        dir.save("peers", b"").unwrap();
        assert!(refused(&dir).to_string().contains("(peers)"));
        dir.save("guards", b"").unwrap();
        let fresh = RelayKeys::load_or_create(&dir, false, &mut rng).unwrap();
        std::fs::remove_file(dir.file(KEYS_FILE)).unwrap();
        let anew = RelayKeys::load_or_create(&dir, true, &mut rng).unwrap();
        assert!(anew.relay_id() != fresh.relay_id());
        dir.save(KEYS_FILE, fresh.to_file().as_bytes()).unwrap();
        assert!(refused(&dir).to_string().contains(&anew.relay_id().to_string()), "another relay's keys");
    }
}
