//! What stands in the head of each answer of the proxy's own: the fields that keep a page in its site.

use super::fake::{FILE, NOT_FOUND, SITE, host};
use super::{Running, start};
use std::collections::BTreeMap;

/// A status and the fields, by their names in lower case; no name comes twice.
fn head(proxy: &Running, request: &str) -> (u16, BTreeMap<String, String>, Vec<u8>) {
    let answer = proxy.raw(request.as_bytes());
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("the end of a head");
    let head = String::from_utf8(answer[..end].to_vec()).expect("text");
    let mut fields = BTreeMap::new();
    for line in head.lines().skip(1) {
        let (name, value) = line.split_once(": ").expect("a field");
        assert!(fields.insert(name.to_lowercase(), value.to_owned()).is_none(), "{name} comes twice");
    }
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    (status, fields, answer[end + 4..].to_vec())
}

fn get(proxy: &Running, root: u8, path: &str, more: &str) -> (u16, BTreeMap<String, String>, Vec<u8>) {
    head(proxy, &format!("GET http://{}{path} HTTP/1.0\r\n{more}\r\n", host(root)))
}

/// Sources that name no other host.
const OWN: [&str; 7] = ["'self'", "'none'", "'unsafe-inline'", "'wasm-unsafe-eval'", "data:", "blob:", "'block'"];

fn directives(policy: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut all = BTreeMap::new();
    // A sandbox takes words of its own, none of which is a source.
    for directive in policy.split(';').filter(|d| !d.trim().starts_with("sandbox")) {
        let mut words = directive.split_whitespace();
        all.insert(words.next().expect("a name"), words.collect());
    }
    all
}

// spec: PROXY-26
#[test]
fn no_answer_lets_a_page_out_or_another_one_in() {
    let proxy = start();
    for (root, path, status) in [
        (SITE, "/", 200),
        (SITE, "/evil.bin", 200),
        (SITE, "/docs", 301),
        (SITE, "/gone", 404),
        (FILE, "/", 200),
        (NOT_FOUND, "/", 404),
    ] {
        let (got, fields, _) = get(&proxy, root, path, "");
        assert_eq!(got, status, "{path}");
        assert_eq!(fields["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(fields["referrer-policy"], "no-referrer", "{path}");
        assert_eq!(fields["cross-origin-resource-policy"], "same-origin", "{path}");
        assert_eq!(fields["cross-origin-opener-policy"], "same-origin", "{path}");
        assert_eq!(fields["x-dns-prefetch-control"], "off", "{path}");
        assert!(fields.keys().all(|name| !name.starts_with("access-control") && name != "set-cookie"), "{path}");
        let policy = directives(&fields["content-security-policy"]);
        let foreign = policy.iter().find(|(_, sources)| sources.is_empty() || !sources.iter().all(|s| OWN.contains(s)));
        assert_eq!(foreign, None, "{path}");
        assert!(policy.contains_key("default-src") && policy.contains_key("frame-ancestors"), "{path}: {policy:?}");
        if status == 200 {
            // What default-src does not reach.
            for directive in ["form-action", "base-uri", "webrtc"] {
                assert!(policy.contains_key(directive), "{path}: {directive}");
            }
            assert_eq!(policy["object-src"], ["'none'"], "{path}");
            for feature in ["geolocation", "camera", "microphone", "usb", "serial", "bluetooth", "midi"] {
                assert!(fields["permissions-policy"].contains(&format!("{feature}=()")), "{path}: {feature}");
            }
            assert!(fields["cache-control"].starts_with("private,"), "{path}: no shared cache keeps it");
        } else {
            assert_eq!(policy["default-src"], ["'none'"], "{path}");
            assert_eq!(fields["cache-control"], if status == 301 || status == 404 { "no-store" } else { "" }, "{path}");
        }
    }
}

// spec: PROXY-24
#[test]
fn a_site_is_read_by_itself_alone() {
    let proxy = start();
    let other = format!("Origin: http://{}\r\n", host(FILE));
    let own = format!("Origin: http://{}\r\n", host(SITE));
    let own_loud = format!("Origin: http://{}\r\n", host(SITE).to_uppercase());
    for (origin, status) in [
        ("", 200),
        (own.as_str(), 200),
        (own_loud.as_str(), 200),
        (other.as_str(), 403),
        ("Origin: null\r\n", 403),
        ("Origin: https://news.example\r\n", 403),
        (&format!("Origin: https://{}\r\n", host(SITE)), 403),
        (&format!("{own}{other}"), 403),
    ] {
        assert_eq!(get(&proxy, SITE, "/", origin).0, status, "{origin}");
    }
    for (method, more, status) in [
        ("GET", "", 200),
        ("HEAD", "", 200),
        ("POST", "Content-Length: 1\r\n", 405),
        ("PUT", "", 405),
        ("OPTIONS", "", 405),
        ("GET", "Content-Length: 1\r\n", 400),
    ] {
        let (got, fields, body) = head(&proxy, &format!("{method} http://{}/ HTTP/1.0\r\n{more}\r\n", host(SITE)));
        assert_eq!(got, status, "{method}");
        assert_eq!(fields.get("allow").map(String::as_str), (status == 405).then_some("GET, HEAD"), "{method}");
        assert_eq!(body.is_empty(), method == "HEAD", "{method}");
        assert!(fields["content-length"].parse::<usize>().unwrap() > 0, "{method}");
    }
}

// spec: PROXY-25
#[test]
fn a_part_is_told_apart_from_the_whole() {
    let proxy = start();
    let (status, fields, body) = get(&proxy, FILE, "/", "");
    assert_eq!((status, fields["content-length"].as_str(), body.len()), (200, "1000000", 1_000_000));
    assert_eq!(fields["accept-ranges"], "bytes");
    assert_eq!(fields["content-disposition"], "inline; filename*=UTF-8''a%20file.bin");
    assert!(!fields.contains_key("content-range"));
    let etag = &fields["etag"];
    assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() == 54, "{etag}");

    let (status, fields, body) = get(&proxy, FILE, "/", "Range: bytes=10-19\r\n");
    assert_eq!((status, fields["content-length"].as_str(), body.len()), (206, "10", 10));
    assert_eq!(fields["content-range"], "bytes 10-19/1000000");
    let (status, fields, _) = get(&proxy, FILE, "/", "Range: bytes=1000000-\r\n");
    assert_eq!((status, fields["content-range"].as_str()), (416, "bytes */1000000"));

    for (tag, status) in [(etag.as_str(), 206), ("\"x\"", 200)] {
        assert_eq!(get(&proxy, FILE, "/", &format!("Range: bytes=10-19\r\nIf-Range: {tag}\r\n")).0, status, "{tag}");
    }

    let head_of = |more: &str| head(&proxy, &format!("HEAD http://{}/ HTTP/1.0\r\n{more}\r\n", host(FILE)));
    let (status, fields, body) = head_of("Range: bytes=10-19\r\n");
    assert_eq!((status, fields["content-length"].as_str(), body.len()), (200, "1000000", 0));
    for (tags, status) in [(etag.clone(), 304), (format!("\"x\", W/{etag}"), 304), ("\"x\"".to_owned(), 200)] {
        let (got, fields, _) = head_of(&format!("If-None-Match: {tags}\r\n"));
        assert_eq!((got, &fields["etag"]), (status, etag), "{tags}");
        assert!(fields["cache-control"].contains("immutable"));
    }
}

#[test]
fn a_connection_stays_where_it_was_asked_to_and_nothing_was_left_unread() {
    let proxy = start();
    for (version, more, stays) in [
        ("1.1", "", true),
        ("1.0", "", false),
        ("1.0", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Content-Length: 1\r\n", false),
    ] {
        let host = host(SITE);
        let first = format!("GET http://{host}/empty.txt HTTP/{version}\r\nHost: {host}\r\n{more}\r\n");
        let second = format!("GET http://{host}/empty.txt HTTP/1.0\r\nHost: {host}\r\n\r\n");
        let answers = String::from_utf8(proxy.raw(format!("{first}{second}").as_bytes())).unwrap();
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1 + usize::from(stays), "HTTP/{version} {more}: {answers}");
        assert_eq!(answers.contains("Connection: keep-alive"), stays, "HTTP/{version} {more}");
    }
}
