//! The local proxy with real programs. Its upstream is no network but a table of names and objects in memory, so that
//! only the proxy is on trial.

mod ends;
mod fake;
mod forwarding;
mod headers;
mod log;
mod programs;
mod refusals;
mod scripts;
mod sites;

use fake::{Fake, serve_http};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output};
use std::sync::mpsc;
use std::time::Duration;
use tokio::sync::oneshot;
use umbel::base::rng::Rng;
use umbel::node::proxy::{Config, Proxy};

/// A proxy on a thread of its own, which ends when this is dropped.
struct Running {
    address: SocketAddr,
    fake: Fake,
    stop: Option<oneshot::Sender<()>>,
    ended: mpsc::Receiver<()>,
}

/// Starts a proxy; `server.test` is a small web server.
fn start() -> Running {
    start_with(true)
}

fn start_with(private: bool) -> Running {
    start_as(Config::new("127.0.0.1:0".parse().expect("an address"), private))
}

fn start_as(config: Config) -> Running {
    let fake = Fake::default();
    fake.name("server.test", serve_http());
    let (address_out, address) = mpsc::channel();
    let (ended_out, ended) = mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let upstream = fake.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let proxy = Proxy::bind(config, &mut Rng::from_seed([3; 32])).await.expect("a free port");
            address_out.send(proxy.local_addr()).expect("the test waits");
            let stop = async {
                let _ = stopped.await;
            };
            proxy.serve(upstream, stop).await;
        });
        let _ = ended_out.send(());
    });
    Running { address: address.recv().expect("the proxy listens"), fake, stop: Some(stop), ended }
}

impl Running {
    /// Runs a program; `PROXY` and `PORT` in its arguments stand for the proxy's address and port.
    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let (proxy, port) = (self.address.to_string(), self.address.port().to_string());
        let fill = |a: &&str| a.replace("PROXY", &proxy).replace("PORT", &port);
        let mut command = Command::new(program);
        command.args(arguments.iter().map(fill)).env("http_proxy", format!("http://{proxy}")).env_remove("no_proxy");
        command.output().unwrap_or_else(|why| panic!("{program} is needed for this test: {why}"))
    }

    /// What curl prints; it must succeed.
    fn curl(&self, arguments: &[&str]) -> String {
        let out = self.run("curl", &[&["-sS", "--max-time", "20"], arguments].concat());
        assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).expect("text")
    }

    /// Sends bytes as they are and reads up to the end.
    fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).expect("the proxy accepts");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
        stream.write_all(bytes).expect("sent");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    /// The status line of the answer to these bytes.
    fn status(&self, bytes: &str) -> u16 {
        let answer = String::from_utf8_lossy(&self.raw(bytes.as_bytes())).into_owned();
        answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("no status in {answer:?}"))
    }
}
