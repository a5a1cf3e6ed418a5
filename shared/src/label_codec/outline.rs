//! What the labels above and to the left of a pixel say about it.

use alloc::{vec, vec::Vec};

/// Columns of background that every row has on either side, more than any look-up reaches.
const MARGIN: usize = 24;
/// Rows that are looked at above the one being coded.
const ROWS: usize = 3;
/// How far an outline is followed from one row to the next.
const REACH: usize = 4;
const STEPS: usize = 2 * REACH + 1;
/// Contexts of an outline: three kinds of border, three steps.
pub(super) const OUTLINE_CONTEXTS: usize = 3 * STEPS * STEPS * STEPS;
/// Neighbors that a pixel may take its label from after the western one.
const CHOICES: usize = 4;
/// Contexts of a choice: which one, whether it is background, whether the western label is,
/// and whether the pixel was calm.
pub(super) const CHOICE_CONTEXTS: usize = CHOICES * 8;
/// Equal pixels to the left that a calm pixel needs.
const CALM_LEFT: u32 = 3;
/// The ends of runs: 255, 254, ... 1.
const FALLING: [u8; u8::MAX as usize] = {
    let mut falling = [0; u8::MAX as usize];
    let mut at = 0;
    while at < falling.len() {
        falling[at] = u8::MAX - at as u8;
        at += 1;
    }
    falling
};

/// The row being coded and those above it, `ROWS + 1` of them, the nearest first.
pub(super) struct Neighbourhood {
    width: usize,
    /// Labels with margins.
    rows: [Vec<u32>; ROWS],
    /// For each pixel of `rows`, how many from it on to the right bear its label, up to 255.
    runs: [Vec<u8>; ROWS],
    current: Vec<u32>,
    /// The same as `runs` for the row being coded, as far as its runs have ended.
    current_runs: Vec<u8>,
    /// Where the run begins that the last pixel belongs to.
    run_start: usize,
    /// Pixels to the left of the next one that are equal.
    left_run: u32,
}

/// What is known of a pixel.
pub(super) struct Corner {
    /// The western neighbor's label.
    pub(super) west: u32,
    /// Which of the [`OUTLINE_CONTEXTS`].
    pub(super) context: usize,
    /// Labels to choose from when the western one is wrong, in this order.
    candidates: [u32; CHOICES],
}

/// Whether a pixel lies in a calm stretch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Calm,
    AtOutline,
}

impl Corner {
    /// Labels to choose from when the western one is wrong, each once, with its place among the
    /// [`CHOICE_CONTEXTS`].
    pub(super) fn choices(&self, place: Place) -> impl Iterator<Item = (u32, usize)> {
        let (west, candidates) = (self.west, self.candidates);
        candidates.into_iter().enumerate().filter_map(move |(i, label)| {
            let repeated = label == west || candidates[..i].contains(&label);
            let flags = [place == Place::Calm, label == 0, west == 0];
            let context = flags.into_iter().fold(i, |context, flag| 2 * context + usize::from(flag));
            (!repeated).then_some((label, context))
        })
    }
}

impl Neighbourhood {
    /// Above the first row all is background.
    pub(super) fn new(width: usize) -> Self {
        let row = || vec![0; width + 2 * MARGIN];
        let runs = || vec![u8::MAX; width + 2 * MARGIN];
        Self {
            width,
            rows: core::array::from_fn(|_| row()),
            runs: core::array::from_fn(|_| runs()),
            current: row(),
            current_runs: runs(),
            run_start: 0,
            left_run: CALM_LEFT,
        }
    }

    /// How many pixels from `x` on are calm: all that is near bears the western label.
    ///
    /// Near are three pixels to the left, columns -3 to 3 of the row above, -2 to 2 of the second and the one
    /// straight above in the third.
    pub(super) fn calm(&self, x: usize) -> u32 {
        if self.left_run < CALM_LEFT {
            return 0;
        }
        let at = x + MARGIN;
        let west = self.current[at - 1];
        let mut calm = (self.width - x) as u32;
        for (row, side) in (0..ROWS).zip([3, 2, 0]) {
            let start = at - side;
            if self.rows[row][start] != west {
                return 0;
            }
            calm = calm.min(u32::from(self.runs[row][start]).saturating_sub(2 * side as u32));
        }
        calm
    }

    /// The western label: what a calm pixel is expected to bear.
    pub(super) fn west(&self, x: usize) -> u32 {
        self.current[x + MARGIN - 1]
    }

    /// Looks at the pixel `x`.
    pub(super) fn corner(&self, x: usize) -> Corner {
        let at = x + MARGIN;
        let west = self.current[at - 1];
        let above = &self.rows[0];
        let mut border = at;
        let mut steps = 0;
        for row in &self.rows {
            let step = follow(row, border, west);
            border = border + step - REACH;
            steps = steps * STEPS + step;
        }
        let kind = match (west, above[at]) {
            (0, _) => 0,
            (_, north) if north == west || north == 0 => 1,
            _ => 2,
        };
        Corner {
            west,
            context: kind * STEPS * STEPS * STEPS + steps,
            candidates: [above[at], above[at + 1], above[at - 1], 0],
        }
    }

    /// Takes the next pixels' label.
    pub(super) fn push(&mut self, x: usize, count: u32, label: u32) {
        let at = x + MARGIN;
        if self.current[at - 1] == label {
            self.left_run = self.left_run.saturating_add(count);
        } else if count > 0 {
            self.end_run(at);
            self.left_run = count;
        }
        self.current[at..at + count as usize].fill(label);
    }

    /// Ends the run before a pixel.
    fn end_run(&mut self, at: usize) {
        let run = &mut self.current_runs[self.run_start..at];
        let (long, falling) = (run.len().saturating_sub(FALLING.len()), run.len().min(FALLING.len()));
        let (most, end) = run.split_at_mut(long);
        most.fill(u8::MAX);
        end.copy_from_slice(&FALLING[FALLING.len() - falling..]);
        self.run_start = at;
    }

    /// Ends a row.
    pub(super) fn end_row(&mut self) {
        let right = self.width + MARGIN;
        // The margin is background.
        if self.current[right - 1] != 0 {
            self.end_run(right);
        }
        self.end_run(self.current.len());
        self.run_start = 0;
        self.rows.rotate_right(1);
        self.runs.rotate_right(1);
        core::mem::swap(&mut self.rows[0], &mut self.current);
        core::mem::swap(&mut self.runs[0], &mut self.current_runs);
        self.left_run = CALM_LEFT;
    }
}

/// Where in `row` the stretch of `label` ends that lies to the left of `border` in the row below:
/// 0 for [`REACH`] pixels to the left, [`REACH`] for the same column.
fn follow(row: &[u32], border: usize, label: u32) -> usize {
    let mut step = REACH;
    if row[border] == label {
        while step < 2 * REACH && row[border + step - REACH] == label {
            step += 1;
        }
    } else {
        while step > 0 && row[border + step - REACH - 1] != label {
            step -= 1;
        }
    }
    step
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small images of two or three labels with flat stretches, from a fixed linear congruence.
    fn picture(width: usize, height: usize, seed: u32) -> Vec<u32> {
        let mut state = seed;
        let mut labels = vec![0; width * height];
        for _ in 0..3 {
            let mut next = |most: usize| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 16) as usize % most
            };
            let (left, top, side, label) = (next(width), next(height), 4 + next(24), next(3) as u32);
            for y in top..height.min(top + side) {
                labels[y * width..][left..width.min(left + side)].fill(label);
            }
        }
        labels
    }

    #[test]
    fn runs_are_counted_from_the_right_up_to_255() {
        let mut neighbourhood = Neighbourhood::new(900);
        for (end, label) in [(3, 7), (257, 0), (512, 2), (768, 0), (769, 2), (899, 4), (900, 0)] {
            for x in 0..900 {
                neighbourhood.push(x, 1, if x < end { label } else { 0 });
            }
            neighbourhood.end_row();
            let (row, runs) = (&neighbourhood.rows[0], &neighbourhood.runs[0]);
            let mut run = 0u8;
            for at in (0..row.len()).rev() {
                run = if row.get(at + 1) == Some(&row[at]) { run.saturating_add(1) } else { 1 };
                assert_eq!(runs[at], run, "{label} up to {end}, at {at}");
            }
        }
    }

    #[test]
    fn calm_stretches_equal_a_look_at_every_neighbour() {
        let (width, height) = (40, 30);
        let mut met = [0; 2];
        for seed in 0..40 {
            let labels = picture(width, height, seed);
            let at = |x: isize, y: isize| {
                let within = (0..width as isize).contains(&x) && (0..height as isize).contains(&y);
                if within { labels[y as usize * width + x as usize] } else { 0 }
            };
            let calm_at = |x: isize, y: isize| {
                let west = at(x - 1, y);
                (-3..0).all(|dx| at(x + dx, y) == west)
                    && (-3..=3).all(|dx| at(x + dx, y - 1) == west)
                    && (-2..=2).all(|dx| at(x + dx, y - 2) == west)
                    && at(x, y - 3) == west
            };
            let mut neighbourhood = Neighbourhood::new(width);
            for (y, row) in labels.chunks_exact(width).enumerate() {
                for (x, &label) in row.iter().enumerate() {
                    let calm = neighbourhood.calm(x);
                    assert_eq!(calm > 0, calm_at(x as isize, y as isize), "picture {seed}, {x}, {y}");
                    met[usize::from(calm > 0)] += 1;
                    let west = neighbourhood.west(x);
                    let kept = row[x..x + calm as usize].iter().take_while(|&&label| label == west).count();
                    for ahead in x..x + kept {
                        assert!(calm_at(ahead as isize, y as isize), "picture {seed}, {x} to {ahead}, {y}");
                    }
                    neighbourhood.push(x, 1, label);
                }
                neighbourhood.end_row();
            }
        }
        assert!(met.iter().all(|&pixels| pixels > 1000), "{met:?}");
    }

    #[test]
    fn outlines_are_followed_both_ways_and_no_further_than_the_reach() {
        let row = |border: usize| -> Vec<u32> { (0..40).map(|x| u32::from(x < border)).collect() };
        for (border, from, step) in
            [(20, 20, 4), (21, 20, 5), (19, 20, 3), (24, 20, 8), (16, 20, 0), (30, 20, 8), (10, 20, 0)]
        {
            assert_eq!(follow(&row(border), from, 1), step, "border at {border}");
        }
    }
}
