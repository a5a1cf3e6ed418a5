use super::*;

#[test]
fn touching_nuclei_are_parted_by_a_seam_that_weighs_more() {
    let row = [vec![0; 4], vec![1; 12], vec![2; 12], vec![0; 4]].concat();
    let side = row.len();
    let labels: Vec<u32> =
        (0..side * side).map(|at| if (4..28).contains(&(at / side)) { row[at % side] } else { 0 }).collect();
    let (targets, weight) = CropNuclei::of_whole(&labels, side).targets();
    let area = side * side;
    let line = |map: &[f32], channel: usize| map[channel * area + 16 * side..][4..28].to_vec();
    let [ring, core] = [0.0, 1.0];
    let half = [vec![ring], vec![core; 9], vec![ring; 2]].concat();
    let both: Vec<f32> = half.iter().chain(half.iter().rev()).copied().collect();
    assert_eq!(line(&targets, 1), both, "the interior");
    assert_eq!(line(&targets, 0), [1.0; 24]);
    assert_eq!(line(&weight, 0), [1.0; 24], "no weights where the outline is learnt");
    let seam = line(&weight, 1);
    assert_eq!(seam[9..15], [1.25, TOUCHING_WEIGHT, TOUCHING_WEIGHT, TOUCHING_WEIGHT, TOUCHING_WEIGHT, 1.25]);
    assert_eq!(line(&weight, 2), seam);
}

#[test]
fn a_nucleus_of_few_pixels_keeps_an_interior() {
    let labels: Vec<u32> =
        (0..81).map(|at| u32::from((3..6).contains(&(at % 9)) && (3..6).contains(&(at / 9)))).collect();
    let (targets, weight) = CropNuclei::of_whole(&labels, 9).targets();
    assert_eq!(targets[81 + 40], 1.0);
    assert_eq!(targets[81 + 30], 0.0);
    assert_eq!([weight[40], weight[81 + 40]], [1.0, SMALL_WEIGHT]);
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
    let distances = distances(&labels, side, |own, near| own != near);
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
        let found = f32::from(distances[at]) / 3.0;
        assert!((found - exact).abs() < 0.09 * exact + 1e-3, "{found} is not {exact}");
    }
    let (targets, _) = CropNuclei::of_whole(&labels, side).targets();
    let at = |x: usize, y: usize| targets[2 * side * side + y * side + x];
    assert!(at(15, 20) > 0.9 && at(6, 20) < 0.3 && at(0, 0) == 0.0, "{} {}", at(15, 20), at(6, 20));
}

#[test]
fn an_added_nucleus_shortens_the_distances_beside_it() {
    let labels: Vec<u32> = (0..400).map(|at| u32::from(at % 20 < 10)).collect();
    let mut nuclei = CropNuclei::of_whole(&labels, 20);
    assert!(nuclei.touching_hw[209] > 1000.0);
    let added = nuclei.push_like(1);
    for at in (0..400).filter(|at| at % 20 >= 10) {
        (nuclei.labels_hw[at], nuclei.outline_hw[at], nuclei.touching_hw[at]) = (added, 8.0, 9e3);
    }
    nuclei.shorten(20);
    assert_eq!([nuclei.touching_hw[209], nuclei.touching_hw[210]], [0.5, 0.5]);
    assert_eq!(nuclei.outline_hw[210], 0.5);
}
