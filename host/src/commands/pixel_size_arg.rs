//! A pixel size on the command line.

use shared::PixelSize;

/// Reads µm.
///
/// # Errors
/// The expected value, as text.
pub fn pixel_size(text: &str) -> Result<PixelSize, String> {
    let value: f32 = text.parse().map_err(|_| "expected a number of µm".to_owned())?;
    PixelSize::try_from(value).map_err(|error| error.to_string())
}
