//! Programs that people use, through the proxy to a server.

use super::fake::{SITE, host, serve};
use super::start;
use std::io::{Read, Write};

const URL: &str = "http://server.test/hello";

// spec: PROXY-8
#[test]
fn curl_reaches_a_server_in_every_way_it_knows() {
    let proxy = start();
    let ways: [&[&str]; 6] = [
        &["--socks5-hostname", "PROXY"],
        &["-x", "socks4a://PROXY"],
        &["-x", "http://PROXY"],
        &["-p", "-x", "http://PROXY"],
        &["--socks5-hostname", "user:password@PROXY"],
        &["-x", "http://user:password@PROXY"],
    ];
    for way in ways {
        let answer = proxy.curl(&[way, &[URL]].concat());
        assert!(answer.starts_with("GET /hello HTTP/1.1\r\nHost: server.test\r\n"), "{way:?}: {answer}");
        let asked = proxy.fake.take_log();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].0, "Host(\"server.test\", 80)", "the name is not resolved here");
    }
}

// spec: PROXY-13
// spec: PROXY-14
#[test]
fn an_upload_arrives_whole_and_without_what_was_meant_for_the_proxy() {
    let proxy = start();
    let sent = "x".repeat(100_000);
    let answer = proxy.curl(&["-x", "http://a:b@PROXY", "--data-binary", &sent, "-H", "Proxy-Secret: 1", URL]);
    assert!(answer.ends_with(&sent));
    assert!(!answer.to_lowercase().contains("proxy-"), "{}", &answer[..300]);
    let chunked = proxy.curl(&["-x", "http://PROXY", "-H", "Transfer-Encoding: chunked", "--data-binary", "abc", URL]);
    assert!(chunked.ends_with("3\r\nabc\r\n0\r\n\r\n"), "{chunked}");
}

// spec: PROXY-14
#[test]
fn a_second_request_never_reaches_the_first_ones_server() {
    let proxy = start();
    let two = "POST http://server.test/a HTTP/1.1\r\nHost: server.test\r\nContent-Length: 1\r\n\r\nx\
               GET http://other.test/secret HTTP/1.1\r\nHost: other.test\r\n\r\n";
    let answer = String::from_utf8(proxy.raw(two.as_bytes())).unwrap();
    assert!(answer.contains("POST /a") && !answer.contains("secret"), "{answer}");
}

#[test]
fn wget_fetches_and_mirrors() {
    let proxy = start();
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().to_str().unwrap();
    let out = proxy.run("wget", &["-q", "-T", "20", "-t", "1", "-O", "-", URL]);
    assert!(String::from_utf8_lossy(&out.stdout).starts_with("GET /hello"), "{out:?}");
    let site = format!("http://{}/", host(SITE));
    let out = proxy.run("wget", &["-q", "-T", "20", "-t", "1", "-m", "-nH", "-P", into, &site]);
    assert!(out.status.success(), "{out:?}");
    for (file, text) in [("index.html", "front"), ("docs/index.html", "docs"), ("with space.txt", "spaced")] {
        let found = std::fs::read_to_string(folder.path().join(file)).unwrap_or_else(|why| panic!("{file}: {why}"));
        assert!(found.contains(text));
    }
}

#[test]
fn netcat_talks_through_socks_and_through_a_tunnel() {
    let proxy = start();
    let echo = serve(|stream| {
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        all.reverse();
        let _ = stream.write_all(&all);
    });
    proxy.fake.name("echo.test", echo);
    for way in ["5", "connect"] {
        let line = format!("printf abcdef | nc -N -w 20 -X {way} -x {} echo.test 7", proxy.address);
        let out = proxy.run("sh", &["-c", &line]);
        assert_eq!(String::from_utf8_lossy(&out.stdout), "fedcba", "{way}: {out:?}");
    }
}

// spec: PROXY-16
// spec: PROXY-20
// spec: PROXY-21
#[test]
fn tor_resolve_and_torsocks_work_as_with_tor() {
    let proxy = start();
    for arguments in [&["server.test", "PROXY"][..], &["-4", "server.test", "PROXY"]] {
        let out = proxy.run("tor-resolve", arguments);
        assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), "9.8.7.6", "{out:?}");
    }
    assert!(!proxy.run("tor-resolve", &["unknown.test", "PROXY"]).status.success());
    assert!(!proxy.run("tor-resolve", &["-x", "9.8.7.6", "PROXY"]).status.success());
    assert_eq!(proxy.fake.take_log().len(), 3, "the reverse look-up went nowhere");

    let out = proxy.run("tor-resolve", &[&host(SITE), "PROXY"]);
    let mapped = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    assert!(mapped.starts_with("198.18.") || mapped.starts_with("198.19."), "{out:?}");
    assert_eq!(proxy.fake.take_log(), [], "a site's name never leaves");
    let with_host = format!("Host: {}", host(SITE));
    let page = proxy.curl(&["--socks5", "PROXY", "-H", &with_host, &format!("http://{mapped}/")]);
    assert!(page.contains("front"));

    let url = format!("http://{}/docs/", host(SITE));
    let out = proxy.run("torsocks", &["-a", "127.0.0.1", "-P", "PORT", "curl", "-sS", "--noproxy", "*", &url]);
    assert!(String::from_utf8_lossy(&out.stdout).contains("<h1>docs"), "{out:?}");
}

// spec: PROXY-29
#[test]
fn what_a_program_has_said_does_not_wait_for_the_exit() {
    let proxy = start();
    let request = b"GET / HTTP/1.0\r\nHost: server.test\r\n\r\n";
    let socks = [&b"\x05\x01\x00\x05\x01\x00\x03\x0bserver.test\x00\x50"[..], request].concat();
    let tunnel = [&b"CONNECT server.test:80 HTTP/1.1\r\nHost: server.test:80\r\n\r\n"[..], request].concat();
    for (said, way) in [(socks, "SOCKS"), (tunnel, "a tunnel")] {
        assert!(String::from_utf8_lossy(&proxy.raw(&said)).contains("200 OK"), "{way}: the answer");
        assert_eq!(proxy.fake.first(), request, "{way}");
    }
    let upload = b"POST http://server.test/ HTTP/1.1\r\nHost: server.test\r\nContent-Length: 4\r\n\r\nbodyno more";
    proxy.raw(upload);
    let first = String::from_utf8(proxy.fake.first()).expect("a request");
    assert!(first.starts_with("POST / HTTP/1.1\r\n") && first.ends_with("\r\n\r\nbody"), "forwarded: {first:?}");
}

// spec: PROXY-17
// spec: PROXY-34
// spec: PROXY-36
#[test]
fn users_and_sites_are_kept_apart() {
    let proxy = start();
    let token = |arguments: &[&str]| {
        let _ = proxy.run("curl", &[&["-s", "--max-time", "20"], arguments].concat());
        proxy.fake.take_log()[0].1
    };
    let alice = token(&["--socks5-hostname", "alice:1@PROXY", URL]);
    assert_eq!(token(&["--socks5-hostname", "alice:1@PROXY", URL]), alice);
    assert_eq!(token(&["-x", "http://alice:1@PROXY", URL]), alice, "the protocol makes no difference");
    let of_domain = ["http://server.test:81/", "http://other.server.test/"];
    for url in of_domain {
        assert_eq!(token(&["--socks5-hostname", "alice:1@PROXY", url]), alice, "{url}");
    }
    for other in ["bob:1@PROXY", "alice:2@PROXY", "PROXY"] {
        assert_ne!(token(&["--socks5-hostname", other, URL]).user, alice.user, "{other}");
    }
    let site = |name: u8| format!("http://{}/", host(name));
    let (a, b) = (
        token(&["--socks5-hostname", "a:@PROXY", &site(SITE)]),
        token(&["--socks5-hostname", "b:@PROXY", &site(SITE)]),
    );
    assert_ne!(a, b, "one user's opened site is not another's");
    assert_ne!(a, token(&["--socks5-hostname", "a:@PROXY", &site(SITE + 1)]), "each site is apart");
}

// spec: PROXY-35
#[test]
fn a_user_name_can_ask_for_a_circuit_for_each_destination() {
    let proxy = start();
    let token = |url: &str| {
        let _ = proxy.run("curl", &["-s", "--max-time", "20", "--socks5-hostname", "alice+destination:1@PROXY", url]);
        proxy.fake.take_log()[0].1
    };
    let first = token(URL);
    assert_eq!(token(URL), first);
    for url in ["http://server.test:81/", "http://other.server.test/"] {
        let other = token(url);
        assert!(other != first && other.user == first.user, "{url}");
    }
}
