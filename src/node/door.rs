//! The proxy of one browser, on its client's thread.

use crate::api::Client;
use crate::host::error::{Error, ErrorKind};
use crate::host::system;
use crate::node::proxy::{BindError, Config, Proxy, Scope};
use core::net::{Ipv4Addr, SocketAddr};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// A proxy for one browser, at an address of its own and with circuits of its own. Dropping it resets the browser's streams.
pub(crate) struct BrowserProxy {
    addr: SocketAddr,
    task: AbortHandle,
    ended: oneshot::Receiver<()>,
}

impl BrowserProxy {
    /// Opens a proxy on the client: for hosts outside the network if `outside`, else for sites.
    pub(crate) async fn open(client: &Client, outside: bool) -> Result<Self, Error> {
        let scope = if outside { Scope::Everything } else { Scope::Sites };
        let (end, ended) = oneshot::channel();
        let opened = client.node().run(move |local| async move {
            let mut rng = system::rng()?;
            // spec: PROXY-33
            let [a, b, c] = rng.bytes::<3>();
            // Without the first and the last address of 127.0.0.0/8, which are not for hosts.
            let ip = Ipv4Addr::new(127, a.clamp(1, 254), b, c.clamp(1, 254));
            let config = |ip| Config { scope, ..Config::new(SocketAddr::from((ip, 0)), local.private_exit()) };
            let proxy = match Proxy::bind(config(ip), &mut rng).await {
                // Some systems give a machine one loopback address only.
                Err(BindError::Failed(..)) => Proxy::bind(config(Ipv4Addr::LOCALHOST), &mut rng).await,
                bound => bound,
            };
            let proxy = proxy.map_err(|e| Error::new(ErrorKind::Io, e.to_string()))?;
            let addr = proxy.local_addr();
            let task = tokio::task::spawn_local(async move {
                let _end = end;
                proxy.serve(local, core::future::pending()).await;
            });
            Ok::<_, Error>((addr, task.abort_handle()))
        });
        let (addr, task) = opened.await??;
        Ok(Self { addr, task, ended })
    }

    /// Where the browser connects to.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits until the proxy stops because its client has ended.
    pub(crate) async fn ended(&mut self) {
        let _ = (&mut self.ended).await;
    }
}

impl Drop for BrowserProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
