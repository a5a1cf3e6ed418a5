//! The whole station in this process, over a real pseudo-terminal.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::num::NonZeroUsize;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Instant;

use serialport::{SerialPort as _, TTYPort};
use shared::wire::{
    Accumulator, CHUNK, CameraState, CaptureInfo, CapturePart, CaptureState, Event, FrameReport, Message,
    ModelDigest, Notice, Packet, Refusal, ReliableEvent, Request, Response, SequencedEvent, Setting,
    SlotState, StageProgress, Status,
};
use shared::{decode_image, decode_labels};

mod trust;

use super::*;
use crate::testing::fixture_model::{
    BARE_MODEL, FAILING_MODEL, LATER_MODEL, MODEL, OTHER_MODEL, WRONG_MODEL,
};
use crate::update::MemoryStorage;

/// More than anything here takes, even on a machine that is busy with other things.
const LIMIT: Duration = Duration::from_secs(120);

/// A station on a thread, whose port is a link in a folder.
struct Running {
    stop: CancellationToken,
    port: PathBuf,
    thread: Option<JoinHandle<Result<(), RunError>>>,
}

const SIMULATED: CameraSource =
    CameraSource::Simulated { width: 160, height: 128, seed: 7, nuclei: 8, frames_per_second: 100.0 };

impl Running {
    fn start(folder: &Path, storage: &MemoryStorage, source: CameraSource) -> Self {
        Self::trusting(Keyring::default(), folder, storage, source)
    }

    fn trusting(keyring: Keyring, folder: &Path, storage: &MemoryStorage, source: CameraSource) -> Self {
        let stop = CancellationToken::default();
        let port = folder.join("port");
        let settings = Settings {
            illumination: DutyCycle::OFF,
            pixel_size: None,
            acquisition: Acquisition::Continuous,
            masks: Stream::On,
            preview: Stream::On,
        };
        let station = Station {
            camera: Box::new(move || source.open()),
            source_kind: SourceKind::Replayable,
            flat_field: None,
            connector: Box::new(SerialConnector::new(port.display().to_string(), 921_600)),
            baud: 921_600,
            storage: Box::new(storage.clone()),
            illumination: IlluminationConfig::open_optional(None).unwrap(),
            light: StatusLight::none(),
            settings,
            name: "test".to_owned(),
            execution: Execution::from(NonZeroUsize::new(2).unwrap()),
            factory: MODEL,
            keyring,
        };
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || station.run(&stop, |line| println!("{line}"))
        });
        Self { stop, port, thread: Some(thread) }
    }

    /// A host that just arrived.
    fn host(&self) -> Host {
        let (port, station_end) = TTYPort::pair().unwrap();
        let _ = std::fs::remove_file(&self.port);
        symlink(station_end.name().unwrap(), &self.port).unwrap();
        let mut host = Host {
            port,
            _station_end: station_end,
            accumulator: Accumulator::new(),
            sequence: 0,
            packets: VecDeque::new(),
            events: VecDeque::new(),
        };
        let Response::Hello(identity) = host.ask(Request::Hello { protocol: 1 }) else { panic!() };
        assert_eq!(identity.name.as_str(), "test");
        host
    }

    fn end(mut self) {
        self.stop.cancel();
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Host {
    port: TTYPort,
    /// Open here, too, so that the terminal lives before the station has found it.
    _station_end: TTYPort,
    accumulator: Accumulator,
    sequence: u16,
    packets: VecDeque<Packet>,
    events: VecDeque<(Event, Vec<u8>)>,
}

impl Host {
    fn ask(&mut self, request: Request) -> Response {
        self.ask_with(request, &[]).0
    }

    /// Asks, again where no answer comes, as a host does.
    fn ask_with(&mut self, request: Request, bulk: &[u8]) -> (Response, Vec<u8>) {
        self.sequence += 1;
        let (sequence, message) = (self.sequence, Message::Request(request));
        let mut bytes = vec![0];
        Packet { sequence, message, bulk: bulk.to_vec() }.encode(&mut bytes).unwrap();
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            self.port.write_all(&bytes).unwrap();
            let sent = Instant::now();
            while sent.elapsed() < Duration::from_secs(1) {
                self.read();
                while let Some(packet) = self.packets.pop_front() {
                    match packet.message {
                        Message::Response(response) if packet.sequence == sequence => {
                            return (response, packet.bulk);
                        }
                        Message::Response(_) => {}
                        Message::Event(event) => self.events.push_back((event, packet.bulk)),
                        Message::Request(request) => panic!("{request:?}"),
                    }
                }
            }
        }
        panic!("no answer");
    }

    fn read(&mut self) {
        let mut bytes = [0; 4096];
        let read = match self.port.read(&mut bytes) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return,
            Err(error) => panic!("{error}"),
        };
        let packets = &mut self.packets;
        self.accumulator.push(&bytes[..read], |packet| packets.extend(packet));
    }

    /// The next event that `choose` wants.
    fn event<T>(&mut self, choose: impl Fn(Event) -> Option<T>) -> T {
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            while let Some((event, _)) = self.events.pop_front() {
                if let Some(chosen) = choose(event) {
                    return chosen;
                }
            }
            self.read();
            let events = self.packets.drain(..).filter_map(|packet| match packet.message {
                Message::Event(event) => Some((event, packet.bulk)),
                _ => None,
            });
            self.events.extend(events);
        }
        panic!("no such event");
    }

    fn frame(&mut self) -> FrameReport {
        self.event(|event| match event {
            Event::Sequenced(SequencedEvent { event: ReliableEvent::Frame(report), .. }) => Some(report),
            _ => None,
        })
    }

    fn status(&mut self) -> Status {
        match self.ask(Request::Status) {
            Response::Status(status) => status,
            other => panic!("{other:?}"),
        }
    }

    /// Stages bytes under a digest and asks for them to run; what came of it.
    fn flash(&mut self, onnx: &[u8], digest: ModelDigest) -> StageProgress {
        self.ask(Request::Stage { length: onnx.len() as u32, digest });
        for (index, chunk) in onnx.chunks(CHUNK as usize).enumerate() {
            let offset = index as u32 * CHUNK;
            let (response, _) = self.ask_with(Request::StageChunk { digest, offset }, chunk);
            assert!(matches!(response, Response::Stage(_)), "{response:?}");
        }
        self.ask(Request::Activate { digest });
        loop {
            match self.ask(Request::StageStatus) {
                Response::Stage(StageProgress::Verifying { .. } | StageProgress::Trial { .. }) => {
                    self.events.clear();
                    self.event(Some);
                }
                Response::Stage(progress) => return progress,
                other => panic!("{other:?}"),
            }
        }
    }

    fn capture(&mut self, token: u32) -> Option<CaptureInfo> {
        loop {
            match self.ask(Request::Capture { token }) {
                Response::Capture(CaptureState::Pending) => {}
                Response::Capture(CaptureState::Ready(info)) => return Some(info),
                Response::Capture(CaptureState::Finished) => return None,
                other => panic!("{other:?}"),
            }
        }
    }

    fn read_part(&mut self, token: u32, part: CapturePart, length: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < length as usize {
            let offset = bytes.len() as u32;
            let (response, piece) = self.ask_with(Request::ReadCapture { token, part, offset }, &[]);
            assert_eq!(response, Response::CaptureData { token, offset });
            bytes.extend(piece);
        }
        bytes
    }
}

#[test]
fn frames_come_a_model_is_flashed_and_reverted_and_pictures_are_captured() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path(), &MemoryStorage::default(), SIMULATED);
    let mut host = running.host();
    let factory = ModelDigest::of(MODEL);
    let first = host.frame();
    assert!(first.true_count.is_some() && first.model == factory, "{first:?}");
    assert!(host.frame().frame > first.frame);
    host.event(|event| matches!(event, Event::Masks(piece) if piece.offset == 0).then_some(()));
    host.event(|event| matches!(event, Event::Preview(_)).then_some(()));

    let (onnx, digest) = (&*OTHER_MODEL, ModelDigest::of(&OTHER_MODEL));
    assert_eq!(host.flash(onnx, digest), StageProgress::Confirmed { digest });
    assert_eq!(host.status().model, digest);
    let Response::Slots(slots) = host.ask(Request::Revert { digest }) else { panic!() };
    assert_eq!((slots.active, slots.a.state), (Slot::Factory, SlotState::Confirmed));
    while host.frame().model != factory {}

    host.ask(Request::Set(Setting::Acquisition(Acquisition::Triggered)));
    let mut last = 0;
    for token in 1..4 {
        let info = host.capture(token).unwrap();
        assert!(last == 0 || info.report.frame == last + 1, "none beside those captured");
        last = info.report.frame;
        let picture = host.read_part(token, CapturePart::Picture, info.picture_length);
        let picture = decode_image(&picture).unwrap();
        assert_eq!((picture.width(), picture.height()), (info.report.width, info.report.height));
        let labels = host.read_part(token, CapturePart::Labels, info.labels_length);
        let labels = decode_labels(&labels, 1 << 20).unwrap();
        assert_eq!(labels.max_label(), info.report.count);
        let truth = host.read_part(token, CapturePart::Truth, info.truth_length);
        assert_eq!(Some(decode_labels(&truth, 1 << 20).unwrap().count()), info.report.true_count);
    }
    running.end();
}

#[test]
fn an_invalid_model_is_refused_and_the_active_one_keeps_running() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path(), &MemoryStorage::default(), SIMULATED);
    let mut host = running.host();
    let (onnx, digest) = (&*OTHER_MODEL, ModelDigest::of(&OTHER_MODEL));
    let version = ModelRefusal::ManifestVersion { found: 999, supported: shared::MANIFEST_FORMAT };
    let cases = [
        (b"no model at all".to_vec(), None, ModelRefusal::NotOnnx),
        (onnx[..onnx.len() / 2].to_vec(), None, ModelRefusal::NotOnnx),
        (onnx.clone(), Some(ModelDigest([1; 32])), ModelRefusal::DigestMismatch),
        (BARE_MODEL.clone(), None, ModelRefusal::NoManifest),
        (LATER_MODEL.clone(), None, version),
        (WRONG_MODEL.clone(), None, ModelRefusal::GoldenMismatch),
    ];
    for (onnx, announced, expected) in cases {
        let digest = announced.unwrap_or_else(|| ModelDigest::of(&onnx));
        assert_eq!(host.flash(&onnx, digest), StageProgress::Failed { digest, reason: expected });
        assert_eq!(host.status().model, ModelDigest::of(MODEL));
        host.events.clear();
        host.frame();
    }
    assert_eq!(host.flash(onnx, digest), StageProgress::Confirmed { digest });
    running.end();
}

#[test]
fn a_model_that_fails_on_real_frames_is_given_up_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let source =
        CameraSource::Simulated { width: 640, height: 480, seed: 7, nuclei: 40, frames_per_second: 100.0 };
    let running = Running::start(folder.path(), &MemoryStorage::default(), source);
    let mut host = running.host();
    let digest = ModelDigest::of(&FAILING_MODEL);
    let failed = StageProgress::Failed { digest, reason: ModelRefusal::TrialFailed };
    assert_eq!(host.flash(&FAILING_MODEL, digest), failed);
    host.events.clear();
    assert_eq!(host.frame().model, ModelDigest::of(MODEL));
    running.end();
}

#[test]
fn a_host_that_is_gone_comes_back_and_finds_the_station_counting() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path(), &MemoryStorage::default(), SIMULATED);
    let mut host = running.host();
    host.ask(Request::Set(Setting::Acquisition(Acquisition::Triggered)));
    let frames = host.status().frames;
    drop(host);
    let mut host = running.host();
    let Response::Settings(settings) = host.ask(Request::Settings) else { panic!() };
    assert_eq!(settings.acquisition, Acquisition::Continuous);
    assert!(host.frame().frame > frames);
    running.end();
}

#[test]
fn an_upload_continues_after_the_station_restarted() {
    let folder = tempfile::tempdir().unwrap();
    let storage = MemoryStorage::default();
    let running = Running::start(folder.path(), &storage, SIMULATED);
    let mut host = running.host();
    let (onnx, digest) = (&*OTHER_MODEL, ModelDigest::of(&OTHER_MODEL));
    let announce = Request::Stage { length: onnx.len() as u32, digest };
    host.ask(announce.clone());
    host.ask_with(Request::StageChunk { digest, offset: 0 }, &onnx[..CHUNK as usize]);
    running.end();
    storage.restore_power();

    let running = Running::start(folder.path(), &storage, SIMULATED);
    let mut host = running.host();
    let Response::Stage(StageProgress::Receiving { received, .. }) = host.ask(announce) else { panic!() };
    assert!(received <= CHUNK);
    assert_eq!(host.flash(onnx, digest), StageProgress::Confirmed { digest });
    running.end();
    let running = Running::start(folder.path(), &storage, SIMULATED);
    assert_eq!(running.host().frame().model, digest);
    running.end();
}

#[test]
fn a_folder_is_captured_from_its_first_picture_to_its_last() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = folder.path().join("pictures");
    std::fs::create_dir(&pictures).unwrap();
    for name in ["a", "b", "c"] {
        image::GrayImage::new(64, 64).save(pictures.join(format!("{name}.png"))).unwrap();
    }
    let repeat = crate::camera::Repeat::Once;
    let source = CameraSource::Pictures { path: pictures, frames_per_second: 100.0, repeat };
    let running = Running::start(folder.path(), &MemoryStorage::default(), source);
    let mut host = running.host();
    while host.status().camera != CameraState::Finished {
        host.event(Some);
    }
    host.ask(Request::Set(Setting::Acquisition(Acquisition::Triggered)));
    let names: Vec<String> =
        (1..).map_while(|token| host.capture(token)).map(|info| info.report.source.to_string()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    running.end();
}

#[test]
fn a_station_without_a_camera_answers_and_keeps_looking() {
    let folder = tempfile::tempdir().unwrap();
    let source = CameraSource::Pictures {
        path: folder.path().join("later"),
        frames_per_second: 100.0,
        repeat: crate::camera::Repeat::Forever,
    };
    let running = Running::start(folder.path(), &MemoryStorage::default(), source);
    let mut host = running.host();
    assert_eq!(host.status().camera, CameraState::Absent);
    assert_eq!(host.ask(Request::Capture { token: 1 }), Response::Capture(CaptureState::CameraAbsent));
    assert_eq!(
        host.ask(Request::Activate { digest: ModelDigest([0; 32]) }),
        Response::Refused(Refusal::NotFound)
    );
    std::fs::create_dir(folder.path().join("later")).unwrap();
    image::GrayImage::new(64, 64).save(folder.path().join("later/a.png")).unwrap();
    let running_again = ReliableEvent::Notice(Notice::Camera(CameraState::Running));
    host.event(|event| {
        matches!(event, Event::Sequenced(sequenced) if sequenced.event == running_again).then_some(())
    });
    host.frame();
    running.end();
}
