//! k-means (Lloyd 1982) with seeds by k-means++ (Arthur and Vassilvitskii 2007), the best of several starts.

use rand::Rng as _;
use rand::rngs::StdRng;

/// Number of starts; the one with the least sum of squared distances wins.
const STARTS: usize = 12;
/// Maximum iterations per start; few are needed.
const ROUNDS: usize = 100;

/// Points near each other.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    /// Indices of the points, the nearest to the center first.
    pub members: Vec<usize>,
    /// Mean of the points.
    pub centre: Vec<f64>,
}

/// Partitions `points` into at most `k` non-empty clusters, the largest first.
pub(super) fn cluster(points: &[Vec<f64>], k: usize, rng: &mut StdRng) -> Vec<Found> {
    let starts = (0..STARTS).map(|_| lloyd(points, seeds(points, k, rng)));
    let best = starts.min_by(|a, b| a.1.total_cmp(&b.1));
    let Some((centres, _)) = best else {
        return Vec::new();
    };
    let mut found: Vec<Found> =
        centres.into_iter().map(|centre| Found { members: Vec::new(), centre }).collect();
    for (index, point) in points.iter().enumerate() {
        let at = nearest(point, found.iter().map(|cluster| &cluster.centre)).0;
        found[at].members.push(index);
    }
    for Found { members, centre } in &mut found {
        members.sort_by(|&a, &b| {
            squared_distance(&points[a], centre).total_cmp(&squared_distance(&points[b], centre))
        });
    }
    found.retain(|cluster| !cluster.members.is_empty());
    found.sort_by_key(|cluster| std::cmp::Reverse(cluster.members.len()));
    found
}

/// The first center is any point, each further one a point drawn by its squared distance to the nearest
/// center so far.
fn seeds(points: &[Vec<f64>], k: usize, rng: &mut StdRng) -> Vec<Vec<f64>> {
    let mut centres: Vec<Vec<f64>> = Vec::new();
    while centres.len() < k.min(points.len()) {
        let far: Vec<f64> = points.iter().map(|point| nearest(point, &centres).1.min(1e9)).collect();
        let total: f64 = far.iter().sum();
        if total <= 0.0 {
            break;
        }
        let mut left = rng.random_range(0.0..total);
        let chosen = far.iter().position(|&distance| {
            left -= distance;
            left < 0.0
        });
        centres.push(points[chosen.unwrap_or(points.len() - 1)].clone());
    }
    centres
}

/// Moves each center to the mean of its points until none moves; also returns the sum of squared distances.
fn lloyd(points: &[Vec<f64>], mut centres: Vec<Vec<f64>>) -> (Vec<Vec<f64>>, f64) {
    for _ in 0..ROUNDS {
        let mut sums = vec![(vec![0.0; points.first().map_or(0, Vec::len)], 0.0); centres.len()];
        for point in points {
            let (sum, count) = &mut sums[nearest(point, &centres).0];
            sum.iter_mut().zip(point).for_each(|(sum, x)| *sum += x);
            *count += 1.0;
        }
        let moved: Vec<Vec<f64>> = sums
            .into_iter()
            .zip(&centres)
            .map(
                |((sum, count), old)| {
                    if count == 0.0 { old.clone() } else { sum.iter().map(|sum| sum / count).collect() }
                },
            )
            .collect();
        if moved == centres {
            break;
        }
        centres = moved;
    }
    let total = points.iter().map(|point| nearest(point, &centres).1).sum();
    (centres, total)
}

/// The nearest center and its squared distance; infinite if there is none.
fn nearest<'a>(point: &[f64], centres: impl IntoIterator<Item = &'a Vec<f64>>) -> (usize, f64) {
    centres
        .into_iter()
        .map(|centre| squared_distance(point, centre))
        .enumerate()
        .fold((0, f64::INFINITY), |best, next| if next.1 < best.1 { next } else { best })
}

fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    fn cost(points: &[Vec<f64>], groups: &[Vec<usize>]) -> f64 {
        groups
            .iter()
            .map(|group| {
                let mean: Vec<f64> = (0..points[0].len())
                    .map(|axis| group.iter().map(|&i| points[i][axis]).sum::<f64>() / group.len() as f64)
                    .collect();
                group.iter().map(|&i| squared_distance(&points[i], &mean)).sum::<f64>()
            })
            .sum()
    }

    /// No assignment of nine points to three clusters costs less.
    #[test]
    fn is_the_best_of_all_assignments() {
        for seed in 0..5 {
            let mut rng = StdRng::seed_from_u64(seed);
            let points: Vec<Vec<f64>> =
                (0..9).map(|_| vec![rng.random_range(0.0..1.0), rng.random_range(0.0..1.0)]).collect();
            let best = (0..3_usize.pow(9))
                .filter_map(|code| {
                    let mut groups = vec![Vec::new(); 3];
                    (0..9).for_each(|i| groups[code / 3_usize.pow(i as u32) % 3].push(i));
                    groups.iter().all(|group| !group.is_empty()).then(|| cost(&points, &groups))
                })
                .fold(f64::INFINITY, f64::min);
            let found: Vec<Vec<usize>> =
                cluster(&points, 3, &mut rng).into_iter().map(|cluster| cluster.members).collect();
            assert!(cost(&points, &found) < best + 1e-9, "seed {seed}");
        }
    }

    #[test]
    fn few_or_equal_points_make_few_clusters() {
        let mut rng = StdRng::seed_from_u64(1);
        assert_eq!(cluster(&[], 5, &mut rng), []);
        assert_eq!(cluster(&vec![vec![0.5]; 7], 5, &mut rng).len(), 1);
    }
}
