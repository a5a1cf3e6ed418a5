//! COCO's JSON of instance masks (<https://cocodataset.org/#format-data>).

use std::collections::BTreeMap;

use host_modelling::Polygon;
use serde::Serialize;
use shared::{LabelImage, Object};

use super::run_length::{coco_counts, runs};

/// The only category.
const NUCLEUS: u32 = 1;

/// A data set of images with their nuclei.
#[derive(Debug, Serialize)]
pub struct Coco {
    info: Info,
    licenses: [(); 0],
    images: Vec<Picture>,
    annotations: Vec<Annotation>,
    categories: [Category; 1],
}

#[derive(Debug, Serialize)]
struct Info {
    description: &'static str,
    version: &'static str,
}

#[derive(Debug, Serialize)]
struct Category {
    id: u32,
    name: &'static str,
    supercategory: &'static str,
}

#[derive(Debug, Serialize)]
struct Picture {
    id: u64,
    file_name: String,
    width: u32,
    height: u32,
}

#[derive(Debug, Serialize)]
struct Annotation {
    id: u64,
    image_id: u64,
    category_id: u32,
    /// Its label in the label image: our own field, which readers ignore.
    label: u32,
    segmentation: OutlineCode,
    /// Pixels.
    area: u32,
    /// x, y, width, height.
    bbox: [u32; 4],
    iscrowd: u8,
}

/// Polygons, which every reader draws; run lengths for regions with holes, which COCO's polygons cannot express.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum OutlineCode {
    Polygons(Vec<Vec<i32>>),
    RunLengths { counts: Vec<u64>, size: [u32; 2] },
}

impl Coco {
    pub const fn new() -> Self {
        Self {
            info: Info { description: "cell nuclei", version: env!("CARGO_PKG_VERSION") },
            licenses: [],
            images: Vec::new(),
            annotations: Vec::new(),
            categories: [Category { id: NUCLEUS, name: "nucleus", supercategory: "cell" }],
        }
    }

    /// Adds an image with its nuclei; `polygons` are theirs by label.
    pub fn add(
        &mut self,
        file_name: &str,
        labels: &LabelImage,
        objects: &[Object],
        polygons: &BTreeMap<u32, Vec<Polygon>>,
    ) {
        let image_id = self.images.len() as u64 + 1;
        let (width, height) = (labels.width(), labels.height());
        self.images.push(Picture { id: image_id, file_name: file_name.to_owned(), width, height });
        let has_holes = |parts: &[Polygon]| parts.iter().any(|part| !part.holes.is_empty());
        let runs =
            if polygons.values().any(|parts| has_holes(parts)) { runs(labels) } else { BTreeMap::new() };
        for object in objects {
            let parts = polygons.get(&object.label).map_or(&[][..], Vec::as_slice);
            let segmentation = match runs.get(&object.label) {
                Some(runs) if has_holes(parts) => OutlineCode::RunLengths {
                    counts: coco_counts(runs, u64::from(width) * u64::from(height)),
                    size: [height, width],
                },
                _ => OutlineCode::Polygons(
                    parts.iter().map(|part| part.exterior.iter().flatten().copied().collect()).collect(),
                ),
            };
            let bounds = object.bounding_box;
            self.annotations.push(Annotation {
                id: self.annotations.len() as u64 + 1,
                image_id,
                category_id: NUCLEUS,
                label: object.label,
                segmentation,
                area: object.area_px,
                bbox: [bounds.x, bounds.y, bounds.width, bounds.height],
                iscrowd: 0,
            });
        }
    }
}
