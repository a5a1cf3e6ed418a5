//! Uploads a model with a window of chunks in flight, and resends lost ones.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use shared::wire::{ModelDigest, Refusal, Request, Response, SendWindow, StageProgress, WindowConfig};

use super::deadline::Deadline;
use super::flash::{FlashError, FlashProgress};
use super::{LinkError, OperationUpdate, StationClient, Transport};

/// The statistics of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UploadStats {
    /// Bytes of the file sent in this upload; resent bytes count once.
    pub bytes: u32,
    /// How long that took.
    pub time: Duration,
    /// Chunks that were resent.
    pub resent: u32,
}

impl UploadStats {
    /// Bytes of the file per second.
    pub fn bytes_per_second(&self) -> f64 {
        f64::from(self.bytes) / self.time.as_secs_f64().max(1e-9)
    }

    /// Fraction of the line's capacity used by bytes of the file, 0 to 1.
    pub fn line_share(&self, baud: u32) -> f64 {
        // A byte is ten bits on the line: start, eight, stop.
        self.bytes_per_second() * 10.0 / f64::from(baud.max(1))
    }
}

/// How sending ended.
pub(super) enum UploadOutcome {
    /// The station holds all.
    Complete,
    /// The station does not know the model.
    Lost,
    /// The user wants to stop.
    Stopped {
        /// Bytes that the station holds.
        held: u32,
    },
}

/// Sends the missing bytes of a model, and updates `uploaded`.
pub(super) fn send<T: Transport>(
    station: &mut StationClient<T>,
    onnx: &[u8],
    digest: ModelDigest,
    received: u32,
    stop: &AtomicBool,
    uploaded: &mut UploadStats,
    on_update: &mut impl FnMut(OperationUpdate<FlashProgress>),
) -> Result<UploadOutcome, FlashError> {
    let start = Instant::now();
    let now_ms = || start.elapsed().as_millis() as u64;
    let response_ms = u32::try_from(station.timeouts.response.as_millis()).unwrap_or(u32::MAX);
    let config = WindowConfig::for_baud(station.baud(), response_ms);
    let mut window = SendWindow::new(onnx.len() as u32, received, config);
    let mut offsets: Vec<(u16, u32)> = Vec::new();
    let mut deadline = Deadline::after(station.timeouts.restart);
    let ended = loop {
        while let Some(offset) = window.next_to_send(now_ms()) {
            let request = Request::StageChunk { digest, offset };
            offsets.retain(|&(_, sent)| sent != offset);
            offsets.push((station.send(&request, &onnx[window.range(offset)])?, offset));
        }
        if stop.load(Ordering::Relaxed) {
            break UploadOutcome::Stopped { held: window.acked_bytes() };
        }
        let wait = window.next_timeout_ms().map_or(0, |wake| wake.saturating_sub(now_ms())).clamp(1, 250);
        match station.next_reply(Duration::from_millis(wait))? {
            Some(reply) => {
                deadline = Deadline::after(station.timeouts.restart);
                let Some(at) = offsets.iter().position(|&(sequence, _)| sequence == reply.sequence) else {
                    station.stats.late_responses += 1;
                    continue;
                };
                let (_, offset) = offsets.swap_remove(at);
                match reply.response {
                    Some(Response::Stage(StageProgress::Receiving { digest: of, received, .. }))
                        if of == digest =>
                    {
                        window.on_ack(offset, received);
                        on_update(OperationUpdate::Progress(FlashProgress::Stored {
                            stored: window.acked_bytes(),
                        }));
                    }
                    Some(Response::Refused(Refusal::Model(reason))) => return Err(FlashError::Model(reason)),
                    Some(Response::Stage(_) | Response::Refused(Refusal::NotFound)) => {
                        break UploadOutcome::Lost;
                    }
                    Some(Response::Refused(refusal)) => return Err(LinkError::from(refusal).into()),
                    Some(_) | None => return Err(station.unexpected().into()),
                }
            }
            None if deadline.is_over() => {
                return Err(LinkError::Timeout { port: station.port().to_owned() }.into());
            }
            None => {}
        }
        station.take_events().into_iter().map(OperationUpdate::Event).for_each(&mut *on_update);
        if window.is_done() {
            break UploadOutcome::Complete;
        }
    };
    uploaded.bytes += window.acked_bytes().saturating_sub(received);
    uploaded.time += start.elapsed();
    uploaded.resent += window.resent();
    station.stats.retransmits += window.resent();
    Ok(ended)
}
