//! Writes the files of each image, and those of all images at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use host_console::{Failure, WriteError, write_whole};
use host_modelling::{draw_outlines, trace_polygons};
use parquet::errors::ParquetError;
use shared::{
    Channels, Image, ImageEncodeError, LabelImage, MeasureError, PixelSize, SizeError, encode_label_png,
    encode_label_tiff, encode_picture_png, measure_objects,
};
use thiserror::Error;

use super::coco::Coco;
use super::format::Format;
use super::geojson::geojson;
use super::objects_csv::{IntensitySource, ObjectsCsv};
use super::objects_parquet::ObjectsParquet;
use super::roi::{RoiError, roi_zip};
use super::run_length::KaggleCsv;

/// Subfolders with one file per image.
pub const WRITTEN_FOLDERS: [&str; 5] = ["png", "tiff", "geojson", "imagej", "overlays"];
const OUTLINE: [u8; 3] = [0, 255, 0];

/// An image with its nuclei.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    /// Its name: that of its files.
    pub name: &'a str,
    /// The image's file name, for formats that refer to it.
    pub file_name: &'a str,
    /// Its nuclei.
    pub labels: &'a LabelImage,
    /// The image itself, if available.
    pub image: Option<&'a Image>,
}

/// Why an image's nuclei cannot be written.
#[derive(Debug, Error)]
pub enum LabelExportError {
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A label image or overlay cannot be encoded.
    #[error(transparent)]
    Encode(#[from] ImageEncodeError),
    /// Image and labels differ in size.
    #[error(transparent)]
    Measure(#[from] MeasureError),
    /// Image or labels exceed the limits.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// ImageJ cannot represent them.
    #[error(transparent)]
    Roi(#[from] RoiError),
    /// The table of nuclei cannot be written.
    #[error(transparent)]
    Parquet(#[from] ParquetError),
    /// An overlay needs the source image.
    #[error("there is no source image to draw on")]
    NoPicture,
}

impl LabelExportError {
    /// The next step.
    pub const fn next_step(&self) -> &'static str {
        match self {
            Self::Write(_) => "free space on the disk, or choose another place",
            Self::Measure(_) => "give the source images, at their original size",
            Self::NoPicture => "give the source images with --images, or omit overlays",
            Self::Parquet(_) => "use csv",
            Self::Encode(_) | Self::Size(_) | Self::Roi(_) => "split the image into parts",
        }
    }
}

/// Writes nuclei image by image.
#[derive(Debug)]
pub struct Exporter {
    folder: PathBuf,
    formats: BTreeSet<Format>,
    pixel_size: Option<PixelSize>,
    table: ObjectsCsv,
    parquet: Option<ObjectsParquet>,
    coco: Coco,
    kaggle: KaggleCsv,
    pictures: usize,
}

impl Exporter {
    /// Writes to a folder, which is created with the first file; µm are written if the pixel size is known.
    pub fn new(folder: &Path, formats: BTreeSet<Format>, pixel_size: Option<PixelSize>) -> Self {
        Self {
            folder: folder.to_owned(),
            parquet: None,
            formats,
            pixel_size,
            table: ObjectsCsv::new(pixel_size),
            coco: Coco::new(),
            kaggle: KaggleCsv::new(),
            pictures: 0,
        }
    }

    /// Writes the files of an image, and adds it to those of all images. A failed image is in none of the latter.
    ///
    /// # Errors
    /// [`LabelExportError`].
    pub fn add(&mut self, field: Field<'_>) -> Result<(), LabelExportError> {
        let Field { name, file_name, labels, image } = field;
        let (width, height) = (labels.width(), labels.height());
        let black;
        let seen = match image {
            Some(image) => image,
            None => {
                black = Image::black(width, height, Channels::Grey)?;
                &black
            }
        };
        let objects = measure_objects(labels, seen)?;
        let wants = |format| self.formats.contains(&format);
        let outlined = [Format::Coco, Format::Geojson, Format::Imagej].into_iter().any(wants);
        let polygons = if outlined { trace_polygons(labels) } else { BTreeMap::new() };
        let write = |path: String, bytes: &[u8]| write_whole(&self.folder.join(path), bytes);
        if wants(Format::Png) {
            write(format!("png/{name}_masks.png"), &encode_label_png(labels)?)?;
        }
        if wants(Format::Tiff) {
            write(format!("tiff/{name}_masks.tif"), &encode_label_tiff(labels)?)?;
        }
        if wants(Format::Geojson) {
            let json = geojson(&objects, &polygons, self.pixel_size).to_string();
            write(format!("geojson/{name}.geojson"), json.as_bytes())?;
        }
        if wants(Format::Imagej) {
            write(format!("imagej/{name}_RoiSet.zip"), &roi_zip(&polygons)?)?;
        }
        if wants(Format::Overlay) {
            let overlay = draw_outlines(image.ok_or(LabelExportError::NoPicture)?, labels, OUTLINE)?;
            write(format!("overlays/{name}.png"), &encode_picture_png(&overlay)?)?;
        }
        if wants(Format::Coco) {
            self.coco.add(file_name, labels, &objects, &polygons);
        }
        let brightness = if image.is_some() { IntensitySource::Measured } else { IntensitySource::Unknown };
        if self.formats.contains(&Format::Csv) {
            self.table.add(name, &objects, brightness);
        }
        if self.formats.contains(&Format::Parquet) {
            let table = match &mut self.parquet {
                Some(table) => table,
                None => self.parquet.insert(ObjectsParquet::new(self.pixel_size)?),
            };
            table.add(name, &objects, brightness)?;
        }
        if self.formats.contains(&Format::Kaggle) {
            self.kaggle.add(name, labels);
        }
        self.pictures += 1;
        Ok(())
    }

    /// Writes the files of all images, unless there was none.
    ///
    /// # Errors
    /// [`Failure`] when a file cannot be written.
    pub fn finish(self) -> Result<(), Failure> {
        let Self { folder, formats, table, parquet, coco, kaggle, pictures, .. } = self;
        if pictures == 0 {
            return Ok(());
        }
        let write = |format, name: &str, bytes: &[u8]| -> Result<(), Failure> {
            if formats.contains(&format) {
                write_whole(&folder.join(name), bytes)?;
            }
            Ok(())
        };
        write(Format::Csv, "objects.csv", table.as_bytes())?;
        if let Some(table) = parquet {
            let bytes = table.into_bytes().map_err(|error| Failure::failed(error, "use csv"))?;
            write(Format::Parquet, "objects.parquet", &bytes)?;
        }
        write(Format::Kaggle, "run_lengths.csv", kaggle.as_bytes())?;
        let coco = serde_json::to_vec(&coco).map_err(std::io::Error::from)?;
        write(Format::Coco, "coco.json", &coco)
    }
}
