use std::path::Path;

use shared::{Channels, Image, LabelImage, encode_label_png, encode_picture_png};

use super::*;

const THREADS: NonZeroUsize = NonZeroUsize::MIN;

/// Two dark images and a pale one with two touching nuclei each, and a file that is no image.
fn data_set(folder: &Path) {
    for (name, ground) in [("a", 5), ("b", 8), ("c", 240)] {
        let picture = Image::new(32, 16, Channels::Grey, vec![ground; 512]).unwrap();
        let label = |at: u32| match at % 32 {
            4..12 => 1,
            12..20 => 2,
            _ => 0,
        };
        let labels = LabelImage::new(32, 16, (0..512).map(label).collect()).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), encode_picture_png(&picture).unwrap()).unwrap();
        let masks = folder.join(format!("{name}_masks.png"));
        std::fs::write(masks, encode_label_png(&labels).unwrap()).unwrap();
    }
    std::fs::write(folder.join("d <bad>.png"), "no picture").unwrap();
}

#[test]
fn reports_what_is_there_and_names_what_is_bad() {
    let folder = tempfile::tempdir().unwrap();
    data_set(folder.path());
    let dataset = Dataset::open(folder.path()).unwrap();
    let found = explore(&dataset, 2, THREADS);
    assert_eq!((found.listed, found.pictures.len()), (4, 3));
    assert_eq!(found.sizes, [("32x16".to_owned(), 3)]);
    let fluorescence = &found.types[&ImageType::Fluorescence];
    assert_eq!((fluorescence.pictures, fluorescence.nuclei, fluorescence.touching), (2, 4, 1.0));
    assert_eq!((fluorescence.counts, fluorescence.areas_px), ([2; 3], [128; 3]));
    assert_eq!(found.clusters.len(), 2);
    assert_eq!(found.clusters[0].types, BTreeMap::from([(ImageType::Fluorescence, 2)]));
    assert_eq!(found.clusters[1].types, BTreeMap::from([(ImageType::GreyBrightfield, 1)]));
    assert_eq!(found.findings.len(), 1);
    assert!(found.findings[0].file.contains("bad"), "{:?}", found.findings);

    let html = page("a & b", &found, &dataset).unwrap();
    assert!(html.contains("a &amp; b") && html.contains("d &lt;bad&gt;.png") && !html.contains("<bad>"));
    assert_eq!(html.matches("data:image/png;base64,").count(), 3);
    assert!(html.contains("<svg") && !html.contains("http-equiv") && !html.contains("src=\"http"));
}

#[test]
fn quantiles_are_those_of_sorted_values() {
    assert_eq!([0.0, 0.5, 1.0].map(|share| quantile(&[1, 2, 9], share)), [1, 2, 9]);
    assert_eq!(quantile::<u32>(&[], 0.5), 0);
}
