//! The nuclei of many images as one CSV file.

use std::fmt::Write as _;

use host_console::csv;
use shared::{Object, PixelSize};

/// A table of nuclei that grows image by image; every header includes its unit.
#[derive(Debug)]
pub struct ObjectsCsv {
    text: String,
    pixel_size: Option<PixelSize>,
}

/// Whether nuclei were measured in their image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntensitySource {
    /// In their image.
    Measured,
    /// From their outlines only.
    Unknown,
}

const HEADER: &str = "image,label,area_px,centroid_x_px,centroid_y_px,equivalent_diameter_px,perimeter_px,\
                      circularity_0_to_1,mean_intensity,box_x_px,box_y_px,box_width_px,box_height_px,\
                      touches_border";
const HEADER_UM: &str = ",area_um2,equivalent_diameter_um,perimeter_um";

impl ObjectsCsv {
    /// A table without a nucleus; with a pixel size it has columns in µm too.
    pub fn new(pixel_size: Option<PixelSize>) -> Self {
        let micrometres = if pixel_size.is_some() { HEADER_UM } else { "" };
        Self { text: format!("{HEADER}{micrometres}\n"), pixel_size }
    }

    /// Adds the nuclei of an image. Their intensity is empty if it was not measured.
    pub fn add(&mut self, picture: &str, objects: &[Object], brightness: IntensitySource) {
        let picture = csv::field(picture);
        for object in objects {
            let (centre, bounds) = (object.centroid, object.bounding_box);
            let mut line = format!(
                "{picture},{},{},{:.2},{:.2},{:.3},{:.3},{:.4},{},{},{},{},{},{}",
                object.label,
                object.area_px,
                centre.x,
                centre.y,
                object.equivalent_diameter_px,
                object.perimeter_px,
                object.circularity,
                match brightness {
                    IntensitySource::Measured => format!("{:.2}", object.mean_intensity),
                    IntensitySource::Unknown => String::new(),
                },
                bounds.x,
                bounds.y,
                bounds.width,
                bounds.height,
                if object.touches_border { "yes" } else { "no" },
            );
            if let Some(size) = self.pixel_size {
                let side = f64::from(size.get());
                // Writing to a string cannot fail.
                let _ = write!(
                    line,
                    ",{:.4},{:.4},{:.4}",
                    f64::from(object.area_px) * side * side,
                    f64::from(object.equivalent_diameter_px) * side,
                    f64::from(object.perimeter_px) * side,
                );
            }
            self.text.push_str(&line);
            self.text.push('\n');
        }
    }

    /// The file's content.
    pub fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use shared::{Channels, Image, LabelImage, measure_objects};

    use super::*;

    #[test]
    fn columns_fit_their_headers_and_micrometres_need_a_pixel_size() {
        let labels = LabelImage::new(4, 2, vec![1, 1, 0, 0, 1, 1, 0, 2]).unwrap();
        let image = Image::new(4, 2, Channels::Grey, vec![10, 20, 0, 0, 30, 40, 0, 7]).unwrap();
        let objects = measure_objects(&labels, &image).unwrap();
        for (pixel_size, end) in [(None, ",yes"), (Some(0.5), ",yes,0.2500,0.5642,")] {
            let mut table = ObjectsCsv::new(pixel_size.map(|size| PixelSize::try_from(size).unwrap()));
            table.add("a,b", &objects, IntensitySource::Measured);
            let text = String::from_utf8(table.as_bytes().to_vec()).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines.len(), 3);
            assert_eq!(lines[0].contains("um"), pixel_size.is_some());
            let columns = |line: &str| line.replace("\"a,b\"", "").split(',').count();
            assert!(lines.iter().all(|line| columns(line) == columns(lines[0])), "{text}");
            assert!(lines[1].starts_with("\"a,b\",1,4,0.50,0.50,2.257,"), "{text}");
            assert!(lines[1].contains(",25.00,0,0,2,2,yes"), "{text}");
            let whole = if pixel_size.is_some() { lines[2].contains(end) } else { lines[2].ends_with(end) };
            assert!(whole, "{text}");
            table.add("c", &objects, IntensitySource::Unknown);
            let text = String::from_utf8(table.as_bytes().to_vec()).unwrap();
            assert!(text.lines().nth(3).unwrap().contains(",,0,0,2,2,yes"), "{text}");
        }
    }
}
