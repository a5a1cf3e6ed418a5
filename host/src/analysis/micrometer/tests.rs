use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use shared::{Channels, Image};

use super::*;

struct Scene {
    period: f64,
    degrees: f64,
    /// Width of a line as a share of the period.
    line: f64,
    /// Brightness of ground and lines.
    ground: f64,
    ink: f64,
    noise: f64,
    /// Every tenth line is as long as the image; the others are so long, as a share.
    short: f64,
    size: (u32, u32),
    /// How much less light there is a whole image's width away from its brightest place, and where that is, as shares
    /// of width and height.
    uneven: f64,
    brightest: (f64, f64),
    /// Where the first line is, and how wide a line's edge is, px.
    offset: f64,
    edge: f64,
}

const PLAIN: Scene = Scene {
    period: 31.37,
    degrees: 0.0,
    line: 0.12,
    ground: 190.0,
    ink: 40.0,
    noise: 6.0,
    short: 1.0,
    size: (640, 480),
    uneven: 0.6,
    brightest: (0.5, 0.5),
    offset: 0.0,
    edge: 0.0,
};

/// The scene, uneven in its light, each pixel the mean of 16 points in it.
fn drawn(scene: &Scene, seed: u64) -> Image {
    let mut random = StdRng::seed_from_u64(seed);
    let (width, height) = scene.size;
    let (sin, cos) = scene.degrees.to_radians().sin_cos();
    let ink = |x: f64, y: f64| {
        let (across, along) = (x * cos + y * sin - scene.offset, y * cos - x * sin);
        let number = (across / scene.period).round();
        let outside = (across - number * scene.period).abs() - scene.line * scene.period / 2.0;
        let is_long = number.rem_euclid(10.0) == 0.0 || along.rem_euclid(400.0) < 400.0 * scene.short;
        // An edge without width is a step.
        if is_long { (0.5 - outside / scene.edge.max(1e-9)).clamp(0.0, 1.0) } else { 0.0 }
    };
    let mut samples = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let points = (0..16).map(|point| {
                ink(f64::from(x) + f64::from(point % 4) / 4.0, f64::from(y) + f64::from(point / 4) / 4.0)
            });
            let share = points.sum::<f64>() / 16.0;
            let off = (f64::from(x) / f64::from(width) - scene.brightest.0).powi(2)
                + (f64::from(y) / f64::from(height) - scene.brightest.1).powi(2);
            let light = (1.0 - scene.uneven * off).max(0.2);
            let noise: f64 = (0..4).map(|_| random.random_range(-1.0..1.0)).sum::<f64>() * scene.noise;
            let value = light * (scene.ground + share * (scene.ink - scene.ground)) + noise;
            samples.push(value.clamp(0.0, 255.0) as u8);
        }
    }
    Image::new(width, height, Channels::Grey, samples).unwrap()
}

#[test]
fn the_period_is_found_whatever_the_rotation_and_the_uncertainty_is_honest() {
    let cases = [
        PLAIN,
        Scene { degrees: 3.3, ..PLAIN },
        Scene { degrees: 90.0, period: 17.9, ..PLAIN },
        Scene { degrees: -41.0, period: 12.21, ..PLAIN },
        Scene { degrees: 67.5, period: 55.5, ..PLAIN },
        // Bright lines on a dark ground, thick lines, thin ones, long ones among shorter, and much noise.
        Scene { ground: 20.0, ink: 120.0, ..PLAIN },
        Scene { line: 0.4, ..PLAIN },
        Scene { line: 0.05, period: 40.0, ..PLAIN },
        Scene { short: 0.5, degrees: 1.0, ..PLAIN },
        Scene { noise: 25.0, degrees: 10.0, ..PLAIN },
        Scene { period: 6.3, line: 0.3, ..PLAIN },
    ];
    for (at, scene) in cases.iter().enumerate() {
        let ruling = measure(&drawn(scene, at as u64)).unwrap_or_else(|error| panic!("case {at}: {error}"));
        let error = ruling.period_px - scene.period;
        println!("case {at}: {ruling:?}, error {error:+.4} px");
        assert!(error.abs() < 0.002 * scene.period, "case {at}: {ruling:?} for {}", scene.period);
        assert!(error.abs() < 3.0 * ruling.uncertainty_px, "case {at}: {ruling:?}, {error}");
        let turned = (ruling.degrees - scene.degrees + 90.0).rem_euclid(180.0) - 90.0;
        assert!(turned.abs() < 0.15, "case {at}: {ruling:?} for {} degrees", scene.degrees);
    }
}

/// Some scene.
fn any_scene(random: &mut StdRng) -> Scene {
    let period = random.random_range(6.0_f64.ln()..80.0_f64.ln()).exp();
    let (light, dark) = (random.random_range(120.0..220.0), random.random_range(15.0..100.0));
    let (ground, ink) = if random.random_bool(0.4) { (dark, light) } else { (light, dark) };
    let degrees = [0.0, 90.0, random.random_range(-90.0..90.0)][random.random_range(0..3)];
    Scene {
        period,
        degrees,
        line: random.random_range(0.06_f64..0.45).max(1.0 / period),
        ground,
        ink,
        noise: random.random_range(0.5..20.0),
        short: if random.random_bool(0.3) { random.random_range(0.5..0.9) } else { 1.0 },
        size: (640, 480),
        uneven: random.random_range(0.0..1.2),
        brightest: (random.random_range(0.2..0.8), random.random_range(0.2..0.8)),
        offset: random.random_range(0.0..period),
        edge: random.random_range(0.0..0.3 * period).min(5.0),
    }
}

#[test]
fn twice_the_uncertainty_holds_the_true_period_in_95_of_100_scenes() {
    let deviation = |seed: u64| {
        let scene = any_scene(&mut StdRng::seed_from_u64(9_000 + seed));
        // Some are too coarse, or too short, to be measured; they are refused, not measured wrong.
        let ruling = measure(&drawn(&scene, seed)).ok()?;
        Some((ruling.period_px - scene.period, ruling.uncertainty_px, scene.period))
    };
    let measured: Vec<(f64, f64, f64)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                scope.spawn(move || (0..30).filter_map(|at| deviation(4 * at + thread)).collect::<Vec<_>>())
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let held = measured.iter().filter(|(error, uncertainty, _)| error.abs() <= 2.0 * uncertainty).count();
    let mut shares: Vec<f64> = measured.iter().map(|(_, uncertainty, period)| uncertainty / period).collect();
    shares.sort_by(f64::total_cmp);
    let median = 200.0 * shares[shares.len() / 2];
    println!("{held} of {} scenes within the 95 % interval, ± {median:.3} % in the median", measured.len());
    assert!(measured.len() >= 100, "{} scenes were measured", measured.len());
    assert!(held as f64 >= 0.95 * measured.len() as f64, "{held} of {}", measured.len());
    // An interval that holds everything says nothing.
    assert!(median < 0.1, "± {median} %");
}

#[test]
fn images_without_a_ruling_are_refused() {
    let few = Scene { period: 200.0, ..PLAIN };
    assert!(measure(&drawn(&few, 1)).is_err());
    let faint = Scene { ink: 190.0, ..PLAIN };
    for seed in 0..3 {
        assert_eq!(measure(&drawn(&faint, seed)), Err(RulingError::Unclear), "seed {seed}");
    }
    let black = Image::black(64, 48, Channels::Grey).unwrap();
    assert_eq!(measure(&black), Err(RulingError::Unclear));
    assert!(measure(&Image::black(1, 1, Channels::Grey).unwrap()).is_err());
    // Discs strewn at random, as nuclei are.
    for seed in 0..8 {
        let mut random = StdRng::seed_from_u64(seed);
        let discs: Vec<[f64; 3]> = (0..60)
            .map(|_| {
                [
                    random.random_range(0.0..640.0),
                    random.random_range(0.0..480.0),
                    random.random_range(8.0..16.0),
                ]
            })
            .collect();
        let sample = |at: u32| {
            let (x, y) = (f64::from(at % 640), f64::from(at / 640));
            let inside = discs.iter().any(|[cx, cy, r]| (x - cx).powi(2) + (y - cy).powi(2) < r * r);
            if inside { 180 } else { 20 }
        };
        let picture = Image::new(640, 480, Channels::Grey, (0..640 * 480).map(sample).collect()).unwrap();
        let found = measure(&picture);
        assert!(
            matches!(found, Err(RulingError::Unclear | RulingError::Uneven | RulingError::TooFew { .. })),
            "seed {seed}: {found:?}"
        );
    }
}

/// Dark lines at these places, px.
fn lines_at(places: &[f64]) -> Image {
    let sample = |at: u32| {
        let x = f64::from(at % 640);
        if places.iter().any(|place| (x - place).abs() < 2.0) { 30 } else { 200 }
    };
    Image::new(640, 100, Channels::Grey, (0..64_000).map(sample).collect()).unwrap()
}

#[test]
fn an_uneven_ruling_is_refused() {
    for seed in 1..4 {
        let mut random = StdRng::seed_from_u64(seed);
        let places: Vec<f64> =
            (0..21).map(|number| 10.0 + 30.0 * f64::from(number) + random.random_range(-5.0..5.0)).collect();
        assert_eq!(measure(&lines_at(&places)), Err(RulingError::Uneven), "seed {seed}");
    }
}

#[test]
fn lines_at_random_distances_are_no_ruling() {
    let mut random = StdRng::seed_from_u64(3);
    let mut places = vec![10.0];
    while places[places.len() - 1] < 600.0 {
        places.push(places[places.len() - 1] + 30.0 + random.random_range(-9.0..9.0));
    }
    assert_eq!(measure(&lines_at(&places)), Err(RulingError::Unclear));
}
