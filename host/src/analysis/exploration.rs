//! Inspects a data set before modelling: its content, kinds of image, and problems.

mod findings;
mod kmeans;
mod page;
mod picture;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use host_console::Progress;
use host_modelling::{Dataset, ImageType, Sample, SampleError};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde::Serialize;

pub use findings::DatasetFinding;
use findings::{duplicates, of_sample};
use kmeans::cluster;
pub use page::page;
pub use picture::PictureFacts;

/// Seed of the clustering: the same images give the same clusters.
const SEED: u64 = 1;

/// The summary of a data set.
#[derive(Debug, Serialize)]
pub struct Exploration {
    /// Listed images, including bad ones.
    pub listed: usize,
    /// The readable images, in order.
    pub pictures: Vec<PictureFacts>,
    /// Problems, file by file.
    pub findings: Vec<DatasetFinding>,
    /// k-means clusters of the images by color, largest first.
    pub clusters: Vec<Cluster>,
    /// Images per size, most frequent first.
    pub sizes: Vec<(String, usize)>,
    /// Summary of the images of each type.
    pub types: BTreeMap<ImageType, TypeFacts>,
}

/// Images of similar color.
#[derive(Debug, Serialize)]
pub struct Cluster {
    /// Indices into [`Exploration::pictures`], nearest to the cluster's center first.
    pub members: Vec<usize>,
    /// Mean of the members' features, see [`PictureFacts::colour`].
    pub centre: Vec<f64>,
    /// Members per image type, which show how far the rule that assigns types agrees with the cluster.
    pub types: BTreeMap<ImageType, usize>,
}

/// Summary of the images of one type.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TypeFacts {
    /// Images.
    pub pictures: usize,
    /// Nuclei.
    pub nuclei: usize,
    /// Fraction of nuclei that touch another, 0 to 1.
    pub touching: f64,
    /// Nuclei per image: minimum, median and maximum.
    pub counts: [usize; 3],
    /// Nucleus area: 5th, 50th and 95th percentile, px.
    pub areas_px: [u32; 3],
}

/// Reads every image of a data set and collects its properties.
pub fn explore(dataset: &Dataset, clusters: usize, threads: NonZeroUsize) -> Exploration {
    let mut pictures = Vec::new();
    let mut findings = Vec::new();
    for (index, facts) in read(dataset, threads).into_iter().enumerate() {
        match facts {
            Ok((facts, found)) => {
                pictures.push(facts);
                findings.extend(found);
            }
            Err(error) => findings.push(DatasetFinding::unusable(dataset.file(index), &error)),
        }
    }
    findings.extend(duplicates(&pictures));
    let points: Vec<Vec<f64>> = pictures.iter().map(|picture| picture.colour.to_vec()).collect();
    let clusters = cluster(&points, clusters, &mut StdRng::seed_from_u64(SEED))
        .into_iter()
        .map(|found| {
            let mut types = BTreeMap::new();
            for &member in &found.members {
                *types.entry(pictures[member].image_type).or_default() += 1;
            }
            Cluster { members: found.members, centre: found.centre, types }
        })
        .collect();
    Exploration {
        listed: dataset.len(),
        sizes: sizes(&pictures),
        types: types(&pictures),
        pictures,
        findings,
        clusters,
    }
}

type Read = Result<(PictureFacts, Vec<DatasetFinding>), SampleError>;

/// The properties of every image, in order; pixels are dropped immediately.
fn read(dataset: &Dataset, threads: NonZeroUsize) -> Vec<Read> {
    let progress = Progress::new("reading images", dataset.len() as u64);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done: Vec<(usize, Read)> = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= dataset.len() {
                return done;
            }
            let facts = dataset.load(index).map(|sample: Sample| {
                let file = dataset.file(index);
                (PictureFacts::new(index, &file, &sample), of_sample(&file, &sample))
            });
            done.push((index, facts));
            progress.advance(1);
        }
    };
    let mut all: Vec<(usize, Read)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.get()).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, facts)| facts).collect()
}

fn sizes(pictures: &[PictureFacts]) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<(u32, u32), usize> = BTreeMap::new();
    for picture in pictures {
        *counts.entry((picture.width, picture.height)).or_default() += 1;
    }
    let mut sizes: Vec<(String, usize)> =
        counts.into_iter().map(|((width, height), count)| (format!("{width}x{height}"), count)).collect();
    sizes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    sizes
}

fn types(pictures: &[PictureFacts]) -> BTreeMap<ImageType, TypeFacts> {
    let mut by_type: BTreeMap<ImageType, Vec<&PictureFacts>> = BTreeMap::new();
    for picture in pictures {
        by_type.entry(picture.image_type).or_default().push(picture);
    }
    by_type.into_iter().map(|(name, pictures)| (name, TypeFacts::of(&pictures))).collect()
}

impl TypeFacts {
    /// The summary of some images; those without ground truth only count as images.
    pub fn of(pictures: &[&PictureFacts]) -> Self {
        let mut areas: Vec<u32> =
            pictures.iter().flat_map(|picture| picture.areas_px.iter().flatten().copied()).collect();
        let mut counts: Vec<usize> =
            pictures.iter().filter_map(|picture| Some(picture.areas_px.as_ref()?.len())).collect();
        areas.sort_unstable();
        counts.sort_unstable();
        let touching: usize = pictures.iter().map(|picture| picture.touching).sum();
        Self {
            pictures: pictures.len(),
            nuclei: areas.len(),
            touching: touching as f64 / areas.len().max(1) as f64,
            counts: [0.0, 0.5, 1.0].map(|share| quantile(&counts, share)),
            areas_px: [0.05, 0.5, 0.95].map(|share| quantile(&areas, share)),
        }
    }
}

/// A quantile of sorted values; 0 if there are none.
fn quantile<T: Copy + Default>(sorted: &[T], share: f64) -> T {
    let last = sorted.len().saturating_sub(1);
    sorted.get((share * last as f64).round() as usize).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
