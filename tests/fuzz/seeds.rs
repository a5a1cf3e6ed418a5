//! Seeds of fuzzing: real data as programs write it.

use std::io::{Cursor, Write as _};

use host_modelling::{
    Convolution, Encoding, GraphBuilder, PoolWindow, Tensor4, ValueId, ValueShape, export_model,
};
use shared::trust::{Keyring, SecretKey};
use shared::wire::{
    BootId, CameraState, CaptureInfo, CapturePart, CaptureState, Challenge, Change, Downgrade, Event,
    EventRange, Fragment, FrameReport, Identity, Message, ModelDigest, Nack, Name, Nonce, Notice,
    PROTOCOL_VERSION, Packet, QcFlags, Refusal, ReliableEvent, Request, Response, SequencedEvent, Setting,
    Slot, SlotContent, SlotReport, SlotState, StageProgress, StageTimes, Status, Stream, UnixSeconds,
};
use shared::{
    Channels, DutyCycle, Image, LabelImage, Microseconds, PixelSize, encode_labels, encode_picture_png,
    read_manifest,
};

use crate::fixture::{brightness_model, discs, draft};

/// Each target's.
pub fn seeds() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    vec![
        ("framing", lines()),
        ("messages", messages()),
        ("manifest", manifests()),
        ("onnx", models()),
        ("labels", labels()),
        ("station_toml", settings()),
        ("bowl_zip", vec![bowl()]),
    ]
}

fn report() -> FrameReport {
    FrameReport {
        frame: 300,
        time_unix_ms: 1_700_000_000_000,
        source: "a".try_into().unwrap(),
        model: ModelDigest([9; 32]),
        width: 640,
        height: 480,
        count: 42,
        true_count: Some(40),
        median_diameter_px: 17.5,
        confluence: 0.25,
        scale: 1.5,
        exposure: Some(Microseconds(900)),
        illumination: DutyCycle::FULL,
        focus: 0.5,
        saturated: 0.01,
        qc_flags: QcFlags(3),
        times: StageTimes::default(),
        skipped: 2,
    }
}

fn all_messages() -> Vec<Message> {
    let digest = ModelDigest([5; 32]);
    let key = SecretKey::from_seed(&[3; 32]);
    let challenge = Challenge { nonce: Nonce([1; 16]), next_counter: 4, trust: Keyring::default().trust() };
    let signed = key.sign_change(&challenge, Change::Activate { digest, downgrade: Downgrade::Refused });
    let content = SlotContent { state: SlotState::Confirmed, digest: Some(digest), length: 77 };
    let name = Name::try_from("bench").unwrap();
    let status = Status {
        uptime_ms: 1 << 40,
        camera: CameraState::Running,
        camera_name: name.clone(),
        model: digest,
        frames: 70_000,
        frames_skipped: 3,
        frames_unsent: 1,
        damaged_packets: 2,
        threads: 4,
    };
    let info = CaptureInfo { report: report(), picture_length: 9000, labels_length: 300, truth_length: 0 };
    let requests = [
        Request::Hello { protocol: PROTOCOL_VERSION },
        Request::Status,
        Request::Stage { length: 100_000, digest },
        Request::StageChunk { digest, offset: 4096 },
        Request::Set(Setting::PixelSize(Some(PixelSize::try_from(0.65).unwrap()))),
        Request::Set(Setting::Masks(Stream::Off)),
        Request::Capture { token: 1 << 31 },
        Request::ReadCapture { token: 7, part: CapturePart::Labels, offset: 8192 },
        Request::Change(signed),
        Request::Resend(Nack::new(BootId(7), 69_990, [69_990, 69_999].into_iter())),
    ];
    let responses = [
        Response::Hello(Identity { protocol: PROTOCOL_VERSION, version: name.clone(), name }),
        Response::Status(status),
        Response::Slots(SlotReport { active: Slot::B, factory: digest, a: content, b: content }),
        Response::Stage(StageProgress::Receiving { digest, received: 4096, length: 100_000 }),
        Response::Capture(CaptureState::Ready(info)),
        Response::CaptureData { token: 7, offset: 8192 },
        Response::Refused(Refusal::Protocol { station: PROTOCOL_VERSION }),
        Response::Challenge(challenge),
        Response::Resend(EventRange { boot_id: BootId(7), first_available: 68_976, next_unsent: 70_000 }),
    ];
    let sequenced = |event| Event::Sequenced(SequencedEvent { boot_id: BootId(7), sequence: 70_000, event });
    let events = [
        Event::Masks(Fragment { frame: 300, offset: 0, total: 500 }),
        sequenced(ReliableEvent::Notice(Notice::Stage(StageProgress::Trial { digest, frames_left: 3 }))),
        sequenced(ReliableEvent::Frame(report())),
    ];
    let requests = requests.into_iter().map(Message::from);
    requests
        .chain(responses.into_iter().map(Message::from))
        .chain(events.into_iter().map(Message::from))
        .collect()
}

fn packet(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    Packet { sequence: 258, message: message.clone(), bulk: vec![0, 1, 2] }.encode(&mut bytes).unwrap();
    bytes
}

fn lines() -> Vec<Vec<u8>> {
    let all: Vec<u8> = all_messages().iter().flat_map(packet).collect();
    let mut noisy = all[..400].to_vec();
    noisy[70] ^= 4;
    vec![[&[7], &all[..]].concat(), [&[1], &noisy[..]].concat(), vec![255; 5000]]
}

fn messages() -> Vec<Vec<u8>> {
    const HEADER: usize = 6;
    const CRC: usize = 4;
    let bytes_of = |message: &Message| {
        let framed = packet(message);
        let content = cobs::decode_vec(&framed[..framed.len() - 1]).unwrap();
        [&[message.kind() as u8, 3], &content[HEADER..content.len() - CRC]].concat()
    };
    all_messages().iter().map(bytes_of).collect()
}

fn manifests() -> Vec<Vec<u8>> {
    models().iter().map(|onnx| read_manifest(onnx).unwrap().to_json().unwrap().into_bytes()).collect()
}

/// A network of every operator, and others.
fn models() -> Vec<Vec<u8>> {
    let unet = |encoding| {
        let shape = ValueShape::new(3, 32, 32).unwrap();
        let mut builder = GraphBuilder::new(shape).unwrap();
        let convolution = |from: usize, to: usize, side: usize, stride, padding| Convolution {
            weight: Tensor4::new([to, from, side, side], vec![0.1; to * from * side * side]).unwrap(),
            bias: vec![0.1; to],
            stride,
            padding,
        };
        let top = builder.conv("top", ValueId::INPUT, convolution(3, 4, 3, 1, 1)).unwrap();
        let top = builder.relu("top_relu", top).unwrap();
        let window = PoolWindow { size: 2, stride: 2, padding: 0 };
        let low = builder.max_pool("pool", top, window).unwrap();
        let low = builder.conv("low", low, convolution(4, 4, 1, 1, 0)).unwrap();
        let up = Convolution {
            weight: Tensor4::new([4, 4, 2, 2], vec![0.1; 64]).unwrap(),
            bias: vec![0.1; 4],
            stride: 2,
            padding: 0,
        };
        let up = builder.conv_transpose("up", low, up).unwrap();
        let sum = builder.add("add", up, top).unwrap();
        let both = builder.concat("concat", [sum, top]).unwrap();
        let head = builder.conv("head", both, convolution(8, 2, 1, 1, 0)).unwrap();
        let output = builder.sigmoid("sigmoid", head).unwrap();
        let draft = draft("every operator", 32, 8);
        export_model(builder.finish(output).unwrap(), &draft, encoding, &discs(32, 32)).unwrap()
    };
    let signed = SecretKey::from_seed(&[3; 32]).sign_model(&brightness_model(0.4), UnixSeconds(5));
    vec![unet(Encoding::F32), unet(Encoding::Int8Weights), signed]
}

fn labels() -> Vec<Vec<u8>> {
    let touching = LabelImage::new(9, 6, (0..54).map(|at| at % 9 / 3 + 1).collect()).unwrap();
    let far =
        LabelImage::new(40, 3, (0..120).map(|at| if at % 7 < 3 { 900 - at } else { 0 }).collect()).unwrap();
    let empty = LabelImage::background(64, 64).unwrap();
    let discs = discs(96, 64);
    let lit: Vec<bool> = discs.samples_hwc().iter().map(|&sample| sample > 100).collect();
    let labels = lit.iter().enumerate().map(|(at, &lit)| if lit { (at as u32 % 96) / 32 + 1 } else { 0 });
    let discs = LabelImage::new(96, 64, labels.collect()).unwrap();
    [touching, far, empty, discs].iter().map(encode_labels).collect()
}

fn settings() -> Vec<Vec<u8>> {
    let packaged = include_str!("../../firmware/packaging/station.toml");
    let printed: Vec<&str> = packaged.lines().map(|line| line.trim_start_matches("# ")).collect();
    let others = "name = \"x\"\nthreads = 2\nkernels = \"tract\"\npixel_size = 0.65\n[camera]\nkind = \"simulated\"\n\
                  width = 320\n[trust.keys]\nana = \"ed25519:A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=\"\n";
    vec![packaged.as_bytes().to_vec(), printed.join("\n").into_bytes(), others.as_bytes().to_vec()]
}

fn bowl() -> Vec<u8> {
    let picture = |value: &dyn Fn(u32) -> u8| {
        let image = Image::new(16, 12, Channels::Grey, (0..192).map(value).collect()).unwrap();
        encode_picture_png(&image).unwrap()
    };
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let mut put = |name: &str, bytes: &[u8]| {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    };
    put("a/images/a.png", &picture(&|at| at as u8));
    put("a/masks/1.png", &picture(&|at| if at % 16 < 5 { 255 } else { 0 }));
    put("a/masks/2.png", &picture(&|at| if at % 16 > 4 { 255 } else { 0 }));
    put("b_masks.png", &picture(&|at| (at / 64) as u8));
    put("b.png", &picture(&|at| 255 - at as u8));
    zip.finish().unwrap().into_inner()
}
