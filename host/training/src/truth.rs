//! Training targets and weights of each pixel of a crop.

/// Extra weight of pixels between touching nuclei.
const TOUCHING_WEIGHT: f32 = 4.0;
/// Area of nuclei whose pixels have weight one, px; pixels of smaller nuclei weigh more.
const COMMON_AREA: f32 = 450.0;
/// Maximum weight of the pixels of a small nucleus.
const SMALL_WEIGHT: f32 = 3.0;

/// Nucleus, interior and distance maps of labels, and the pixels' weights, each `[3, side, side]`.
///
/// The interior is a nucleus without the pixels that have another label or background among their eight neighbors. The
/// distance is that to the outline, as a share of the greatest in the nucleus. The crop is continued at its edges.
pub(super) fn truth(labels_hw: &[u32], side: usize) -> (Vec<f32>, Vec<f32>) {
    let area = side * side;
    let mut truth_chw = vec![0.0; 3 * area];
    let mut weight_chw = vec![1.0; 3 * area];
    let distances_hw = distances(labels_hw, side);
    let labels = labels_hw.iter().max().map_or(0, |&label| label as usize + 1);
    let (mut greatest, mut areas) = (vec![0.0_f32; labels], vec![0.0_f32; labels]);
    for (&label, &distance) in labels_hw.iter().zip(&distances_hw) {
        greatest[label as usize] = greatest[label as usize].max(distance);
        areas[label as usize] += 1.0;
    }
    for (at, &label) in labels_hw.iter().enumerate() {
        if label == 0 {
            continue;
        }
        let (inside, touching) = surroundings(labels_hw, side, at);
        truth_chw[at] = 1.0;
        truth_chw[area + at] = if inside { 1.0 } else { 0.0 };
        truth_chw[2 * area + at] = distances_hw[at] / greatest[label as usize];
        let small = (COMMON_AREA / areas[label as usize]).sqrt().clamp(1.0, SMALL_WEIGHT);
        weight_chw[at] = small;
        for channel in 1..3 {
            weight_chw[channel * area + at] = if touching { small.max(TOUCHING_WEIGHT) } else { small };
        }
    }
    (truth_chw, weight_chw)
}

/// Whether all eight neighbors have the pixel's label, and whether one has that of another nucleus.
fn surroundings(labels_hw: &[u32], side: usize, at: usize) -> (bool, bool) {
    let (x, y) = (at % side, at / side);
    let (mut inside, mut touching) = (true, false);
    for near_y in y.saturating_sub(1)..(y + 2).min(side) {
        for near_x in x.saturating_sub(1)..(x + 2).min(side) {
            let near = labels_hw[near_y * side + near_x];
            inside &= near == labels_hw[at];
            touching |= near != labels_hw[at] && near != 0;
        }
    }
    (inside, touching)
}

/// Distance from each pixel of a nucleus to the next pixel of another label, px: the 3-4 chamfer distance
/// (Borgefors, "Distance transformations in digital images", 1986), in two passes. A nucleus that fills
/// the crop has the distance [`FAR`].
fn distances(labels_hw: &[u32], side: usize) -> Vec<f32> {
    let mut thirds = vec![FAR; labels_hw.len()];
    let mut relax = |at: usize, [dx, dy]: [isize; 2]| {
        let (x, y) = ((at % side).checked_add_signed(dx), (at / side).checked_add_signed(dy));
        let (Some(x), Some(y)) = (x.filter(|&x| x < side), y.filter(|&y| y < side)) else {
            return;
        };
        let near = y * side + x;
        let step = if dx == 0 || dy == 0 { 3 } else { 4 };
        let from = if labels_hw[near] == labels_hw[at] { thirds[near] } else { 0 };
        thirds[at] = thirds[at].min(from + step);
    };
    let back = [[-1, 0], [-1, -1], [0, -1], [1, -1]];
    (0..labels_hw.len()).for_each(|at| back.iter().for_each(|&step| relax(at, step)));
    let forth = back.map(|[dx, dy]| [-dx, -dy]);
    (0..labels_hw.len()).rev().for_each(|at| forth.iter().for_each(|&step| relax(at, step)));
    thirds.into_iter().map(|thirds| thirds as f32 / 3.0).collect()
}

/// Thirds of a pixel: beyond what any crop holds.
const FAR: u32 = 30_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touching_nuclei_are_parted_in_the_interior_and_weigh_more() {
        let labels = [0, 1, 1, 2, 2, 0].repeat(6);
        let (truth, weight) = truth(&labels, 6);
        assert_eq!(truth[12..18], [0.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
        assert_eq!(truth[36 + 12..36 + 18], [0.0; 6]);
        assert_eq!(truth[72 + 12..72 + 18], [0.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
        // Nuclei of twelve pixels are small.
        let (small, between) = (SMALL_WEIGHT, TOUCHING_WEIGHT);
        assert_eq!(weight[12..18], [1.0, small, small, small, small, 1.0]);
        assert_eq!(weight[36 + 12..36 + 18], [1.0, small, between, between, small, 1.0]);
    }

    #[test]
    fn distances_are_near_the_euclidean_ones() {
        let side = 41;
        let labels: Vec<u32> = (0..side * side)
            .map(|at| {
                let (x, y) = ((at % side) as f32 - 20.0, (at / side) as f32 - 20.0);
                if x.hypot(y) > 15.0 {
                    0
                } else if x < 4.0 {
                    1
                } else {
                    2
                }
            })
            .collect();
        let distances = distances(&labels, side);
        for (at, &label) in labels.iter().enumerate().filter(|&(_, &label)| label != 0) {
            let exact = labels
                .iter()
                .enumerate()
                .filter(|&(_, &other)| other != label)
                .map(|(other, _)| {
                    let dx = (at % side) as f32 - (other % side) as f32;
                    dx.hypot((at / side) as f32 - (other / side) as f32)
                })
                .fold(f32::MAX, f32::min);
            assert!((distances[at] - exact).abs() < 0.09 * exact + 1e-3, "{} is not {exact}", distances[at]);
        }
        let (truth, _) = truth(&labels, side);
        let at = |x: usize, y: usize| truth[2 * side * side + y * side + x];
        assert!(at(15, 20) > 0.9 && at(6, 20) < 0.3 && at(0, 0) == 0.0, "{} {}", at(15, 20), at(6, 20));
    }
}
