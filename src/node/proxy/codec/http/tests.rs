use super::*;

fn ok(text: &str) -> HttpRequest {
    let (request, used) = parse(text.as_bytes()).unwrap().unwrap();
    assert_eq!(used, text.len());
    request
}

fn err(text: &str) -> HeadError {
    parse(text.as_bytes()).unwrap_err()
}

#[test]
fn a_url_gives_host_port_and_path() {
    let r = ok("GET http://Example.com:8080/a?b HTTP/1.1\r\nHost: other\r\n\r\n");
    let target = Target::Host("Example.com".into(), 8080);
    assert_eq!(r.form, Form::Absolute { target, path: "/a?b".into() });
    for (url, path) in [("http://h", "/"), ("HTTP://h?q", "/?q"), ("http://h/", "/")] {
        let r = ok(&format!("GET {url} HTTP/1.0\r\n\r\n"));
        assert_eq!(r.form, Form::Absolute { target: Target::Host("h".into(), 80), path: path.into() });
    }
}

#[test]
fn a_tunnel_names_host_and_port() {
    for (text, target) in [
        ("h:443", Target::Host("h".into(), 443)),
        ("1.2.3.4:22", Target::Addr("1.2.3.4:22".parse().unwrap())),
        ("[::1]:22", Target::Addr("[::1]:22".parse().unwrap())),
    ] {
        assert_eq!(ok(&format!("CONNECT {text} HTTP/1.0\r\n\r\n")).form, Form::Tunnel(target));
    }
    for bad in ["h", "h:", "h:0", "h:65536", "h:+1", "u@h:1", "[::1", "[::1]x:1", ":80", "h:1:2", "http://h/"] {
        assert_eq!(err(&format!("CONNECT {bad} HTTP/1.0\r\n\r\n")), HeadError::BadTarget, "{bad}");
    }
}

#[test]
fn a_path_alone_goes_with_the_host_field() {
    let r = ok("GET /x HTTP/1.1\r\nhOsT: a.umbel\r\n\r\n");
    assert_eq!(r.form, Form::Origin { target: Some(Target::Host("a.umbel".into(), 80)), path: "/x".into() });
}

// spec: PROXY-12
#[test]
fn what_two_readers_could_read_differently_is_refused() {
    let cases = [
        ("GET / HTTP/1.1\nHost: a\n\n", HeadError::BadLine),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", HeadError::BadLine),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", HeadError::BadLine),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n", HeadError::BadField),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", HeadError::BadField),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", HeadError::BadField),
        ("GET / HTTP/1.1\r\n\r\n", HeadError::BadHost),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", HeadError::BadHost),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", HeadError::BadHost),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", HeadError::BadHost),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            HeadError::AmbiguousLength,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", HeadError::AmbiguousLength),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", HeadError::AmbiguousLength),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", HeadError::AmbiguousLength),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", HeadError::AmbiguousLength),
        ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", HeadError::AmbiguousLength),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", HeadError::AmbiguousLength),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::BadRequestLine),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", HeadError::BadRequestLine),
        ("G\u{e4}T / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::BadRequestLine),
        ("GET /\r\nHost: a\r\n\r\n", HeadError::BadRequestLine),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", HeadError::BadVersion),
        ("GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::BadScheme),
        ("GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::BadTarget),
        ("GET http://a/#x HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::BadTarget),
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::BadTarget),
        ("GET http://a/ HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Bearer x\r\n\r\n", HeadError::BadAuthorization),
        ("GET http://a/ HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic !\r\n\r\n", HeadError::BadAuthorization),
    ];
    for (text, reason) in cases {
        assert_eq!(err(text), reason, "{text:?}");
    }
}

// spec: PROXY-11
#[test]
fn a_head_without_an_end_is_refused_at_sixteen_kibibytes() {
    let endless = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(HEAD_MAX));
    assert_eq!(parse(&endless.as_bytes()[..HEAD_MAX - 1]), Ok(None));
    assert_eq!(err(&endless), HeadError::TooLong);
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: a\r\n".repeat(FIELDS_MAX));
    assert_eq!(err(&many), HeadError::TooLong);
}

// spec: PROXY-13
#[test]
fn what_is_between_client_and_proxy_goes_no_further() {
    let r = ok("POST http://h:81/x HTTP/1.1\r\nHost: wrong\r\nProxy-Authorization: Basic YTpiOmM=\r\n\
         Proxy-Connection: keep-alive\r\nConnection: keep-alive, X-Hop, content-length\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
         TE: trailers\r\nUpgrade: h2c\r\nAccept: */*\r\nContent-Length: 3\r\n\r\n");
    assert_eq!(r.credentials, Credentials { user: b"a".to_vec(), password: b"b:c".to_vec() });
    assert_eq!(r.body, BodyLength::Known(3));
    let forwarded = String::from_utf8(r.forward().unwrap()).unwrap();
    assert_eq!(
        forwarded,
        "POST /x HTTP/1.1\r\nHost: h:81\r\nAccept: */*\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
    );
}

#[test]
fn every_cut_waits() {
    let text = "GET http://h/x HTTP/1.1\r\nHost: h\r\nCookie: \u{e4}\r\n\r\n";
    for cut in 0..text.len() {
        assert_eq!(parse(&text.as_bytes()[..cut]), Ok(None), "{cut}");
    }
    let with_body = [text.as_bytes(), b"\n\0body"].concat();
    assert_eq!(parse(&with_body).unwrap().unwrap().1, text.len());
}

#[test]
fn a_client_says_whether_it_comes_back() {
    assert!(!ok("GET / HTTP/1.1\r\nHost: h\r\n\r\n").wants_close());
    assert!(ok("GET / HTTP/1.1\r\nHost: h\r\nConnection: x, Close\r\n\r\n").wants_close());
    assert!(ok("GET / HTTP/1.0\r\n\r\n").wants_close());
    assert!(!ok("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").wants_close());
}

proptest::proptest! {
    #[test]
    fn what_is_accepted_reads_the_same_when_written_again(
        method in "(GET|HEAD|POST|CONNECT|OPTIONS)", host in "[a-z0-9.\\[\\]:-]{1,12}", path in "[/?a-z%*]{0,6}",
        fields in proptest::collection::vec("[A-Za-z-]{1,6}:[ -~]{0,8}", 0..5),
    ) {
        for target in [host.clone(), path.clone(), format!("http://{host}{path}")] {
            let text = format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{}\r\n", fields.iter().map(|f| format!("{f}\r\n")).collect::<String>());
            if let Ok(Some((request, _))) = parse(text.as_bytes()) {
                assert_eq!(parse(&request.encode()).unwrap().unwrap().0, request, "{text:?}");
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(input in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        let _ = parse(&input);
        let _ = Body::new(BodyLength::Chunked).take(&input);
    }
}
