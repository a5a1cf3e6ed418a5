//! Nuclei as the GeoJSON of QuPath's detections: RFC 7946, coordinates being pixels.

use std::collections::BTreeMap;

use host_modelling::{Corner, Polygon};
use serde_json::{Map, Value, json};
use shared::{Object, PixelSize};

/// An image's nuclei as a feature collection.
pub fn geojson(
    objects: &[Object],
    polygons: &BTreeMap<u32, Vec<Polygon>>,
    pixel_size: Option<PixelSize>,
) -> Value {
    let features: Vec<Value> = objects
        .iter()
        .map(|object| {
            json!({
                "type": "Feature",
                "geometry": geometry(polygons.get(&object.label).map_or(&[][..], Vec::as_slice)),
                "properties": {
                    "objectType": "detection",
                    "name": object.label.to_string(),
                    "classification": { "name": "Nucleus", "color": [0, 200, 80] },
                    "measurements": measurements(object, pixel_size),
                },
            })
        })
        .collect();
    json!({ "type": "FeatureCollection", "features": features })
}

/// The names are QuPath's own, if it has them.
fn measurements(object: &Object, pixel_size: Option<PixelSize>) -> Map<String, Value> {
    let mut values = Map::new();
    let mut put = |name: &str, value: f64| values.insert(name.to_owned(), value.into());
    put("Area px^2", object.area_px.into());
    put("Perimeter px", object.perimeter_px.into());
    put("Circularity", object.circularity.into());
    if let Some(size) = pixel_size {
        let side = f64::from(size.get());
        put("Area µm^2", f64::from(object.area_px) * side * side);
        put("Perimeter µm", f64::from(object.perimeter_px) * side);
    }
    values
}

fn geometry(parts: &[Polygon]) -> Value {
    match parts {
        [part] => json!({ "type": "Polygon", "coordinates": rings(part) }),
        parts => {
            json!({ "type": "MultiPolygon", "coordinates": parts.iter().map(rings).collect::<Vec<_>>() })
        }
    }
}

/// The outer ring and those of holes, each closed by its first corner.
fn rings(part: &Polygon) -> Vec<Vec<Corner>> {
    let closed = |ring: &Vec<Corner>| ring.iter().chain(ring.first()).copied().collect();
    std::iter::once(&part.exterior).chain(&part.holes).map(closed).collect()
}
