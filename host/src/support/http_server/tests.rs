use std::io::{Read as _, Write as _};
use std::net::TcpStream as Client;
use std::time::Instant;

use axum::Extension;
use axum::routing::get;

use super::*;

/// Far longer than any of the limits below.
const PATIENCE: Duration = Duration::from_secs(20);
const LIMITS: ServerLimits = ServerLimits {
    head_timeout: Duration::from_millis(300),
    idle_timeout: Duration::from_millis(600),
    connections: 6,
    per_address: 4,
};
/// More than a socket's buffers hold.
const LARGE: usize = 64 << 20;

/// A server of a short text at `/`, of a long one at `/large`, and of one for viewers at `/viewer`.
fn serve(limits: ServerLimits) -> SocketAddr {
    let server = HttpServer::bind_within("127.0.0.1:0".parse().unwrap(), limits).unwrap();
    let address = server.address();
    let viewer = |Extension(admission): Extension<ConnectionGrant>| async move {
        admission.grant();
        "seen"
    };
    let router = Router::new()
        .route("/", get(async || "here"))
        .route("/large", get(async || vec![b'x'; LARGE]))
        .route("/viewer", get(viewer));
    server.serve("test", router);
    address
}

fn connect(address: SocketAddr, sent: &str) -> Client {
    let mut client = Client::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    // The server may have closed it already.
    let _ = client.write_all(sent.as_bytes());
    client
}

/// What the server sends until it closes the connection.
fn received(mut client: Client) -> String {
    let mut bytes = Vec::new();
    let mut part = [0; 1 << 16];
    loop {
        match client.read(&mut part) {
            Ok(0) => break,
            Ok(length) => bytes.extend_from_slice(&part[..length]),
            Err(error) => {
                assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "the server keeps the connection open");
                break;
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

#[test]
fn half_sent_requests_and_silent_connections_are_closed() {
    let address = serve(LIMITS);
    for sent in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: local", &request("/")] {
        let start = Instant::now();
        let answer = received(connect(address, sent));
        assert!(start.elapsed() >= LIMITS.head_timeout / 2, "{sent:?} is closed at once");
        assert_eq!(answer.ends_with("here"), sent == request("/"), "{sent:?}: {answer}");
    }
}

#[test]
fn a_head_that_arrives_byte_by_byte_is_too_late() {
    let address = serve(LIMITS);
    let mut client = connect(address, "");
    let start = Instant::now();
    let mut ending = "x".repeat(10_000).into_bytes().into_iter();
    client.write_all(b"GET / HTTP/1.1\r\nX-Slow: ").unwrap();
    client.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let is_closed = |client: &mut Client| match client.read(&mut [0; 256]) {
        Ok(length) => length == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    };
    while !is_closed(&mut client) {
        assert!(start.elapsed() < PATIENCE, "the server waits for every byte");
        let _ = client.write_all(&[ending.next().unwrap()]);
    }
}

#[test]
fn a_client_that_does_not_read_is_closed() {
    let address = serve(LIMITS);
    let mut client = connect(address, &request("/large"));
    let start = Instant::now();
    // It goes on sending, which does not count.
    while client.write_all(b"G").is_ok() {
        assert!(start.elapsed() < PATIENCE, "the server waits for ever");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_flood_from_one_address_keeps_nobody_out() {
    // Nothing but the flood itself closes a connection within this test.
    let address = serve(ServerLimits { head_timeout: 2 * PATIENCE, idle_timeout: 2 * PATIENCE, ..LIMITS });
    let mut viewer = connect(address, &request("/viewer"));
    let mut answer = [0; 256];
    assert!(viewer.read(&mut answer).unwrap() > 0);
    let mut flood: Vec<Client> = (0..300).map(|_| connect(address, "GET / HT")).collect();
    // A newcomer is answered, though the address has all of its connections.
    let mut newcomer = connect(address, &request("/"));
    assert!(newcomer.read(&mut answer).unwrap() > 0);
    viewer.write_all(request("/viewer").as_bytes()).unwrap();
    assert!(viewer.read(&mut answer).unwrap() > 0, "the viewer was closed");
    // All but the newest of the flood are closed.
    flood.truncate(300 - LIMITS.per_address);
    for client in flood {
        assert_eq!(received(client), "");
    }
}
