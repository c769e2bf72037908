//! What the proxy's log says of its users: nothing.

use super::fake::{Fake, NOT_FOUND, SITE, TAMPERED, host, serve_http};
use std::io::Write;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing_subscriber::filter::LevelFilter;
use umbel::base::rng::Rng;
use umbel::node::proxy::{Config, Proxy};

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("one thread").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Sends bytes to the proxy and reads what it answers, up to the end.
async fn ask(proxy: std::net::SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = tokio::net::TcpStream::connect(proxy).await.expect("the proxy accepts");
    stream.write_all(bytes).await.expect("sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

/// A SOCKS 5 request of the user `alice` with the password `wonderland`.
fn socks(command: u8, name: &str, port: u16, rest: &str) -> Vec<u8> {
    let login = b"\x05\x01\x02\x01\x05alice\x0awonderland";
    let head = [5, command, 0, 3, name.len() as u8];
    [&login[..], &head, name.as_bytes(), &port.to_be_bytes(), rest.as_bytes()].concat()
}

/// What stands for "who" and "where to" in the requests below; none of it may be logged.
fn secrets() -> Vec<String> {
    let site = host(SITE);
    let words =
        ["alice", "wonderland", "YWxpY2U6d29uZGVybGFuZA", "server.test", "policy.test", "unknown.test", "printer"];
    let more =
        ["6767", "192.168.1.77", "secret-page", "/docs/", "gone.html", site.split('.').next().unwrap(), &site[60..90]];
    words.into_iter().chain(more).map(str::to_owned).collect()
}

// spec: NODE-2
#[test]
fn the_log_names_neither_user_nor_destination() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!("alike");
        runtime.block_on(tokio::task::LocalSet::new().run_until(everything_a_user_can_do()));
    });
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("alike") && text.contains("DEBUG"), "the log is caught: {text}");
    for secret in secrets() {
        assert!(!text.contains(&secret), "{secret} stands in the log:\n{text}");
    }
}

/// Streams that open and that do not, by every protocol, and a site's pages.
async fn everything_a_user_can_do() {
    let fake = Fake::default();
    fake.name("server.test", serve_http());
    let config = Config::new("127.0.0.1:0".parse().unwrap(), false);
    let proxy = Proxy::bind(config, &mut Rng::from_seed([3; 32])).await.unwrap();
    let address = proxy.local_addr();
    let serving = tokio::task::spawn_local(proxy.serve(fake, std::future::pending()));
    let get = "GET /secret-page HTTP/1.0\r\n\r\n";
    for (name, port, reply) in [
        ("server.test", 6767, 0),
        ("policy.test", 80, 2),
        ("unknown.test", 80, 4),
        ("printer", 80, 2),
        ("192.168.1.77", 80, 2),
    ] {
        let answer = ask(address, &socks(1, name, port, get)).await;
        assert_eq!(answer[..5], [5, 2, 1, 0, 5], "{name}: logged in");
        assert_eq!(answer[5], reply, "{name}");
        ask(address, &socks(0xf0, name, 0, "")).await;
    }
    let login = "Proxy-Authorization: Basic YWxpY2U6d29uZGVybGFuZA==\r\n";
    for name in ["server.test:6767", "policy.test", "unknown.test", "printer", "192.168.1.77"] {
        ask(address, format!("GET http://{name}/secret-page HTTP/1.0\r\n{login}\r\n").as_bytes()).await;
        ask(address, format!("CONNECT {name} HTTP/1.0\r\n{login}\r\n{get}").as_bytes()).await;
    }
    for (root, path) in [(SITE, "/docs/"), (SITE, "/gone.html"), (NOT_FOUND, "/docs/"), (TAMPERED, "/docs/")] {
        let request = format!("GET http://{}{path} HTTP/1.0\r\n{login}\r\n", host(root));
        assert!(ask(address, request.as_bytes()).await.starts_with(b"HTTP/1.1 "));
    }
    ask(address, b"\x05\x01\x02\x01\x05alice").await;
    serving.abort();
}
