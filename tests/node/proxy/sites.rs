//! Sites, answered by the node itself.

use super::fake::{BREAKS, FILE, NO_PATH, NOT_FOUND, SITE, TAMPERED, TIMED_OUT, WRONG_KEY, file, host};
use super::start;

// spec: PROXY-18
#[test]
fn a_site_is_there_by_every_protocol() {
    let proxy = start();
    let url = format!("http://{}/", host(SITE));
    let upper = format!("http://{}/", host(SITE).to_uppercase());
    let ways: [&[&str]; 5] = [
        &["--socks5-hostname", "PROXY"],
        &["-x", "socks4a://PROXY"],
        &["-x", "http://PROXY"],
        &["-p", "-x", "http://PROXY"],
        &["-0", "-x", "http://PROXY"],
    ];
    for way in ways {
        assert!(proxy.curl(&[way, &[&url]].concat()).contains("front"), "{way:?}");
        assert!(proxy.curl(&[way, &[&upper]].concat()).contains("front"), "{way:?}");
    }
    let opened = proxy.fake.take_log();
    assert_eq!(opened.len(), 1, "one opened object answers them all");
    let twice =
        proxy.curl(&["-x", "http://PROXY", "-w", "%{num_connects} ", "-o", "/dev/null", "-o", "/dev/null", &url, &url]);
    assert_eq!(twice, "1 0 ", "a connection serves several requests");
}

#[test]
fn paths_lead_to_files_directories_to_their_index() {
    let proxy = start();
    let get = |path: &str| {
        let url = format!("http://{}{path}", host(SITE));
        proxy.curl(&["-x", "http://PROXY", "-w", "\n%{http_code} %{redirect_url}", "--path-as-is", &url])
    };
    assert!(get("/index.html").contains("front"));
    assert!(get("/docs/?q").contains("<h1>docs"));
    assert!(get("/with%20space.txt").starts_with("spaced\n200"));
    assert!(get("/empty.txt").starts_with("\n200"));
    let to = get("/docs?q=1");
    assert!(to.ends_with(&format!("301 http://{}/docs/?q=1", host(SITE))), "{to}");
    let to = get("//docs");
    assert!(to.ends_with(&format!("301 http://{}/docs/", host(SITE))), "no way out by two slashes: {to}");
    for path in ["/nothing", "/docs/nothing", "/%", "/%00", "/../index.html", "/index.html/"] {
        assert!(get(path).contains("\n404"), "{path}");
    }
}

// spec: PROXY-25
#[test]
fn a_file_stands_at_the_root_and_gives_ranges() {
    let proxy = start();
    let url = format!("http://{}/", host(FILE));
    let get = |arguments: &[&str]| {
        let out =
            proxy.run("curl", &[&["-sS", "--max-time", "20", "-x", "socks5h://PROXY"], arguments, &[&url]].concat());
        assert!(out.status.success(), "{out:?}");
        out.stdout
    };
    let whole = file();
    assert!(get(&[]) == whole);
    assert_eq!(get(&["-r", "0-9"]), whole[..10]);
    assert!(get(&["-r", "99990-300000"]) == whole[99_990..=300_000]);
    assert_eq!(get(&["-r", "-7"]), whole[whole.len() - 7..]);
    let head = String::from_utf8(get(&["-I", "-r", "5-6"])).unwrap();
    assert!(
        head.contains("200 OK") && head.contains("Content-Length: 1000000") && head.contains("Accept-Ranges: bytes")
    );
    assert!(head.contains("filename*=UTF-8''a%20file.bin") && head.contains("Content-Type: application/x-test"));
    let partial = String::from_utf8_lossy(&get(&["-i", "-r", "5-6"])).into_owned();
    assert!(partial.contains("206 Partial") && partial.contains("Content-Range: bytes 5-6/1000000"), "{partial}");
    let outside = String::from_utf8_lossy(&get(&["-i", "-r", "1000000-"])).into_owned();
    assert!(outside.contains(" 416 ") && outside.contains("Content-Range: bytes */1000000"), "{outside}");

    let etag = head.lines().find_map(|l| l.strip_prefix("ETag: ")).unwrap();
    assert_eq!(get(&["-r", "0-9", "-H", &format!("If-Range: {etag}")]).len(), 10);
    assert_eq!(get(&["-r", "0-9", "-H", "If-Range: \"other\""]).len(), whole.len());
    assert!(get(&["-i", "-H", &format!("If-None-Match: {etag}")]).starts_with(b"HTTP/1.1 304"));
}

// spec: PROXY-26
#[test]
fn every_answer_keeps_the_page_in_its_site() {
    let proxy = start();
    for path in ["/", "/evil.bin", "/nothing"] {
        let url = format!("http://{}{path}", host(SITE));
        let answer = proxy.curl(&["-i", "-x", "http://PROXY", &url]).to_lowercase();
        for field in [
            "content-security-policy: default-src '",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
        ] {
            assert!(answer.contains(field), "{path}: {answer}");
        }
        assert!(answer.contains("cross-origin-resource-policy: same-origin"));
        assert!(!answer.contains("access-control-allow") && !answer.contains("set-cookie"), "{path}: {answer}");
    }
}

// spec: PROXY-27
#[test]
fn each_failure_has_its_own_page() {
    let proxy = start();
    let cases = [(NOT_FOUND, 404), (WRONG_KEY, 403), (TAMPERED, 502), (NO_PATH, 502), (TIMED_OUT, 504)];
    let mut pages = Vec::new();
    for (root, status) in cases {
        let page = proxy.curl(&["-i", "-x", "http://PROXY", &format!("http://{}/", host(root))]);
        assert!(page.starts_with(&format!("HTTP/1.1 {status} ")), "{page}");
        assert!(page.contains("Cache-Control: no-store"));
        pages.push(page.split("<h1>").nth(1).unwrap().to_owned());
    }
    pages.sort();
    pages.dedup();
    assert_eq!(pages.len(), cases.len(), "each says something else");
    let cut = &host(SITE)[3..];
    let page = proxy.curl(&["-i", "--socks5-hostname", "PROXY", &format!("http://{cut}/")]);
    assert!(page.starts_with("HTTP/1.1 400 ") && page.contains("cut off"), "{page}");
}

// spec: PROXY-28
#[test]
fn content_that_breaks_off_is_never_ended_as_if_whole() {
    let proxy = start();
    for way in ["socks5h://PROXY", "http://PROXY"] {
        for range in ["0-999999", "0-600000"] {
            let url = format!("http://{}/", host(BREAKS));
            let out = proxy.run("curl", &["-sS", "-o", "/dev/null", "--max-time", "20", "-r", range, "-x", way, &url]);
            assert!(!out.status.success(), "curl took a part for the whole");
        }
    }
    // Broken before the first byte: that still gets a page.
    let answer = proxy.curl(&["-i", "-x", "http://PROXY", "-r", "600000-", &format!("http://{}/", host(BREAKS))]);
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}
