//! The examples, run as programs against a network of the test's own.

use crate::network;
use crate::web::Web;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

const EXAMPLES: [&str; 4] = ["connect", "publish", "relay", "embed_http"];
/// The longest run of an example.
const RUN_MAX: Duration = Duration::from_secs(60);

/// The program of an example, as `cargo test` builds it.
fn program(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    assert!(path.is_file(), "{} is missing: cargo build --examples", path.display());
    path
}

async fn run(dir: &Path, name: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program(name));
    command.args(arguments).current_dir(dir).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(RUN_MAX, command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_examples_do_what_they_say() {
    let (net, web, dir) = (network().await, Web::start(), tempfile::tempdir().unwrap());
    let dir = dir.path();
    std::fs::write(dir.join("invite"), net.invite().to_string()).unwrap();
    let port = web.port().to_string();

    let page = run(dir, "connect", &["invite", "127.0.0.1", &port]).await;
    assert!(page.ends_with("hello from /"), "{page}");
    let answers = run(dir, "embed_http", &["invite", "127.0.0.1", &port, "/twice"]).await;
    assert_eq!(answers, "200 OK: 17 bytes\n".repeat(2));
    std::fs::write(dir.join("note"), "twelve bytes").unwrap();
    let published = run(dir, "publish", &["invite", "note"]).await;
    assert!(published.starts_with("12 bytes in 1 file(s) at umbel:"), "{published}");

    let mut relay = Command::new(program("relay"));
    relay.args(["invite", "127.0.0.1:0"]).current_dir(dir).kill_on_drop(true);
    let mut relay = relay.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(relay.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(RUN_MAX, lines.next_line()).await.unwrap().unwrap().unwrap();
    assert!(line.contains(" is part of the network at 127.0.0.1:"), "{line}");
    drop(relay.stdin.take());
    assert!(tokio::time::timeout(RUN_MAX, relay.wait()).await.unwrap().unwrap().success());
}

#[test]
fn the_examples_are_short_and_name_only_what_is_public() {
    for name in EXAMPLES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name).with_extension("rs");
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.lines().count() < 40, "{name}");
        for (at, _) in text.match_indices("umbel::") {
            let next = text[at + "umbel::".len()..].chars().next().unwrap();
            assert!(next.is_ascii_uppercase(), "{name} names a module of the crate, which only `unstable` shows");
        }
    }
}
