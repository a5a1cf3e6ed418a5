//! Line quality: packet loss, round-trip time, throughput.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use shared::wire::{CHUNK, Request, Response, line_share};

use super::in_flight::InFlight;
use super::{LinkError, StationClient, Transport};

/// Packets echoed one by one, to measure the round-trip time.
const PINGS: u32 = 40;
const PING_BYTES: usize = 16;
/// Packets in flight, to measure throughput.
const WINDOW: usize = 4;

/// The quality of a line.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LineQuality {
    /// Packets sent.
    pub packets: u32,
    /// Packets lost.
    pub lost: u32,
    /// Packets altered.
    pub altered: u32,
    /// Fraction of packets lost or altered, 0 to 1.
    pub error_rate: f64,
    /// Damaged packets received here.
    pub damaged: u32,
    /// Minimum round-trip time of a short packet, ms; absent if none came back.
    pub round_trip_min_ms: Option<f64>,
    /// Median of it.
    pub round_trip_median_ms: Option<f64>,
    /// Greatest.
    pub round_trip_max_ms: Option<f64>,
    /// Throughput each way, bytes per second.
    pub bytes_per_second: f64,
    /// The same as a fraction of the line's capacity, 0 to 1.
    pub line_share: f64,
}

impl LineQuality {
    /// Whether nothing was lost or altered.
    pub const fn is_clean(&self) -> bool {
        self.lost == 0 && self.altered == 0
    }
}

/// Sends packets for `time` and checks the echoes. `on_step` receives the elapsed fraction of the time.
///
/// # Errors
/// [`LinkError`] when the line is lost or the station refuses.
pub fn measure<T: Transport>(
    station: &mut StationClient<T>,
    time: Duration,
    stop: &AtomicBool,
    mut on_step: impl FnMut(f64),
) -> Result<LineQuality, LinkError> {
    let damaged = station.stats().damaged;
    let mut tally = EchoTally { packets: 0, lost: 0, altered: 0, in_flight: InFlight::new() };
    let mut round_trips = Vec::new();
    for _ in 0..PINGS {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let sent = Instant::now();
        tally.send(station, PING_BYTES)?;
        if tally.receive(station)? > 0 {
            round_trips.push(sent.elapsed().as_secs_f64() * 1000.0);
        }
    }
    round_trips.sort_by(f64::total_cmp);

    let start = Instant::now();
    let mut bytes = 0;
    while !stop.load(Ordering::Relaxed) && start.elapsed() < time {
        while tally.in_flight.len() < WINDOW {
            tally.send(station, CHUNK as usize)?;
        }
        bytes += tally.receive(station)?;
        on_step(start.elapsed().as_secs_f64() / time.as_secs_f64());
        station.take_events();
    }
    let seconds = start.elapsed().as_secs_f64().max(1e-9);
    while tally.in_flight.len() > 0 {
        tally.receive(station)?;
    }
    let bytes_per_second = bytes as f64 / seconds;
    Ok(LineQuality {
        packets: tally.packets,
        lost: tally.lost,
        altered: tally.altered,
        error_rate: f64::from(tally.lost + tally.altered) / f64::from(tally.packets.max(1)),
        damaged: station.stats().damaged - damaged,
        round_trip_min_ms: round_trips.first().copied(),
        round_trip_median_ms: round_trips.get(round_trips.len() / 2).copied(),
        round_trip_max_ms: round_trips.last().copied(),
        bytes_per_second,
        line_share: line_share(bytes_per_second, station.baud()),
    })
}

struct EchoTally {
    packets: u32,
    lost: u32,
    altered: u32,
    in_flight: InFlight<Vec<u8>>,
}

impl EchoTally {
    fn send<T: Transport>(&mut self, station: &mut StationClient<T>, length: usize) -> Result<(), LinkError> {
        let bytes = pattern(self.packets, length);
        self.packets += 1;
        let sequence = station.send(&Request::Echo, &bytes)?;
        self.in_flight.push(sequence, bytes);
        Ok(())
    }

    /// Waits for a packet to come back; the bytes of those that did, whole. The line keeps order: those
    /// sent before it are lost.
    fn receive<T: Transport>(&mut self, station: &mut StationClient<T>) -> Result<usize, LinkError> {
        let Some(reply) = station.next_reply(station.response_timeout())? else {
            self.lost += self.in_flight.clear().count() as u32;
            return Ok(0);
        };
        let Some((bytes, lost)) = self.in_flight.acknowledge(reply.sequence) else { return Ok(0) };
        self.lost += lost.len() as u32;
        match reply.response {
            Some(Response::Refused(refusal)) => Err(refusal.into()),
            Some(Response::Echo) if reply.bulk == bytes => Ok(bytes.len()),
            _ => {
                self.altered += 1;
                Ok(0)
            }
        }
    }
}

/// Bytes of every value without a short period: a Lehmer multiplicative generator, seeded by the packet.
fn pattern(seed: u32, length: usize) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    (0..length)
        .map(|_| {
            state = state * 48_271 % 0x7FFF_FFFF;
            state as u8
        })
        .collect()
}
