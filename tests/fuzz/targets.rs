//! Fuzz targets for each kind of external input, which the tests replay: any input is accepted or rejected, and
//! accepted input survives a round trip.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crc::{CRC_32_ISO_HDLC, Crc};
use firmware::Config;
use host_modelling::Dataset;
use shared::wire::{Accumulator, Kind, MAX_MESSAGE, PROTOCOL_VERSION, Packet, PacketError};
use shared::{Manifest, Model, decode_labels, encode_labels};

/// A target: its name and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 7] = [
    ("framing", framing),
    ("messages", messages),
    ("manifest", manifest),
    ("onnx", onnx),
    ("labels", labels),
    ("station_toml", station_toml),
    ("bowl_zip", bowl_zip),
];

/// Bytes of a line: the first is the chunk size.
pub fn framing(bytes: &[u8]) {
    let Some((&step, line)) = bytes.split_first() else { return };
    let whole = packets_of(std::iter::once(line));
    let in_pieces = packets_of(line.chunks(usize::from(step).max(1)));
    assert_eq!(encoded(&whole), encoded(&in_pieces), "the chunks change what comes");
    come_back(&whole);
}

/// A message with a valid header and checksum: the first two bytes are the kind and the number of bulk bytes at the
/// end.
pub fn messages(bytes: &[u8]) {
    let Some((&[kind, bulk], message)) = bytes.split_first_chunk() else { return };
    let length = message.len().saturating_sub(usize::from(bulk)).min(MAX_MESSAGE + 1);
    let mut content = vec![PROTOCOL_VERSION as u8, kind, 1, 2];
    content.extend_from_slice(&(length as u16).to_le_bytes());
    content.extend_from_slice(message);
    content.extend_from_slice(&Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(&content).to_le_bytes());
    let mut framed = cobs::encode_vec(&content);
    framed.push(0);
    let packets = packets_of(std::iter::once(&framed[..]));
    let known = [Kind::Request, Kind::Response, Kind::Event].into_iter().any(|known| known as u8 == kind);
    assert!(known || packets.iter().all(Result::is_err), "a kind that is none was taken");
    come_back(&packets);
}

fn packets_of<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Result<Packet, PacketError>> {
    let mut accumulator = Accumulator::new();
    let mut packets = Vec::new();
    pieces.for_each(|piece| accumulator.push(piece, |packet| packets.push(packet)));
    packets
}

/// Compares packets as bytes, since NaN does not equal itself.
fn encoded(packets: &[Result<Packet, PacketError>]) -> Vec<Result<Vec<u8>, PacketError>> {
    let bytes_of = |packet: &Packet| {
        let mut bytes = Vec::new();
        packet.encode(&mut bytes).unwrap();
        bytes
    };
    packets.iter().map(|packet| packet.as_ref().map(bytes_of).map_err(|&error| error)).collect()
}

/// Every accepted packet survives a round trip.
fn come_back(packets: &[Result<Packet, PacketError>]) {
    for bytes in encoded(packets) {
        if bytes.is_ok() {
            let again = packets_of(bytes.iter().map(Vec::as_slice));
            assert_eq!(encoded(&again), [bytes]);
        }
    }
}

/// The JSON of a model's manifest.
pub fn manifest(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(manifest) = Manifest::parse(text) {
        let written = manifest.to_json().unwrap();
        assert_eq!(Manifest::parse(&written).unwrap(), manifest);
    }
}

/// A model file, as a station verifies it: the engine's own panics count as refusals.
pub fn onnx(bytes: &[u8]) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        if let Ok(model) = Model::load(bytes, NonZeroUsize::MIN) {
            let _ = model.into_segmenter().check_golden();
        }
    }));
}

/// A label image of at most 8192 pixels.
pub fn labels(bytes: &[u8]) {
    if let Ok(labels) = decode_labels(bytes, 1 << 13) {
        let again = decode_labels(&encode_labels(&labels), 1 << 13).unwrap();
        assert_eq!(again, labels);
    }
}

/// The station's settings.
pub fn station_toml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let error = match Config::parse(text, Path::new("station.toml")) {
        Ok(config) => config.check().err(),
        Err(error) => Some(error),
    };
    if let Some(error) = error {
        let printed = error.to_string();
        assert!(!printed.contains('\n'), "a journal's entry is one line: {printed:?}");
    }
}

/// A zip of images with masks.
pub fn bowl_zip(bytes: &[u8]) {
    let file = tempfile::Builder::new().suffix(".zip").tempfile_in(memory()).unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let Ok(dataset) = Dataset::open(file.path()) else { return };
    let _ = dataset.digest();
    for index in 0..dataset.len().min(3) {
        if let Ok(sample) = dataset.load(index)
            && let Some(labels) = sample.labels
        {
            assert_eq!((labels.width(), labels.height()), (sample.image.width(), sample.image.height()));
            assert_eq!(labels.max_label(), labels.count(), "labels are consecutive");
        }
    }
}

/// A folder that costs no disk, where there is one.
fn memory() -> std::path::PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}
