use shared::Channels;

use super::*;

/// Soft blobs on a dark ground with a little noise, other ones for another seed.
fn photograph(seed: u32, side: u32) -> Image {
    let random = |i: u32| {
        let mixed = (i ^ seed.wrapping_mul(0x9E37_79B9)).wrapping_mul(0x85EB_CA6B);
        ((mixed ^ (mixed >> 13)).wrapping_mul(0xC2B2_AE35) >> 8) as f32 / (1 << 24) as f32
    };
    let blobs: Vec<[f32; 3]> = (0..side / 3)
        .map(|i| {
            [random(3 * i) * side as f32, random(3 * i + 1) * side as f32, 4.0 + 8.0 * random(3 * i + 2)]
        })
        .collect();
    let samples = (0..side * side).map(|at| {
        let (x, y) = ((at % side) as f32, (at / side) as f32);
        let light: f32 = blobs
            .iter()
            .map(|[bx, by, radius]| (-((x - bx).powi(2) + (y - by).powi(2)) / (radius * radius)).exp())
            .fold(0.0, f32::max);
        (20.0 + 180.0 * light + 4.0 * random(at + 1000)) as u8
    });
    Image::new(side, side, Channels::Grey, samples.collect()).unwrap()
}

fn part(image: &Image, left: u32, top: u32, side: u32) -> Image {
    let at = |i: u32| ((top + i / side) * image.width() + left + i % side) as usize;
    let samples = (0..side * side).map(|i| image.samples_hwc()[at(i)]).collect();
    Image::new(side, side, Channels::Grey, samples).unwrap()
}

#[test]
fn quarters_are_found_among_strangers() {
    let pictures: Vec<Image> = (0..6)
        .flat_map(|seed| {
            let whole = photograph(seed, 256);
            [(0, 0), (128, 0), (0, 128), (128, 128)].map(|(left, top)| part(&whole, left, top, 128))
        })
        .collect();
    let (quarters, alone) = pictures.split_at(16);
    // Of the last two photographs there is one quarter each, and a copy of the second of them.
    let shown: Vec<&Image> = quarters.iter().chain([&alone[0], &alone[5], &alone[5]]).collect();
    let expected: Vec<usize> = (0..16).map(|at| at / 4).chain([4, 5, 5]).collect();
    assert_eq!(photographs(&shown), expected);
}

#[test]
fn flat_pictures_stay_apart() {
    let flat = |ground: u8| Image::new(64, 64, Channels::Grey, vec![ground; 64 * 64]).unwrap();
    let (a, b) = (flat(10), flat(11));
    assert_eq!(photographs(&[&a, &b]), [0, 1]);
}
