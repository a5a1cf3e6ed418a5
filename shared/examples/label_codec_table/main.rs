//! What the label codec costs on real masks, beside other ways to store them.
//!
//! ```text
//! cargo run --release -p shared --features decode --example label_codec_table -- stage1_train.zip
//! ```
//!
//! The zip is the one of the Data Science Bowl 2018: `<id>/masks/*.png`, one PNG per nucleus.

mod coco;
mod pictures;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use miniz_oxide::deflate::compress_to_vec_zlib;
use shared::{LabelImage, decode_labels, encode_label_png, encode_labels};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [zip] => pictures::read(zip).and_then(|pictures| print_costs(&pictures)),
        _ => {
            eprintln!("usage: label_codec_table ZIP");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Bytes of a whole set, and the time they took.
#[derive(Default)]
struct Cost {
    bytes: usize,
    time: Duration,
}

impl Cost {
    fn add<T>(&mut self, encode: impl FnOnce() -> T, bytes: impl FnOnce(&T) -> usize) -> T {
        let start = Instant::now();
        let encoded = encode();
        self.time += start.elapsed();
        self.bytes += bytes(&encoded);
        encoded
    }
}

fn print_costs(pictures: &[LabelImage]) -> Result<(), Box<dyn Error>> {
    let [mut ours, mut shuffled, mut runs, mut rle, mut png, mut zlib] = [(); 6].map(|()| Cost::default());
    let (mut decoding, mut worst, mut objects, mut pixels) = (Duration::ZERO, Duration::ZERO, 0, 0);
    for labels in pictures {
        objects += labels.count() as usize;
        pixels += labels.labels_hw().len();
        let encoded = ours.add(|| encode_labels(labels), Vec::len);
        let start = Instant::now();
        let decoded = decode_labels(&encoded, labels.width() * labels.height())?;
        decoding += start.elapsed();
        worst = worst.max(start.elapsed());
        if &decoded != labels {
            return Err("a label image does not come back as it went in".into());
        }
        let any_order = pictures::scattered(labels)?;
        shuffled.add(|| encode_labels(&any_order), Vec::len);
        rle.add(|| coco::compressed_rle(labels), |texts| texts.iter().map(String::len).sum());
        png.add(|| encode_label_png(labels), |png| png.as_ref().map_or(0, Vec::len))?;
        zlib.add(|| deflated(labels), Vec::len);
        runs.add(|| deflated_runs(labels), Vec::len);
    }
    let megapixels = pixels as f64 / 1e6;
    println!("{} pictures, {objects} nuclei, {megapixels:.1} megapixels", pictures.len());
    println!("| label images as | bytes per nucleus | encoding, ms per megapixel |");
    println!("| --- | --- | --- |");
    for (name, cost) in [
        ("label codec", ours),
        ("label codec, labels in no order", shuffled),
        ("zlib of run lengths", runs),
        ("COCO compressed RLE", rle),
        ("zlib of 16-bit labels", zlib),
        ("16-bit PNG", png),
    ] {
        let (each, time) = (cost.bytes as f64 / objects as f64, cost.time.as_secs_f64() * 1e3 / megapixels);
        println!("| {name} | {each:.2} | {time:.1} |");
    }
    let decoding = decoding.as_secs_f64() * 1e3 / megapixels;
    println!("label codec, decoding: {decoding:.1} ms per megapixel, longest picture {worst:.1?}");
    Ok(())
}

/// zlib's own default.
const LEVEL: u8 = 6;

fn deflated(labels: &LabelImage) -> Vec<u8> {
    let bytes: Vec<u8> = labels.labels_hw().iter().flat_map(|&label| (label as u16).to_le_bytes()).collect();
    compress_to_vec_zlib(&bytes, LEVEL)
}

/// Length and label of each run of equal pixels, row by row.
fn deflated_runs(labels: &LabelImage) -> Vec<u8> {
    let rows = labels.labels_hw().chunks_exact(labels.width() as usize);
    let runs =
        rows.flat_map(|row| row.chunk_by(|a, b| a == b)).flat_map(|run| [run.len() as u16, run[0] as u16]);
    compress_to_vec_zlib(&runs.flat_map(u16::to_le_bytes).collect::<Vec<u8>>(), LEVEL)
}
