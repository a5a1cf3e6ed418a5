//! The page's server: one file, a WebSocket to follow, and a place to put a model.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket};
use axum::extract::{DefaultBodyLimit, Query, Request, State, WebSocketUpgrade};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use host_console::Failure;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;

use super::access::Access;
use super::command::Command;
use super::feed::{Pace, Seat, StationSeat};
use crate::support::http_server::HttpServer;

/// Where the page is unless it is told otherwise: on this machine only.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8070);
/// Longest model that is taken, bytes: far more than a station does.
const MAX_MODEL: usize = 64 << 20;
/// Longest command, bytes.
const MAX_COMMAND: usize = 4096;
/// What a viewer says when it has drawn a frame.
const DRAWN: &str = "drawn";
const PAGE: &str = include_str!("page.html");
/// Nothing comes from elsewhere, and nothing goes there.
const POLICY: &str =
    "default-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src blob: data:";

/// Where the page is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageAddress(String);

impl std::fmt::Display for PageAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Serves the page in a thread of its own until the program ends.
///
/// # Errors
/// [`Failure`] when the address is taken or is none of this machine.
pub fn serve(address: SocketAddr, seats: Vec<StationSeat>) -> Result<PageAddress, Failure> {
    let server = HttpServer::bind(address).map_err(|error| {
        Failure::usage(
            format!("no page can be served at {address}: {error}"),
            "name another address with --listen, such as 127.0.0.1:0 for any free port",
        )
    })?;
    let access = Access::of(server.address());
    let page = PageAddress(format!("http://{}/{}", server.address(), access.query()));
    server.serve("page", router(seats.into(), access));
    Ok(page)
}

/// The stations, in the order in which a person named them.
type Seats = Arc<[StationSeat]>;

fn router(seats: Seats, access: Access) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/stations", get(stations))
        .route("/follow", get(follow))
        .route("/model", post(model).layer(DefaultBodyLimit::max(MAX_MODEL)))
        .with_state(seats)
        .layer(middleware::from_fn(guard))
        .layer(Extension(access))
}

/// Answers those alone who may ask, and says what a browser may do with the answer.
async fn guard(Extension(access): Extension<Access>, request: Request, next: Next) -> Response {
    if !access.allows(request.headers(), request.uri().query().unwrap_or_default()) {
        let told = "open the address that nuclei-host live printed, with its token\n";
        return (StatusCode::FORBIDDEN, told).into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(cookie) = access.cookie().and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
        headers.insert(header::SET_COOKIE, cookie);
    }
    response
}

async fn page() -> Html<&'static str> {
    Html(PAGE)
}

/// The stations' ports, in order: their places are what the other addresses call them by.
async fn stations(State(seats): State<Seats>) -> Response {
    let ports: Vec<&str> = seats.iter().map(|seat| seat.port.as_str()).collect();
    serde_json::to_string(&ports).map_or_else(
        |_| StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        |json| ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
    )
}

/// Which station is meant; the first where none is named.
#[derive(Debug, Deserialize)]
struct Which {
    #[serde(default)]
    station: usize,
}

fn no_station() -> Response {
    (StatusCode::NOT_FOUND, "there is no such station; open the page again\n").into_response()
}

async fn follow(
    State(seats): State<Seats>,
    Query(Which { station }): Query<Which>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Some(StationSeat { seat, .. }) = seats.get(station).cloned() else { return no_station() };
    upgrade.max_message_size(MAX_COMMAND).on_upgrade(|socket| view(socket, seat))
}

async fn send_all(socket: &mut WebSocket, messages: Vec<Message>) -> Result<(), axum::Error> {
    for message in messages {
        socket.send(message).await?;
    }
    Ok(())
}

/// Tells one viewer what happens, and passes on what it asks for, until it leaves.
async fn view(mut socket: WebSocket, Seat { feed, commands }: Seat) {
    let (latest, mut changes, _viewing) = feed.follow();
    let mut pace = Pace::default();
    if send_all(&mut socket, latest).await.is_err() {
        return;
    }
    loop {
        tokio::select! {
            change = changes.recv() => match change {
                Ok(change) => {
                    if pace.takes(&change) && socket.send(change.message).await.is_err() {
                        return;
                    }
                }
                Err(RecvError::Lagged(_)) => {
                    if send_all(&mut socket, feed.state()).await.is_err() {
                        return;
                    }
                }
                Err(RecvError::Closed) => return,
            },
            asked = socket.recv() => match asked {
                Some(Ok(Message::Text(text))) if text.as_str() == DRAWN => pace.drawn(),
                Some(Ok(Message::Text(text))) => {
                    if let Ok(command) = serde_json::from_str(&text) {
                        // A full queue is a person who presses faster than the station acts.
                        let _ = commands.try_send(command);
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
        }
    }
}

#[derive(Debug, Deserialize)]
struct ModelName {
    name: String,
}

async fn model(
    State(seats): State<Seats>,
    Query(Which { station }): Query<Which>,
    Query(ModelName { name }): Query<ModelName>,
    body: Bytes,
) -> Response {
    let Some(StationSeat { seat, .. }) = seats.get(station) else { return no_station() };
    match seat.commands.try_send(Command::Flash { name, onnx: body.to_vec() }) {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the station is busy; try again\n").into_response(),
    }
}
