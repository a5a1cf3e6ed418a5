//! A small HTTP server that strangers cannot exhaust.
//!
//! It allows few connections, in total and per address, and little time for a request's head and for silence, so that
//! the program keeps files and sockets for its own work, whoever connects.

mod connection_grant;
mod connection_table;
mod idle_timeout;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use axum::Router;
use host_console::warning;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::sys::resource::{Resource, getrlimit};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

pub use connection_grant::ConnectionGrant;
use connection_table::ConnectionTable;
use idle_timeout::IdleTimeout;

/// Pause when a connection cannot be accepted, as when too many files are open.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// What strangers may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLimits {
    /// Longest time for the head of a request, and between two requests.
    pub head_timeout: Duration,
    /// Longest time that a connection waits for its client, to read or to write.
    pub idle_timeout: Duration,
    /// Most connections.
    pub connections: usize,
    /// Most connections from one address.
    pub per_address: usize,
}

impl Default for ServerLimits {
    /// At most a quarter of the files that this program may open.
    fn default() -> Self {
        let open_files = getrlimit(Resource::RLIMIT_NOFILE).map_or(256, |(soft, _)| soft);
        let connections = usize::try_from(open_files / 4).unwrap_or(usize::MAX).clamp(4, 256);
        Self {
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            connections,
            per_address: connections.min(64),
        }
    }
}

/// A bound address that does not serve yet.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    address: SocketAddr,
    runtime: Runtime,
    limits: ServerLimits,
}

impl HttpServer {
    /// Binds an address; with port 0, any free one.
    ///
    /// # Errors
    /// When the address is in use, or not of this machine.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::bind_within(address, ServerLimits::default())
    }

    /// Binds an address, with limits other than the default ones.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_within(address: SocketAddr, limits: ServerLimits) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { listener, address, runtime, limits })
    }

    /// The address that was bound.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves on a thread of its own until the program ends. `name` is for error messages.
    pub fn serve(self, name: &'static str, router: Router) {
        let Self { listener, runtime, limits, .. } = self;
        std::thread::spawn(move || {
            runtime.block_on(async {
                match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => accept(&listener, &router, limits).await,
                    Err(error) => warning!("the {name} stopped: {error}"),
                }
            });
        });
    }
}

async fn accept(listener: &tokio::net::TcpListener, router: &Router, limits: ServerLimits) {
    let mut connections = ConnectionTable::new(limits.connections, limits.per_address);
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
            continue;
        };
        if connections.make_room(peer.ip()) {
            let admission = ConnectionGrant::default();
            let task = tokio::spawn(answer(stream, router.clone(), admission.clone(), limits));
            connections.insert(peer.ip(), &admission, task.abort_handle());
        }
        // Connections that made room close before the next one opens.
        yield_now().await;
    }
}

/// Answers the requests of one connection.
async fn answer(stream: TcpStream, router: Router, admission: ConnectionGrant, limits: ServerLimits) {
    // Counts are small, and must not wait for one another.
    let _ = stream.set_nodelay(true);
    let stream = IdleTimeout::new(stream, limits.idle_timeout, admission.clone());
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(admission.clone());
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    // A client may leave, or send what is no request.
    let _ = connection.await;
}

#[cfg(test)]
mod tests;
