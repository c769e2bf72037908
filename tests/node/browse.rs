//! Browsers that the program starts, as a user sees them. `tests/leaks` watches the packets.

use crate::harness::{COMMAND_MAX, Process, Testnet, installed, run, text, umbel_program, until};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// The longest run of the leak test, beside what it is told to take.
const LEAKS_MAX: Duration = Duration::from_secs(600);

const PAGE: &str = "<!doctype html><title>t</title><h1 id=a>no script</h1><script>
WebAssembly.instantiate(new Uint8Array([0,97,115,109,1,0,0,0])).then(() => document.getElementById('a').textContent = 'both run');
</script>";

fn site(net: &Testnet) -> String {
    let folder = net.home().join("site");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("index.html"), PAGE).unwrap();
    net.umbel(&["put", &text(&folder)]).ok().json()["url"].as_str().unwrap().to_owned()
}

/// Whether a process was started with a path in this folder.
fn lives_in(folder: &Path) -> bool {
    let folder = text(folder);
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.filter_map(|p| std::fs::read(p.path().join("cmdline")).ok());
    lines.any(|line| String::from_utf8_lossy(&line).contains(&folder))
}

/// Asks for a browser's proxy as the command does.
fn door(dir: &Path, outside: bool) -> (UnixStream, SocketAddr) {
    let mut talk = UnixStream::connect(dir.join("control.sock")).unwrap();
    writeln!(talk, r#"{{"op":"browse","outside":{outside}}}"#).unwrap();
    let mut line = String::new();
    BufReader::new(&talk).read_line(&mut line).unwrap();
    let answer: serde_json::Value = serde_json::from_str(&line).unwrap();
    let addr = answer["door"]["addr"].as_str().unwrap_or_else(|| panic!("{answer}")).parse().unwrap();
    (talk, addr)
}

// spec: PROXY-33 NODE-5
#[test]
fn each_browser_has_a_proxy_of_its_own_which_goes_with_it() {
    let net = Testnet::start(&[]);
    let dir = net.home().join("net");
    let doors: Vec<_> = (0..16).map(|n| door(&dir, n % 2 == 0)).collect();
    let mut addrs: Vec<_> = doors.iter().map(|(_, addr)| *addr).collect();
    assert!(addrs.iter().all(|a| a.ip().is_loopback() && TcpStream::connect(a).is_ok()));
    addrs.sort();
    addrs.dedup();
    assert_eq!(addrs.len(), 16);
    let full = std::panic::catch_unwind(|| door(&dir, false));
    assert!(full.is_err(), "there is a most");
    drop(doors);
    until("the proxies to close", COMMAND_MAX, || addrs.iter().all(|a| TcpStream::connect(a).is_err()));
    drop(door(&dir, false));
    assert_eq!(net.status()["ready"], true);
}

// spec: NODE-4 NODE-5
#[test]
fn a_site_s_scripts_run_in_a_window_and_nothing_is_left_of_it() {
    let net = Testnet::start(&[]);
    let url = site(&net);
    let dir = text(&net.home().join("net"));
    let temp = net.home().join("tmp");
    std::fs::create_dir(&temp).unwrap();
    let left = || {
        std::fs::read_dir(&temp)
            .unwrap()
            .flatten()
            .filter(|e| e.file_name().to_string_lossy().starts_with("umbel-browse"))
            .count()
    };
    let env = [("TMPDIR", temp.to_str().unwrap()), ("XDG_RUNTIME_DIR", "")];
    if installed("chromium") {
        let line = format!(
            "TMPDIR={} XDG_RUNTIME_DIR= exec {} --dir {dir} browse --browser chromium {url} -- --headless=new --no-sandbox --disable-gpu --virtual-time-budget=5000 --dump-dom",
            text(&temp),
            umbel_program()
        );
        let ran = run(Duration::from_secs(90), "sh", &["-c", &line]).ok();
        assert!(ran.out().contains(">both run</h1>"), "{}\n{}", ran.out(), ran.err());
        assert_eq!(left(), 0);
    }
    for (browser, program, more) in
        [("chromium", "chromium", "--no-sandbox"), ("firefox", "firefox-esr", "--new-window")]
    {
        if !installed(program) {
            continue;
        }
        for signal in ["TERM", "INT", "KILL"] {
            let log = net.home().join(format!("{browser}-{signal}.log"));
            let words = ["--dir", &dir, "browse", "--browser", browser, &url, "--", "--headless", more];
            let entries = || std::fs::read_dir(&temp).unwrap().flatten().map(|e| e.path());
            let before: Vec<_> = entries().collect();
            let mut window = Process::start("browse", &log, &umbel_program(), &words.map(str::to_owned), &env);
            until("a profile in use", COMMAND_MAX, || {
                entries().any(|e| !before.contains(&e) && e.join("data").read_dir().is_ok_and(|d| d.count() > 4))
            });
            window.signal(signal);
            let status = window.wait(Duration::from_secs(30));
            assert_eq!(status.success(), signal != "KILL", "{browser} {signal}: {}", window.tail());
            until("the browser's end", COMMAND_MAX, || !lives_in(&temp));
            assert_eq!(left() == 0, signal != "KILL", "{browser} {signal}");
        }
    }
}

// spec: NODE-7 NODE-8
#[test]
fn what_cannot_be_held_is_not_started() {
    for (words, code, hint) in [
        (&["browse", "--browser", "/bin/sh"][..], 2, "were not tried"),
        (&["browse", "--browser", "/nowhere/chromium"], 12, "install"),
        (&["browse", "file:///etc/passwd"], 2, "http://"),
        (&["browse", "example.com"], 2, "http://"),
        (&["browse", "--keep", "../x"], 2, "letters"),
    ] {
        let ran = run(COMMAND_MAX, &umbel_program(), words);
        let said = ran.err();
        // Without a browser the first complaint is about that.
        assert!(ran.code() == code && said.contains(hint) || said.contains("is not installed"), "{words:?}: {said}");
    }
}

// spec: NODE-4 NODE-5 NODE-6
#[test]
#[ignore = "three minutes, as root"]
fn nothing_leaves_past_the_proxy() {
    let seconds = std::env::var("UMBEL_LEAKS_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(0);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/leaks/leaks.py");
    let arguments = ["-B", script, "--umbel", &umbel_program(), "--seconds", &seconds.to_string()];
    let ran = run(LEAKS_MAX + Duration::from_secs(seconds), "python3", &arguments).ok();
    println!("{}", ran.out());
}
