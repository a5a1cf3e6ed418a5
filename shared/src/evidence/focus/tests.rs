use alloc::{vec, vec::Vec};

use super::super::MIN_FOCUS;
use super::super::scene::{HEIGHT, Random, Scene, WIDTH, blur};
use super::*;

const NOISES: [f32; 4] = [0.5, 1.0, 2.0, 4.0];

fn focus(scene: Scene) -> f32 {
    let (samples, labels) = scene.draw();
    focus_at_outlines(&samples, &labels).unwrap()
}

/// Size, number, light.
const SCENES: [Scene; 6] = [
    Scene::PLAIN,
    Scene { nuclei: 3, ..Scene::PLAIN },
    Scene { contrast: 30.0, ..Scene::PLAIN },
    Scene { ground: 60.0, contrast: 180.0, ..Scene::PLAIN },
    Scene { radius: 6.0, nuclei: 40, ..Scene::PLAIN },
    Scene { radius: 20.0, nuclei: 4, ..Scene::PLAIN },
];

/// Blurs by these shares of a radius, beginning with what a sharp image has.
fn defocus(scene: Scene) -> Vec<f32> {
    [0.0, 0.15, 0.3, 0.45, 0.6].map(|share| (share * scene.radius).max(1.1)).to_vec()
}

#[test]
fn focus_falls_with_defocus_whatever_the_noise() {
    for scene in SCENES {
        let mut curves = Vec::new();
        for noise in NOISES {
            let curve: Vec<f32> =
                defocus(scene).into_iter().map(|blur| focus(Scene { blur, noise, ..scene })).collect();
            std::println!("radius {} contrast {} noise {noise}: {curve:.2?}", scene.radius, scene.contrast);
            assert!(curve.windows(2).all(|pair| pair[1] < pair[0] + 0.02), "{scene:?} {noise}: {curve:?}");
            assert!(curve[0] > MIN_FOCUS + 0.1, "sharp: {scene:?} {noise}: {curve:?}");
            assert!(curve[4] < MIN_FOCUS - 0.05, "blurred: {scene:?} {noise}: {curve:?}");
            curves.push(curve);
        }
        for curve in &curves {
            let off = curve.iter().zip(&curves[0]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 0.12, "{scene:?}: {curve:?} for {:?}", curves[0]);
        }
    }
}

#[test]
fn focus_does_not_depend_on_gain_number_or_sign() {
    let plain = focus(Scene::PLAIN);
    for scene in [
        Scene { contrast: 50.0, ground: 90.0, ..Scene::PLAIN },
        Scene { contrast: -100.0, ground: 200.0, ..Scene::PLAIN },
        Scene { nuclei: 2, ..Scene::PLAIN },
    ] {
        let found = focus(scene);
        assert!((found - plain).abs() < 0.03, "{scene:?}: {found} for {plain}");
    }
}

#[test]
fn without_an_outline_there_is_no_focus() {
    let (samples, _) = Scene::PLAIN.draw();
    let labels = |label| LabelImage::new(WIDTH as u32, HEIGHT as u32, vec![label; WIDTH * HEIGHT]).unwrap();
    assert_eq!(focus_at_outlines(&samples, &labels(0)), None);
    assert_eq!(focus_at_outlines(&samples, &labels(7)), None);
    let (_, found) = Scene::PLAIN.draw();
    assert_eq!(focus_at_outlines(&vec![20; WIDTH * HEIGHT], &found), None);
}

#[test]
fn labels_with_gaps_are_judged_alike() {
    let (samples, labels) = Scene::PLAIN.draw();
    let sparse: Vec<u32> = labels.labels_hw().iter().map(|&label| label * 300_000_000).collect();
    let sparse = LabelImage::new(WIDTH as u32, HEIGHT as u32, sparse).unwrap();
    assert_eq!(focus_at_outlines(&samples, &sparse), focus_at_outlines(&samples, &labels));
}

#[test]
fn the_nearest_pixel_is_that_of_rounding() {
    for (place, pixel) in [(-7.0, -1), (-0.6, -1), (-0.4, 0), (0.4, 0), (0.6, 1), (11.5, 12)] {
        assert_eq!(nearest(place), pixel, "{place}");
    }
}

#[test]
fn crossings_lie_between_steps() {
    let cases: [(&[f32], f32, f32); 5] = [
        (&[1.0, 1.0, 0.0, 0.0], 0.5, 1.5),
        (&[1.0, 0.8, 0.4, 0.0], 0.6, 1.5),
        (&[1.0, 0.2, 0.9, 0.0], 0.25, 0.9375),
        (&[0.2, 0.1], 0.5, 0.0),
        (&[1.0, 0.9], 0.5, 1.0),
    ];
    for (profile, level, expected) in cases {
        let found = crossing(profile.iter().copied(), level);
        assert!((found - expected).abs() < 1e-4, "{profile:?}: {found}");
    }
}

#[test]
fn noise_is_estimated_beside_nuclei() {
    for noise in [1.0, 2.0, 4.0] {
        let (samples, _) = Scene { noise, ground: 40.0, ..Scene::PLAIN }.draw();
        let found = super::noise(&samples, WIDTH);
        assert!((0.9..1.2).contains(&(found / noise)), "{found} for {noise}");
    }
    assert_eq!(super::noise(&[7; 2], 2), 0.0);
}

#[test]
fn blurred_nuclei_that_were_not_found_are_seen_and_an_empty_field_is_not() {
    for noise in NOISES {
        let far = Scene { nuclei: 6, blur: 9.0, contrast: 60.0, noise, ..Scene::PLAIN };
        assert!(has_blurred_structure(&far.draw().0, WIDTH), "{noise}");
        let mut random = Random(3);
        let empty: Vec<u8> = (0..WIDTH * HEIGHT)
            .map(|at| {
                let (x, y) = ((at % WIDTH) as f32 / 250.0, (at / WIDTH) as f32 / 250.0);
                (20.0 + 40.0 * (-0.5 * (x * x + y * y)).exp() + noise * random.normal()).clamp(0.0, 255.0)
                    as u8
            })
            .collect();
        assert!(!has_blurred_structure(&empty, WIDTH), "{noise}");
    }
    for width in [1, 9, 47] {
        assert!(!has_blurred_structure(&vec![9; width * 40], width));
    }
}

#[test]
fn a_wider_blur_widens() {
    let mut step: Vec<f32> = (0..64 * 8).map(|at| if at % 64 < 32 { 1.0 } else { 0.0 }).collect();
    blur(&mut step, 64, 3.0);
    let row = &step[..64];
    let deviation = (crossing(row.iter().copied(), 0.25) - crossing(row.iter().copied(), 0.75)) / QUARTILES;
    assert!((deviation - 3.0).abs() < 0.1, "{deviation}");
}
