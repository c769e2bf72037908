//! A founder's files: the key that signs a private network's member keys, the list of members, and the roll of the member keys
//! that were taken back.
//!
//! ```text
//! founder: umbel founder key 1 CHECK       members: umbel members 1 CHECK
//!          key SECRET CHECK                         member PUBLIC ISSUED NAME CHECK
//! roll:    umbel roll 1 CHECK
//!          roll BASE64 CHECK
//! ```
//!
//! Each line ends with a check (`lines`). ISSUED is in seconds since 1970. The names are for the founder alone: no other node
//! learns them.

use crate::base::secret::Secret;
use crate::crypto::identity::IdentityKey;
use crate::host::dir::NodeDir;
use crate::host::error::{Error, ErrorKind};
use crate::host::lines;
use crate::wire::ids::{from_text, to_text};
use crate::wire::roll::Roll;
use data_encoding::BASE64;
use zeroize::Zeroizing;

const KEY_FILE: &str = "founder";
const KEY_KIND: &str = "umbel founder key 1";
const ROLL_FILE: &str = "roll";
const ROLL_KIND: &str = "umbel roll 1";
const MEMBERS_FILE: &str = "members";
const MEMBERS_KIND: &str = "umbel members 1";
/// Most member keys that one founder signs.
pub const MEMBERS_MAX: usize = 1024;
/// The longest name of a member, in bytes.
pub const MEMBER_NAME_MAX: usize = 64;

fn damaged(dir: &NodeDir, file: &str, line: usize) -> Error {
    Error::config(&dir.file(file), format_args!("line {line} is damaged"))
        .with_rule("NODE-24")
        .with_hint("restore the file from a backup")
}

fn text_of<'t>(dir: &NodeDir, file: &str, bytes: &'t [u8]) -> Result<&'t str, Error> {
    core::str::from_utf8(bytes).map_err(|_| damaged(dir, file, 1))
}

/// The founder's key in the folder, if there is one.
///
/// # Errors
/// [`ErrorKind::Config`] when others can read the file, or it is damaged.
pub fn load_key(dir: &NodeDir) -> Result<Option<IdentityKey>, Error> {
    let Some(bytes) = dir.load_secret(KEY_FILE)?.map(Zeroizing::new) else { return Ok(None) };
    let secret = lines::only(KEY_KIND, "key", &bytes).and_then(|text| from_text(text).map_err(|_| 2));
    secret.map(|secret| Some(IdentityKey::from_bytes(secret))).map_err(|line| damaged(dir, KEY_FILE, line))
}

/// Makes a founder's key from 32 random bytes and saves it.
///
/// # Errors
/// The file cannot be written.
pub fn make_key(dir: &NodeDir, secret: &Secret<32>) -> Result<IdentityKey, Error> {
    let text = Zeroizing::new(to_text(secret.expose()));
    let line = Zeroizing::new(["key ", &text].concat());
    dir.save(KEY_FILE, lines::seal(KEY_KIND, [line]).as_bytes())?;
    Ok(IdentityKey::from_bytes(*secret.expose()))
}

/// The newest roll that this founder signed; `None` if it has taken back nothing yet.
///
/// # Errors
/// [`ErrorKind::Config`] when the file cannot be read or is damaged.
pub fn load_roll(dir: &NodeDir) -> Result<Option<Roll>, Error> {
    let Some(bytes) = dir.load(ROLL_FILE)? else { return Ok(None) };
    let roll = lines::only(ROLL_KIND, "roll", &bytes).and_then(|text| {
        let bytes = BASE64.decode(text.as_bytes()).map_err(|_| 2_usize)?;
        Roll::decode(&bytes).map_err(|_| 2)
    });
    roll.map(Some).map_err(|line| damaged(dir, ROLL_FILE, line))
}

/// Saves the newest roll.
///
/// # Errors
/// The file cannot be written.
pub fn save_roll(dir: &NodeDir, roll: &Roll) -> Result<(), Error> {
    let line = Zeroizing::new(format!("roll {}", BASE64.encode(&roll.encode())));
    dir.save(ROLL_FILE, lines::seal(ROLL_KIND, [line]).as_bytes())
}

/// A member: a person who got a member key from the founder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// As the founder called them.
    pub name: String,
    /// The public part of their member key.
    pub key: [u8; 32],
    /// When it was issued, in seconds since 1970.
    pub issued: u64,
}

/// All members with a key from this founder, in the order of issue.
///
/// # Errors
/// [`ErrorKind::Config`] when the file cannot be read or is damaged.
pub fn members(dir: &NodeDir) -> Result<Vec<Issued>, Error> {
    let Some(bytes) = dir.load(MEMBERS_FILE)? else { return Ok(Vec::new()) };
    let lines = lines::open(MEMBERS_KIND, text_of(dir, MEMBERS_FILE, &bytes)?);
    let lines = lines.map_err(|line| damaged(dir, MEMBERS_FILE, line))?;
    lines.iter().enumerate().map(|(n, line)| issued(line).ok_or_else(|| damaged(dir, MEMBERS_FILE, n + 2))).collect()
}

fn issued(line: &str) -> Option<Issued> {
    let mut parts = line.strip_prefix("member ")?.splitn(3, ' ');
    let (key, issued) = (from_text(parts.next()?).ok()?, parts.next()?.parse().ok()?);
    Some(Issued { name: parts.next()?.to_owned(), key, issued })
}

/// Replaces the list of members.
///
/// # Errors
/// [`ErrorKind::Usage`] for more than [`MEMBERS_MAX`]; [`ErrorKind::Io`] if the file cannot be written.
pub fn save_members(dir: &NodeDir, members: &[Issued]) -> Result<(), Error> {
    if members.len() > MEMBERS_MAX {
        let message = format!("this founder signed {MEMBERS_MAX} member keys already, which is the limit");
        return Err(Error::new(ErrorKind::Usage, message).with_hint("another founder may sign further ones"));
    }
    let line = |m: &Issued| Zeroizing::new(format!("member {} {} {}", to_text(&m.key), m.issued, m.name));
    dir.save(MEMBERS_FILE, lines::seal(MEMBERS_KIND, members.iter().map(line)).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    // spec: NODE-1
    // spec: NODE-24
    #[test]
    fn a_founder_s_key_is_private_and_each_changed_byte_is_noticed() {
        let temp = tempfile::tempdir().unwrap();
        let dir = NodeDir::open(temp.path()).unwrap();
        assert!(load_key(&dir).unwrap().is_none());
        let made = make_key(&dir, &Secret::new([7; 32])).unwrap();
        assert_eq!(load_key(&dir).unwrap().unwrap().public(), made.public());
        let path = dir.file(KEY_FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            dir.save(KEY_FILE, &bad).unwrap();
            assert_eq!(load_key(&dir).map(|_| ()).unwrap_err().rule(), Some("NODE-24"), "byte {at}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(load_key(&dir).map(|_| ()).unwrap_err().rule(), Some("NODE-1"));
    }

    #[test]
    fn the_list_of_members_is_read_back_and_bounded() {
        let temp = tempfile::tempdir().unwrap();
        let dir = NodeDir::open(temp.path()).unwrap();
        let one = |n: u8| Issued { name: format!("Frau {n} "), key: [n; 32], issued: n.into() };
        let list: Vec<_> = (0..4).map(one).collect();
        save_members(&dir, &list).unwrap();
        assert_eq!(members(&dir).unwrap(), list);
        let many = vec![one(1); MEMBERS_MAX + 1];
        assert_eq!(save_members(&dir, &many).unwrap_err().kind(), ErrorKind::Usage);
        assert_eq!(members(&dir).unwrap(), list);
    }
}
