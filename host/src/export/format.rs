//! The names of the formats.

use clap::ValueEnum;

/// An export format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Format {
    /// 16-bit label images, png/x_masks.png
    Png,
    /// 16-bit label images, tiff/x_masks.tif
    Tiff,
    /// Measurements of every nucleus, objects.csv; of a recording, its frames, frames.csv
    Csv,
    /// The same as Parquet, objects.parquet or frames.parquet
    Parquet,
    /// COCO JSON of all images, coco.json
    Coco,
    /// QuPath's GeoJSON, geojson/x.geojson
    Geojson,
    /// Zips for ImageJ's ROI Manager, imagej/x_RoiSet.zip
    Imagej,
    /// Kaggle's run lengths, run_lengths.csv
    Kaggle,
    /// Images with outlines, overlays/x.png; needs the source images
    Overlay,
}
