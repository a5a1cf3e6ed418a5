use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Receiver;
use std::thread::{scope, spawn};

use shared::wire::{
    Acquisition, BootId, Event, FrameReport, Message, ModelDigest, ReliableEvent, SequencedEvent, Settings,
    StageTimes, Stream,
};
use shared::{Channels, DutyCycle, Image, Model};

use super::*;
use crate::camera::CameraSource;
use crate::testing::fixture_model::{MODEL, OTHER_MODEL};

/// More than anything here takes, even on a machine that is busy with other things.
const LIMIT: Duration = Duration::from_secs(120);

const SETTINGS: Settings = Settings {
    illumination: DutyCycle::OFF,
    pixel_size: None,
    acquisition: Acquisition::Continuous,
    masks: Stream::On,
    preview: Stream::On,
};

fn pipeline(onnx: &[u8]) -> Pipeline {
    Pipeline::new(Model::load(onnx, NonZeroUsize::new(2).unwrap()).unwrap())
}

/// What happens when a frame of a number is grabbed.
type AtGrab = Box<dyn FnMut(u32) + Send>;

/// A camera of known frames.
struct Known {
    frames: Vec<Frame>,
    grabbed: u32,
    at_grab: AtGrab,
}

impl Camera for Known {
    fn name(&self) -> &'static str {
        "known"
    }

    fn grab(&mut self, _pace: GrabStrategy) -> Result<Grab, CameraError> {
        let Some(frame) = self.frames.get(self.grabbed as usize) else { return Ok(Grab::Finished) };
        self.grabbed += 1;
        (self.at_grab)(self.grabbed);
        Ok(Grab::Frame(Box::new(frame.clone())))
    }
}

/// A loop with what a test sees of it.
struct Rig {
    control: Arc<FrameControl>,
    queue: Arc<TxQueue>,
    counters: Arc<Counters>,
    printed: Receiver<ServiceEvent>,
    frames: FrameLoop,
    results: Option<PostprocessWorker>,
}

impl Rig {
    /// `inbox` events fit into the service's queue without being received.
    fn new(
        scheduling: Scheduling,
        frames: Vec<Frame>,
        inbox: usize,
        at_grab: impl FnOnce(&Self) -> AtGrab,
    ) -> Self {
        let control = Arc::new(FrameControl::new(&SETTINGS));
        let queue = Arc::new(TxQueue::new(921_600, BootId(1)));
        queue.open();
        let counters = Arc::new(Counters::default());
        let (service, printed) = sync_channel(inbox);
        let (give, camera) = sync_channel::<Known>(1);
        let (frame_loop, results) = FrameLoop::new(FrameLoopParts {
            open: Box::new(move || Ok(Box::new(camera.recv().unwrap()))),
            source_kind: SourceKind::Live,
            control: Arc::clone(&control),
            queue: Arc::clone(&queue),
            counters: Arc::clone(&counters),
            service,
            heartbeat: ThreadHeartbeat::default(),
            postprocess_heartbeat: ThreadHeartbeat::default(),
            scheduling,
            pipeline: pipeline(MODEL),
        });
        let rig = Self { control, queue, counters, printed, frames: frame_loop, results };
        let at_grab = at_grab(&rig);
        give.send(Known { frames, grabbed: 0, at_grab }).unwrap();
        rig
    }
}

fn simulated(count: usize, seed: u64) -> Vec<Frame> {
    let source =
        CameraSource::Simulated { width: 320, height: 256, seed, nuclei: 20, frames_per_second: 10.0 };
    let mut camera = source.open().unwrap();
    let next = |_| match camera.grab(GrabStrategy::OneByOne).unwrap() {
        Grab::Frame(frame) => *frame,
        Grab::Finished => panic!("a microscope does not finish"),
    };
    (0..count).map(next).collect()
}

/// The same through an objective of twice the power: the upper left quarter, enlarged.
fn nearer(frame: Frame) -> Frame {
    let (width, samples) = (frame.image.width() as usize, frame.image.samples_hwc());
    assert_eq!(frame.image.channels(), Channels::Grey);
    let enlarged = (0..samples.len()).map(|at| samples[at / width / 2 * width + at % width / 2]).collect();
    let image = Image::new(frame.image.width(), frame.image.height(), Channels::Grey, enlarged).unwrap();
    Frame { image, truth: None, ..frame }
}

/// Frames whose scale changes, and changes back, with an empty one between.
fn journey() -> Vec<Frame> {
    let mut frames = simulated(9, 3);
    let black = Image::black(320, 256, Channels::Grey).unwrap();
    frames.insert(6, Frame { image: black, ..frames[0].clone() });
    let near = [3, 4, 5, 7];
    frames
        .into_iter()
        .enumerate()
        .map(|(at, frame)| if near.contains(&at) { nearer(frame) } else { frame })
        .collect()
}

/// What came of a frame.
#[derive(Debug, PartialEq)]
struct Outcome {
    report: FrameReport,
    masks: Option<Vec<u8>>,
    preview: Option<Vec<u8>>,
}

/// Sends a journey through the loop: another brightness from the 5th frame on, another model from the 7th on, no
/// masks from the 9th on, of which one is captured.
fn outcomes(scheduling: Scheduling, frames: Vec<Frame>) -> (Vec<Outcome>, Vec<u32>) {
    let count = frames.len() as u32;
    let (bulk_out, bulk) = sync_channel(64);
    let rig = Rig::new(scheduling, frames, 64, |rig| {
        let (control, counters) = (Arc::clone(&rig.control), Arc::clone(&rig.counters));
        let mut other = Some(Box::new(pipeline(&OTHER_MODEL)));
        let mut previews = 0;
        Box::new(move |grabbed| {
            let out = counters.frames.load(Ordering::Relaxed);
            assert!(out + 2 >= grabbed, "{grabbed} are grabbed and {out} are out");
            // None of their previews is replaced by the next.
            while previews + 2 < grabbed {
                bulk.recv_timeout(LIMIT).unwrap();
                previews += 1;
            }
            let illumination = DutyCycle::try_from(300).unwrap();
            match grabbed {
                4 => control.set(&Settings { illumination, ..SETTINGS }),
                6 => control.run(other.take().unwrap()),
                8 => {
                    control.set(&Settings { illumination, masks: Stream::Off, ..SETTINGS });
                    control.trigger(Some(77));
                }
                _ => {}
            }
        })
    });
    let Rig { control, queue, printed, frames, results, .. } = rig;
    scope(|all| {
        let _ends_all = EndsAll(&control, &queue);
        // A camera that came to its end receives no more previews.
        let line = all.spawn(|| {
            receive(&queue, count, || {
                let _ = bulk_out.send(());
            })
        });
        if let Some(results) = results {
            all.spawn(move || drop(results.run()));
        }
        let frames = all.spawn(move || frames.run());
        let (mut captured, mut passed) = (Vec::new(), 0);
        loop {
            match printed.recv_timeout(LIMIT).unwrap() {
                ServiceEvent::Captured(77, Some(capture)) => captured.push(capture.info().report.frame),
                ServiceEvent::FramePassed(..) => passed += 1,
                ServiceEvent::Camera { state: CameraState::Finished, .. } => break,
                ServiceEvent::Camera { state: CameraState::Running, .. } => {}
                _ => panic!("a frame failed"),
            }
        }
        assert_eq!(passed, count, "every frame is published before the end");
        control.end();
        assert!(frames.join().unwrap().is_some());
        (line.join().unwrap(), captured)
    })
}

/// Lets the threads of a test that fails end.
struct EndsAll<'a>(&'a FrameControl, &'a TxQueue);

impl Drop for EndsAll<'_> {
    fn drop(&mut self) {
        self.0.end();
        self.1.close();
    }
}

/// What comes out of a queue up to the last preview; `on_preview` is called for each preview.
fn receive(queue: &TxQueue, count: u32, on_preview: impl Fn()) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    while let Some(packet) = queue.next() {
        match packet.message {
            Message::Event(Event::Sequenced(SequencedEvent {
                event: ReliableEvent::Frame(report), ..
            })) => {
                let report = FrameReport { times: StageTimes::default(), ..report };
                outcomes.push(Outcome { report, masks: None, preview: None });
            }
            Message::Event(Event::Masks(piece)) => {
                let of = outcomes.iter_mut().find(|outcome| outcome.report.frame == piece.frame).unwrap();
                of.masks.get_or_insert_default().extend(packet.bulk);
            }
            Message::Event(Event::Preview(piece)) => {
                let of = outcomes.iter_mut().find(|outcome| outcome.report.frame == piece.frame).unwrap();
                let preview = of.preview.get_or_insert_default();
                preview.extend(packet.bulk);
                if preview.len() == piece.total as usize {
                    on_preview();
                    if piece.frame == count {
                        break;
                    }
                }
            }
            other => panic!("{other:?}"),
        }
    }
    outcomes
}

#[test]
fn overlapped_stages_give_what_stages_in_turn_give_and_changes_meet_the_same_frames() {
    let frames = journey();
    let (in_turn, captured_in_turn) = outcomes(Scheduling::Sequential, frames.clone());
    let (overlapped, captured) = outcomes(Scheduling::Pipelined, frames);
    assert_eq!(overlapped.len(), in_turn.len());
    for (overlapped, in_turn) in overlapped.iter().zip(&in_turn) {
        assert_eq!(overlapped.report, in_turn.report);
        assert!(overlapped == in_turn, "masks and preview of frame {}", in_turn.report.frame);
    }
    assert_eq!((&captured, &captured_in_turn), (&vec![9], &vec![9]));
    let numbers: Vec<u32> = overlapped.iter().map(|outcome| outcome.report.frame).collect();
    assert_eq!(numbers, (1..=10).collect::<Vec<u32>>(), "none lost, none doubled, in order");
    let reports = || overlapped.iter().map(|outcome| &outcome.report);
    let scales: Vec<f32> = reports().map(|report| report.scale).collect();
    assert!(scales.windows(2).any(|pair| pair[0] != pair[1]), "the scale changes: {scales:?}");
    assert!(reports().map(|report| report.count).sum::<u32>() > 50);
    for report in reports() {
        assert_eq!(report.illumination.get(), if report.frame > 4 { 300 } else { 0 }, "{}", report.frame);
        let model = if report.frame > 6 { ModelDigest::of(&OTHER_MODEL) } else { ModelDigest::of(MODEL) };
        assert_eq!(report.model, model, "{}", report.frame);
    }
    for Outcome { report, masks, preview } in &overlapped {
        assert_eq!(masks.is_some(), report.frame <= 8, "{}", report.frame);
        assert!(preview.as_ref().is_some_and(|jpeg| !jpeg.is_empty()), "{}", report.frame);
    }
}

#[test]
fn the_network_sees_the_next_frame_while_one_is_finished_and_no_other_is_taken() {
    let (grabs_in, grabs) = sync_channel(64);
    let is_received = Arc::new(AtomicBool::new(false));
    // The sender blocks until the service receives.
    let rig = Rig::new(Scheduling::Pipelined, simulated(4, 5), 0, |rig| {
        rig.control.trigger(Some(1));
        let is_received = Arc::clone(&is_received);
        Box::new(move |grabbed| grabs_in.send((grabbed, is_received.load(Ordering::SeqCst))).unwrap())
    });
    let Rig { control, printed, frames, results, .. } = rig;
    let results = spawn(move || drop(results.unwrap().run()));
    let frames = spawn(move || frames.run());
    let ServiceEvent::Camera { state: CameraState::Running, .. } = printed.recv_timeout(LIMIT).unwrap()
    else {
        panic!()
    };
    assert_eq!(grabs.recv_timeout(LIMIT).unwrap(), (1, false));
    // The first frame is captured and cannot be finished: nobody receives it.
    assert_eq!(grabs.recv_timeout(LIMIT).unwrap(), (2, false), "the network runs on it meanwhile");
    is_received.store(true, Ordering::SeqCst);
    while !matches!(printed.recv_timeout(LIMIT).unwrap(), ServiceEvent::Captured(1, Some(_))) {}
    assert_eq!(grabs.recv_timeout(LIMIT).unwrap(), (3, true), "the third waits for the first");
    while !matches!(
        printed.recv_timeout(LIMIT).unwrap(),
        ServiceEvent::Camera { state: CameraState::Finished, .. }
    ) {}
    control.end();
    assert!(frames.join().unwrap().is_some());
    results.join().unwrap();
}
