use std::num::NonZeroUsize;
use std::sync::mpsc::sync_channel;

use shared::slots::{MAX_MODEL_LENGTH, TRIAL_FRAMES};
use shared::trust::{Keyring, SecretKey, TrustedKey};
use shared::wire::{
    BootId, CHUNK, CapturePart, CaptureState, Event, FrameReport, ModelDigest, Nack, QcFlags, ReliableEvent,
    SequencedEvent, Slot, SlotState, StageTimes, Stream,
};
use shared::{Channels, DutyCycle, Image, LabelImage, Microseconds, Model, PixelSize, encode_labels};

use super::*;
use crate::frames::{CameraReadiness, FrameCommand};
use crate::inference::Capture;
use crate::io::IlluminationConfig;
use crate::testing::fixture_model::MODEL;
use crate::update::{Fault, MemoryStorage};

mod trust;

const FACTORY: &[u8] = b"factory";

/// A model that is ready to run; the service believes the loader which one it is.
fn pipeline() -> Box<Pipeline> {
    Box::new(Pipeline::new(Model::load(MODEL, NonZeroUsize::MIN).unwrap()))
}

/// A service without threads around it.
struct Bench {
    service: Service,
    work: Receiver<LoaderJob>,
    storage: MemoryStorage,
}

impl Bench {
    fn new() -> Self {
        Self::trusting(Keyring::default())
    }

    fn trusting(keyring: Keyring) -> Self {
        let storage = MemoryStorage::default();
        let slots = SlotStore::open(Box::new(storage.clone()), FACTORY);
        let (loader, work) = sync_channel(8);
        let settings = Settings {
            illumination: DutyCycle::OFF,
            pixel_size: None,
            acquisition: Acquisition::Continuous,
            masks: Stream::On,
            preview: Stream::On,
        };
        let queue = Arc::new(TxQueue::new(921_600, BootId(1)));
        queue.open();
        let running = slots.active_digest();
        let mut service = Service::new(ServiceParts {
            slots,
            guard: ReplayGuard::new(keyring, draw_nonce().unwrap()),
            running,
            loader,
            control: Arc::new(FrameControl::new(&settings)),
            queue,
            counters: Arc::new(Counters::default()),
            settings,
            flat_field: None,
            illumination: IlluminationConfig::open_optional(None).unwrap(),
            light: StatusLight::none(),
            name: truncated_name("bench"),
            threads: 2,
            readiness: Arc::new(ReadyNotifier::new("", running, |_: &str| ())),
            heartbeat: crate::runtime::watchdog::ThreadHeartbeat::default(),
        });
        service.handle(ServiceEvent::Camera {
            state: CameraState::Running,
            name: "test".to_owned(),
            generation: 0,
        });
        let bench = Self { service, work, storage };
        assert_eq!(bench.notice(), Notice::Camera(CameraState::Running));
        bench
    }

    /// The next packet of the queue.
    fn sent(&self) -> Message {
        self.service.parts.queue.next().unwrap().message
    }

    /// The same, a notice.
    fn notice(&self) -> Notice {
        match self.sent() {
            Message::Event(Event::Sequenced(SequencedEvent {
                event: ReliableEvent::Notice(notice), ..
            })) => notice,
            other => panic!("{other:?}"),
        }
    }

    fn ask_with(&mut self, request: Request, bulk: Vec<u8>) -> (Response, Vec<u8>) {
        self.service.handle(ServiceEvent::Link(LinkEvent::Packet(Ok(Packet {
            sequence: 9,
            message: request.into(),
            bulk,
        }))));
        let packet = self.service.parts.queue.next().unwrap();
        assert_eq!(packet.sequence, 9);
        match packet.message {
            Message::Response(response) => (response, packet.bulk),
            other => panic!("{other:?}"),
        }
    }

    fn ask(&mut self, request: Request) -> Response {
        self.ask_with(request, vec![]).0
    }

    fn stage(&mut self, onnx: &[u8]) -> ModelDigest {
        let digest = ModelDigest::of(onnx);
        self.ask(Request::Stage { length: onnx.len() as u32, digest });
        for (index, chunk) in onnx.chunks(CHUNK as usize).enumerate() {
            let offset = index as u32 * CHUNK;
            self.ask_with(Request::StageChunk { digest, offset }, chunk.to_vec());
        }
        digest
    }
}

fn report(frame: u32) -> FrameReport {
    FrameReport {
        frame,
        time_unix_ms: 1,
        source: Name::new(),
        model: ModelDigest([0; 32]),
        width: 2,
        height: 1,
        count: 1,
        true_count: None,
        median_diameter_px: 1.0,
        confluence: 0.5,
        scale: 1.0,
        exposure: Some(Microseconds(1)),
        illumination: DutyCycle::OFF,
        focus: 0.5,
        saturated: 0.0,
        qc_flags: QcFlags::NONE,
        times: StageTimes::default(),
        skipped: 0,
    }
}

fn capture(frame: u32) -> Box<Capture> {
    let image = Image::new(2, 1, Channels::Grey, vec![7, 9]).unwrap();
    let labels = LabelImage::new(2, 1, vec![0, 1]).unwrap();
    Box::new(Capture::new(report(frame), &image, &encode_labels(&labels), Some(&labels)).unwrap())
}

#[test]
fn hello_is_answered_whatever_version_is_asked_for() {
    let mut bench = Bench::new();
    for protocol in [0, PROTOCOL_VERSION, 999] {
        let Response::Hello(identity) = bench.ask(Request::Hello { protocol }) else { panic!() };
        assert_eq!((identity.protocol, identity.name.as_str()), (PROTOCOL_VERSION, "bench"));
    }
}

#[test]
fn unknown_requests_are_refused_and_other_messages_ignored() {
    let mut bench = Bench::new();
    let unknown = |kind| Err(PacketError::UnknownMessage { kind, sequence: 4 });
    let version = |kind| Err(PacketError::ProtocolVersion { found: 9, kind, sequence: 4 });
    let ignored = [
        unknown(Some(Kind::Response)),
        version(Some(Kind::Event)),
        Err(PacketError::Damaged),
        Err(PacketError::Oversize),
        Ok(Packet::new(4, Response::Echo)),
    ];
    for packet in ignored {
        bench.service.packet(packet);
    }
    let refused = [
        (unknown(Some(Kind::Request)), Refusal::Unknown),
        (unknown(None), Refusal::Unknown),
        (version(Some(Kind::Request)), Refusal::Protocol { station: PROTOCOL_VERSION }),
        (version(None), Refusal::Protocol { station: PROTOCOL_VERSION }),
    ];
    for (packet, refusal) in refused {
        bench.service.packet(packet);
        assert_eq!(bench.sent(), Message::Response(Response::Refused(refusal)));
    }
}

#[test]
fn echo_gives_the_bytes_back() {
    let echoed = Bench::new().ask_with(Request::Echo, vec![5; 4096]);
    assert_eq!(echoed, (Response::Echo, vec![5; 4096]));
}

#[test]
fn settings_take_effect_and_are_reported() {
    let mut bench = Bench::new();
    let pixel_size = Some(PixelSize::try_from(0.65).unwrap());
    for setting in [
        Setting::Illumination(DutyCycle::FULL),
        Setting::PixelSize(pixel_size),
        Setting::Masks(Stream::Off),
        Setting::Preview(Stream::Off),
    ] {
        bench.ask(Request::Set(setting));
    }
    let expected = Settings {
        illumination: DutyCycle::FULL,
        pixel_size,
        acquisition: Acquisition::Continuous,
        masks: Stream::Off,
        preview: Stream::Off,
    };
    assert_eq!(bench.ask(Request::Settings), Response::Settings(expected));
    let Some(FrameCommand::Grab(shot)) = bench.service.parts.control.next(CameraReadiness::Ready, 0) else {
        panic!()
    };
    assert_eq!((shot.illumination, shot.masks), (DutyCycle::FULL, Stream::Off));
}

#[test]
fn a_model_is_staged_verified_tried_and_given_up_by_itself() {
    let mut bench = Bench::new();
    let onnx = vec![3; CHUNK as usize + 10];
    let digest = bench.stage(&onnx);
    let length = onnx.len() as u32;
    let complete = StageProgress::Receiving { digest, received: length, length };
    assert_eq!(bench.ask(Request::StageStatus), Response::Stage(complete));
    for _ in 0..2 {
        let verifying = Response::Stage(StageProgress::Verifying { digest });
        assert_eq!(bench.ask(Request::Activate { digest }), verifying);
    }
    assert_eq!(bench.work.try_recv(), Ok(LoaderJob::Verify { digest, onnx: onnx.clone() }));
    assert!(bench.work.try_recv().is_err(), "asked twice, verified once");
    let other = Request::Stage { length: 5, digest: ModelDigest([1; 32]) };
    assert_eq!(bench.ask(other), Response::Refused(Refusal::Busy));

    bench.service.handle(ServiceEvent::Verified(digest, Ok(pipeline())));
    bench.service.report_progress();
    let trial = StageProgress::Trial { digest, frames_left: TRIAL_FRAMES };
    assert_eq!(bench.notice(), Notice::Stage(trial));
    assert!(bench.work.try_recv().is_err(), "a verified model is loaded");
    let next = bench.service.parts.control.next(CameraReadiness::Ready, 0);
    assert!(matches!(next, Some(FrameCommand::Run(_))), "it runs at once");
    let Response::Status(status) = bench.ask(Request::Status) else { panic!() };
    assert_eq!(status.model, digest);
    bench.service.handle(ServiceEvent::FramePassed(ModelDigest::of(FACTORY), QcFlags::NONE));
    assert_eq!(
        bench.ask(Request::StageStatus),
        Response::Stage(trial),
        "frames of the old model do not count"
    );

    bench.service.handle(ServiceEvent::FramePassed(digest, QcFlags::NONE));
    bench.service.handle(ServiceEvent::FrameFailed(digest));
    bench.service.report_progress();
    let failed = StageProgress::Failed { digest, reason: ModelRefusal::TrialFailed };
    assert_eq!(bench.notice(), Notice::Stage(failed));
    assert!(matches!(bench.work.try_recv(), Ok(LoaderJob::Load { slot: Slot::Factory, .. })));
    let Response::Slots(slots) = bench.ask(Request::Slots) else { panic!() };
    assert_eq!((slots.active, slots.a.state), (Slot::Factory, SlotState::Empty));
}

#[test]
fn a_verified_model_whose_trial_cannot_be_stored_does_not_run() {
    let mut bench = Bench::new();
    let digest = bench.stage(&[3; 10]);
    bench.ask(Request::Activate { digest });
    bench.storage.fault_at(0, Fault::Fail);
    bench.service.handle(ServiceEvent::Verified(digest, Ok(pipeline())));
    let failed = StageProgress::Failed { digest, reason: ModelRefusal::Storage };
    assert_eq!(bench.ask(Request::StageStatus), Response::Stage(failed));
    let next = bench.service.parts.control.next(CameraReadiness::Ready, 0);
    assert!(matches!(next, Some(FrameCommand::Grab(_))), "no other model is to run");
}

#[test]
fn a_refused_model_leaves_the_old_one_and_its_reason_is_reported() {
    for reason in [ModelRefusal::NotOnnx, ModelRefusal::DigestMismatch, ModelRefusal::GoldenMismatch] {
        let mut bench = Bench::new();
        let digest = bench.stage(&[3; 10]);
        bench.ask(Request::Activate { digest });
        bench.service.handle(ServiceEvent::Verified(digest, Err(reason)));
        let failed = Response::Stage(StageProgress::Failed { digest, reason });
        assert_eq!(bench.ask(Request::StageStatus), failed);
        let Response::Status(status) = bench.ask(Request::Status) else { panic!() };
        assert_eq!(status.model, ModelDigest::of(FACTORY));
    }
}

#[test]
fn sizes_and_places_are_checked_before_anything_is_stored() {
    let mut bench = Bench::new();
    let digest = ModelDigest([4; 32]);
    let operations = bench.storage.operations();
    let too_large = Refusal::Model(ModelRefusal::TooLarge { limit: MAX_MODEL_LENGTH });
    let cases = [
        (Request::Stage { length: 0, digest }, Refusal::OutOfRange),
        (Request::Stage { length: u32::MAX, digest }, too_large),
        (Request::StageChunk { digest, offset: 0 }, Refusal::NotFound),
        (Request::Activate { digest }, Refusal::NotFound),
        (Request::ReadCapture { token: 1, part: CapturePart::Labels, offset: 0 }, Refusal::NotFound),
    ];
    for (request, refusal) in cases {
        assert_eq!(bench.ask(request.clone()), Response::Refused(refusal), "{request:?}");
    }
    assert_eq!(bench.storage.operations(), operations);
}

#[test]
fn full_storage_is_reported_and_the_upload_continues_when_there_is_room() {
    use crate::update::Fault;
    let mut bench = Bench::new();
    let onnx = vec![8; CHUNK as usize * 2];
    let digest = ModelDigest::of(&onnx);
    bench.ask(Request::Stage { length: onnx.len() as u32, digest });
    bench.storage.fault_at(0, Fault::Fail);
    let chunk = || Request::StageChunk { digest, offset: CHUNK };
    let full = Response::Refused(Refusal::Model(ModelRefusal::Storage));
    assert_eq!(bench.ask_with(chunk(), vec![8; CHUNK as usize]).0, full);
    let stored = bench.ask_with(chunk(), vec![8; CHUNK as usize]).0;
    let receiving = StageProgress::Receiving { digest, received: 0, length: onnx.len() as u32 };
    assert_eq!(stored, Response::Stage(receiving));
}

#[test]
fn the_same_token_gives_the_same_frame() {
    let mut bench = Bench::new();
    let ask = |bench: &mut Bench, token| bench.ask(Request::Capture { token });
    assert_eq!(ask(&mut bench, 5), Response::Capture(CaptureState::Pending));
    assert_eq!(ask(&mut bench, 5), Response::Capture(CaptureState::Pending));
    let triggered = |bench: &Bench| match bench.service.parts.control.next(CameraReadiness::Ready, 0) {
        Some(FrameCommand::Grab(shot)) => shot.token,
        _ => panic!(),
    };
    assert_eq!([triggered(&bench), triggered(&bench)], [Some(5), None], "asked twice, taken once");
    bench.service.handle(ServiceEvent::Captured(5, Some(capture(1))));
    bench.service.handle(ServiceEvent::Captured(4, Some(capture(2))));
    for _ in 0..2 {
        let Response::Capture(CaptureState::Ready(info)) = ask(&mut bench, 5) else { panic!() };
        assert_eq!(info.report.frame, 1);
        let read = |bench: &mut Bench, token, part, offset| {
            bench.ask_with(Request::ReadCapture { token, part, offset }, vec![])
        };
        let (response, picture) = read(&mut bench, 5, CapturePart::Picture, 0);
        assert_eq!(response, Response::CaptureData { token: 5, offset: 0 });
        assert_eq!(picture.len(), info.picture_length as usize);
        assert!(picture.starts_with(b"\x89PNG"));
        let labels = read(&mut bench, 5, CapturePart::Labels, 0).1;
        assert_eq!(labels, read(&mut bench, 5, CapturePart::Truth, 0).1);
        assert!(read(&mut bench, 5, CapturePart::Picture, info.picture_length).1.is_empty());
        let beyond = read(&mut bench, 5, CapturePart::Picture, info.picture_length + 1).0;
        assert_eq!(beyond, Response::Refused(Refusal::OutOfRange));
        let other = read(&mut bench, 6, CapturePart::Picture, 0).0;
        assert_eq!(other, Response::Refused(Refusal::NotFound));
    }
}

#[test]
fn missed_events_are_resent_on_request() {
    let mut bench = Bench::new();
    let send_state = |bench: &mut Bench, state| {
        bench.service.handle(ServiceEvent::Camera { state, name: String::new(), generation: 0 });
    };
    send_state(&mut bench, CameraState::Absent);
    // Another host opens a conversation: nothing that waited comes by itself.
    bench.ask(Request::Hello { protocol: PROTOCOL_VERSION });
    send_state(&mut bench, CameraState::Running);
    assert_eq!(bench.notice(), Notice::Camera(CameraState::Running));
    let nack = |boot_id| Request::Resend(Nack::new(boot_id, 1, 1..2));
    let Response::Resend(range) = bench.ask(nack(BootId(2))) else { panic!() };
    assert_eq!((range.boot_id, range.first_available, range.next_unsent), (BootId(1), 0, 3));
    assert_eq!(bench.ask(nack(range.boot_id)), Response::Resend(range));
    assert_eq!(bench.notice(), Notice::Camera(CameraState::Absent));
    send_state(&mut bench, CameraState::Finished);
    assert_eq!(bench.notice(), Notice::Camera(CameraState::Finished));
}

#[test]
fn captures_end_with_the_pictures_and_wait_for_a_camera() {
    let mut bench = Bench::new();
    bench.ask(Request::Capture { token: 1 });
    let states = [
        (CameraState::Finished, CaptureState::Finished),
        (CameraState::Absent, CaptureState::CameraAbsent),
        (CameraState::Running, CaptureState::Pending),
    ];
    for (state, expected) in states {
        bench.service.handle(ServiceEvent::Camera { state, name: String::new(), generation: 0 });
        assert_eq!(bench.notice(), Notice::Camera(state));
        assert_eq!(bench.ask(Request::Capture { token: 1 }), Response::Capture(expected));
    }
}

#[test]
fn triggered_acquisition_restarts_the_source_and_ends_with_the_host() {
    let mut bench = Bench::new();
    bench.service.handle(ServiceEvent::Camera {
        state: CameraState::Finished,
        name: String::new(),
        generation: 0,
    });
    bench.sent();
    for _ in 0..2 {
        bench.ask(Request::Set(Setting::Acquisition(Acquisition::Triggered)));
    }
    assert!(matches!(
        bench.service.parts.control.next(CameraReadiness::EndOfInput, 0),
        Some(FrameCommand::RestartSource(1))
    ));
    let late = ServiceEvent::Camera { state: CameraState::Finished, name: String::new(), generation: 0 };
    bench.service.handle(late);
    let pending = Response::Capture(CaptureState::Pending);
    assert_eq!(
        bench.ask(Request::Capture { token: 3 }),
        pending,
        "word of the old generation does not count"
    );
    for lost in [ServiceEvent::Link(LinkEvent::Lost), ServiceEvent::Stop] {
        bench.ask(Request::Set(Setting::Acquisition(Acquisition::Triggered)));
        match lost {
            ServiceEvent::Stop => bench.service.host_left(),
            lost => bench.service.handle(lost),
        }
        let Response::Settings(settings) = bench.ask(Request::Settings) else { panic!() };
        assert_eq!(settings.acquisition, Acquisition::Continuous);
    }
}
