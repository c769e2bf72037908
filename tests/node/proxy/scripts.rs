//! Where the scripts of sites run, and what a page without them is left with.

use super::fake::{SITE, host};
use super::{Running, start, start_as};
use umbel::node::proxy::{Config, Scope};

fn with(scope: Scope) -> Running {
    start_as(Config { scope, ..Config::new("127.0.0.1:0".parse().expect("an address"), true) })
}

/// A page as a browser asks for it: its head and its body.
fn page(proxy: &Running, path: &str, more: &str) -> (String, String) {
    let request = format!("GET http://{}{path} HTTP/1.0\r\nAccept: text/html,*/*;q=0.8\r\n{more}\r\n", host(SITE));
    let answer = String::from_utf8(proxy.raw(request.as_bytes())).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

// spec: PROXY-30
#[test]
fn scripts_run_only_where_the_proxy_was_opened_for_sites() {
    for (scope, run) in [(Scope::Everything, false), (Scope::EverythingWithScripts, true), (Scope::Sites, true)] {
        let proxy = with(scope);
        for path in ["/", "/scripts.html", "/picture.svg", "/with%20space.txt"] {
            let (head, _) = page(&proxy, path, "");
            let policy = head.lines().find_map(|l| l.strip_prefix("Content-Security-Policy: ")).expect("a policy");
            assert_eq!(policy.contains("sandbox"), !run, "{scope:?} {path}");
            let inline = policy.split(';').any(|d| d.trim().starts_with("default-src 'self' 'unsafe-inline'"));
            assert_eq!(inline, run, "{scope:?} {path}: {policy}");
            // Where scripts run, WebAssembly does.
            assert!(policy.contains("'wasm-unsafe-eval'") && !policy.contains("allow-scripts"), "{scope:?} {path}");
            assert_eq!(head.contains("Connection-Allowlist: (response-origin"), run, "{scope:?} {path}");
        }
    }
}

// spec: PROXY-32
#[test]
fn a_page_without_scripts_has_no_hints_and_says_how_to_get_them() {
    let proxy = start();
    let (head, body) = page(&proxy, "/scripts.html", "Range: bytes=0-3\r\n");
    assert!(head.starts_with("HTTP/1.1 200") && !head.contains("Accept-Ranges"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())) && head.contains("Vary: Accept"), "{head}");
    assert!(body.contains("<meta rel=preconnect") && body.contains("umbel&nbsp;browse"), "{body}");
    let (_, quiet) = page(&proxy, "/", "");
    assert!(quiet.contains("front") && !quiet.contains("umbel"), "a page without scripts says nothing: {quiet}");
    let (head, body) = page(&proxy, "/picture.svg", "");
    assert!(head.contains("Content-Type: text/plain") && body.contains("<svg"), "{head}");
    // A picture in a page, and a program, get the file itself.
    let url = |path: &str| format!("http://{}{path}", host(SITE));
    let svg = proxy.curl(&["-i", "-x", "http://PROXY", &url("/picture.svg")]);
    assert!(svg.contains("Content-Type: image/svg+xml"), "{svg}");
    assert!(proxy.curl(&["-x", "http://PROXY", &url("/scripts.html")]).contains("<link rel=preconnect"));
    assert!(page(&with(Scope::Sites), "/scripts.html", "").1.contains("<link rel=preconnect"));
}

// spec: PROXY-32
#[test]
fn a_browser_does_not_take_one_form_of_a_page_for_the_other() {
    let etag = |scope, path| {
        let (head, _) = page(&with(scope), path, "");
        let tag = head.lines().find_map(|l| l.strip_prefix("ETag: ")).expect("an ETag").to_owned();
        (tag, head)
    };
    let ((without, head), (with_scripts, _)) = (etag(Scope::Everything, "/"), etag(Scope::Sites, "/"));
    assert_ne!(without, with_scripts);
    assert!(head.contains("Cache-Control: private, no-cache"), "{head}");
    let proxy = start();
    assert!(page(&proxy, "/", &format!("If-None-Match: {without}\r\n")).0.starts_with("HTTP/1.1 304"));
    assert!(page(&proxy, "/", &format!("If-None-Match: {with_scripts}\r\n")).0.starts_with("HTTP/1.1 200"));
}

// spec: PROXY-31
#[test]
fn a_proxy_for_sites_reaches_nothing_else() {
    let proxy = with(Scope::Sites);
    assert!(proxy.curl(&["--socks5-hostname", "PROXY", &format!("http://{}/", host(SITE))]).contains("front"));
    proxy.fake.take_log();
    for way in [&["--socks5-hostname", "PROXY"][..], &["-x", "socks4a://PROXY"], &["-x", "http://PROXY"]] {
        let said = proxy.curl(&[way, &["-i", "http://server.test/"]].concat());
        assert!(said.contains(" 403 ") && said.contains("umbel browse --outside"), "{way:?}: {said}");
        for url in ["https://server.test/", "http://server.test:8080/", "http://127.0.0.1:1/"] {
            let out = proxy.run(
                "curl",
                &[&["-sS", "--max-time", "20"], way, &[url, "-o", "/dev/null", "-w", "%{http_code}"]].concat(),
            );
            let said = String::from_utf8_lossy(&out.stdout).into_owned();
            assert!(!out.status.success() || said == "403", "{way:?} {url}: {said}");
        }
    }
    assert_eq!(proxy.status("CONNECT server.test:80 HTTP/1.1\r\nHost: server.test\r\n\r\n"), 403);
    let resolve = [&[5, 1, 0, 5, 0xf0, 0, 3, 11][..], b"server.test", &[0, 0]].concat();
    assert_eq!(proxy.raw(&resolve).get(3), Some(&2), "no name is asked of an exit");
    assert_eq!(proxy.fake.take_log(), [], "the network was asked for nothing");
}
