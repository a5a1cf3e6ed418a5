//! The nuclei of many images as one Parquet file, with the columns of the CSV.

use parquet::errors::ParquetError;
use shared::{Object, PixelSize};

use super::objects_csv::IntensitySource;
use super::parquet_table::{Cell, ColumnKind, ParquetTable};

const COLUMNS: [(&str, ColumnKind); 14] = [
    ("image", ColumnKind::Text),
    ("label", ColumnKind::Whole),
    ("area_px", ColumnKind::Whole),
    ("centroid_x_px", ColumnKind::Real),
    ("centroid_y_px", ColumnKind::Real),
    ("equivalent_diameter_px", ColumnKind::Real),
    ("perimeter_px", ColumnKind::Real),
    ("circularity_0_to_1", ColumnKind::Real),
    ("mean_intensity", ColumnKind::Real),
    ("box_x_px", ColumnKind::Whole),
    ("box_y_px", ColumnKind::Whole),
    ("box_width_px", ColumnKind::Whole),
    ("box_height_px", ColumnKind::Whole),
    ("touches_border", ColumnKind::Flag),
];
const COLUMNS_UM: [(&str, ColumnKind); 3] = [
    ("area_um2", ColumnKind::Real),
    ("equivalent_diameter_um", ColumnKind::Real),
    ("perimeter_um", ColumnKind::Real),
];

/// A table of nuclei that grows image by image.
#[derive(Debug)]
pub struct ObjectsParquet {
    table: ParquetTable,
    pixel_size: Option<PixelSize>,
}

impl ObjectsParquet {
    /// A table without a nucleus; with a pixel size it has columns in µm too.
    ///
    /// # Errors
    /// [`ParquetError`], never in practice: the columns are good.
    pub fn new(pixel_size: Option<PixelSize>) -> Result<Self, ParquetError> {
        let mut columns = COLUMNS.to_vec();
        columns.extend(pixel_size.iter().flat_map(|_| COLUMNS_UM));
        Ok(Self { table: ParquetTable::new(&columns)?, pixel_size })
    }

    /// Adds the nuclei of an image. Their intensity is empty if it was not measured.
    ///
    /// # Errors
    /// [`ParquetError`].
    pub fn add(
        &mut self,
        picture: &str,
        objects: &[Object],
        brightness: IntensitySource,
    ) -> Result<(), ParquetError> {
        for object in objects {
            let bounds = object.bounding_box;
            let mut row = vec![
                Cell::Text(picture.to_owned()),
                Cell::Whole(object.label.into()),
                Cell::Whole(object.area_px.into()),
                Cell::Real(object.centroid.x.into()),
                Cell::Real(object.centroid.y.into()),
                Cell::Real(object.equivalent_diameter_px.into()),
                Cell::Real(object.perimeter_px.into()),
                Cell::Real(object.circularity.into()),
                match brightness {
                    IntensitySource::Measured => Cell::Real(object.mean_intensity.into()),
                    IntensitySource::Unknown => Cell::Absent,
                },
                Cell::Whole(bounds.x.into()),
                Cell::Whole(bounds.y.into()),
                Cell::Whole(bounds.width.into()),
                Cell::Whole(bounds.height.into()),
                Cell::Flag(object.touches_border),
            ];
            if let Some(size) = self.pixel_size {
                let side = f64::from(size.get());
                row.extend([
                    Cell::Real(f64::from(object.area_px) * side * side),
                    Cell::Real(f64::from(object.equivalent_diameter_px) * side),
                    Cell::Real(f64::from(object.perimeter_px) * side),
                ]);
            }
            self.table.add(row)?;
        }
        Ok(())
    }

    /// The file.
    ///
    /// # Errors
    /// [`ParquetError`].
    pub fn into_bytes(self) -> Result<Vec<u8>, ParquetError> {
        self.table.into_bytes()
    }
}
