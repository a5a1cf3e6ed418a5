//! The station's side of results and notices: told once each as they happen, and again where a host lacks them.

use alloc::collections::{BTreeSet, VecDeque};

use super::message::{Kept, KeptSpan, Lacking, MAX_KEPT, News, Run};

/// Keeps the last [`MAX_KEPT`] results and notices, whether anybody heard them or not.
///
/// Nobody needs to acknowledge any: they are let go by number alone, so that neither a lost acknowledgement nor one of
/// another host changes what can be told again. What is told again goes before what was not told yet: a
/// [`Listener`](super::Listener) that hears of something new knows that it was told all it had asked for.
#[derive(Debug, Clone)]
pub struct Teller {
    run: Run,
    /// The last ones, without a gap.
    kept: VecDeque<News>,
    /// The number of the next one to happen.
    next: u64,
    /// The first that was not told yet.
    told: u64,
    /// Those to be told again.
    again: BTreeSet<u64>,
    unsaid: u32,
}

impl Teller {
    /// A teller to whom nothing has happened yet.
    pub const fn new(run: Run) -> Self {
        Self { run, kept: VecDeque::new(), next: 0, told: 0, again: BTreeSet::new(), unsaid: 0 }
    }

    /// Something happened. Where too much is kept already, the oldest is let go.
    pub fn happened(&mut self, news: News) {
        if self.kept.len() == MAX_KEPT {
            let oldest = self.oldest();
            self.kept.pop_front();
            self.again.remove(&oldest);
            if self.told == oldest {
                self.told += 1;
                self.unsaid = self.unsaid.saturating_add(1);
            }
        }
        self.kept.push_back(news);
        self.next += 1;
    }

    /// What to tell now; `None` where nothing is left to tell.
    pub fn next_to_tell(&mut self) -> Option<Kept> {
        let number = match self.again.pop_first() {
            Some(number) => number,
            None if self.told < self.next => {
                self.told += 1;
                self.told - 1
            }
            None => return None,
        };
        let news = self.kept.get((number - self.oldest()) as usize)?.clone();
        Some(Kept { run: self.run, number, news })
    }

    /// Nobody is there to be told what waits. It can still be asked for.
    pub fn pass_over(&mut self) {
        self.told = self.next;
        self.again.clear();
    }

    /// Takes in what a host lacks; what it is answered.
    pub fn hear(&mut self, lacking: &Lacking) -> KeptSpan {
        let span = KeptSpan { run: self.run, oldest: self.oldest(), told: self.told };
        if lacking.run == self.run {
            self.again.extend(lacking.numbers().filter(|number| (span.oldest..span.told).contains(number)));
        }
        span
    }

    /// Results and notices that were let go before they were told.
    pub const fn unsaid(&self) -> u32 {
        self.unsaid
    }

    fn oldest(&self) -> u64 {
        self.next - self.kept.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::wire::{CameraState, Notice};

    const RUN: Run = Run(7);

    fn teller(happened: usize) -> Teller {
        let mut teller = Teller::new(RUN);
        (0..happened).for_each(|_| happen(&mut teller));
        teller
    }

    fn happen(teller: &mut Teller) {
        teller.happened(News::Notice(Notice::Camera(CameraState::Running)));
    }

    fn told(teller: &mut Teller) -> Vec<u64> {
        core::iter::from_fn(|| teller.next_to_tell()).map(|kept| kept.number).collect()
    }

    fn lacking(numbers: &[u64]) -> Lacking {
        Lacking::new(RUN, numbers[0], numbers.iter().copied())
    }

    #[test]
    fn tells_once_and_what_is_asked_for_before_the_rest() {
        let mut teller = teller(5);
        assert_eq!(told(&mut teller), [0, 1, 2, 3, 4]);
        (0..2).for_each(|_| happen(&mut teller));
        // What was not told yet cannot be lacking.
        let span = teller.hear(&lacking(&[1, 3, 5]));
        assert_eq!(span, KeptSpan { run: RUN, oldest: 0, told: 5 });
        teller.hear(&lacking(&[3, 4]));
        assert_eq!(told(&mut teller), [1, 3, 4, 5, 6]);
        assert!(told(&mut teller).is_empty());
    }

    #[test]
    fn a_host_of_another_run_is_told_how_far_this_one_is() {
        let mut teller = teller(3);
        told(&mut teller);
        let span = teller.hear(&Lacking { run: Run(8), ..lacking(&[0, 1, 2]) });
        assert_eq!(span.run, RUN);
        assert!(told(&mut teller).is_empty());
    }

    #[test]
    fn what_is_passed_over_can_be_asked_for() {
        let mut teller = teller(3);
        teller.pass_over();
        happen(&mut teller);
        assert_eq!(told(&mut teller), [3]);
        teller.hear(&lacking(&[0, 2]));
        assert_eq!(told(&mut teller), [0, 2]);
        teller.hear(&lacking(&[1]));
        teller.pass_over();
        assert!(told(&mut teller).is_empty());
        assert_eq!(teller.unsaid(), 0);
    }

    #[test]
    fn the_oldest_is_let_go_and_counted_where_it_was_not_told() {
        let mut teller = teller(MAX_KEPT + 5);
        assert_eq!(teller.unsaid(), 5);
        let all = told(&mut teller);
        assert_eq!((all[0], all.len()), (5, MAX_KEPT));
        teller.hear(&lacking(&[5, 6, 7]));
        (0..2).for_each(|_| happen(&mut teller));
        assert_eq!((teller.unsaid(), teller.hear(&lacking(&[5])).oldest), (5, 7));
        assert_eq!(told(&mut teller), [7, MAX_KEPT as u64 + 5, MAX_KEPT as u64 + 6]);
    }
}
