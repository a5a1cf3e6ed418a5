//! The nuclei of many pictures as one Parquet file, with the columns of the CSV.

use parquet::errors::ParquetError;
use shared::{Object, PixelSize};

use super::objects_csv::Brightness;
use super::parquet_table::{Cell, Kind, ParquetTable};

const COLUMNS: [(&str, Kind); 14] = [
    ("image", Kind::Text),
    ("label", Kind::Whole),
    ("area_px", Kind::Whole),
    ("centroid_x_px", Kind::Real),
    ("centroid_y_px", Kind::Real),
    ("equivalent_diameter_px", Kind::Real),
    ("perimeter_px", Kind::Real),
    ("circularity_0_to_1", Kind::Real),
    ("mean_intensity_0_to_255", Kind::Real),
    ("box_x_px", Kind::Whole),
    ("box_y_px", Kind::Whole),
    ("box_width_px", Kind::Whole),
    ("box_height_px", Kind::Whole),
    ("touches_border", Kind::Flag),
];
const COLUMNS_UM: [(&str, Kind); 3] =
    [("area_um2", Kind::Real), ("equivalent_diameter_um", Kind::Real), ("perimeter_um", Kind::Real)];

/// A table of nuclei that grows picture by picture.
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

    /// Adds the nuclei of a picture. Their intensity is left empty where it was not seen.
    ///
    /// # Errors
    /// [`ParquetError`].
    pub fn add(
        &mut self,
        picture: &str,
        objects: &[Object],
        brightness: Brightness,
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
                    Brightness::Seen => Cell::Real(object.mean_intensity.into()),
                    Brightness::Unknown => Cell::Absent,
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
