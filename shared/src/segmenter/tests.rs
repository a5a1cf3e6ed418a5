use alloc::string::ToString;

use super::*;
use crate::extraction::ExtractionParams;
use crate::golden::Golden;
use crate::image::Channels;
use crate::manifest::{ColourOrder, InputSpec, MANIFEST_FORMAT, OutputChannel, Scores};
use crate::preprocess::Scaling;
use crate::units::Probability;

/// A network that calls bright pixels nuclei, and bright pixels with bright neighbors interior.
struct Brightness {
    tile: usize,
    runs: usize,
}

impl ParallelFor for Brightness {}

impl Network for Brightness {
    type Error = core::convert::Infallible;

    fn run(
        &mut self,
        n: usize,
        cut: impl Fn(usize, &mut [f32]) + Sync,
        maps: &mut Vec<f32>,
    ) -> Result<(), Self::Error> {
        self.runs += n;
        let area = self.tile * self.tile;
        maps.clear();
        let mut tile_chw = vec![9.0; 3 * area];
        for index in 0..n {
            cut(index, &mut tile_chw);
            let bright = |at: usize| tile_chw[at] > 0.5;
            maps.extend((0..area).map(|at| f32::from(u8::from(bright(at)))));
            maps.extend((0..area).map(|at| {
                let inside = crate::components::neighbours(at, self.tile, area).all(bright);
                f32::from(u8::from(bright(at) && inside))
            }));
        }
        Ok(())
    }
}

fn manifest(scale: ScaleRule) -> Manifest {
    let probability = |value| Probability::try_from(value).unwrap();
    let black = Image::black(8, 8, Channels::Grey).unwrap();
    Manifest {
        format: MANIFEST_FORMAT,
        architecture: "brightness".to_string(),
        input: InputSpec {
            tile: 64,
            overlap: 8,
            colour: ColourOrder::Rgb,
            scaling: Scaling::UnitRange,
            scale,
        },
        outputs: vec![OutputChannel::Nucleus, OutputChannel::Interior],
        extraction: ExtractionParams::Watershed {
            nucleus_threshold: probability(0.5),
            seed_threshold: probability(0.5),
            distance_share: Probability::ZERO,
            min_seed_area: 2.0,
            min_area: 4.0,
            seed_levels: 1,
        },
        native_nucleus_px: 12.0,
        data_digest: "none".to_string(),
        scores: Scores { float: None, int8: None },
        gmac: 0.0,
        golden: Golden::new(black, LabelImage::background(8, 8).unwrap()).unwrap(),
    }
}

fn segmenter(scale: ScaleRule) -> Segmenter<Brightness> {
    Segmenter::new(Brightness { tile: 64, runs: 0 }, manifest(scale))
}

/// An image with one bright disc in the middle of each `pitch` by `pitch` square.
fn discs(width: u32, height: u32, pitch: u32, diameter: f32) -> Image {
    let mut image = Image::black(width, height, Channels::Grey).unwrap();
    for (at, sample) in image.samples_hwc_mut().iter_mut().enumerate() {
        let (x, y) = (at as u32 % width % pitch, at as u32 / width % pitch);
        let centre = pitch as f32 / 2.0 - 0.5;
        if libm::hypotf(x as f32 - centre, y as f32 - centre) < diameter / 2.0 {
            *sample = 255;
        }
    }
    image
}

#[test]
fn finds_every_nucleus_in_any_size() {
    let cases = [(1, 1, 0), (20, 20, 1), (64, 64, 9), (300, 40, 30), (130, 200, 70)];
    for (width, height, expected) in cases {
        let found = segmenter(ScaleRule::Native)
            .segment(&discs(width, height, 20, 12.0), ScaleChoice::PerPicture)
            .unwrap();
        assert_eq!((found.labels.width(), found.labels.height()), (width, height));
        assert_eq!((found.count, found.labels.count()), (expected, expected), "{width}x{height}");
    }
}

#[test]
fn second_pass_only_where_the_nuclei_ask_for_it() {
    let rule = ScaleRule::Nucleus {
        target_px: 12.0,
        min: Scale::try_from(0.25).unwrap(),
        max: Scale::try_from(3.0).unwrap(),
    };
    for (diameter, pitch, scale, tiles) in [(12.0, 20, 1.0, 1), (24.0, 32, 0.5, 2), (6.0, 16, 2.0, 1 + 4)] {
        let mut segmenter = segmenter(rule);
        let found = segmenter.segment(&discs(64, 64, pitch, diameter), ScaleChoice::PerPicture).unwrap();
        assert!((found.scale.get() / scale - 1.0).abs() < 0.1, "{diameter}: {:?}", found.scale);
        assert_eq!(found.labels.count(), (64 / pitch) * (64 / pitch), "{diameter}");
        assert_eq!(segmenter.network.runs, tiles, "{diameter}");
        let fixed =
            segmenter.segment(&discs(64, 64, pitch, diameter), ScaleChoice::Fixed(found.scale)).unwrap();
        assert_eq!(fixed.labels, found.labels, "one pass at the learnt scale gives the same");
    }
}

#[test]
fn fit_resizes_whole_pictures() {
    let mut segmenter = segmenter(ScaleRule::Fit);
    let found = segmenter.segment(&discs(128, 192, 64, 40.0), ScaleChoice::PerPicture).unwrap();
    assert_eq!((found.labels.width(), found.labels.height(), found.labels.count()), (128, 192, 6));
    assert_eq!(segmenter.network.runs, 1);
}

#[test]
fn stages_are_observed_in_order() {
    let mut stages = Vec::new();
    segmenter(ScaleRule::Native)
        .segment_observed(&discs(20, 20, 20, 12.0), ScaleChoice::PerPicture, &mut |stage| stages.push(stage))
        .unwrap();
    stages.dedup();
    assert_eq!(stages, [Stage::Preprocess, Stage::Network, Stage::Extraction, Stage::Done]);
}

#[test]
fn a_network_that_breaks_its_promise_is_named() {
    let mut segmenter = segmenter(ScaleRule::Native);
    segmenter.manifest_mut().outputs.pop();
    let error = segmenter.segment(&discs(8, 8, 8, 4.0), ScaleChoice::PerPicture).unwrap_err();
    assert!(matches!(error, SegmentError::OutputLength { tiles: 1, .. }), "{error}");
}

#[test]
fn golden_frame_is_checked() {
    let picture = discs(60, 60, 20, 12.0);
    let mut segmenter = segmenter(ScaleRule::Native);
    let labels = segmenter.segment(&picture, ScaleChoice::PerPicture).unwrap().labels;
    segmenter.manifest_mut().golden = Golden::new(picture.clone(), labels).unwrap();
    segmenter.check_golden().unwrap();
    let background = LabelImage::background(60, 60).unwrap();
    segmenter.manifest_mut().golden = Golden::new(picture, background).unwrap();
    let error = segmenter.check_golden().unwrap_err();
    assert!(matches!(
        error,
        SegmentError::Golden(GoldenError::Mismatch { expected: 0, found: 9, matched: 0 })
    ));
}

#[test]
fn manifest_survives_its_own_text() {
    let manifest = manifest(ScaleRule::Native);
    let json = manifest.to_json().unwrap();
    assert_eq!(Manifest::parse(&json).unwrap(), manifest);
    let newer = json.replacen("\"format\":1", "\"format\":2", 1);
    assert!(matches!(Manifest::parse(&newer), Err(crate::ManifestError::Format { found: 2 })));
    let unknown = json.replacen("{", "{\"surprise\":1,", 1);
    assert!(matches!(Manifest::parse(&unknown), Err(crate::ManifestError::Json { .. })));
    for overlap in [32, u32::MAX] {
        let wide = json.replacen("\"overlap\":8", &format!("\"overlap\":{overlap}"), 1);
        assert!(matches!(Manifest::parse(&wide), Err(crate::ManifestError::Contradiction { .. })));
    }
    for (low, high) in [(0.9, 0.1), (0.5, 0.5), (-0.1, 0.9), (0.1, 1.5), (f32::NAN, 0.9)] {
        let mut manifest = manifest.clone();
        manifest.input.scaling = Scaling::Stretch { low, high, min_span: 16 };
        assert!(manifest.to_json().is_err(), "{low} to {high}");
    }
}
