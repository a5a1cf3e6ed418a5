//! Which images are held back for validation.

use std::collections::BTreeMap;

use rand::seq::SliceRandom as _;
use rand::{SeedableRng as _, rngs::StdRng};

/// Indices of the training and validation images, each ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// To train on.
    pub training: Vec<usize>,
    /// To validate on.
    pub validation: Vec<usize>,
}

/// Holds back `share` of the images of each kind, rounded, but at least one of a kind with two. The same kinds and seed
/// give the same split.
pub fn stratified_split<K: Ord + Copy>(kinds: &[K], share: f64, seed: u64) -> Split {
    let mut by_kind: BTreeMap<K, Vec<usize>> = BTreeMap::new();
    for (index, &kind) in kinds.iter().enumerate() {
        by_kind.entry(kind).or_default().push(index);
    }
    let mut rng = StdRng::seed_from_u64(seed);
    let mut split = Split { training: Vec::new(), validation: Vec::new() };
    for mut indices in by_kind.into_values() {
        indices.shuffle(&mut rng);
        let least = usize::from(indices.len() > 1 && share > 0.0);
        let most = indices.len().saturating_sub(1);
        let held = ((indices.len() as f64 * share).round() as usize).max(least).min(most);
        split.validation.extend(&indices[..held]);
        split.training.extend(&indices[held..]);
    }
    split.training.sort_unstable();
    split.validation.sort_unstable();
    split
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_in_both_parts_and_nothing_is_lost() {
        let kinds: Vec<u8> = (0..100).map(|i| if i < 90 { 0 } else { 1 + (i % 2) as u8 }).collect();
        let split = stratified_split(&kinds, 0.1, 7);
        let mut all = [split.training.clone(), split.validation.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        for (kind, held) in [(0, 9), (1, 1), (2, 1)] {
            assert_eq!(split.validation.iter().filter(|&&i| kinds[i] == kind).count(), held, "{kind}");
        }
        assert_eq!(split, stratified_split(&kinds, 0.1, 7));
        assert_ne!(split, stratified_split(&kinds, 0.1, 8));
    }

    #[test]
    fn a_single_picture_is_trained_on() {
        assert_eq!(stratified_split(&[0], 0.5, 1), Split { training: vec![0], validation: vec![] });
    }
}
