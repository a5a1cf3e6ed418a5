//! A small HTTP server.

use std::io;
use std::net::{SocketAddr, TcpListener};

use axum::Router;
use tokio::runtime::{Builder, Runtime};

/// A bound address that does not serve yet.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    address: SocketAddr,
    runtime: Runtime,
}

impl HttpServer {
    /// Binds an address; with port 0, any free one.
    ///
    /// # Errors
    /// When the address is in use, or not of this machine.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { listener, address, runtime })
    }

    /// The address that was bound.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves on a thread of its own until the program ends. `name` is for error messages.
    pub fn serve(self, name: &'static str, router: Router) {
        let Self { listener, runtime, .. } = self;
        std::thread::spawn(move || {
            runtime.block_on(async {
                let served =
                    async { axum::serve(tokio::net::TcpListener::from_std(listener)?, router).await };
                if let Err(error) = served.await {
                    eprintln!("the {name} stopped: {error}");
                }
            });
        });
    }
}
