//! Which network a node's folder belongs to, and its member key of a private one.
//!
//! ```text
//! network: umbel network 1 CHECK          member: umbel member key 1 CHECK
//!          network ID CHECK                       key BASE64 CHECK
//! ```
//!
//! Each line ends with a check (`lines`). A folder belongs to one network only: from guards, peers and keys of two, each network
//! could learn of the other.

use crate::host::dir::NodeDir;
use crate::host::error::Error;
use crate::host::lines;
use crate::wire::ids::NetworkId;
use crate::wire::membership::MemberKey;
use data_encoding::BASE64;
use zeroize::Zeroizing;

const NETWORK_FILE: &str = "network";
const NETWORK_KIND: &str = "umbel network 1";
const MEMBER_FILE: &str = "member";
const MEMBER_KIND: &str = "umbel member key 1";

fn damaged(dir: &NodeDir, file: &str, line: usize, hint: &'static str) -> Error {
    Error::config(&dir.file(file), format_args!("line {line} is damaged")).with_rule("NODE-24").with_hint(hint)
}

/// The network that the folder belongs to, if a node has run in it.
///
/// # Errors
/// [`ErrorKind::Config`](crate::host::error::ErrorKind::Config) when the file cannot be read or is damaged.
pub fn network(dir: &NodeDir) -> Result<Option<NetworkId>, Error> {
    let Some(bytes) = dir.load(NETWORK_FILE)? else { return Ok(None) };
    let id = lines::only(NETWORK_KIND, "network", &bytes).and_then(|id| id.parse().map_err(|_| 2));
    id.map(Some).map_err(|line| {
        damaged(dir, NETWORK_FILE, line, "remove it if the invite beside it is the right one: it is made again")
    })
}

/// Records which network the folder belongs to, unless one is recorded already.
///
/// # Errors
/// The file cannot be written.
pub fn set_network(dir: &NodeDir, network: NetworkId) -> Result<(), Error> {
    if dir.has(NETWORK_FILE) {
        return Ok(());
    }
    let text = lines::seal(NETWORK_KIND, [Zeroizing::new(format!("network {network}"))]);
    dir.save(NETWORK_FILE, text.as_bytes())
}

/// The folder's member key; `None` for a client, and outside private networks.
///
/// # Errors
/// [`ErrorKind::Config`](crate::host::error::ErrorKind::Config) when others can read the file, or it is damaged.
pub fn member_key(dir: &NodeDir) -> Result<Option<MemberKey>, Error> {
    let Some(bytes) = dir.load_secret(MEMBER_FILE)?.map(Zeroizing::new) else { return Ok(None) };
    let key = lines::only(MEMBER_KIND, "key", &bytes).and_then(|text| {
        let bytes = Zeroizing::new(BASE64.decode(text.as_bytes()).map_err(|_| 2_usize)?);
        MemberKey::decode(&bytes).map_err(|_| 2)
    });
    key.map(Some).map_err(|line| damaged(dir, MEMBER_FILE, line, "give the member's invite again with --invite"))
}

/// Saves the member key in the folder.
///
/// # Errors
/// The file cannot be written.
pub fn set_member_key(dir: &NodeDir, key: &MemberKey) -> Result<(), Error> {
    let mut line = Zeroizing::new(String::with_capacity(256));
    line.push_str("key ");
    BASE64.encode_append(&key.encode(), &mut line);
    dir.save(MEMBER_FILE, lines::seal(MEMBER_KIND, [line]).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;
    use crate::crypto::identity::IdentityKey;
    use crate::wire::membership::Charter;
    use std::os::unix::fs::PermissionsExt;

    // spec: NODE-24
    #[test]
    fn a_folder_remembers_its_network_and_a_changed_byte_is_noticed() {
        let temp = tempfile::tempdir().unwrap();
        let dir = NodeDir::open(temp.path()).unwrap();
        assert_eq!(network(&dir).unwrap(), None);
        let id = NetworkId([7; 32]);
        set_network(&dir, id).unwrap();
        set_network(&dir, NetworkId([8; 32])).unwrap();
        assert_eq!(network(&dir).unwrap(), Some(id), "the first one is kept");
        let good = dir.load(NETWORK_FILE).unwrap().unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            dir.save(NETWORK_FILE, &bad).unwrap();
            assert_eq!(network(&dir).unwrap_err().rule(), Some("NODE-24"), "byte {at}");
        }
    }

    // spec: NODE-1
    // spec: NODE-24
    #[test]
    fn a_member_key_is_kept_as_a_secret() {
        let temp = tempfile::tempdir().unwrap();
        let dir = NodeDir::open(temp.path()).unwrap();
        assert_eq!(member_key(&dir).unwrap(), None);
        let founder = IdentityKey::from_bytes([1; 32]);
        let charter = Charter::private([2; 32], vec![founder.public()]).unwrap();
        let key = MemberKey::issue(&charter, charter.network("private"), &founder, Secret::new([3; 32])).unwrap();
        set_member_key(&dir, &key).unwrap();
        assert_eq!(member_key(&dir).unwrap(), Some(key));
        let path = dir.file(MEMBER_FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mut bad = std::fs::read(&path).unwrap();
        bad[40] ^= 1;
        dir.save(MEMBER_FILE, &bad).unwrap();
        assert_eq!(member_key(&dir).unwrap_err().rule(), Some("NODE-24"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(member_key(&dir).unwrap_err().rule(), Some("NODE-1"));
    }
}
