//! Nuclei as polygons along pixel edges, for viewers and other programs.

use std::collections::{BTreeMap, HashMap};

use shared::LabelImage;

/// A corner of pixels: `[x, y]`; the image's upper left corner is `[0, 0]`.
pub type Corner = [i32; 2];

/// A part of a nucleus that hangs together by pixel sides. Rings are closed without their first corner
/// again at the end, and no three corners in a row lie on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Polygon {
    /// The outer ring, clockwise as seen with y downwards.
    pub exterior: Vec<Corner>,
    /// The rings of holes, counter-clockwise.
    pub holes: Vec<Vec<Corner>>,
}

impl Polygon {
    /// Its area, px.
    pub fn area(&self) -> i64 {
        let holes: i64 = self.holes.iter().map(|ring| doubled_area(ring)).sum();
        (doubled_area(&self.exterior) + holes) / 2
    }
}

/// The polygons of every nucleus by its label. Their areas sum to the nucleus's pixels. Rings neither cross
/// nor pass a corner twice: pixels that meet at a corner only are polygons of their own.
pub fn trace_polygons(labels: &LabelImage) -> BTreeMap<u32, Vec<Polygon>> {
    edges(labels).into_iter().map(|(label, edges)| (label, polygons(rings(edges)))).collect()
}

/// Pixel sides that bound a nucleus, from corner to corner with the nucleus at the right hand.
type Edges = HashMap<Corner, Vec<Corner>>;

fn edges(labels: &LabelImage) -> BTreeMap<u32, Edges> {
    let (width, height) = (labels.width() as i32, labels.height() as i32);
    let at = |x: i32, y: i32| {
        if (0..width).contains(&x) && (0..height).contains(&y) {
            labels.labels_hw()[(y * width + x) as usize]
        } else {
            0
        }
    };
    let mut edges: BTreeMap<u32, Edges> = BTreeMap::new();
    for y in 0..height {
        for x in 0..width {
            let label = at(x, y);
            if label == 0 {
                continue;
            }
            let (upper_left, upper_right) = ([x, y], [x + 1, y]);
            let (lower_left, lower_right) = ([x, y + 1], [x + 1, y + 1]);
            let sides = [
                (at(x, y - 1), upper_left, upper_right),
                (at(x + 1, y), upper_right, lower_right),
                (at(x, y + 1), lower_right, lower_left),
                (at(x - 1, y), lower_left, upper_left),
            ];
            for (neighbour, from, to) in sides {
                if neighbour != label {
                    edges.entry(label).or_default().entry(from).or_default().push(to);
                }
            }
        }
    }
    edges
}

/// Closed rings, the uppermost and leftmost first.
fn rings(mut edges: Edges) -> Vec<Vec<Corner>> {
    let mut starts: Vec<Corner> = edges.keys().copied().collect();
    starts.sort_unstable_by_key(|&[x, y]| (y, x));
    let mut rings = Vec::new();
    for start in starts {
        while let Some(first) = edges.get_mut(&start).and_then(Vec::pop) {
            rings.extend(simple_rings(ring(&mut edges, start, first)));
        }
    }
    rings
}

/// A ring cut where it passes a corner again, as where a nucleus closes around a hole by a corner only.
fn simple_rings(ring: Vec<Corner>) -> Vec<Vec<Corner>> {
    let (mut rings, mut open): (Vec<_>, Vec<Corner>) = (Vec::new(), Vec::new());
    for corner in ring {
        if let Some(seen) = open.iter().position(|&other| other == corner) {
            rings.push(open.split_off(seen));
        }
        open.push(corner);
    }
    rings.push(open);
    rings
}

fn ring(edges: &mut Edges, start: Corner, first: Corner) -> Vec<Corner> {
    let mut ring = vec![start];
    let (mut before, mut here) = (start, first);
    while here != start {
        let ways = edges.get_mut(&here);
        let Some(next) = ways.and_then(|ways| take_rightmost(ways, before, here)) else { break };
        if direction(before, here) != direction(here, next) {
            ring.push(here);
        }
        (before, here) = (here, next);
    }
    // The start may be within a straight side.
    if ring.len() > 1 && direction(before, start) == direction(ring[0], first) {
        ring.remove(0);
    }
    ring
}

/// Where pixels meet at a corner only, two sides begin there: the turn to the right stays with the pixel.
fn take_rightmost(ways: &mut Vec<Corner>, before: Corner, here: Corner) -> Option<Corner> {
    let [dx, dy] = direction(before, here);
    let right = [here[0] - dy, here[1] + dx];
    let at = ways.iter().position(|&way| way == right).unwrap_or(0);
    (!ways.is_empty()).then(|| ways.swap_remove(at))
}

const fn direction(from: Corner, to: Corner) -> [i32; 2] {
    [to[0] - from[0], to[1] - from[1]]
}

/// Twice the area within a ring, px; negative for the ring of a hole.
fn doubled_area(ring: &[Corner]) -> i64 {
    let next = ring.iter().cycle().skip(1);
    let cross =
        |a: &Corner, b: &Corner| i64::from(a[0]) * i64::from(b[1]) - i64::from(b[0]) * i64::from(a[1]);
    ring.iter().zip(next).map(|(a, b)| cross(a, b)).sum()
}

fn polygons(rings: Vec<Vec<Corner>>) -> Vec<Polygon> {
    let (outer, inner): (Vec<_>, Vec<_>) = rings.into_iter().partition(|ring| doubled_area(ring) > 0);
    let mut polygons: Vec<Polygon> =
        outer.into_iter().map(|exterior| Polygon { exterior, holes: Vec::new() }).collect();
    for hole in inner {
        let within = |polygon: &&mut Polygon| is_within(&polygon.exterior, inner_point(&hole));
        // Parts of a nucleus may lie in holes of others: the smallest around is its own.
        let around = polygons.iter_mut().filter(within).min_by_key(|polygon| doubled_area(&polygon.exterior));
        if let Some(polygon) = around {
            polygon.holes.push(hole);
        }
    }
    polygons
}

/// The center of the nucleus's pixel beside a ring's first side, in half pixels.
fn inner_point(ring: &[Corner]) -> [i32; 2] {
    let [from, to] = [ring[0], ring[1 % ring.len()]];
    let unit = direction(from, to).map(i32::signum);
    let right = [-unit[1], unit[0]];
    [2 * from[0] + unit[0] + right[0], 2 * from[1] + unit[1] + right[1]]
}

/// Whether a point, in half pixels and odd, lies within a ring: sides to its right are counted.
fn is_within(ring: &[Corner], [x, y]: [i32; 2]) -> bool {
    let next = ring.iter().cycle().skip(1);
    let crosses = |&(a, b): &(&Corner, &Corner)| {
        let (low, high) = (a[1].min(b[1]), a[1].max(b[1]));
        a[0] == b[0] && 2 * a[0] > x && 2 * low < y && y < 2 * high
    };
    ring.iter().zip(next).filter(crosses).count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    fn labels(rows: &[&str]) -> LabelImage {
        let (width, height) = (rows[0].len() as u32, rows.len() as u32);
        let labels = rows.concat().bytes().map(|byte| u32::from(byte - b'0')).collect();
        LabelImage::new(width, height, labels).unwrap()
    }

    #[test]
    fn shapes_give_their_corners() {
        let ring = vec![[0, 0], [3, 0], [3, 3], [0, 3]];
        let hole = vec![[1, 1], [1, 2], [2, 2], [2, 1]];
        let cases: [(&[&str], Vec<Polygon>); 3] = [
            (&["11", "11"], vec![Polygon { exterior: vec![[0, 0], [2, 0], [2, 2], [0, 2]], holes: vec![] }]),
            (&["111", "101", "111"], vec![Polygon { exterior: ring, holes: vec![hole] }]),
            (
                &["10", "01"],
                vec![
                    Polygon { exterior: vec![[0, 0], [1, 0], [1, 1], [0, 1]], holes: vec![] },
                    Polygon { exterior: vec![[1, 1], [2, 1], [2, 2], [1, 2]], holes: vec![] },
                ],
            ),
        ];
        for (rows, expected) in cases {
            let found = trace_polygons(&labels(rows)).remove(&1).unwrap();
            // A ring may begin at any of its corners.
            let turned = |ring: &Vec<Corner>| {
                let first =
                    ring.iter().enumerate().min_by_key(|(_, corner)| (corner[1], corner[0])).unwrap().0;
                let mut ring = ring.clone();
                ring.rotate_left(first);
                ring
            };
            let turned: Vec<Polygon> = found
                .iter()
                .map(|polygon| Polygon {
                    exterior: turned(&polygon.exterior),
                    holes: polygon.holes.iter().map(turned).collect(),
                })
                .collect();
            assert_eq!(turned, expected, "{rows:?}");
        }
    }

    #[test]
    fn random_labels_keep_their_areas_and_pass_no_corner_twice() {
        let mut rng = SmallRng::seed_from_u64(5);
        for _ in 0..200 {
            let (width, height) = (rng.random_range(1..12), rng.random_range(1..12));
            let values = (0..width * height).map(|_| rng.random_range(0..3)).collect();
            let image = LabelImage::new(width, height, values).unwrap();
            let found = trace_polygons(&image);
            for label in 1..3 {
                let pixels = image.labels_hw().iter().filter(|&&l| l == label).count() as i64;
                let polygons = found.get(&label).map_or(&[][..], Vec::as_slice);
                assert_eq!(polygons.iter().map(Polygon::area).sum::<i64>(), pixels);
                for ring in polygons.iter().flat_map(|p| std::iter::once(&p.exterior).chain(&p.holes)) {
                    let mut corners = ring.clone();
                    corners.sort_unstable();
                    corners.dedup();
                    assert_eq!(corners.len(), ring.len(), "{ring:?}");
                }
            }
        }
    }
}
