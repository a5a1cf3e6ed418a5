//! The page's server: one file, a WebSocket per viewer, and an upload of models.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

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
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::access_policy::AccessPolicy;
use super::frame_throttle::FrameThrottle;
use crate::monitor::view::{StationChannel, ViewCommand, ViewMessage, ViewerChannel};
use crate::support::http_server::{ConnectionGrant, HttpServer};

/// The default address: on this machine only.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8070);
/// Maximum length of a model, bytes: far more than a station accepts.
const MAX_MODEL: usize = 64 << 20;
/// Longest command, bytes.
const MAX_COMMAND: usize = 4096;
/// Every viewer is sent a ping this often. One from which nothing arrives in between has gone.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// A viewer sends this when it has drawn a frame.
const DRAWN: &str = "drawn";
const PAGE: &str = include_str!("page.html");
/// The page loads nothing from elsewhere, and sends nothing there.
const POLICY: &str =
    "default-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src blob: data:";

/// The page's address.
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
pub fn serve(address: SocketAddr, channels: Vec<StationChannel>) -> Result<PageAddress, Failure> {
    let server = HttpServer::bind(address).map_err(|error| {
        Failure::usage(
            format!("cannot serve the page at {address}: {error}"),
            "choose another address with --listen, such as 127.0.0.1:0 for any free port",
        )
    })?;
    let policy = AccessPolicy::of(server.address());
    let page = PageAddress(format!("http://{}/{}", server.address(), policy.query()));
    server.serve("page", router(channels.into(), policy));
    Ok(page)
}

/// The stations, in the order in which a person named them.
type StationChannels = Arc<[StationChannel]>;

fn router(channels: StationChannels, policy: AccessPolicy) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/stations", get(stations))
        .route("/follow", get(follow))
        .route("/model", post(model).layer(DefaultBodyLimit::max(MAX_MODEL)))
        .with_state(channels)
        .layer(middleware::from_fn(guard))
        .layer(Extension(policy))
}

/// Rejects requests that the access policy does not allow, and sets the headers that restrict the browser.
async fn guard(Extension(policy): Extension<AccessPolicy>, request: Request, next: Next) -> Response {
    if !policy.allows(request.headers(), request.uri().query().unwrap_or_default()) {
        let text = "open the address printed by nuclei-host live, with its token\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    if let Some(admission) = request.extensions().get::<ConnectionGrant>() {
        admission.grant();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(cookie) = policy.cookie().and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
        headers.insert(header::SET_COOKIE, cookie);
    }
    response
}

async fn page() -> Html<&'static str> {
    Html(PAGE)
}

/// The stations' ports, in order: other requests name a station by its index.
async fn stations(State(channels): State<StationChannels>) -> Response {
    let ports: Vec<&str> = channels.iter().map(|channel| channel.port.as_str()).collect();
    serde_json::to_string(&ports).map_or_else(
        |_| StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        |json| ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
    )
}

/// The station of a request; the first by default.
#[derive(Debug, Deserialize)]
struct StationQuery {
    #[serde(default)]
    station: usize,
}

fn no_station() -> Response {
    (StatusCode::NOT_FOUND, "no such station; reload the page\n").into_response()
}

async fn follow(
    State(channels): State<StationChannels>,
    Query(StationQuery { station }): Query<StationQuery>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Some(StationChannel { channel, .. }) = channels.get(station).cloned() else { return no_station() };
    upgrade.max_message_size(MAX_COMMAND).on_upgrade(|socket| view(socket, channel))
}

async fn send(socket: &mut WebSocket, message: &ViewMessage) -> Result<(), axum::Error> {
    match encoded(message) {
        Some(message) => socket.send(message).await,
        None => Ok(()),
    }
}

async fn send_all(socket: &mut WebSocket, messages: Vec<Arc<ViewMessage>>) -> Result<(), axum::Error> {
    for message in messages {
        send(socket, &message).await?;
    }
    Ok(())
}

/// A preview as its frame's number in four bytes, least significant first, and the JPEG; other messages as JSON.
fn encoded(message: &ViewMessage) -> Option<Message> {
    match message {
        ViewMessage::Preview { frame, jpeg } => {
            Some(Message::Binary([&frame.to_le_bytes(), jpeg.as_slice()].concat().into()))
        }
        // Only a map whose keys are not strings could fail, and there is none.
        message => serde_json::to_string(message).ok().map(|json| Message::Text(json.into())),
    }
}

/// Sends messages to one viewer and receives its commands, until it leaves.
async fn view(mut socket: WebSocket, ViewerChannel { feed, commands }: ViewerChannel) {
    let (latest, mut messages, _guard) = feed.follow();
    let mut throttle = FrameThrottle::default();
    if send_all(&mut socket, latest).await.is_err() {
        return;
    }
    let mut pings = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_present = true;
    loop {
        tokio::select! {
            _ = pings.tick() => {
                let was_present = std::mem::take(&mut is_present);
                if !was_present || socket.send(Message::Ping(Bytes::new())).await.is_err() {
                    return;
                }
            },
            message = messages.recv() => match message {
                Ok(message) => {
                    if throttle.admits(&message) && send(&mut socket, &message).await.is_err() {
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
            received = socket.recv() => {
                is_present = true;
                match received {
                    Some(Ok(Message::Text(text))) if text.as_str() == DRAWN => throttle.on_drawn(),
                    Some(Ok(Message::Text(text))) => {
                        if let Ok(command) = serde_json::from_str(&text) {
                            // The queue is full when a person presses buttons faster than the station acts.
                            let _ = commands.try_send(command);
                        }
                    }
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    Some(Ok(_)) => {}
                }
            },
        }
    }
}

#[derive(Debug, Deserialize)]
struct ModelName {
    name: String,
}

async fn model(
    State(channels): State<StationChannels>,
    Query(StationQuery { station }): Query<StationQuery>,
    Query(ModelName { name }): Query<ModelName>,
    body: Bytes,
) -> Response {
    let Some(StationChannel { channel, .. }) = channels.get(station) else { return no_station() };
    match channel.commands.try_send(ViewCommand::Flash { name, onnx: body.to_vec() }) {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the station is busy; try again\n").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::PAGE;
    use crate::station::client::{FLASH_POLL_INTERVAL, Timeouts};

    /// While the station verifies a model, only its responses show that it is connected.
    #[test]
    fn the_page_waits_longer_than_a_flash_is_silent() {
        let (_, rest) = PAGE.split_once("STATION_TIMEOUT_MS = ").unwrap();
        let (number, _) = rest.split_once(';').unwrap();
        let timeout = Duration::from_millis(number.parse().unwrap());
        let one_lost_response = FLASH_POLL_INTERVAL + Timeouts::default().response;
        assert!(one_lost_response < timeout, "{one_lost_response:?} of {timeout:?}");
    }
}
