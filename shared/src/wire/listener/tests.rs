use alloc::{vec, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::wire::{ModelDigest, Notice, StageProgress, Teller};

const RUN: Run = Run(7);
const PATIENCE_MS: u64 = 500;

/// News that can be told from others.
const fn news(number: u64) -> News {
    let digest = ModelDigest([0; 32]);
    News::Notice(Notice::Stage(StageProgress::Receiving { digest, received: number as u32, length: 0 }))
}

const fn kept(number: u64) -> Kept {
    Kept { run: RUN, number, news: news(number) }
}

/// The numbers that were handed over.
fn handed_over(listener: &mut Listener) -> Vec<u64> {
    let number = |news: News| match news {
        News::Notice(Notice::Stage(StageProgress::Receiving { received, .. })) => u64::from(received),
        other => panic!("{other:?}"),
    };
    core::iter::from_fn(|| listener.take()).map(number).collect()
}

fn listener(heard: &[u64]) -> Listener {
    let mut listener = Listener::default();
    heard.iter().for_each(|&number| listener.hear(kept(number)));
    listener
}

/// The numbers that are asked for, where anything is asked.
fn asked(listener: &mut Listener, now_ms: u64) -> Option<Vec<u64>> {
    listener.next_to_ask(now_ms, PATIENCE_MS).map(|lacking| lacking.numbers().collect())
}

const fn span(oldest: u64, told: u64) -> KeptSpan {
    KeptSpan { run: RUN, oldest, told }
}

#[test]
fn hands_over_in_order_and_once_from_the_first_one_heard() {
    let cases: [(&[u64], &[u64], [u32; 2]); 5] = [
        (&[5, 6, 7], &[5, 6, 7], [0, 0]),
        (&[5, 8, 7, 6, 9], &[5, 6, 7, 8, 9], [0, 2]),
        (&[5, 5, 7, 7, 6, 6, 5], &[5, 6, 7], [4, 1]),
        (&[5, 4, 3, 6], &[5, 6], [2, 0]),
        (&[5, 7, 8], &[5], [0, 0]),
    ];
    for (heard, expected, [stale, regained]) in cases {
        let mut listener = listener(heard);
        assert_eq!(handed_over(&mut listener), expected, "{heard:?}");
        assert_eq!(listener.take_noticed(), Noticed { lost: 0, stale, regained }, "{heard:?}");
        assert_eq!(listener.take_noticed(), Noticed::default());
    }
}

#[test]
fn a_gap_is_asked_for_at_once_and_again_when_it_should_have_come() {
    let mut listener = listener(&[0, 1]);
    assert_eq!(asked(&mut listener, 0), None);
    [3, 4, 6].into_iter().for_each(|number| listener.hear(kept(number)));
    assert_eq!(asked(&mut listener, 10), Some(vec![2, 5]));
    // The answer is on its way, then what was asked for is.
    assert_eq!(asked(&mut listener, 11), None);
    listener.hear_span(span(0, 7));
    listener.hear(kept(5));
    assert_eq!(asked(&mut listener, 12), None);
    // Something newer came, and 2 did not: it was lost again. So was this question.
    listener.hear(kept(7));
    assert_eq!(asked(&mut listener, 13), Some(vec![2]));
    assert_eq!(asked(&mut listener, 13 + PATIENCE_MS - 1), None);
    assert_eq!(asked(&mut listener, 13 + PATIENCE_MS), Some(vec![2]));
    assert_eq!(handed_over(&mut listener), [0, 1]);
    listener.hear(kept(2));
    assert_eq!(handed_over(&mut listener), [2, 3, 4, 5, 6, 7]);
    assert_eq!(listener.take_noticed(), Noticed { lost: 0, stale: 0, regained: 2 });
}

#[test]
fn the_last_ones_are_asked_for_though_nothing_comes_after_them() {
    let mut listener = listener(&[0]);
    assert_eq!(asked(&mut listener, 0), None);
    assert_eq!(asked(&mut listener, LOOK_EVERY_MS), Some(vec![]));
    listener.hear_span(span(0, 3));
    assert_eq!(asked(&mut listener, LOOK_EVERY_MS + 1), Some(vec![1, 2]));
    listener.hear(kept(2));
    listener.hear(kept(1));
    listener.hear_span(span(0, 3));
    assert_eq!(asked(&mut listener, LOOK_EVERY_MS + 2), None);
    // Damage, and a line that was opened anew, are reasons to look sooner.
    listener.doubt();
    assert_eq!(asked(&mut listener, LOOK_EVERY_MS + 3), None);
    assert_eq!(asked(&mut listener, LOOK_EVERY_MS + 1 + PATIENCE_MS), Some(vec![]));
    listener.resume();
    assert_eq!(asked(&mut listener, LOOK_EVERY_MS + 2 + PATIENCE_MS), Some(vec![]));
    assert_eq!(handed_over(&mut listener), [0, 1, 2]);
}

#[test]
fn who_has_heard_nothing_asks_for_nothing() {
    let mut listener = Listener::default();
    listener.doubt();
    listener.resume();
    listener.hear_span(span(0, 9));
    assert_eq!(asked(&mut listener, 10 * LOOK_EVERY_MS), None);
}

#[test]
fn what_the_station_let_go_is_lost_and_what_came_is_handed_over() {
    let mut listener = listener(&[0, 3, 6, 8]);
    assert_eq!(asked(&mut listener, 0), Some(vec![1, 2, 4, 5, 7]));
    listener.hear_span(span(5, 9));
    assert_eq!(handed_over(&mut listener), [0, 3]);
    assert_eq!(listener.take_noticed().lost, 3);
    listener.hear(kept(5));
    assert_eq!(handed_over(&mut listener), [5, 6]);
    // All that is kept is newer by now.
    listener.hear_span(span(20, 30));
    assert_eq!(handed_over(&mut listener), [8]);
    assert_eq!(listener.take_noticed().lost, 1 + 11);
    assert_eq!(asked(&mut listener, 1), Some((20..30).collect()));
}

#[test]
fn no_more_is_held_than_a_station_keeps() {
    let most = MAX_KEPT as u64;
    let mut listener = listener(&[0]);
    (2..=most).for_each(|number| listener.hear(kept(number)));
    assert_eq!(handed_over(&mut listener), [0]);
    // Now the station keeps 2 to this one, and no 1.
    listener.hear(kept(most + 1));
    assert_eq!(handed_over(&mut listener), (2..most + 2).collect::<Vec<_>>());
    assert_eq!(listener.take_noticed().lost, 1);
    listener.hear(kept(u64::MAX));
    listener.hear(kept(u64::MAX));
    assert!(handed_over(&mut listener).is_empty());
}

#[test]
fn a_station_that_was_started_anew_is_followed_from_its_first_on() {
    let mut listener = listener(&[40, 42]);
    let other = |number| Kept { run: Run(8), ..kept(number) };
    assert_eq!(asked(&mut listener, 0), Some(vec![41]));
    listener.hear(other(1));
    listener.hear(other(43));
    assert_eq!(handed_over(&mut listener), [40]);
    assert_eq!(asked(&mut listener, PATIENCE_MS), Some(vec![41]));
    listener.hear_span(KeptSpan { run: Run(8), oldest: 0, told: 3 });
    // What the old run told and nobody heard is lost with it.
    assert_eq!(handed_over(&mut listener), [42]);
    assert_eq!(listener.take_noticed(), Noticed { lost: 1, stale: 2, regained: 0 });
    assert_eq!(asked(&mut listener, PATIENCE_MS), Some(vec![0, 1, 2]));
    // The line still held some of the old run.
    listener.hear(kept(43));
    (0..4).for_each(|number| listener.hear(other(number)));
    assert_eq!(handed_over(&mut listener), [0, 1, 2, 3]);
    assert_eq!(listener.take_noticed(), Noticed { lost: 0, stale: 1, regained: 3 });
}

/// What the line brings to the host.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a test makes few of them")]
enum ToHost {
    Kept(Kept),
    Answer(u32, KeptSpan),
}

/// What befalls a packet at the front of a line.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Arrives,
    IsLost,
    ComesTwice,
    /// Behind so many others.
    IsLate(usize),
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Happen(u64),
    Tell(u8),
    Ask,
    ToHost(Fate),
    ToStation(Fate),
    Wait(u16),
    /// The host is told that something came damaged.
    Damage,
    /// The line is lost with what is on it, and opened again.
    Reopen,
    /// The same, and packets of the old line come over the new one.
    ReopenStale,
    /// A packet that opens a conversation comes, perhaps for the second time.
    Hello,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Arrives),
        2 => Just(Fate::IsLost),
        1 => Just(Fate::ComesTwice),
        1 => (1..5usize).prop_map(Fate::IsLate),
    ]
}

fn step(most_at_once: u64) -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..=most_at_once).prop_map(Step::Happen),
        8 => (1..6u8).prop_map(Step::Tell),
        8 => Just(Step::Ask),
        12 => fate().prop_map(Step::ToHost),
        6 => fate().prop_map(Step::ToStation),
        3 => (0..1000u16).prop_map(Step::Wait),
        1 => Just(Step::Damage),
        1 => Just(Step::Reopen),
        1 => Just(Step::ReopenStale),
        1 => Just(Step::Hello),
    ]
}

struct Conversation {
    teller: Teller,
    listener: Listener,
    to_host: VecDeque<ToHost>,
    to_station: VecDeque<(u32, Lacking)>,
    now_ms: u64,
    question: u32,
    happened: u64,
    heard: Vec<u64>,
    lost: u64,
}

impl Conversation {
    fn new() -> Self {
        Self {
            teller: Teller::new(RUN),
            listener: Listener::default(),
            to_host: VecDeque::new(),
            to_station: VecDeque::new(),
            now_ms: 0,
            question: 0,
            happened: 0,
            heard: Vec::new(),
            lost: 0,
        }
    }

    fn happen(&mut self) {
        self.teller.happened(news(self.happened));
        self.happened += 1;
    }

    fn tell(&mut self) {
        self.to_host.extend(self.teller.next_to_tell().map(ToHost::Kept));
    }

    fn ask(&mut self) {
        if let Some(lacking) = self.listener.next_to_ask(self.now_ms, PATIENCE_MS) {
            self.question += 1;
            self.to_station.push_back((self.question, lacking));
        }
    }

    fn arrive_at_host(&mut self, packet: ToHost) {
        match packet {
            ToHost::Kept(kept) => self.listener.hear(kept),
            ToHost::Answer(question, span) if question == self.question => self.listener.hear_span(span),
            ToHost::Answer(..) => {}
        }
        self.heard.extend(handed_over(&mut self.listener));
        self.lost += u64::from(self.listener.take_noticed().lost);
    }

    fn arrive_at_station(&mut self, (question, lacking): (u32, Lacking)) {
        let span = self.teller.hear(&lacking);
        self.to_host.push_back(ToHost::Answer(question, span));
    }

    fn go(&mut self, step: Step) {
        match step {
            Step::Happen(count) => (0..count).for_each(|_| self.happen()),
            Step::Tell(count) => (0..count).for_each(|_| self.tell()),
            Step::Ask => self.ask(),
            Step::ToHost(fate) => {
                befall(&mut self.to_host, fate).into_iter().for_each(|packet| self.arrive_at_host(packet));
            }
            Step::ToStation(fate) => {
                befall(&mut self.to_station, fate)
                    .into_iter()
                    .for_each(|packet| self.arrive_at_station(packet));
            }
            Step::Wait(ms) => self.now_ms += u64::from(ms),
            Step::Damage => self.listener.doubt(),
            Step::Reopen => {
                self.to_host.clear();
                self.to_station.clear();
                self.reopen();
            }
            Step::ReopenStale => self.reopen(),
            Step::Hello => self.teller.pass_over(),
        }
    }

    fn reopen(&mut self) {
        self.teller.pass_over();
        self.listener.resume();
    }

    /// The line is good from now on: all that can come does, in few questions.
    fn settle(&mut self) {
        for _ in 0..20 {
            self.now_ms += LOOK_EVERY_MS;
            self.ask();
            while let Some(packet) = self.to_station.pop_front() {
                self.arrive_at_station(packet);
            }
            while let Some(kept) = self.teller.next_to_tell() {
                self.to_host.push_back(ToHost::Kept(kept));
            }
            while let Some(packet) = self.to_host.pop_front() {
                self.arrive_at_host(packet);
            }
        }
    }
}

fn befall<T: Clone>(line: &mut VecDeque<T>, fate: Fate) -> Vec<T> {
    let Some(packet) = line.pop_front() else { return vec![] };
    match fate {
        Fate::Arrives => vec![packet],
        Fate::IsLost => vec![],
        Fate::ComesTwice => vec![packet.clone(), packet],
        Fate::IsLate(behind) => {
            line.insert(behind.min(line.len()), packet);
            vec![]
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_one_comes_once_and_in_order_whatever_the_line_does(
        steps in proptest::collection::vec(step(3), 0..300),
    ) {
        let mut talk = Conversation::new();
        steps.into_iter().for_each(|step| talk.go(step));
        talk.happen();
        talk.settle();
        // At most 300 steps of 3 happened: all are kept.
        let first = talk.heard.first().copied();
        prop_assert_eq!(&talk.heard, &(first.unwrap()..talk.happened).collect::<Vec<_>>());
        prop_assert_eq!((talk.lost, talk.teller.unsaid()), (0, 0));
    }

    #[test]
    fn what_was_let_go_is_counted_and_the_rest_comes_once_and_in_order(
        steps in proptest::collection::vec(step(400), 0..200),
    ) {
        let mut talk = Conversation::new();
        steps.into_iter().for_each(|step| talk.go(step));
        talk.happen();
        talk.settle();
        prop_assert!(talk.heard.is_sorted_by(|a, b| a < b), "{:?}", talk.heard);
        prop_assert_eq!(talk.heard.last().copied(), Some(talk.happened - 1));
        prop_assert_eq!(talk.heard.len() as u64 + talk.lost, talk.happened - talk.heard[0]);
    }
}

/// A third of all packets each way is lost: how often each one is told on the whole.
#[test]
fn little_is_told_that_was_not_lacking() {
    let mut talk = Conversation::new();
    let (mut told, mut flip) = (0, 0);
    let mut is_lost = || {
        flip += 1;
        flip % 2 == 0 && flip % 3 != 0
    };
    while talk.happened < 600 {
        talk.happen();
        talk.now_ms += 50;
        talk.ask();
        while let Some(packet) = talk.to_station.pop_front() {
            if !is_lost() {
                talk.arrive_at_station(packet);
            }
        }
        while let Some(kept) = talk.teller.next_to_tell() {
            told += 1;
            talk.to_host.push_back(ToHost::Kept(kept));
        }
        while let Some(packet) = talk.to_host.pop_front() {
            if !is_lost() {
                talk.arrive_at_host(packet);
            }
        }
    }
    talk.settle();
    assert_eq!((talk.heard.len() as u64, talk.lost), (talk.happened - talk.heard[0], 0));
    assert!(told < talk.happened * 2, "{told} told of {}", talk.happened);
}
