//! Sends a model's bytes: a window of chunks in flight, resent where they are lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use shared::wire::{
    ModelDigest, ModelRefusal, Refusal, Request, Response, SendWindow, StageProgress, WindowConfig,
    line_share,
};

use super::deadline::Deadline;
use super::in_flight::InFlight;
use super::{LinkError, OperationUpdate, StationClient, Transport};

/// What an upload cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UploadStats {
    /// Bytes of the file that were sent now. Those sent again count once.
    pub bytes: u32,
    /// How long that took.
    pub time: Duration,
    /// Chunks that were sent again.
    pub resent: u32,
}

impl UploadStats {
    /// Bytes of the file per second.
    pub fn bytes_per_second(&self) -> f64 {
        f64::from(self.bytes) / self.time.as_secs_f64().max(1e-9)
    }

    /// The share of the line's capacity that carried bytes of the file, 0 to 1.
    pub fn line_share(&self, baud: u32) -> f64 {
        line_share(self.bytes_per_second(), baud)
    }
}

/// Why an upload ended early.
pub(super) enum UploadError {
    /// The line or the station.
    Link(LinkError),
    /// The station refuses the model.
    Refused(ModelRefusal),
    /// The station no longer knows the model.
    Lost,
    /// The user wants to stop.
    Stopped {
        /// Bytes that the station holds.
        held: u32,
    },
}

impl From<LinkError> for UploadError {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

/// Sends what the station is missing of a model, and adds the cost to `stats`. The progress is the number of bytes that the
/// station holds.
pub(super) fn upload<T: Transport>(
    station: &mut StationClient<T>,
    (onnx, digest): (&[u8], ModelDigest),
    held: u32,
    stop: &AtomicBool,
    stats: &mut UploadStats,
    on_update: &mut impl FnMut(OperationUpdate<u32>),
) -> Result<(), UploadError> {
    let start = Instant::now();
    let response_ms = u32::try_from(station.timeouts.response.as_millis()).unwrap_or(u32::MAX);
    let config = WindowConfig::for_baud(station.baud(), response_ms);
    let mut window = SendWindow::new(onnx.len() as u32, held, config);
    let result = send_chunks(station, (onnx, digest), &mut window, start, stop, on_update);
    stats.bytes += window.acked_bytes().saturating_sub(held);
    stats.time += start.elapsed();
    stats.resent += window.resent();
    station.stats.retransmits += window.resent();
    result
}

fn send_chunks<T: Transport>(
    station: &mut StationClient<T>,
    (onnx, digest): (&[u8], ModelDigest),
    window: &mut SendWindow,
    start: Instant,
    stop: &AtomicBool,
    on_update: &mut impl FnMut(OperationUpdate<u32>),
) -> Result<(), UploadError> {
    let now_ms = || start.elapsed().as_millis() as u64;
    let mut in_flight = InFlight::new();
    let mut deadline = Deadline::after(station.timeouts.restart);
    while !window.is_done() {
        while let Some(offset) = window.next_to_send(now_ms()) {
            let request = Request::StageChunk { digest, offset };
            // A late response to its first transmission says nothing about the chunks sent since.
            in_flight.retain(|&sent| sent != offset);
            in_flight.push(station.send(&request, &onnx[window.range(offset)])?, offset);
        }
        if stop.load(Ordering::Relaxed) {
            return Err(UploadError::Stopped { held: window.acked_bytes() });
        }
        let wait = window.next_timeout_ms().map_or(0, |at| at.saturating_sub(now_ms())).clamp(1, 250);
        let reply = station.next_reply(Duration::from_millis(wait))?;
        station.take_events().into_iter().map(OperationUpdate::Event).for_each(&mut *on_update);
        let Some(reply) = reply else {
            if deadline.is_over() {
                return Err(LinkError::Timeout { port: station.port().to_owned() }.into());
            }
            continue;
        };
        deadline = Deadline::after(station.timeouts.restart);
        let Some((offset, _)) = in_flight.acknowledge(reply.sequence) else {
            station.stats.late_responses += 1;
            continue;
        };
        match reply.response {
            Some(Response::Stage(StageProgress::Receiving { digest: of, received, .. })) if of == digest => {
                window.on_ack(offset, received);
                on_update(OperationUpdate::Progress(window.acked_bytes()));
            }
            Some(Response::Refused(Refusal::Model(reason))) => return Err(UploadError::Refused(reason)),
            Some(Response::Stage(_) | Response::Refused(Refusal::NotFound)) => {
                return Err(UploadError::Lost);
            }
            Some(Response::Refused(refusal)) => return Err(LinkError::from(refusal).into()),
            Some(_) | None => return Err(station.unexpected().into()),
        }
    }
    Ok(())
}
