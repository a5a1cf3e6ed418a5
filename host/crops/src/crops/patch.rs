//! A part of a picture, resized as a station resizes the whole.

use shared::Planes;

/// A part of a picture at the scale of a crop.
pub(super) struct Patch {
    side: usize,
    planes: Vec<Vec<f32>>,
}

/// Pixels of one axis that a pixel of the patch is made of, and by which shares.
struct AxisTaps(Vec<(usize, f32)>);

impl AxisTaps {
    /// Those of `side` pixels about `centre`, `step` source pixels apart, of a row of `length` pixels that is continued
    /// by reflection. The filter is the one of [`Planes::resized`].
    fn of(side: usize, centre: f32, step: f32, length: usize) -> Vec<Self> {
        let radius = step.max(1.0);
        (0..side)
            .map(|at| {
                let middle = centre + step * (at as f32 + 0.5 - side as f32 / 2.0);
                let first = (middle - radius - 0.5).ceil() as i64;
                let last = (middle + radius - 0.5).floor() as i64;
                let share = |source: i64| 1.0 - (source as f32 + 0.5 - middle).abs() / radius;
                let sum: f32 = (first..=last).map(share).sum();
                let tap = |source| (reflect(source as f32, length), share(source) / sum);
                Self((first..=last).map(tap).collect())
            })
            .collect()
    }
}

impl Patch {
    /// The part about `centre` that reaches `reach` pixels of the crop to each side, `step` source pixels for one of
    /// the crop.
    pub(super) fn cut(planes: &Planes, centre: [f32; 2], step: [f32; 2], reach: f32) -> Self {
        let side = 2 * (reach + 0.5).ceil() as usize;
        let across = AxisTaps::of(side, centre[0], step[0], planes.width());
        let down = AxisTaps::of(side, centre[1], step[1], planes.height());
        let planes = (0..planes.count()).map(|index| {
            let plane = planes.plane(index);
            // Rows are shrunk when they are first needed.
            let mut rows: Vec<Option<Vec<f32>>> = vec![None; planes.height()];
            let mut patch = vec![0.0; side * side];
            for (target, AxisTaps(taps)) in patch.chunks_exact_mut(side).zip(&down) {
                for &(y, share) in taps {
                    let row = rows[y].get_or_insert_with(|| {
                        let source = &plane[y * planes.width()..];
                        let shrunk =
                            |AxisTaps(taps): &AxisTaps| taps.iter().map(|&(x, w)| source[x] * w).sum();
                        across.iter().map(shrunk).collect()
                    });
                    target.iter_mut().zip(row.iter()).for_each(|(value, source)| *value += share * *source);
                }
            }
            patch
        });
        Self { side, planes: planes.collect() }
    }

    /// The four pixels about a place, which is counted from the middle, and the shares of each.
    pub(super) fn around(&self, [u, v]: [f32; 2]) -> [(usize, f32); 4] {
        let (x, y) = (u + self.side as f32 / 2.0 - 0.5, v + self.side as f32 / 2.0 - 0.5);
        let (tx, ty) = (x - x.floor(), y - y.floor());
        let within = |at: f32| (at.max(0.0) as usize).min(self.side - 1);
        let (left, right) = (within(x.floor()), within(x.floor() + 1.0));
        let (top, bottom) = (within(y.floor()) * self.side, within(y.floor() + 1.0) * self.side);
        [
            (top + left, (1.0 - tx) * (1.0 - ty)),
            (top + right, tx * (1.0 - ty)),
            (bottom + left, (1.0 - tx) * ty),
            (bottom + right, tx * ty),
        ]
    }

    /// The value of a channel, the last one standing for those that the picture lacks.
    pub(super) fn sample(&self, channel: usize, around: [(usize, f32); 4]) -> f32 {
        let plane = &self.planes[channel.min(self.planes.len() - 1)];
        around.iter().map(|&(at, share)| plane[at] * share).sum()
    }
}

/// The pixel that stands for `x` when a row of `side` pixels is continued by reflection.
pub(super) fn reflect(x: f32, side: usize) -> usize {
    if side == 1 {
        return 0;
    }
    let period = 2 * (side as i64 - 1);
    let x = (x as i64).rem_euclid(period);
    (if x < side as i64 { x } else { period - x }) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_the_resized_picture() {
        let value = |i: usize| (i as f32 * 0.37).sin() * 0.5 + (i / 96) as f32 / 128.0 + 0.5;
        let picture = Planes::new(96, 64, (0..96 * 64).map(value).collect());
        for (width, height) in [(48, 32), (60, 40), (144, 96), (96, 64)] {
            let step = [96.0 / width as f32, 64.0 / height as f32];
            let patch = Patch::cut(&picture, [48.0, 32.0], step, 7.5);
            let resized = picture.resized(width, height);
            for (y, x) in (0..16).flat_map(|y| (0..16).map(move |x| (y, x))) {
                let place = [x as f32 - 7.5, y as f32 - 7.5];
                let expected = resized.plane(0)[(height / 2 + y - 8) * width + width / 2 + x - 8];
                let found = patch.sample(2, patch.around(place));
                assert!((found - expected).abs() < 1e-4, "{width}: {found} is not {expected} at {x}, {y}");
            }
        }
    }

    #[test]
    fn reflection_continues_both_ends() {
        let reflected: Vec<usize> = (-3..6).map(|x| reflect(x as f32, 3)).collect();
        assert_eq!(reflected, [1, 2, 1, 0, 1, 2, 1, 0, 1]);
    }
}
