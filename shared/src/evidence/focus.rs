//! Focus, judged at the outlines of the nuclei that were found.

use alloc::{collections::BTreeMap, vec::Vec};
use core::f64::consts::TAU;

use crate::label_image::LabelImage;
use crate::runs::runs;

/// Rays per nucleus.
const RAYS: usize = 16;
/// Rays of a nucleus that must meet free background.
const MIN_RAYS: usize = 4;
/// Nuclei that are looked at; of more, every second or third is.
const MAX_NUCLEI: usize = 200;
/// Minimum area of a nucleus that is looked at, px.
const MIN_AREA: u32 = 12;
/// Longest part of a ray on either side of the outline, px.
const REACH: usize = 12;
/// Quartiles of a Gaussian edge are this many deviations apart.
const QUARTILES: f32 = 1.349;

/// Deviation of the blur of the sharpest nuclei that count as out of focus: a part for what optics, sampling and the
/// outlines' own error blur in any image, and a part of the nucleus's radius, since large nuclei have softer edges and
/// a blur that is small beside a nucleus leaves its count alone. Both in px.
///
/// Of 260 photographs of the training set, 96 % are sharper than this; of 139 blurred by a fifth of a radius or more
/// than 4 px, with noise of 0.5 to 4 gray levels, 99 % are not.
const ALLOWED_PX: f32 = 1.8;
/// See [`ALLOWED_PX`].
const ALLOWED_OF_RADIUS: f32 = 0.1;
/// Radius beyond which more blur is not allowed, px.
const LARGE_RADIUS_PX: f32 = 30.0;

/// Scores of nuclei's edges: 1 is a step, one half is the most blur that is allowed, 0 has no edge.
///
/// Along rays from a nucleus's center, the brightness around its outline is averaged; the distance between a quarter
/// and three quarters of the way from inside to outside is the width of its edge. Averages of steps do not depend on
/// noise, on gain, or on how many nuclei there are. The score is 1 / (1 + (w / a)²), where w is the width's deviation and
/// a is what is allowed at that radius; that of the image is the median over nuclei, weighted by contrast and rays.
///
/// `None` if no nucleus has an outline with free background beside it.
pub(super) fn focus_at_outlines(samples_hw: &[u8], labels: &LabelImage) -> Option<f32> {
    let nuclei = centers(labels);
    let large: Vec<_> = nuclei.into_iter().filter(|(_, center)| center.area >= MIN_AREA).collect();
    let rays: [(f32, f32); RAYS] = core::array::from_fn(|ray| {
        let angle = TAU * ray as f64 / RAYS as f64;
        (libm::cos(angle) as f32, libm::sin(angle) as f32)
    });
    let edges = large
        .iter()
        .step_by(large.len().div_ceil(MAX_NUCLEI).max(1))
        .filter_map(|&(label, center)| OutlineProfile::of(samples_hw, labels, label, center, &rays));
    let mut blurs: Vec<(f32, f32)> = edges
        .map(|edge| {
            let allowed = ALLOWED_PX + ALLOWED_OF_RADIUS * edge.radius.min(LARGE_RADIUS_PX);
            (edge.deviation / allowed, edge.weight)
        })
        .collect();
    blurs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let half = 0.5 * blurs.iter().map(|(_, weight)| weight).sum::<f32>();
    let mut below = 0.0;
    let (median, _) = blurs.into_iter().find(|(_, weight)| {
        below += weight;
        below >= half
    })?;
    Some(1.0 / (1.0 + median * median))
}

/// Where a nucleus lies.
#[derive(Debug, Clone, Copy, Default)]
struct Center {
    area: u32,
    x: f32,
    y: f32,
}

/// The labels in their order, each with its center.
fn centers(labels: &LabelImage) -> Vec<(u32, Center)> {
    let mut sums = BTreeMap::<u32, (u64, f64, f64)>::new();
    for (y, row) in labels.labels_hw().chunks_exact(labels.width() as usize).enumerate() {
        for (run, label) in runs(row).filter(|&(_, label)| label != 0) {
            let (area, x_sum, y_sum) = sums.entry(label).or_default();
            let length = run.len() as f64;
            *area += run.len() as u64;
            *x_sum += 0.5 * (run.start + run.end - 1) as f64 * length;
            *y_sum += y as f64 * length;
        }
    }
    let center = |(area, x_sum, y_sum): (u64, f64, f64)| Center {
        area: area as u32,
        x: (x_sum / area as f64) as f32,
        y: (y_sum / area as f64) as f32,
    };
    sums.into_iter().map(|(label, sums)| (label, center(sums))).collect()
}

/// The edge of a nucleus.
struct OutlineProfile {
    /// Radius of the disc of its area, px.
    radius: f32,
    /// Deviation of the Gaussian that would blur a step as much, px.
    deviation: f32,
    /// Contrast times rays.
    weight: f32,
}

impl OutlineProfile {
    fn of(
        samples_hw: &[u8],
        labels: &LabelImage,
        label: u32,
        center: Center,
        rays: &[(f32, f32)],
    ) -> Option<Self> {
        let radius = libm::sqrtf(center.area as f32 / core::f32::consts::PI);
        let reach = (libm::ceilf(0.9 * radius) as usize).clamp(4, REACH);
        let (width, height) = (labels.width() as i32, labels.height() as i32);
        let at = |x: f32, y: f32| {
            let (x, y) = (nearest(x), nearest(y));
            ((0..width).contains(&x) && (0..height).contains(&y)).then(|| (y * width + x) as usize)
        };
        let mut sums = [0.0; 2 * REACH + 1];
        let profile = &mut sums[..=2 * reach];
        let mut met = 0;
        for (across, down) in rays {
            let point = |far: f32| at(center.x + across * far, center.y + down * far);
            let label_at = |far: f32| point(far).map(|pixel| labels.labels_hw()[pixel]);
            let left = (1..).map(|step| step as f32).find(|&far| label_at(far) != Some(label));
            let Some(outline) = left.map(|far| far - 0.5).filter(|&outline| outline > 2.0) else { continue };
            if !(1..=reach).all(|step| label_at(outline + step as f32) == Some(0)) {
                continue;
            }
            for (sum, step) in profile.iter_mut().zip(-(reach as i32)..) {
                let sample = point((outline + step as f32).max(0.0)).map_or(0, |pixel| samples_hw[pixel]);
                *sum += f32::from(sample);
            }
            met += 1;
        }
        if met < MIN_RAYS {
            return None;
        }
        let end = reach / 2;
        let mean = |sums: &[f32]| sums.iter().sum::<f32>() / end as f32;
        let (inside, outside) = (mean(&profile[..end]), mean(&profile[profile.len() - end..]));
        let contrast = (inside - outside).abs();
        if contrast <= 0.0 {
            return None;
        }
        let share = |sum: f32| ((sum - outside) / (inside - outside)).clamp(0.0, 1.0);
        let quartile = |level| crossing(profile.iter().map(|&sum| share(sum)), level);
        let deviation = (quartile(0.25) - quartile(0.75)) / QUARTILES;
        // The sums over rays weigh by their number already.
        Some(Self { radius, deviation, weight: contrast })
    }
}

/// The nearest pixel; -1 for all before the first.
fn nearest(place: f32) -> i32 {
    // A cast rounds toward zero.
    (place + 1.5).max(0.0) as i32 - 1
}

/// Where a profile, held from rising again, falls to `level`, in steps from its begin.
fn crossing(profile: impl Iterator<Item = f32>, level: f32) -> f32 {
    let mut before = f32::INFINITY;
    let mut last = 0.0;
    for (step, value) in profile.enumerate() {
        let value = value.min(before);
        last = step as f32;
        if value <= level {
            return if step == 0 { last } else { last - 1.0 + (before - level) / (before - value).max(1e-6) };
        }
        before = value;
    }
    last
}

/// Side of the blocks in which structure is looked for where nothing was found, px.
const BLOCK: usize = 8;
/// Distance of the blocks that a block is compared with, in blocks.
const APART: usize = 3;
/// Blocks that must differ from those around them: a nucleus out of focus covers more.
const MIN_BLOCKS: usize = 6;
/// Least difference of a block from those around it, gray levels.
const MIN_DIFFERENCE: f32 = 3.0;
/// The same, in standard deviations of what noise does to it.
const MIN_DEVIATIONS: f32 = 6.0;

/// Whether an image holds blobs that noise and uneven light do not explain, as nuclei far out of focus are.
///
/// Means of blocks are compared with those of the four blocks around them, which cancels any slope of the light.
pub(super) fn has_blurred_structure(samples_hw: &[u8], width: usize) -> bool {
    let (columns, rows) = (width / BLOCK, samples_hw.len() / width / BLOCK);
    let mut sums = Vec::with_capacity(columns * rows);
    for band in samples_hw.chunks_exact(BLOCK * width).take(rows) {
        let start = sums.len();
        sums.resize(start + columns, 0_u32);
        for row in band.chunks_exact(width) {
            for (sum, block) in sums[start..].iter_mut().zip(row.as_chunks::<BLOCK>().0) {
                *sum += block.iter().map(|&sample| u32::from(sample)).sum::<u32>();
            }
        }
    }
    let mean = |column: usize, row: usize| sums[row * columns + column] as f32 / (BLOCK * BLOCK) as f32;
    // Of the block's mean less that of four others.
    let deviation = noise(samples_hw, width) / BLOCK as f32 * libm::sqrtf(1.25);
    let least = MIN_DIFFERENCE.max(MIN_DEVIATIONS * deviation);
    let mut found = 0;
    for row in APART..rows.saturating_sub(APART) {
        for column in APART..columns.saturating_sub(APART) {
            let around = mean(column - APART, row)
                + mean(column + APART, row)
                + mean(column, row - APART)
                + mean(column, row + APART);
            found += usize::from((mean(column, row) - 0.25 * around).abs() > least);
        }
    }
    found >= MIN_BLOCKS
}

/// Standard deviation of the noise of an image, gray levels.
///
/// Immerkær, "Fast noise variance estimation", 1996: the mean size of a mask that is zero on slopes and along edges.
pub(super) fn noise(samples_hw: &[u8], width: usize) -> f32 {
    let (mut sum, mut count) = (0_u64, 0_u64);
    let rows: Vec<&[u8]> = samples_hw.chunks_exact(width).collect();
    for lines in rows.windows(3) {
        let [above, row, below] = lines else { continue };
        let line =
            |row: &[u8], x: usize| i32::from(row[x]) - 2 * i32::from(row[x + 1]) + i32::from(row[x + 2]);
        let size = |x: usize| (line(above, x) - 2 * line(row, x) + line(below, x)).unsigned_abs();
        let columns = width.saturating_sub(2);
        sum += (0..columns).map(|x| u64::from(size(x))).sum::<u64>();
        count += columns as u64;
    }
    if count == 0 {
        0.0
    } else {
        libm::sqrtf(core::f32::consts::FRAC_PI_2) / 6.0 * (sum as f32 / count as f32)
    }
}

#[cfg(test)]
mod tests;
