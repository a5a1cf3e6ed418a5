//! Seeded watershed.

use alloc::{vec, vec::Vec};
use core::ops::Range;

use crate::components::Run;

/// Levels of the flood: finer steps change no label in practice, coarser ones do.
const LEVELS: usize = 256;
/// What lies beyond the mask is labeled so, and the border around the image.
const OUTSIDE: u32 = u32::MAX;

/// Seeds that grow over a mask from high to low height of a pixel (0 to 1), breadth first within a level, so that
/// neighbors meet where the map is lowest.
///
/// Meyer, "Un algorithme optimal pour la ligne de partage des eaux", 1991, with a queue per level
/// and no line between basins. The memory is kept from image to image.
#[derive(Debug)]
pub(crate) struct Watershed {
    width: usize,
    /// `[height + 2, width + 1]`: 0 where the mask is not flooded yet, [`OUTSIDE`] in the first and last row and in
    /// the last column, which serves as the one before the first, too.
    labels: Vec<u32>,
    /// `[height + 2, width + 1]`: the heights of the mask's pixels; elsewhere whatever was there before.
    levels: Vec<u8>,
    queues: Vec<Vec<usize>>,
}

impl Default for Watershed {
    fn default() -> Self {
        Self { width: 0, labels: Vec::new(), levels: Vec::new(), queues: vec![Vec::new(); LEVELS] }
    }
}

impl Watershed {
    /// Resets to an empty mask.
    pub(crate) fn clear(&mut self, width: usize, height: usize) {
        self.width = width;
        self.labels.resize((height + 2) * (width + 1), OUTSIDE);
        self.labels.fill(OUTSIDE);
        self.levels.resize(self.labels.len(), 0);
        self.queues.iter_mut().for_each(Vec::clear);
    }

    /// Labels pixels of one row, which become part of the mask; 0 marks them to be flooded.
    pub(crate) fn label(&mut self, pixels: &Range<usize>, label: u32) {
        let place = self.place(pixels);
        self.labels[place].fill(label);
    }

    /// The labels of pixels of one row.
    pub(crate) fn labels(&self, pixels: &Range<usize>) -> &[u32] {
        &self.labels[self.place(pixels)]
    }

    /// Where pixels of one row lie in the bordered image.
    fn place(&self, pixels: &Range<usize>) -> Range<usize> {
        let border = self.stride() + pixels.start / self.width;
        pixels.start + border..pixels.end + border
    }

    const fn stride(&self) -> usize {
        self.width + 1
    }

    /// Sets the heights of pixels of one row of the mask.
    pub(crate) fn raise(&mut self, pixels: &Range<usize>, heights: impl Iterator<Item = f32>) {
        let place = self.place(pixels);
        for (level, height) in self.levels[place].iter_mut().zip(heights) {
            *level = (height.clamp(0.0, 1.0) * (LEVELS - 1) as f32) as i32 as u8;
        }
    }

    /// Floods the mask, whose pixels are those of the runs.
    pub(crate) fn flood(&mut self, mask: &[Run]) {
        let stride = self.stride();
        let neighbours = |place: usize| [place - stride, place - 1, place + 1, place + stride];
        for run in mask {
            for place in self.place(&run.pixels) {
                // A pixel floods nothing whose neighbors are taken.
                if self.labels[place] != 0 && neighbours(place).into_iter().any(|near| self.labels[near] == 0)
                {
                    self.queues[usize::from(self.levels[place])].push(place);
                }
            }
        }
        for current in (0..LEVELS).rev() {
            let mut queue = core::mem::take(&mut self.queues[current]);
            let mut head = 0;
            while head < queue.len() {
                let place = queue[head];
                head += 1;
                for near in neighbours(place) {
                    if self.labels[near] == 0 {
                        self.labels[near] = self.labels[place];
                        let lower = usize::from(self.levels[near]).min(current);
                        if lower == current {
                            queue.push(near);
                        } else {
                            self.queues[lower].push(near);
                        }
                    }
                }
            }
            queue.clear();
            self.queues[current] = queue;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basins_meet_at_the_valley() {
        let height = [0.9, 0.8, 0.3, 0.7, 0.6, 0.9];
        let mut watershed = Watershed::default();
        for _ in 0..2 {
            watershed.clear(6, 1);
            watershed.label(&(0..6), 0);
            watershed.label(&(0..1), 1);
            watershed.label(&(5..6), 2);
            watershed.raise(&(0..6), height.into_iter());
            watershed.flood(&[Run { pixels: 0..6, component: 1 }]);
            assert_eq!(watershed.labels(&(0..6)), [1, 1, 1, 2, 2, 2]);
        }
    }
}
