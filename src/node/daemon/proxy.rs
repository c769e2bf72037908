//! The local proxy of a client, on the client's thread.

use crate::api::Client;
use crate::host::error::{Error, ErrorKind};
use crate::host::system;
use crate::node::proxy::{BindError, Config, Proxy, Scope};
use core::net::SocketAddr;
use tokio::sync::oneshot;

/// A running proxy. Its streams break when its client ends.
pub(super) struct LocalProxy {
    addr: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl LocalProxy {
    /// Listens on `addr`, a loopback address, and serves through the client. `by_destination`: each destination gets circuits
    /// of its own; `site_scripts`: sites may run scripts in any browser.
    pub(super) async fn start(
        client: &Client,
        addr: SocketAddr,
        by_destination: bool,
        site_scripts: bool,
    ) -> Result<Self, Error> {
        let scope = if site_scripts { Scope::EverythingWithScripts } else { Scope::Everything };
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let bound = client.node().run(move |local| async move {
            let mut rng = system::rng()?;
            let config = Config { scope, by_destination, ..Config::new(addr, local.private_exit()) };
            let proxy = Proxy::bind(config, &mut rng).await.map_err(bind_error)?;
            let addr = proxy.local_addr();
            tokio::task::spawn_local(async move {
                proxy.serve(local, async { drop(stopped.await) }).await;
                let _ = end.send(());
            });
            Ok::<_, Error>(addr)
        });
        let addr = bound.await??;
        Ok(Self { addr, stop, ended })
    }

    /// Where programs connect to.
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Refuses new connections and waits until the open ones have ended.
    pub(super) async fn drain(self) {
        drop(self.stop);
        let _ = self.ended.await;
    }
}

fn bind_error(why: BindError) -> Error {
    let (kind, hint) = match why {
        BindError::Busy(_) => (ErrorKind::PortBusy, "stop the other program, or choose another port with --socks"),
        BindError::NotLoopback(_) => (ErrorKind::Usage, "give a loopback address such as 127.0.0.1:6250"),
        BindError::Failed(..) => (ErrorKind::Io, "choose another address with --socks"),
    };
    Error::new(kind, why.to_string()).with_hint(hint)
}
