//! Which images are held back for validation.

use std::collections::BTreeMap;

use rand::seq::SliceRandom as _;
use rand::{SeedableRng as _, rngs::StdRng};
use serde::{Deserialize, Serialize};

/// Indices of the training and validation images, each ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// To train on.
    pub training: Vec<usize>,
    /// To validate on.
    pub validation: Vec<usize>,
}

/// What stays together in a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum SplitBy {
    /// Nothing: pictures that were cut from one photograph may lie on both sides, and the score is then too high.
    #[default]
    Picture,
    /// The pictures that were cut from one photograph.
    Photograph,
}

/// A picture as a split sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SplitPicture<K> {
    /// Its kind.
    pub kind: K,
    /// Its photograph; a number of its own where nothing stays together.
    pub photograph: usize,
}

/// Holds back `share` of the pictures of each kind, rounded, in whole photographs, but at least one of a kind that has
/// two. A photograph is of the kind of its first picture. The same pictures and seed give the same split.
pub fn stratified_split<K: Ord + Copy>(pictures: &[SplitPicture<K>], share: f64, seed: u64) -> Split {
    let mut photographs: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, picture) in pictures.iter().enumerate() {
        photographs.entry(picture.photograph).or_default().push(index);
    }
    let mut by_kind: BTreeMap<K, Vec<Vec<usize>>> = BTreeMap::new();
    for members in photographs.into_values() {
        by_kind.entry(pictures[members[0]].kind).or_default().push(members);
    }
    let mut rng = StdRng::seed_from_u64(seed);
    let mut split = Split { training: Vec::new(), validation: Vec::new() };
    for mut photographs in by_kind.into_values() {
        photographs.shuffle(&mut rng);
        let all: usize = photographs.iter().map(Vec::len).sum();
        let wanted = (all as f64 * share).round() as usize;
        let least = usize::from(photographs.len() > 1 && share > 0.0);
        let most = photographs.len().saturating_sub(1);
        let mut held = 0;
        for (count, members) in photographs.into_iter().enumerate() {
            if count < most && (count < least || held < wanted) {
                held += members.len();
                split.validation.extend(members);
            } else {
                split.training.extend(members);
            }
        }
    }
    split.training.sort_unstable();
    split.validation.sort_unstable();
    split
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone(kinds: &[u8]) -> Vec<SplitPicture<u8>> {
        kinds.iter().enumerate().map(|(photograph, &kind)| SplitPicture { kind, photograph }).collect()
    }

    #[test]
    fn every_kind_is_in_both_parts_and_nothing_is_lost() {
        let kinds: Vec<u8> = (0..100).map(|i| if i < 90 { 0 } else { 1 + (i % 2) as u8 }).collect();
        let split = stratified_split(&alone(&kinds), 0.1, 7);
        let mut all = [split.training.clone(), split.validation.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        for (kind, held) in [(0, 9), (1, 1), (2, 1)] {
            assert_eq!(split.validation.iter().filter(|&&i| kinds[i] == kind).count(), held, "{kind}");
        }
        assert_eq!(split, stratified_split(&alone(&kinds), 0.1, 7));
        assert_ne!(split, stratified_split(&alone(&kinds), 0.1, 8));
    }

    #[test]
    fn photographs_stay_whole() {
        let pictures: Vec<_> = (0..120).map(|i| SplitPicture { kind: 0, photograph: i % 40 }).collect();
        let split = stratified_split(&pictures, 0.2, 3);
        assert!((24..27).contains(&split.validation.len()), "{}", split.validation.len());
        let held: Vec<usize> = split.validation.iter().map(|i| i % 40).collect();
        assert!(split.training.iter().all(|i| !held.contains(&(i % 40))));
    }

    #[test]
    fn a_single_picture_is_trained_on() {
        assert_eq!(stratified_split(&alone(&[0]), 0.5, 1), Split { training: vec![0], validation: vec![] });
    }
}
