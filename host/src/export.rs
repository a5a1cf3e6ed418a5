//! Label images with their nuclei, in the formats of the programs that a laboratory already uses.
//!
//! | format | where | opens in |
//! | --- | --- | --- |
//! | `png`, `tiff` | `png/x_masks.png`, `tiff/x_masks.tif`, 16 bits | Cellpose, StarDist, any image reader |
//! | `csv` | `objects.csv`, one row per nucleus | spreadsheets, R, pandas |
//! | `parquet` | `objects.parquet`, the same | pandas, Polars, R's arrow, DuckDB |
//! | `coco` | `coco.json`, one for all images | pycocotools, FiftyOne, CVAT |
//! | `geojson` | `geojson/x.geojson` | QuPath, shapely |
//! | `imagej` | `imagej/x_RoiSet.zip` | the ROI Manager of ImageJ and Fiji |
//! | `kaggle` | `run_lengths.csv`, one row per nucleus | the Data Science Bowl 2018 |
//! | `overlay` | `overlays/x.png` | eyes |
//!
//! A recording becomes `frames.csv` or `frames.parquet`, one row per frame.
//!
//! Corners of outlines lie on the corners of pixels, the image's upper left one being (0, 0), so that the
//! area within an outline is the number of the nucleus's pixels.

mod coco;
mod format;
mod geojson;
mod objects_csv;
mod objects_parquet;
mod parquet_table;
mod recording_table;
mod roi;
mod run_length;
mod writer;

pub use format::Format;
pub use recording_table::{RecordingTableError, recording_csv, recording_parquet};
pub use writer::{Exporter, Field, LabelExportError, WRITTEN_FOLDERS};
