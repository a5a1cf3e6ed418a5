//! Protocol version 1.

use shared::wire::*;
use shared::{DutyCycle, Microseconds, PixelSize};

use crate::{check, variants};

const DIGEST: ModelDigest = ModelDigest(*b"0123456789abcdefghijklmnopqrstuv");

fn name(text: &str) -> Name {
    text.try_into().unwrap()
}

fn duty(thousandths: u16) -> DutyCycle {
    thousandths.try_into().unwrap()
}

pub fn report() -> FrameReport {
    FrameReport {
        frame: 300,
        time_unix_ms: 1_700_000_000_000,
        source: name("a.png"),
        model: DIGEST,
        width: 520,
        height: 696,
        count: 65,
        true_count: Some(66),
        median_diameter_px: 21.5,
        confluence: 0.25,
        scale: 0.5,
        exposure: Some(Microseconds(20_000)),
        illumination: duty(500),
        focus: 1.5,
        saturated: 0.125,
        qc_flags: QcFlags::OUT_OF_FOCUS.union(QcFlags::OFF_SCALE),
        times: StageTimes {
            convert: Microseconds(1),
            preprocess: Microseconds(200),
            network: Microseconds(65_000),
            extraction: Microseconds(4_000),
            evidence: Microseconds(5),
            encode: Microseconds(6),
        },
        skipped: 7,
    }
}

#[test]
fn request() {
    check(
        &variants!(Request: Hello Status Slots Stage StageChunk Activate StageStatus Revert Settings Set
            Capture ReadCapture Echo ..),
        &[
            (Request::Hello { protocol: 1 }, "0001"),
            (Request::Hello { protocol: 300 }, "00ac02"),
            (Request::Status, "01"),
            (Request::Slots, "02"),
            (Request::Stage { length: 1_000_000, digest: DIGEST }, "03c0843d digest"),
            (Request::StageChunk { digest: DIGEST, offset: 4096 }, "04 digest 8020"),
            (Request::Activate { digest: DIGEST }, "05 digest"),
            (Request::StageStatus, "06"),
            (Request::Revert { digest: DIGEST }, "07 digest"),
            (Request::Settings, "08"),
            (Request::Set(Setting::Illumination(duty(500))), "0900f403"),
            (Request::Capture { token: 0xDEAD_BEEF }, "0aeffdb6f50d"),
            (Request::ReadCapture { token: 2, part: CapturePart::Labels, offset: 8192 }, "0b02018040"),
            (Request::Echo, "0c"),
        ],
    );
}

#[test]
fn response() {
    let slots = SlotReport {
        active: Slot::B,
        factory: DIGEST,
        a: SlotContent { state: SlotState::Empty, digest: None, length: 0 },
        b: SlotContent { state: SlotState::Trial, digest: Some(DIGEST), length: 70_000 },
    };
    let status = Status {
        uptime_ms: 86_400_000,
        camera: CameraState::Running,
        camera_name: name("simulated"),
        model: DIGEST,
        frames: 1000,
        frames_skipped: 20,
        frames_unsent: 3,
        damaged_packets: 4,
        threads: 4,
    };
    let settings = Settings {
        illumination: duty(1000),
        pixel_size: Some(PixelSize::try_from(0.5).unwrap()),
        acquisition: Acquisition::Triggered,
        masks: Stream::Off,
        preview: Stream::On,
    };
    check(
        &variants!(Response: Hello Status Slots Stage Settings Capture CaptureData Echo Refused ..),
        &[
            (
                Response::Hello(Identity { protocol: 1, version: name("0.1.0"), name: name("bench") }),
                "000105302e312e300562656e6368",
            ),
            (Response::Status(status), "0180b89929000973696d756c61746564 digest e80714030404"),
            (Response::Slots(slots), "0202 digest 0000000201 digest f0a204"),
            (Response::Stage(StageProgress::Idle), "0300"),
            (Response::Settings(settings), "04e807010000003f010001"),
            (Response::Settings(Settings { pixel_size: None, ..settings }), "04e80700010001"),
            (Response::Capture(CaptureState::Pending), "0500"),
            (Response::CaptureData { token: 2, offset: 8192 }, "06028040"),
            (Response::Echo, "07"),
            (Response::Refused(Refusal::Unknown), "0800"),
        ],
    );
}

#[test]
fn event() {
    let fragment = Fragment { frame: 300, offset: 4096, total: 5000 };
    let bare = FrameReport {
        source: name(""),
        true_count: None,
        exposure: None,
        qc_flags: QcFlags::NONE,
        times: StageTimes::default(),
        ..report()
    };
    check(
        &variants!(Event: Frame Masks Preview Notice ..),
        &[
            (
                Event::Frame(report()),
                "00ac0280d095ffbc3105612e706e67 digest \
                 8804b8054101420000ac410000803e0000003f01a09c01f4030000c03f0000003e \
                 1101c801e8fb03a01f050607",
            ),
            (
                Event::Frame(bare),
                "00ac0280d095ffbc3100 digest \
                 8804b80541000000ac410000803e0000003f00f4030000c03f0000003e00000000 \
                 00000007",
            ),
            (Event::Masks(fragment), "01ac0280208827"),
            (Event::Preview(fragment), "02ac0280208827"),
            (Event::Notice(Notice::Camera(CameraState::Absent)), "030001"),
        ],
    );
}

#[test]
fn stage_progress() {
    check(
        &variants!(StageProgress: Idle Receiving Verifying Trial Confirmed Failed),
        &[
            (StageProgress::Idle, "00"),
            (
                StageProgress::Receiving { digest: DIGEST, received: 8192, length: 1_000_000 },
                "01 digest 8040c0843d",
            ),
            (StageProgress::Verifying { digest: DIGEST }, "02 digest"),
            (StageProgress::Trial { digest: DIGEST, frames_left: 9 }, "03 digest 09"),
            (StageProgress::Confirmed { digest: DIGEST }, "04 digest"),
            (StageProgress::Failed { digest: DIGEST, reason: ModelRefusal::NotOnnx }, "05 digest 02"),
        ],
    );
}

#[test]
fn model_refusal() {
    check(
        &variants!(ModelRefusal: TooLarge DigestMismatch NotOnnx NoManifest ManifestVersion BadManifest
            Unsupported GoldenMismatch TrialFailed TrialInterrupted Reverted Storage ..),
        &[
            (ModelRefusal::TooLarge { limit: 67_108_864 }, "0080808020"),
            (ModelRefusal::DigestMismatch, "01"),
            (ModelRefusal::NotOnnx, "02"),
            (ModelRefusal::NoManifest, "03"),
            (ModelRefusal::ManifestVersion { found: 300, supported: 1 }, "04ac0201"),
            (ModelRefusal::BadManifest, "05"),
            (ModelRefusal::Unsupported, "06"),
            (ModelRefusal::GoldenMismatch, "07"),
            (ModelRefusal::TrialFailed, "08"),
            (ModelRefusal::TrialInterrupted, "09"),
            (ModelRefusal::Reverted, "0a"),
            (ModelRefusal::Storage, "0b"),
        ],
    );
}

#[test]
fn refusal() {
    check(
        &variants!(Refusal: Unknown Protocol NotFound OutOfRange Busy Model ..),
        &[
            (Refusal::Unknown, "00"),
            (Refusal::Protocol { station: 1 }, "0101"),
            (Refusal::NotFound, "02"),
            (Refusal::OutOfRange, "03"),
            (Refusal::Busy, "04"),
            (Refusal::Model(ModelRefusal::DigestMismatch), "0501"),
        ],
    );
}

#[test]
fn setting() {
    check(
        &variants!(Setting: Illumination PixelSize Acquisition Masks Preview),
        &[
            (Setting::Illumination(duty(500)), "00f403"),
            (Setting::PixelSize(Some(PixelSize::try_from(0.5).unwrap())), "01010000003f"),
            (Setting::PixelSize(None), "0100"),
            (Setting::Acquisition(Acquisition::Continuous), "0200"),
            (Setting::Masks(Stream::On), "0301"),
            (Setting::Preview(Stream::Off), "0400"),
        ],
    );
    check(
        &variants!(Acquisition: Continuous Triggered),
        &[(Acquisition::Continuous, "00"), (Acquisition::Triggered, "01")],
    );
    check(&variants!(Stream: Off On), &[(Stream::Off, "00"), (Stream::On, "01")]);
}

#[test]
fn capture() {
    let info = CaptureInfo { report: report(), picture_length: 100_000, labels_length: 900, truth_length: 0 };
    check(
        &variants!(CaptureState: Pending Ready Finished CameraAbsent),
        &[
            (CaptureState::Pending, "00"),
            (
                CaptureState::Ready(info),
                "01ac0280d095ffbc3105612e706e67 digest \
                 8804b8054101420000ac410000803e0000003f01a09c01f4030000c03f0000003e \
                 1101c801e8fb03a01f050607a08d06840700",
            ),
            (CaptureState::Finished, "02"),
            (CaptureState::CameraAbsent, "03"),
        ],
    );
    check(
        &variants!(CapturePart: Picture Labels Truth),
        &[(CapturePart::Picture, "00"), (CapturePart::Labels, "01"), (CapturePart::Truth, "02")],
    );
}

#[test]
fn slots_and_camera() {
    check(&variants!(Slot: Factory A B), &[(Slot::Factory, "00"), (Slot::A, "01"), (Slot::B, "02")]);
    check(
        &variants!(SlotState: Empty Staged Trial Confirmed),
        &[
            (SlotState::Empty, "00"),
            (SlotState::Staged, "01"),
            (SlotState::Trial, "02"),
            (SlotState::Confirmed, "03"),
        ],
    );
    check(
        &variants!(CameraState: Running Absent Finished),
        &[(CameraState::Running, "00"), (CameraState::Absent, "01"), (CameraState::Finished, "02")],
    );
    check(
        &variants!(Notice: Camera Stage),
        &[
            (Notice::Camera(CameraState::Finished), "0002"),
            (Notice::Stage(StageProgress::Confirmed { digest: DIGEST }), "0104 digest"),
        ],
    );
}

#[test]
fn qc_flags() {
    let bits = QcFlags::ALL.map(|(flag, _)| flag.0);
    assert_eq!(bits, [1, 2, 4, 8, 16, 32]);
}

/// Packets carry their version, so later versions recognize those of this one.
#[test]
fn packet() {
    let rows = [
        (0x0102, Kind::Request, "060101020102010601e5a459a200"),
        (0x0102, Kind::Response, "06010202010308080101a3ef3bc800"),
        (0, Kind::Request, "030101010201020c0562756c6b05f4594be100"),
        (0xFFFF, Kind::Event, "060103ffff050401ac020a0401020304edd9177700"),
    ];
    for (sequence, kind, bytes) in rows {
        let bytes: Vec<u8> = (0..bytes.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&bytes[at..at + 2], 16).unwrap())
            .collect();
        let mut received = Vec::new();
        Accumulator::new().push(&bytes, |result| received.push(result));
        assert_eq!(received, [Err(PacketError::ProtocolVersion { found: 1, kind: Some(kind), sequence })]);
    }
}
