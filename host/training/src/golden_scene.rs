//! The golden frame on which a model is tested before it runs. It is drawn, because a model must not contain a user's
//! images.

use shared::{Channels, Image, SizeError};

/// Side of the scene, px.
const SIDE: u32 = 192;

/// Soft bright ellipses of 16 to 34 px on an uneven dark ground, some of them touching.
///
/// # Errors
/// Never in practice: the size is in range.
pub fn golden_scene() -> Result<Image, SizeError> {
    // Center, half axes, angle in sixteenths of a turn, brightness.
    const NUCLEI: [[f32; 6]; 14] = [
        [30.0, 28.0, 13.0, 10.0, 1.0, 170.0],
        [54.0, 33.0, 12.0, 11.0, 0.0, 150.0],
        [100.0, 24.0, 9.0, 8.0, 3.0, 120.0],
        [148.0, 34.0, 16.0, 12.0, 2.0, 190.0],
        [24.0, 80.0, 10.0, 9.0, 0.0, 110.0],
        [70.0, 84.0, 15.0, 12.0, 5.0, 175.0],
        [96.0, 92.0, 12.0, 13.0, 0.0, 160.0],
        [140.0, 86.0, 8.0, 8.0, 0.0, 130.0],
        [172.0, 80.0, 12.0, 9.0, 6.0, 145.0],
        [36.0, 136.0, 17.0, 13.0, 7.0, 165.0],
        [84.0, 144.0, 10.0, 12.0, 1.0, 140.0],
        [128.0, 136.0, 14.0, 11.0, 2.0, 185.0],
        [150.0, 146.0, 11.0, 11.0, 0.0, 155.0],
        [100.0, 178.0, 12.0, 8.0, 4.0, 125.0],
    ];
    let mut image = Image::black(SIDE, SIDE, Channels::Grey)?;
    for (at, sample) in image.samples_hwc_mut().iter_mut().enumerate() {
        let (x, y) = ((at as u32 % SIDE) as f32, (at as u32 / SIDE) as f32);
        let mut light = 14.0 + 10.0 * (x + y) / (2.0 * SIDE as f32);
        for [cx, cy, a, b, turn, brightness] in NUCLEI {
            let (sin, cos) = (turn * std::f32::consts::TAU / 16.0).sin_cos();
            let (dx, dy) = (x - cx, y - cy);
            let (u, v) = ((dx * cos + dy * sin) / a, (dy * cos - dx * sin) / b);
            // Falls from 1 to 0 over about three pixels about the outline.
            let inside = ((1.0 - (u * u + v * v).sqrt()) * a.min(b) / 3.0 + 0.5).clamp(0.0, 1.0);
            let texture = 1.0 + 0.12 * (0.9 * x + cx).sin() * (0.8 * y + cy).cos();
            light = light.max(brightness * inside * texture);
        }
        // A fixed pattern of a few gray levels stands for the camera's noise.
        let noise = ((at as u32).wrapping_mul(2_654_435_761) >> 29) as f32 - 3.5;
        *sample = (light + noise).clamp(0.0, 255.0) as u8;
    }
    Ok(image)
}
