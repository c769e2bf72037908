//! The command line as users and scripts meet it: the real program, its exit codes and its words.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};
use umbel::host::dir::NodeDir;

/// The program with a clean environment, in a home of its own.
pub(crate) fn umbel(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_umbel"));
    command.env_clear().env("HOME", home);
    command
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code, not a signal")
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs `line` with and without `--json`: one exit code, a sentence and a hint, or one object with its four keys.
fn fails(home: &Path, line: &str, exit: i32, name: &str, words: &str) {
    let plain = umbel(home).args(line.split_whitespace()).output().unwrap();
    assert_eq!(code(&plain), exit, "{line}: {}", err(&plain));
    assert_eq!(out(&plain), "", "{line}: a failure prints nothing on standard output");
    assert!(err(&plain).contains("error: ") && err(&plain).contains(words), "{line}: {}", err(&plain));

    let json = umbel(home).args(line.split_whitespace()).arg("--json").output().unwrap();
    assert_eq!(code(&json), exit, "{line}");
    let object: serde_json::Value = serde_json::from_str(&out(&json)).expect("one JSON object");
    let error = &object["error"];
    assert_eq!(error["code"], name, "{line}");
    assert!(error["message"].as_str().unwrap().contains(words), "{line}: {error}");
    assert!(error["hint"].is_string(), "{line}: {error}");
    assert!(error.get("rule").is_some() && object.as_object().unwrap().len() == 1);
}

#[test]
fn a_command_line_that_makes_no_sense_is_usage() {
    let home = tempfile::tempdir().unwrap();
    for (line, words) in [
        ("frobnicate", "frobnicate"),
        ("put", "<PATH>"),
        ("get umbel:x", "--out"),
        ("put a b", "'b'"),
        ("relay --store 10X", "10X"),
        ("relay --profile mine", "mine"),
        ("relay --shards 0", "0"),
        ("client --socks 0.0.0.0:6250", "loopback"),
        ("testnet --relays 3", "3"),
        ("status --log loud", "loud"),
        ("lookup abc", "neither a relay's id"),
        ("put /no/such/file", "/no/such/file"),
    ] {
        fails(home.path(), line, 2, "usage", words);
    }
}

#[test]
fn a_link_that_is_no_link_is_told_from_a_missing_node() {
    let home = tempfile::tempdir().unwrap();
    let (root, key) = ("a".repeat(52), "b".repeat(51) + "q");
    for (link, words) in [
        (format!("umbel:{root}/{}", &key[..40]), "cut off: its key"),
        (format!("umbel:{}", &root[..51]), "cut off: its root"),
        (format!("umbel:{root}/{}1", &key[..51]), "mistyped: its key"),
        (format!("umbel-verify:{root}/{key}"), "verify link"),
        ("http://example.org/".to_owned(), "not an umbel link"),
    ] {
        fails(home.path(), &format!("get {link} -o x"), 2, "link", words);
    }
}

#[test]
fn help_names_all_commands_options_and_exit_codes() {
    let home = tempfile::tempdir().unwrap();
    let help = |args: &[&str]| {
        let output = umbel(home.path()).args(args).output().unwrap();
        assert_eq!(code(&output), 0);
        out(&output)
    };
    let main = help(&["--help"]);
    for word in ["testnet", "relay", "client", "put", "get", "status", "lookup", "--dir", "--json", "--log", "13 clock"]
    {
        assert!(main.contains(word), "{word}: {main}");
    }
    assert!(!main.contains("unredacted"));
    for (command, options) in [
        ("testnet", &["--relays", "--socks", "--exit", "--ready-file"][..]),
        (
            "relay",
            &[
                "--profile",
                "--listen",
                "--invite",
                "--write-invite",
                "--store",
                "--store-deny",
                "--exit",
                "--shards",
                "--config",
            ],
        ),
        ("client", &["--invite", "--socks", "--ready-file"]),
        ("put", &["--convergent", "PATH"]),
        ("get", &["--out", "LINK|URL", "OUT.part"]),
        ("invite", &["--dir", "newcomer"]),
        ("lookup", &["ID|HASH"]),
    ] {
        let text = help(&[command, "--help"]);
        assert!(text.contains("Examples:"), "{text}");
        for option in options {
            assert!(text.contains(option), "{command} {option}: {text}");
        }
    }
    assert!(help(&["--version"]).starts_with("umbel "));
}

#[test]
fn a_mistake_in_the_configuration_is_named_with_file_line_and_key() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("umbel.toml");
    let dir = home.path().display();
    fs::write(&file, "listen = \"127.0.0.1:0\"\nexti = true\n").unwrap();
    fails(home.path(), &format!("relay --dir {dir}"), 12, "config", "umbel.toml: line 2, key exti");
    fs::write(&file, "store = 5\n").unwrap();
    fails(home.path(), &format!("relay --dir {dir}"), 12, "config", "umbel.toml: line 1, key store");
    fs::remove_file(&file).unwrap();
    fails(home.path(), &format!("relay --dir {dir} --config {dir}/none.toml"), 12, "config", "none.toml");
    fails(home.path(), &format!("relay --dir {dir} --config {dir}"), 12, "config", "cannot be read");
    fails(home.path(), &format!("client --dir {dir} --invite {dir}/none"), 12, "config", "the invite cannot be read");
    fails(home.path(), &format!("client --dir {dir}"), 12, "config", "no network is named");
    fs::write(home.path().join("plain"), "").unwrap();
    fails(home.path(), &format!("relay --dir {dir}/plain/x"), 12, "config", "cannot be used");
}

#[test]
fn one_folder_serves_one_node() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("node");
    let first = NodeDir::open(&path).unwrap();
    let words = format!("process {} already runs on", std::process::id());
    fails(
        home.path(),
        &format!("relay --profile testing --listen 127.0.0.1:0 --dir {}", path.display()),
        10,
        "dir-in-use",
        &words,
    );
    drop(first);
}

// spec: NODE-1
#[test]
fn keys_that_others_can_read_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("node");
    NodeDir::open(&path).unwrap().save("keys", b"umbel relay keys 1\n").unwrap();
    let line = format!("relay --profile testing --listen 127.0.0.1:0 --dir {}", path.display());
    fails(home.path(), &line, 12, "config", "line 2 is damaged");
    fs::set_permissions(path.join("keys"), Permissions::from_mode(0o604)).unwrap();
    fails(home.path(), &line, 12, "config", "0604");
}

#[test]
fn without_a_node_commands_say_so() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    fs::write(&file, "x").unwrap();
    let root = "a".repeat(52);
    for line in [
        "status",
        &format!("lookup {root}"),
        &format!("put {}", file.display()),
        &format!("get umbel:{root}/{root} -o x"),
    ] {
        fails(home.path(), line, 3, "not-running", "no node runs on");
    }
    // A killed node does not remove its socket.
    let dir = home.path().join("stale");
    fs::create_dir(&dir).unwrap();
    drop(UnixListener::bind(dir.join("control.sock")).unwrap());
    fails(home.path(), &format!("status --dir {}", dir.display()), 3, "not-running", "no node runs on");
    assert!(!home.path().join("x.part").exists());
}

#[test]
fn a_node_that_dies_while_it_answers_is_not_running() {
    let home = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(home.path().join("control.sock")).unwrap();
    let node = std::thread::spawn(move || {
        // Each accepted connection is dropped without an answer.
        for _ in 0..2 {
            drop(listener.accept().unwrap());
        }
    });
    fails(home.path(), &format!("status --dir {}", home.path().display()), 3, "not-running", "node");
    node.join().unwrap();
}

#[test]
fn an_option_wins_over_its_variable() {
    let home = tempfile::tempdir().unwrap();
    let message = |args: &[&str]| {
        let output = umbel(home.path()).env("UMBEL_DIR", "/from/env").arg("status").args(args).output().unwrap();
        err(&output)
    };
    assert!(message(&[]).contains("/from/env"));
    assert!(message(&["--dir", "/from/option"]).contains("/from/option"));
    let before =
        umbel(home.path()).env("UMBEL_DIR", "/from/env").args(["--dir", "/from/option", "status"]).output().unwrap();
    assert!(err(&before).contains("/from/option"), "{}", err(&before));
    let bad = umbel(home.path()).env("UMBEL_LOG", "loud").arg("status").output().unwrap();
    assert_eq!(code(&bad), 2);
}
