//! The model: one walk over the pixels that writes or reads them, depending on the coder.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec,
    vec::Vec,
};

use super::guess::{Guess, Numbers, Rarity};
use super::outline::{Corner, Neighbourhood, Place};
use super::prior::{first_choice_guesses, first_outline_guesses};
use super::range_coder::BitCoder;
use crate::runs::equal_to;

/// The stored labels make no sense.
pub(super) struct Senseless;

/// Everything that is learned while pixels go by.
pub(super) struct Walk {
    neighbourhood: Neighbourhood,
    calm: [Rarity; 2],
    outline: Vec<Guess>,
    choices: Vec<Guess>,
    labels: Labels,
}

impl Walk {
    pub(super) fn new(width: u32) -> Self {
        Self {
            neighbourhood: Neighbourhood::new(width as usize),
            calm: [Rarity::new(2, 5000), Rarity::new(2, 5000)],
            outline: first_outline_guesses(),
            choices: first_choice_guesses(),
            labels: Labels::new(),
        }
    }

    /// Codes one row in place: `row` holds the labels to write, or takes those that are read.
    pub(super) fn row(&mut self, coder: &mut impl BitCoder, row: &mut [u32]) -> Result<(), Senseless> {
        let mut x = 0;
        while x < row.len() {
            let calm = self.neighbourhood.calm(x);
            if calm == 0 {
                let corner = self.neighbourhood.corner(x);
                let kept = !self.outline[corner.context].code(coder, row[x] != corner.west);
                row[x] =
                    if kept { corner.west } else { self.choose(coder, &corner, Place::AtOutline, row[x])? };
                self.neighbourhood.push(x, 1, row[x]);
                x += 1;
                continue;
            }
            let west = self.neighbourhood.west(x);
            let ahead = &mut row[x..x + calm as usize];
            let quiet = equal_to(west, ahead);
            let passed = self.calm[usize::from(west != 0)].code(coder, calm, quiet as u32);
            ahead[..passed as usize].fill(west);
            self.neighbourhood.push(x, passed, west);
            x += passed as usize;
            if passed < calm {
                let corner = self.neighbourhood.corner(x);
                row[x] = self.choose(coder, &corner, Place::Calm, row[x])?;
                self.neighbourhood.push(x, 1, row[x]);
                x += 1;
            }
        }
        self.neighbourhood.end_row();
        Ok(())
    }

    /// Codes a label that is not the western one.
    fn choose(
        &mut self,
        coder: &mut impl BitCoder,
        corner: &Corner,
        place: Place,
        wanted: u32,
    ) -> Result<u32, Senseless> {
        for (label, context) in corner.choices(place) {
            if self.choices[context].code(coder, wanted == label) {
                return Ok(label);
            }
        }
        self.labels.code(coder, wanted)
    }
}

/// Labels seen so far, and those that come from no neighbor.
struct Labels {
    is_new: Guess,
    /// How far above the lowest unused label a new one is.
    skips: Numbers,
    /// How many labels were new since an old one was.
    ages: Numbers,
    /// In the order of their first pixel.
    seen: Vec<u32>,
    ages_of: BTreeMap<u32, u32>,
    lowest_unused: u32,
    /// Used ones above the lowest unused.
    used: BTreeSet<u32>,
}

impl Labels {
    fn new() -> Self {
        Self {
            is_new: Guess::from_level(50, 4),
            skips: Numbers::new(),
            ages: Numbers::new(),
            seen: vec![],
            ages_of: BTreeMap::new(),
            lowest_unused: 1,
            used: BTreeSet::new(),
        }
    }

    fn code(&mut self, coder: &mut impl BitCoder, wanted: u32) -> Result<u32, Senseless> {
        let known = self.ages_of.get(&wanted).copied();
        let count = self.seen.len() as u32;
        if count > 0 && !self.is_new.code(coder, known.is_none()) {
            let age = self.ages.code(coder, known.map_or(0, |index| count - 1 - index));
            let index = count.checked_sub(1).and_then(|last| last.checked_sub(age)).ok_or(Senseless)?;
            return self.seen.get(index as usize).copied().ok_or(Senseless);
        }
        let skip = self.skips.code(coder, wanted.wrapping_sub(self.lowest_unused));
        let label = self.lowest_unused.checked_add(skip).ok_or(Senseless)?;
        if self.ages_of.insert(label, count).is_some() {
            return Err(Senseless);
        }
        self.seen.push(label);
        self.used.insert(label);
        while self.used.remove(&self.lowest_unused) {
            self.lowest_unused = self.lowest_unused.checked_add(1).ok_or(Senseless)?;
        }
        Ok(label)
    }
}
