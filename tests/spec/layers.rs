//! Who may import whom: `base <- crypto <- wire <- proto <- role <- { sim, host <- api <- node <- main }`, and `node/sim`, the
//! command, the simulator's part that is in the program: `sim/directory`.

use crate::pages::{File, files};

/// Layers from the lowest. A layer names only layers before it.
const LAYERS: [&str; 9] = ["base", "crypto", "wire", "proto", "role", "sim", "host", "api", "node"];

/// Crates that one part of the tree alone may name, and that part (paths below `src`).
const CRATES: &[(&str, &[&str])] = &[
    // Those of which there are two for one purpose.
    ("aws_lc_rs", &["crypto/backend"]),
    ("x25519_dalek", &["crypto/backend"]),
    ("chacha20poly1305", &["crypto/backend"]),
    ("aes_gcm", &["crypto/backend"]),
    ("ed25519_dalek", &["crypto"]),
    ("curve25519_dalek", &["crypto"]),
    // The random generator is built on it.
    ("chacha20", &["crypto", "base"]),
    ("hickory_resolver", &["host/resolver"]),
    ("hkdf", &["crypto"]),
    ("hmac", &["crypto"]),
    ("sha2", &["crypto"]),
    ("blake3", &["crypto"]),
    ("libcrux_ml_kem", &["crypto"]),
    ("ml_kem", &["crypto"]),
    ("rand_core", &["crypto", "base"]),
    ("subtle", &["crypto", "base"]),
    // Key files are read and written by the driver.
    ("zeroize", &["crypto", "base", "host"]),
    ("tokio", &["host", "api", "node", "main.rs"]),
    ("hyper", &["host", "api", "node", "main.rs"]),
    ("hyper_util", &["host", "api", "node", "main.rs"]),
    ("http_body_util", &["host", "api", "node", "main.rs"]),
    ("redb", &["host", "api", "node", "main.rs"]),
    ("serde", &["host", "api", "node", "main.rs"]),
    ("serde_json", &["host", "api", "node", "main.rs"]),
    ("toml", &["host", "api", "node", "main.rs"]),
    ("clap", &["host", "api", "node", "main.rs"]),
    ("socket2", &["host", "api", "node", "main.rs"]),
    ("indicatif", &["host", "api", "node", "main.rs"]),
    ("getrandom", &["host", "api", "node", "main.rs"]),
];

/// Whether the file is the place, or lies in it.
fn is_in(path: &str, place: &str) -> bool {
    let below = path.strip_prefix("src/").unwrap_or(path);
    below.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '.']))
}

fn rank(layer: &str) -> Option<usize> {
    LAYERS.iter().position(|l| *l == layer)
}

/// The layer of a path of modules such as `host::driver::Core`, or of a file such as `host/driver/mod.rs`.
fn layer(path: &str) -> &str {
    path.split(|c: char| !c.is_alphanumeric() && c != '_').find(|w| !w.is_empty()).unwrap_or_default()
}

/// Whether `crate_name::` or `use crate_name` stands in the line as the root of a path.
fn names_crate(line: &str, crate_name: &str) -> bool {
    line.match_indices(crate_name).any(|(at, _)| {
        let before = line[..at].trim_end_matches("::").chars().next_back();
        let rooted = line[..at].ends_with("::") && before.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let inside_word = line[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
        let after = &line[at + crate_name.len()..];
        let path = after.starts_with("::") || (line.trim_start().starts_with("use ") && after.starts_with([';', ' ']));
        path && !rooted && !inside_word
    })
}

fn problems(files: &[File]) -> Vec<String> {
    let mut out = Vec::new();
    for file in files {
        let mine = layer(file.path.strip_prefix("src/").unwrap_or(&file.path));
        let own = rank(mine);
        for (n, line) in file.text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for (_, rest) in code.match_indices("crate::").map(|(at, m)| (at, &code[at + m.len()..])) {
                let word = layer(rest.split([';', '{', ',', ' ', '(', ')', '<', '>', ']']).next().unwrap_or_default());
                let (Some(own), Some(other)) = (own, rank(word)) else { continue };
                let is_command = is_in(&file.path, "node/sim") && rest.starts_with("sim::directory");
                let siblings = word == "sim" && own > other && !is_command;
                if other > own || siblings {
                    out.push(format!(
                        "{}:{}: {mine} may not use {word}: move what it needs down, or take it as an argument",
                        file.path,
                        n + 1
                    ));
                }
            }
            for (name, places) in CRATES {
                // Tests may call a second implementation in to check ours.
                let in_tests = file.path.contains("/tests");
                if names_crate(code, name) && !places.iter().any(|p| is_in(&file.path, p)) && !in_tests {
                    out.push(format!(
                        "{}:{}: only {} may name the crate {name}",
                        file.path,
                        n + 1,
                        places.join(" and ")
                    ));
                }
            }
        }
    }
    out
}

#[test]
fn imports_point_down_and_crates_stay_in_their_layer() {
    let found = problems(&files("src", ".rs"));
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn an_upward_import_and_a_stray_crate_are_noticed() {
    let judge = |path: &str, text: &str| problems(&[File { path: path.into(), text: text.into() }]).len();
    assert_eq!(judge("src/base/x.rs", "use crate::wire::cell;"), 1);
    assert_eq!(judge("src/wire/x.rs", "use crate::base::bytes;"), 0);
    assert_eq!(judge("src/proto/x.rs", "let x = crate::role::shard::f();"), 1);
    assert_eq!(judge("src/node/x.rs", "use crate::sim::world;"), 1);
    assert_eq!(judge("src/node/x.rs", "use crate::sim::directory::plan;"), 1);
    assert_eq!(judge("src/node/sim/x.rs", "use crate::sim::directory::plan;"), 0);
    assert_eq!(judge("src/node/sim/x.rs", "use crate::sim::world;"), 1);
    assert_eq!(judge("src/proto/x.rs", "use tokio::net;"), 1);
    assert_eq!(judge("src/proto/x.rs", "// tokio::net is not used"), 0);
    assert_eq!(judge("src/proto/x.rs", "use crate::crypto::hash::blake3;"), 0);
    assert_eq!(judge("src/proto/x.rs", "let h = ::blake3::hash(b);"), 1);
    assert_eq!(judge("src/node/x.rs", "use tokio::net;"), 0);
    assert_eq!(judge("src/main.rs", "use clap::Parser;"), 0);
    assert_eq!(judge("src/crypto/agree.rs", "use x25519_dalek::StaticSecret;"), 1);
    assert_eq!(judge("src/crypto/backends.rs", "use x25519_dalek::StaticSecret;"), 1);
    assert_eq!(judge("src/crypto/backend/pure.rs", "use x25519_dalek::StaticSecret;"), 0);
    assert_eq!(judge("src/host/driver/x.rs", "use crate::api::Client;"), 1);
    assert_eq!(judge("src/host/service/x.rs", "use crate::node::proxy::Proxy;"), 1);
    assert_eq!(judge("src/api/x.rs", "use crate::host::driver::Clock;"), 0);
    assert_eq!(judge("src/api/x.rs", "use crate::node::control::server;"), 1);
    assert_eq!(judge("src/node/proxy/x.rs", "use crate::api::Client;"), 0);
}
