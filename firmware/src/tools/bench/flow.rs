//! Frames per second through the station's own loop, sequential and pipelined taking turns.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, scope};
use std::time::Instant;

use serde::Serialize;
use shared::DutyCycle;
use shared::wire::{
    Acquisition, BootId, CameraState, Event, Message, ReliableEvent, SequencedEvent, Settings, Stream,
};

use super::BenchError;
use crate::camera::{Camera, CameraError, Frame, Grab, GrabStrategy};
use crate::frames::{Counters, FrameControl, FrameLoop, FrameLoopParts, Scheduling, SourceKind};
use crate::inbox::ServiceEvent;
use crate::inference::Pipeline;
use crate::link::TxQueue;
use crate::runtime::watchdog::ThreadHeartbeat;

/// Turns of each way.
const TURNS: usize = 3;
/// The highest baud rate; the transmit queue does not matter here.
const BAUD: u32 = 921_600;

/// Throughput and latency with a camera that always has a frame.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Flow {
    /// One stage after the other.
    in_turn: Rate,
    /// Pipelined; `null` with one thread, where the station is sequential.
    overlapped: Option<Rate>,
}

/// Medians over the turns.
#[derive(Debug, Clone, Copy, Serialize)]
struct Rate {
    frames_per_s: f64,
    /// From the frame's exposure to the packet with its report.
    latency_ms: f64,
}

/// A camera that replays recorded frames without delay.
#[derive(Clone)]
struct Replay {
    frames: Arc<[Frame]>,
    left: usize,
    taken: Arc<Mutex<Vec<Instant>>>,
}

impl Camera for Replay {
    fn name(&self) -> &'static str {
        "replay"
    }

    fn grab(&mut self, _pace: GrabStrategy) -> Result<Grab, CameraError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(Grab::Finished) };
        self.left = left;
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        Ok(Grab::Frame(Box::new(self.frames[left % self.frames.len()].clone())))
    }
}

impl Flow {
    /// Sends `count` frames each way.
    pub(super) fn measure(
        mut pipeline: Pipeline,
        threads: NonZeroUsize,
        frames: &Arc<[Frame]>,
        count: usize,
    ) -> Result<Self, BenchError> {
        let ways: &[Scheduling] = match Scheduling::of(threads) {
            Scheduling::Sequential => &[Scheduling::Sequential],
            Scheduling::Pipelined => &[Scheduling::Sequential, Scheduling::Pipelined],
        };
        let mut rates = vec![Vec::new(); ways.len()];
        for _ in 0..TURNS {
            for (rates, &scheduling) in rates.iter_mut().zip(ways) {
                // One to begin with, and one whose time is the first.
                let (back, rate) = turn(pipeline, scheduling, frames, 2 + count.div_ceil(TURNS))?;
                pipeline = back;
                rates.push(rate);
            }
        }
        let mut medians = rates.iter().map(|rates| Rate {
            frames_per_s: median(rates.iter().map(|rate| rate.frames_per_s)),
            latency_ms: median(rates.iter().map(|rate| rate.latency_ms)),
        });
        let none = Rate { frames_per_s: 0.0, latency_ms: 0.0 };
        Ok(Self { in_turn: medians.next().unwrap_or(none), overlapped: medians.next() })
    }
}

/// One turn: the station's frames' thread, its results' thread where there is one, and a line that takes everything.
fn turn(
    pipeline: Pipeline,
    scheduling: Scheduling,
    frames: &Arc<[Frame]>,
    count: usize,
) -> Result<(Pipeline, Rate), BenchError> {
    let settings = Settings {
        illumination: DutyCycle::OFF,
        pixel_size: None,
        acquisition: Acquisition::Continuous,
        masks: Stream::On,
        preview: Stream::On,
    };
    let control = Arc::new(FrameControl::new(&settings));
    let queue = Arc::new(TxQueue::new(BAUD, BootId(0)));
    queue.open();
    let taken = Arc::new(Mutex::new(Vec::with_capacity(count)));
    // Room for all events: one per frame, and two for the camera.
    let (service, printed) = sync_channel(count + 4);
    let replay = Replay { frames: Arc::clone(frames), left: count, taken: Arc::clone(&taken) };
    let (frame_loop, worker) = FrameLoop::new(FrameLoopParts {
        open: Box::new(move || Ok(Box::new(replay.clone()))),
        source_kind: SourceKind::Live,
        control: Arc::clone(&control),
        queue: Arc::clone(&queue),
        counters: Arc::new(Counters::default()),
        service,
        heartbeat: ThreadHeartbeat::default(),
        postprocess_heartbeat: ThreadHeartbeat::default(),
        scheduling,
        pipeline,
    });
    let (pipeline, sent) = scope(|all| -> io::Result<_> {
        let line = Builder::new().spawn_scoped(all, || send(&queue, count))?;
        let worker =
            worker.map(|worker| Builder::new().spawn_scoped(all, move || worker.run())).transpose()?;
        let frames = Builder::new().spawn_scoped(all, move || frame_loop.run())?;
        if !all_passed(&printed) {
            queue.close();
        }
        control.end();
        let stages = frames.join().ok().flatten();
        let of_worker = worker.and_then(|worker| worker.join().ok());
        let pipeline = stages.and_then(|(inference, postprocess)| {
            Some(Pipeline { inference, postprocess: postprocess.or(of_worker)? })
        });
        Ok((pipeline, line.join().unwrap_or_default()))
    })
    .map_err(BenchError::Thread)?;
    let pipeline = pipeline.filter(|_| sent.len() == count).ok_or(BenchError::Stream)?;
    let taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
    let latencies = sent.iter().zip(taken.iter()).skip(1);
    let latency_ms = median(latencies.map(|(sent, taken)| (*sent - *taken).as_secs_f64() * 1e3));
    let between = sent[count - 1] - sent[1];
    let frames_per_s = (count - 2) as f64 / between.as_secs_f64().max(1e-9);
    Ok((pipeline, Rate { frames_per_s, latency_ms }))
}

/// Encodes what is to be sent, as the line's thread does, up to the report of the last frame; when each report was.
fn send(queue: &TxQueue, count: usize) -> Vec<Instant> {
    let mut sent = Vec::with_capacity(count);
    let mut bytes = Vec::new();
    while sent.len() < count
        && let Some(packet) = queue.next()
    {
        bytes.clear();
        let is_report = matches!(
            packet.message,
            Message::Event(Event::Sequenced(SequencedEvent { event: ReliableEvent::Frame(_), .. }))
        );
        if packet.encode(&mut bytes).is_ok() && is_report {
            sent.push(Instant::now());
        }
    }
    sent
}

/// Waits for the end of the frames; whether none failed.
fn all_passed(printed: &Receiver<ServiceEvent>) -> bool {
    let mut passed = true;
    for input in printed {
        match input {
            ServiceEvent::FrameFailed(_) => passed = false,
            ServiceEvent::Camera { state: CameraState::Finished | CameraState::Absent, .. } => return passed,
            _ => {}
        }
    }
    false
}

/// The median; of two middle values, the higher.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

impl fmt::Display for Flow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a stream of frames, modes taking turns   frames/s   exposure to packet, ms")?;
        let mut row = |name: &str, rate: Rate| {
            write!(formatter, "\n  {name:<29}{:>10.2}{:>25.1}", rate.frames_per_s, rate.latency_ms)
        };
        row("sequential", self.in_turn)?;
        match self.overlapped {
            Some(overlapped) => {
                row("pipelined", overlapped)?;
                let gain = 100.0 * (overlapped.frames_per_s / self.in_turn.frames_per_s.max(1e-9) - 1.0);
                write!(formatter, "{gain:>+8.1} % frames/s")
            }
            None => write!(formatter, "\n  with one thread, the station is sequential"),
        }
    }
}
