//! What the label codec costs on real masks, beside other ways to store them.
//!
//! ```text
//! cargo run --release -p shared --features decode --example label_codec_table -- stage1_train.zip
//! ```
//!
//! The zip is one of the Data Science Bowl 2018: `<id>/masks/*.png`, one PNG a nucleus. With
//! `--first-guesses` after it, the codec's table of first guesses is counted instead, on every other
//! image; with `--unseen`, the costs are of the images left out of that table.

extern crate alloc;

mod coco;
mod first_guesses;
#[path = "../../src/label_codec/outline.rs"]
mod outline;
mod pictures;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use flate2::{Compression, write::ZlibEncoder};
use shared::{LabelImage, decode_labels, encode_label_png, encode_labels};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [zip] => pictures::read(zip).and_then(|pictures| print_costs(&pictures)),
        [zip, "--unseen"] => {
            pictures::read(zip).and_then(|p| print_costs(&p.into_iter().step_by(2).collect::<Vec<_>>()))
        }
        [zip, "--first-guesses"] => pictures::read(zip).map(|pictures| {
            print!("{}", first_guesses::count(pictures.iter().skip(1).step_by(2)));
        }),
        _ => {
            eprintln!("usage: label_codec_table ZIP [--first-guesses | --unseen]");
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
    let [mut ours, mut shuffled, mut rle, mut png, mut zlib] = [(); 5].map(|()| Cost::default());
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
        zlib.add(|| deflated(labels), |bytes| bytes.as_ref().map_or(0, Vec::len))?;
    }
    let megapixels = pixels as f64 / 1e6;
    println!("{} pictures, {objects} nuclei, {megapixels:.1} megapixels", pictures.len());
    println!("| label images as | bytes a nucleus | encoding, ms a megapixel |");
    println!("| --- | --- | --- |");
    for (name, cost) in [
        ("label codec", ours),
        ("label codec, labels in no order", shuffled),
        ("COCO compressed RLE", rle),
        ("zlib of 16-bit labels", zlib),
        ("16-bit PNG", png),
    ] {
        let (each, time) = (cost.bytes as f64 / objects as f64, cost.time.as_secs_f64() * 1e3 / megapixels);
        println!("| {name} | {each:.2} | {time:.1} |");
    }
    let decoding = decoding.as_secs_f64() * 1e3 / megapixels;
    println!("label codec, decoding: {decoding:.1} ms a megapixel, longest picture {worst:.1?}");
    Ok(())
}

fn deflated(labels: &LabelImage) -> std::io::Result<Vec<u8>> {
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    for &label in labels.labels_hw() {
        zlib.write_all(&(label as u16).to_le_bytes())?;
    }
    zlib.finish()
}
