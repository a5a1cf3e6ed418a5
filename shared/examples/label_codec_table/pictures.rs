//! The true masks of a Data Science Bowl zip as label images.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufReader, Read};

use shared::{LabelImage, SizeError, decode_mask};

/// All label images of a zip, by image; nuclei are numbered as rows meet them.
pub(super) fn read(path: &str) -> Result<Vec<LabelImage>, Box<dyn Error>> {
    let mut zip = zip::ZipArchive::new(BufReader::new(File::open(path)?))?;
    let mut masks: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in zip.file_names().filter(|name| name.ends_with(".png") && !name.contains("__MACOSX")) {
        if let Some((picture, _)) = name.split_once("/masks/") {
            masks.entry(picture.to_owned()).or_default().push(name.to_owned());
        }
    }
    let mut pictures = Vec::with_capacity(masks.len());
    for names in masks.values_mut() {
        names.sort();
        let mut picture: Option<LabelImage> = None;
        for (label, name) in (1..).zip(names) {
            let mut png = Vec::new();
            zip.by_name(name)?.read_to_end(&mut png)?;
            let mask = decode_mask(&png)?;
            let labels = match &mut picture {
                Some(labels) => labels,
                None => picture.insert(LabelImage::background(mask.width, mask.height)?),
            };
            if (labels.width(), labels.height()) != (mask.width, mask.height) {
                return Err(format!("{name} is of another size than the masks beside it").into());
            }
            for (pixel, _) in
                labels.labels_hw_mut().iter_mut().zip(mask.inside_hw).filter(|(_, inside)| *inside)
            {
                *pixel = label;
            }
        }
        pictures.extend(picture.map(numbered_in_rows).transpose()?);
    }
    Ok(pictures)
}

fn numbered_in_rows(labels: LabelImage) -> Result<LabelImage, SizeError> {
    let mut numbers = vec![0; labels.max_label() as usize + 1];
    let mut count = 0;
    renumbered(&labels, |label| {
        let number = &mut numbers[label as usize];
        if *number == 0 {
            count += 1;
            *number = count;
        }
        *number
    })
}

/// The same nuclei with numbers that follow no order.
pub(super) fn scattered(labels: &LabelImage) -> Result<LabelImage, SizeError> {
    let mut order: Vec<u32> = (1..=labels.max_label()).collect();
    order.sort_by_key(|number| number.wrapping_mul(0x9E37_79B9).rotate_left(7).wrapping_mul(0x85EB_CA6B));
    renumbered(labels, |label| order[label as usize - 1])
}

fn renumbered(labels: &LabelImage, mut number: impl FnMut(u32) -> u32) -> Result<LabelImage, SizeError> {
    let numbers =
        labels.labels_hw().iter().map(|&label| if label == 0 { 0 } else { number(label) }).collect();
    LabelImage::new(labels.width(), labels.height(), numbers)
}
