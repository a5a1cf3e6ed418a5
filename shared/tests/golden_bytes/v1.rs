//! Protocol version 1.

use shared::trust::SecretKey;
use shared::wire::*;
use shared::{DutyCycle, Microseconds, PixelSize};

use crate::{check, hex, squeezed, variants};

const DIGEST: ModelDigest = ModelDigest(*b"0123456789abcdefghijklmnopqrstuv");

const BOOT_ID: BootId = BootId(300);
const KEY: KeyId = KeyId(*b"testkey1");
const NONCE: Nonce = Nonce(*b"sixteen bytes at");
const SIGNATURE: Signature = Signature { r: [0x11; 32], s: [0x22; 32] };
const SIGNATURE_BYTES: &str = "1111111111111111111111111111111111111111111111111111111111111111
    2222222222222222222222222222222222222222222222222222222222222222";

const fn signed(change: Change) -> SignedChange {
    SignedChange { key: KEY, nonce: NONCE, counter: 300, change, signature: SIGNATURE }
}

fn name(text: &str) -> Name {
    text.try_into().unwrap()
}

fn duty(thousandths: u16) -> DutyCycle {
    thousandths.try_into().unwrap()
}

fn report() -> FrameReport {
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
    let change =
        format!("0e 746573746b657931 7369787465656e206279746573206174 ac02 02 digest {SIGNATURE_BYTES}");
    let nack = Nack::new(BOOT_ID, 70_000, [70_000, 70_009].into_iter());
    check(
        &variants!(Request: Hello Status Slots Stage StageChunk Activate StageStatus Revert Settings Set
            Capture ReadCapture Echo Challenge Change FlatField Resend),
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
            (Request::Challenge, "0d"),
            (Request::Change(signed(Change::Revert { digest: DIGEST })), &change),
            (Request::FlatField, "0f"),
            (Request::Resend(nack), "10 ac02 f0a204 020102"),
            (Request::Resend(Nack::new(BootId(0), 0, [].into_iter())), "10 00 00 00"),
        ],
    );
}

#[test]
fn response() {
    let challenge = Challenge { nonce: NONCE, next_counter: 300, trust: Trust::Keys(2) };
    let range = EventRange { boot_id: BOOT_ID, first_available: 1, next_unsent: 70_000 };
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
        &variants!(Response: Hello Status Slots Stage Settings Capture CaptureData Echo Refused Challenge
            FlatField Resend),
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
            (Response::Challenge(challenge), "09 7369787465656e206279746573206174 ac02 0102"),
            (
                Response::Challenge(Challenge { trust: Trust::Open, ..challenge }),
                "09 7369787465656e206279746573206174 ac02 00",
            ),
            (Response::FlatField(None), "0a00"),
            (Response::FlatField(Some(FlatFieldDigest(DIGEST.0))), "0a01 digest"),
            (Response::Resend(range), "0b ac02 01 f0a204"),
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
    let sequenced = |event| Event::Sequenced(SequencedEvent { boot_id: BOOT_ID, sequence: 70_000, event });
    check(
        &variants!(Event: Sequenced Masks Preview),
        &[
            (
                sequenced(ReliableEvent::Frame(report())),
                "00 ac02 f0a204 00 ac0280d095ffbc3105612e706e67 digest \
                 8804b8054101420000ac410000803e0000003f01a09c01f4030000c03f0000003e \
                 1101c801e8fb03a01f050607",
            ),
            (sequenced(ReliableEvent::Notice(Notice::Camera(CameraState::Absent))), "00 ac02 f0a204 01 0001"),
            (Event::Masks(fragment), "01ac0280208827"),
            (Event::Preview(fragment), "02ac0280208827"),
        ],
    );
    check(
        &variants!(ReliableEvent: Frame Notice),
        &[
            (
                ReliableEvent::Frame(bare),
                "00 ac0280d095ffbc3100 digest \
                 8804b80541000000ac410000803e0000003f00f4030000c03f0000003e00000000 \
                 00000007",
            ),
            (ReliableEvent::Notice(Notice::Camera(CameraState::Absent)), "010001"),
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
    let older = ModelRefusal::Older { signed: UnixSeconds(1_700_000_000), confirmed: UnixSeconds(300) };
    check(
        &variants!(ModelRefusal: TooLarge DigestMismatch NotOnnx NoManifest ManifestVersion BadManifest
            Unsupported GoldenMismatch TrialFailed TrialInterrupted Reverted Storage Unsigned UnknownKey BadSignature
            Older),
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
            (ModelRefusal::Unsigned, "0c"),
            (ModelRefusal::UnknownKey { key: KEY }, "0d 746573746b657931"),
            (ModelRefusal::BadSignature, "0e"),
            (older, "0f80e2cfaa06ac02"),
        ],
    );
}

#[test]
fn refusal() {
    check(
        &variants!(Refusal: Unknown Protocol NotFound OutOfRange Busy Model Trust),
        &[
            (Refusal::Unknown, "00"),
            (Refusal::Protocol { station: 1 }, "0101"),
            (Refusal::NotFound, "02"),
            (Refusal::OutOfRange, "03"),
            (Refusal::Busy, "04"),
            (Refusal::Model(ModelRefusal::DigestMismatch), "0501"),
            (Refusal::Trust(TrustRefusal::StaleChallenge), "0603"),
        ],
    );
    check(
        &variants!(TrustRefusal: Unsigned UnknownKey BadSignature StaleChallenge LockedOut),
        &[
            (TrustRefusal::Unsigned, "00"),
            (TrustRefusal::UnknownKey { key: KEY }, "01 746573746b657931"),
            (TrustRefusal::BadSignature, "02"),
            (TrustRefusal::StaleChallenge, "03"),
            (TrustRefusal::LockedOut { seconds: 300 }, "04ac02"),
        ],
    );
}

#[test]
fn change() {
    check(
        &variants!(Change: Stage Activate Revert Set),
        &[
            (Change::Stage { length: 1_000_000, digest: DIGEST }, "00c0843d digest"),
            (Change::Activate { digest: DIGEST, downgrade: Downgrade::Refused }, "01 digest 00"),
            (Change::Activate { digest: DIGEST, downgrade: Downgrade::Allowed }, "01 digest 01"),
            (Change::Revert { digest: DIGEST }, "02 digest"),
            (Change::Set(Setting::Illumination(duty(500))), "0300f403"),
        ],
    );
    check(&variants!(Trust: Open Keys), &[(Trust::Open, "00"), (Trust::Keys(300), "01ac02")]);
    check(&variants!(Downgrade: Refused Allowed), &[(Downgrade::Refused, "00"), (Downgrade::Allowed, "01")]);
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

/// Computed with Python's cryptography 50, from the layout in the documentation of `shared::trust`.
#[test]
fn signatures() {
    let seed: [u8; 32] = std::array::from_fn(|byte| byte as u8);
    let key = SecretKey::from_seed(&seed);
    assert_eq!(key.public().to_string(), "ed25519:A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=");
    let file = key.sign_model(b"a model", UnixSeconds(1_800_000_000));
    let expected = b"a model\x72\x80\x01\x0a\x10nuclei_signature\x12\x6c\
        AQOhB7/zzhC+ANJJawAAAADwTE8in0mFvrzdLJs7Sy50afj3Y62dMuxcLlQSOKabWupHMHLBRB3RcQpCv+K6/3aoDSOvzu/YlvEzdUcEn8ID";
    assert_eq!(file, expected);

    let challenge = Challenge { nonce: NONCE, next_counter: 300, trust: Trust::Keys(1) };
    let signed = key.sign_change(&challenge, Change::Revert { digest: DIGEST });
    assert_eq!(signed.key.to_string(), "03a107bff3ce10be");
    let expected = "388943af1c916805950e709c7361ebe74fd0fbb7bb452ca59a32151cd8aa5463\
                    a33d415f7884f58c7e5043bc05367f9044b69a70ddc2504a03582f45328f7603";
    assert_eq!(hex(&signed.signature.r) + &hex(&signed.signature.s), expected);
}

/// The CRCs are those of Python's zlib.
#[test]
fn packet() {
    let rows: [(u16, Message, &[u8], &str); 4] = [
        (0x0102, Request::Hello { protocol: 1 }.into(), b"", "060101020102010601e5a459a200"),
        (
            0x0102,
            Response::Refused(Refusal::Protocol { station: 1 }).into(),
            b"",
            "06010202010308080101a3ef3bc800",
        ),
        (0, Request::Echo.into(), b"\0bulk\0", "030101010201020c0562756c6b05f4594be100"),
        (
            0xFFFF,
            Event::Masks(Fragment { frame: 300, offset: 0, total: 4 }).into(),
            &[1, 2, 3, 4],
            "060103ffff050401ac020a0401020304edd9177700",
        ),
    ];
    for (sequence, message, bulk, expected) in rows {
        let packet = Packet { sequence, message, bulk: bulk.to_vec() };
        let mut bytes = Vec::new();
        packet.encode(&mut bytes).unwrap();
        assert_eq!(hex(&bytes), squeezed(expected), "{packet:?}");
        let mut received = Vec::new();
        Accumulator::new().push(&bytes, |result| received.push(result));
        assert_eq!(received, [Ok(packet)]);
    }
}
