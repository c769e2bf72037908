//! `umbel testnet` and the programs that people put through it, to a server through its exit.

use crate::harness::{COMMAND_MAX, Process, Ran, Testnet, Web, installed, run, sha256_hex, shell, text};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

const HELLO: &str = "hello from behind the exit\n";
/// How long a node may take from SIGTERM to its end when nothing is under way.
const END_MAX: Duration = Duration::from_secs(10);

fn curl(socks: &str, way: &[&str], url: &str) -> Ran {
    let way: Vec<String> = way.iter().map(|w| w.replace("PROXY", socks)).collect();
    let way: Vec<&str> = way.iter().map(String::as_str).collect();
    run(COMMAND_MAX, "curl", &[&["-sS", "--noproxy", "", "--max-time", "30"], &way[..], &[url]].concat())
}

#[test]
fn a_network_of_eight_carries_what_people_use_to_a_server_through_its_exit() {
    let web = Web::start();
    let net = Testnet::start(&["--relays", "8", "--exit", "--log", "debug"]);
    the_ready_file_tells_all(&net.ready);
    the_sample_site_is_there(&net);
    for way in [
        &["--socks5-hostname", "PROXY"][..],
        &["-x", "socks4a://PROXY"],
        &["-x", "http://PROXY"],
        &["-p", "-x", "http://PROXY"],
        &["--socks5-hostname", "alice:secret@PROXY"],
    ] {
        assert_eq!(curl(&net.socks(), way, &web.url("/hello")).ok().out(), HELLO, "{way:?}");
    }
    wget_fetches(&net, &web);
    netcat_talks(&net, &web);
    torsocks_fetches(&net, &web);
    ssh_logs_in(&net);
    chromium_shows_a_page(&net, &web);
    a_stream_has_a_receipt(&net, &web);
    let log = net.process.log();
    assert!(log.contains("DEBUG"), "this much is logged");
    for word in ["localhost", &web.url("")[17..], "alice"] {
        assert!(!log.contains(word), "what its user did stands in the log: {word}");
    }
}

fn the_ready_file_tells_all(ready: &Value) {
    assert_eq!(ready["version"], 1);
    assert!(ready["pid"].as_u64().is_some() && ready["started_ms"].as_u64().is_some(), "{ready}");
    let relays = ready["relays"].as_array().unwrap();
    assert_eq!(relays.len(), 8);
    for relay in relays {
        assert_eq!(relay["id"].as_str().unwrap().len(), 52);
        assert!(Path::new(relay["dir"].as_str().unwrap()).is_dir());
        assert!(relay["addr"].as_str().unwrap().starts_with("127.0.0.1:"));
    }
    assert_eq!(relays.iter().filter(|r| r["exit"] == true).count(), 1);
    println!("first circuit after {} ms", ready["started_ms"]);
}

fn the_sample_site_is_there(net: &Testnet) {
    let url = net.ready["sample"].as_str().unwrap();
    let front = curl(&net.socks(), &["--socks5-hostname", "PROXY"], url).ok();
    assert_eq!(sha256_hex(&front.output.stdout), net.ready["sample_sha256"]);
}

fn wget_fetches(net: &Testnet, web: &Web) {
    if installed("wget") {
        let proxy = format!("http://{}", net.socks());
        let line = format!("wget -q -T 30 -t 1 -O - {}", web.url("/hello"));
        assert_eq!(shell(COMMAND_MAX, &line, &[("http_proxy", &proxy)]).ok().out(), HELLO);
    }
}

fn netcat_talks(net: &Testnet, web: &Web) {
    if installed("nc") {
        let port = web.url("").rsplit(':').next().unwrap().to_owned();
        let request = "GET /hello HTTP/1.0\\r\\n\\r\\n";
        for way in ["5", "connect"] {
            let line = format!("printf '{request}' | nc -w 30 -X {way} -x {} localhost {port}", net.socks());
            assert!(shell(COMMAND_MAX, &line, &[]).ok().out().ends_with(HELLO), "{way}");
        }
    }
}

fn torsocks_fetches(net: &Testnet, web: &Web) {
    // torsocks itself turns connections to loopback away.
    let Some(url) = web.lan_url("/hello") else {
        eprintln!("LEFT OUT: torsocks, for this machine has no address but loopback");
        return;
    };
    if installed("torsocks") {
        let socks = net.socks();
        let (_, port) = socks.split_once(':').unwrap();
        let arguments = ["-a", "127.0.0.1", "-P", port, "curl", "-sS", "--noproxy", "*", "--max-time", "30", &url];
        assert_eq!(run(COMMAND_MAX, "torsocks", &arguments).ok().out(), HELLO);
    }
}

/// A server for ssh of this test's own: own keys, a free port, one user.
fn ssh_logs_in(net: &Testnet) {
    if !(installed("sshd") && installed("ssh") && installed("nc")) {
        return;
    }
    let home = net.home().join("ssh");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, Permissions::from_mode(0o700)).unwrap();
    for key in ["host", "user"] {
        let file = text(&home.join(key));
        run(COMMAND_MAX, "ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &file]).ok();
    }
    fs::copy(home.join("user.pub"), home.join("authorized_keys")).unwrap();
    // sshd takes no port 0: a port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {0}/host\nAuthorizedKeysFile {0}/authorized_keys\n\
         PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\n",
        home.display()
    );
    fs::write(home.join("sshd_config"), config).unwrap();
    let _ = fs::create_dir_all("/run/sshd");
    let sshd = run(COMMAND_MAX, "sh", &["-c", "command -v sshd || echo /usr/sbin/sshd"]).out();
    let arguments = ["-D", "-e", "-f", &text(&home.join("sshd_config"))].map(str::to_owned);
    let server = Process::start("sshd", &home.join("log"), sshd.trim(), &arguments, &[]);
    crate::harness::until("sshd", COMMAND_MAX, || server.log().contains("Server listening"));
    let line = format!(
        "ssh -F none -i {0}/user -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=no \
         -o UserKnownHostsFile={0}/known -o ConnectTimeout=30 -o 'ProxyCommand=nc -X 5 -x {1} %h %p' \
         -p {port} \"$(id -un)@localhost\" 'echo over ssh; head -c 300000 /dev/zero | wc -c'",
        home.display(),
        net.socks()
    );
    let ran = shell(COMMAND_MAX, &line, &[]);
    assert_eq!(ran.out(), "over ssh\n300000\n", "{}\n{}", ran.err(), server.tail());
}

fn chromium_shows_a_page(net: &Testnet, web: &Web) {
    if !installed("chromium") {
        return;
    }
    // Chromium would not proxy loopback unless told to.
    let profile = format!("--user-data-dir={}", net.home().join("chromium").display());
    for scheme in ["socks5", "http"] {
        let proxy = format!("--proxy-server={scheme}://{}", net.socks());
        let mut arguments = vec!["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
        let page = web.url("/page");
        arguments.extend([&profile, &proxy, "--proxy-bypass-list=<-loopback>", "--dump-dom", &page]);
        let ran = run(Duration::from_secs(90), "chromium", &arguments).ok();
        assert!(ran.out().contains("scripts run</h1>"), "{scheme}: {}\n{}", ran.out(), ran.err());
    }
}

fn a_stream_has_a_receipt(net: &Testnet, web: &Web) {
    let (socks, url) = (net.socks(), web.url("/endless"));
    let home = net.home().join("slow.log");
    let arguments =
        ["-sS", "--noproxy", "", "--limit-rate", "1k", "-o", "/dev/null", "--socks5-hostname", &socks, &url];
    let slow = Process::start("curl", &home, "curl", &arguments.map(str::to_owned), &[]);
    let mut found = None;
    crate::harness::until("the stream's receipt", COMMAND_MAX, || {
        let status = net.status();
        let streams = status["streams"].as_array().unwrap().clone();
        found =
            streams.into_iter().find(|s| s["hops"] == 3 && s["bytes_in"].as_u64() > Some(10_000)).map(|s| (s, status));
        found.is_some()
    });
    let (stream, status) = found.unwrap();
    assert_eq!(stream["post_quantum"], true);
    let circuit = status["circuits"].as_array().unwrap().iter().find(|c| c["id"] == stream["circuit"]).unwrap();
    assert_eq!((circuit["hops"].as_array().unwrap().len(), &circuit["state"]), (3, &"open".into()), "{circuit}");
    assert_eq!(
        (&status["role"], &status["ready"], &status["profile"]),
        (&"testnet".into(), &true.into(), &"testing".into())
    );
    let said = status.to_string();
    assert!(!said.contains("localhost") && !said.contains("endless"), "destinations are nobody's business: {said}");
    drop(slow);
}

#[test]
fn the_first_sigterm_drains_and_the_second_ends_at_once() {
    let web = Web::start();
    let mut net = Testnet::start(&["--relays", "4", "--exit"]);
    assert_eq!(curl(&net.socks(), &["--socks5-hostname", "PROXY"], &web.url("/hello")).ok().out(), HELLO);
    let log = net.home().join("endless.log");
    let arguments =
        ["-sS", "--noproxy", "", "-o", "/dev/null", "--socks5-hostname", &net.socks(), &web.url("/endless")];
    let mut endless = Process::start("curl", &log, "curl", &arguments.map(str::to_owned), &[]);
    crate::harness::until("the endless page", COMMAND_MAX, || web.endless_sent() > 1_000_000);
    net.process.signal("TERM");
    crate::harness::until("the draining", END_MAX, || net.process.log().contains("a second signal ends at once"));
    let so_far = web.endless_sent();
    crate::harness::until("more of the endless page", END_MAX, || web.endless_sent() > so_far + 1_000_000);
    assert!(net.process.status().is_none(), "it lets the stream go on");
    net.process.signal("TERM");
    assert_eq!(net.process.wait(END_MAX).code(), Some(0));
    assert!(endless.wait(END_MAX).code() != Some(0), "a stream that was cut is no success");

    let mut idle = Testnet::start(&["--relays", "4"]);
    idle.process.signal("TERM");
    assert_eq!(idle.process.wait(END_MAX).code(), Some(0), "with nothing under way it ends by itself");
    assert_eq!(idle.umbel(&["status"]).code(), 3);
}
