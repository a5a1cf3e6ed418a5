use alloc::{collections::VecDeque, vec, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::wire::{ModelDigest, Notice, RetransmitBuffer, StageProgress};

const BOOT_ID: BootId = BootId(7);
const TIMEOUT_MS: u64 = 500;

/// An event that differs from all others.
const fn event(sequence: u64) -> ReliableEvent {
    let digest = ModelDigest([0; 32]);
    ReliableEvent::Notice(Notice::Stage(StageProgress::Receiving {
        digest,
        received: sequence as u32,
        length: 0,
    }))
}

const fn sequenced(sequence: u64) -> SequencedEvent {
    SequencedEvent { boot_id: BOOT_ID, sequence, event: event(sequence) }
}

/// A reorder buffer, and what it delivered since the last look.
#[derive(Default)]
struct Receiver {
    buffer: ReorderBuffer,
    delivered: Vec<ReliableEvent>,
}

impl Receiver {
    fn on_event(&mut self, event: SequencedEvent) {
        self.buffer.on_event(event, |event| self.delivered.push(event));
    }

    fn on_range(&mut self, range: EventRange) {
        self.buffer.on_range(range, |event| self.delivered.push(event));
    }
}

/// The numbers of the events delivered since the last call.
fn delivered(receiver: &mut Receiver) -> Vec<u64> {
    let sequence = |event: ReliableEvent| match event {
        ReliableEvent::Notice(Notice::Stage(StageProgress::Receiving { received, .. })) => {
            u64::from(received)
        }
        other => panic!("{other:?}"),
    };
    receiver.delivered.drain(..).map(sequence).collect()
}

fn receiver(received: &[u64]) -> Receiver {
    let mut receiver = Receiver::default();
    received.iter().for_each(|&sequence| receiver.on_event(sequenced(sequence)));
    receiver
}

/// The numbers that are requested, if a NACK is due.
fn requested(receiver: &mut Receiver, now_ms: u64) -> Option<Vec<u64>> {
    receiver.buffer.poll_nack(now_ms, TIMEOUT_MS).map(|nack| nack.sequences().collect())
}

const fn range(first_available: u64, next_unsent: u64) -> EventRange {
    EventRange { boot_id: BOOT_ID, first_available, next_unsent }
}

#[test]
fn delivers_in_order_and_once_from_the_first_event_received() {
    let cases: [(&[u64], &[u64], [u32; 2]); 5] = [
        (&[5, 6, 7], &[5, 6, 7], [0, 0]),
        (&[5, 8, 7, 6, 9], &[5, 6, 7, 8, 9], [0, 2]),
        (&[5, 5, 7, 7, 6, 6, 5], &[5, 6, 7], [4, 1]),
        (&[5, 4, 3, 6], &[5, 6], [2, 0]),
        (&[5, 7, 8], &[5], [0, 0]),
    ];
    for (received, expected, [duplicates, recovered]) in cases {
        let mut receiver = receiver(received);
        assert_eq!(delivered(&mut receiver), expected, "{received:?}");
        assert_eq!(
            receiver.buffer.take_stats(),
            ReceiveStats { lost: 0, duplicates, recovered },
            "{received:?}"
        );
        assert_eq!(receiver.buffer.take_stats(), ReceiveStats::default());
    }
}

#[test]
fn a_gap_is_requested_at_once_and_again_when_it_should_be_filled() {
    let mut receiver = receiver(&[0, 1]);
    assert_eq!(requested(&mut receiver, 0), None);
    [3, 4, 6].into_iter().for_each(|sequence| receiver.on_event(sequenced(sequence)));
    assert_eq!(requested(&mut receiver, 10), Some(vec![2, 5]));
    // The response is on its way, then the resent events are.
    assert_eq!(requested(&mut receiver, 11), None);
    receiver.on_range(range(0, 7));
    receiver.on_event(sequenced(5));
    assert_eq!(requested(&mut receiver, 12), None);
    // A newer event arrived and 2 did not: it was lost again. So is this NACK.
    receiver.on_event(sequenced(7));
    assert_eq!(requested(&mut receiver, 13), Some(vec![2]));
    assert_eq!(requested(&mut receiver, 13 + TIMEOUT_MS - 1), None);
    assert_eq!(requested(&mut receiver, 13 + TIMEOUT_MS), Some(vec![2]));
    assert_eq!(delivered(&mut receiver), [0, 1]);
    receiver.on_event(sequenced(2));
    assert_eq!(delivered(&mut receiver), [2, 3, 4, 5, 6, 7]);
    assert_eq!(receiver.buffer.take_stats(), ReceiveStats { lost: 0, duplicates: 0, recovered: 2 });
}

#[test]
fn the_last_events_are_requested_though_none_follows_them() {
    let mut receiver = receiver(&[0]);
    assert_eq!(requested(&mut receiver, 0), None);
    assert_eq!(requested(&mut receiver, RANGE_INTERVAL_MS), Some(vec![]));
    receiver.on_range(range(0, 3));
    assert_eq!(requested(&mut receiver, RANGE_INTERVAL_MS + 1), Some(vec![1, 2]));
    receiver.on_event(sequenced(2));
    receiver.on_event(sequenced(1));
    receiver.on_range(range(0, 3));
    assert_eq!(requested(&mut receiver, RANGE_INTERVAL_MS + 2), None);
    // Damage and a new connection are reasons to ask sooner.
    receiver.buffer.on_damaged_packet();
    assert_eq!(requested(&mut receiver, RANGE_INTERVAL_MS + 3), None);
    assert_eq!(requested(&mut receiver, RANGE_INTERVAL_MS + 1 + TIMEOUT_MS), Some(vec![]));
    receiver.buffer.on_reconnect();
    assert_eq!(requested(&mut receiver, RANGE_INTERVAL_MS + 2 + TIMEOUT_MS), Some(vec![]));
    assert_eq!(delivered(&mut receiver), [0, 1, 2]);
}

#[test]
fn a_receiver_without_any_event_requests_nothing() {
    let mut receiver = Receiver::default();
    receiver.buffer.on_damaged_packet();
    receiver.buffer.on_reconnect();
    receiver.on_range(range(0, 9));
    assert_eq!(requested(&mut receiver, 10 * RANGE_INTERVAL_MS), None);
}

#[test]
fn evicted_events_are_lost_and_those_that_arrived_are_delivered() {
    let mut receiver = receiver(&[0, 3, 6, 8]);
    assert_eq!(requested(&mut receiver, 0), Some(vec![1, 2, 4, 5, 7]));
    receiver.on_range(range(5, 9));
    assert_eq!(delivered(&mut receiver), [0, 3]);
    assert_eq!(receiver.buffer.take_stats().lost, 3);
    receiver.on_event(sequenced(5));
    assert_eq!(delivered(&mut receiver), [5, 6]);
    // Everything in the station's buffer is newer by now.
    receiver.on_range(range(20, 30));
    assert_eq!(delivered(&mut receiver), [8]);
    assert_eq!(receiver.buffer.take_stats().lost, 1 + 11);
    assert_eq!(requested(&mut receiver, 1), Some((20..30).collect()));
}

#[test]
fn no_more_is_held_back_than_a_station_buffers() {
    let most = RETRANSMIT_CAPACITY as u64;
    let mut receiver = receiver(&[0]);
    (2..=most).for_each(|sequence| receiver.on_event(sequenced(sequence)));
    assert_eq!(delivered(&mut receiver), [0]);
    // Now the station buffers 2 to this one, and not 1.
    receiver.on_event(sequenced(most + 1));
    assert_eq!(delivered(&mut receiver), (2..most + 2).collect::<Vec<_>>());
    assert_eq!(receiver.buffer.take_stats().lost, 1);
    receiver.on_event(sequenced(u64::MAX));
    receiver.on_event(sequenced(u64::MAX));
    assert!(delivered(&mut receiver).is_empty());
}

#[test]
fn a_restarted_station_is_followed_from_its_first_event() {
    let mut receiver = receiver(&[40, 42]);
    let other = |sequence| SequencedEvent { boot_id: BootId(8), ..sequenced(sequence) };
    assert_eq!(requested(&mut receiver, 0), Some(vec![41]));
    receiver.on_event(other(1));
    receiver.on_event(other(43));
    assert_eq!(delivered(&mut receiver), [40]);
    assert_eq!(requested(&mut receiver, TIMEOUT_MS), Some(vec![41]));
    receiver.on_range(EventRange { boot_id: BootId(8), first_available: 0, next_unsent: 3 });
    // What the station sent before the restart and the host did not receive is lost.
    assert_eq!(delivered(&mut receiver), [42]);
    assert_eq!(receiver.buffer.take_stats(), ReceiveStats { lost: 1, duplicates: 2, recovered: 0 });
    assert_eq!(requested(&mut receiver, TIMEOUT_MS), Some(vec![0, 1, 2]));
    // The line still held an event from before the restart.
    receiver.on_event(sequenced(43));
    (0..4).for_each(|sequence| receiver.on_event(other(sequence)));
    assert_eq!(delivered(&mut receiver), [0, 1, 2, 3]);
    assert_eq!(receiver.buffer.take_stats(), ReceiveStats { lost: 0, duplicates: 1, recovered: 3 });
}

/// What the line brings to the host.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a test makes few of them")]
enum ToHost {
    Event(SequencedEvent),
    Range(u32, EventRange),
}

/// What happens to a packet at the front of a line.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Arrives,
    Lost,
    Duplicated,
    /// Behind so many others.
    Delayed(usize),
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Push(u64),
    Send(u8),
    PollNack,
    ToHost(Fate),
    ToStation(Fate),
    Wait(u16),
    /// A packet arrives damaged.
    Damage,
    /// The line is lost with what is on it, and opened again.
    Reopen,
    /// The same, and packets of the old connection arrive over the new one.
    ReopenWithStalePackets,
    /// A handshake arrives, perhaps for the second time.
    Hello,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Arrives),
        2 => Just(Fate::Lost),
        1 => Just(Fate::Duplicated),
        1 => (1..5usize).prop_map(Fate::Delayed),
    ]
}

fn step(most_at_once: u64) -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..=most_at_once).prop_map(Step::Push),
        8 => (1..6u8).prop_map(Step::Send),
        8 => Just(Step::PollNack),
        12 => fate().prop_map(Step::ToHost),
        6 => fate().prop_map(Step::ToStation),
        3 => (0..1000u16).prop_map(Step::Wait),
        1 => Just(Step::Damage),
        1 => Just(Step::Reopen),
        1 => Just(Step::ReopenWithStalePackets),
        1 => Just(Step::Hello),
    ]
}

struct Conversation {
    sender: RetransmitBuffer,
    receiver: Receiver,
    to_host: VecDeque<ToHost>,
    to_station: VecDeque<(u32, Nack)>,
    now_ms: u64,
    request: u32,
    pushed: u64,
    received: Vec<u64>,
    lost: u64,
}

impl Conversation {
    fn new() -> Self {
        Self {
            sender: RetransmitBuffer::new(BOOT_ID),
            receiver: Receiver::default(),
            to_host: VecDeque::new(),
            to_station: VecDeque::new(),
            now_ms: 0,
            request: 0,
            pushed: 0,
            received: Vec::new(),
            lost: 0,
        }
    }

    fn push(&mut self) {
        self.sender.push(event(self.pushed));
        self.pushed += 1;
    }

    fn send(&mut self) {
        self.to_host.extend(self.sender.next_to_send().map(ToHost::Event));
    }

    fn poll_nack(&mut self) {
        if let Some(nack) = self.receiver.buffer.poll_nack(self.now_ms, TIMEOUT_MS) {
            self.request += 1;
            self.to_station.push_back((self.request, nack));
        }
    }

    fn arrive_at_host(&mut self, packet: ToHost) {
        match packet {
            ToHost::Event(sequenced) => self.receiver.on_event(sequenced),
            ToHost::Range(request, range) if request == self.request => self.receiver.on_range(range),
            ToHost::Range(..) => {}
        }
        self.received.extend(delivered(&mut self.receiver));
        self.lost += u64::from(self.receiver.buffer.take_stats().lost);
    }

    fn arrive_at_station(&mut self, (request, nack): (u32, Nack)) {
        let range = self.sender.on_nack(&nack);
        self.to_host.push_back(ToHost::Range(request, range));
    }

    fn go(&mut self, step: Step) {
        match step {
            Step::Push(count) => (0..count).for_each(|_| self.push()),
            Step::Send(count) => (0..count).for_each(|_| self.send()),
            Step::PollNack => self.poll_nack(),
            Step::ToHost(fate) => {
                apply_fate(&mut self.to_host, fate)
                    .into_iter()
                    .for_each(|packet| self.arrive_at_host(packet));
            }
            Step::ToStation(fate) => {
                apply_fate(&mut self.to_station, fate)
                    .into_iter()
                    .for_each(|packet| self.arrive_at_station(packet));
            }
            Step::Wait(ms) => self.now_ms += u64::from(ms),
            Step::Damage => self.receiver.buffer.on_damaged_packet(),
            Step::Reopen => {
                self.to_host.clear();
                self.to_station.clear();
                self.reopen();
            }
            Step::ReopenWithStalePackets => self.reopen(),
            Step::Hello => self.sender.skip_unsent(),
        }
    }

    fn reopen(&mut self) {
        self.sender.skip_unsent();
        self.receiver.buffer.on_reconnect();
    }

    /// The line is good from now on: all that can arrive does, after few NACKs.
    fn drain(&mut self) {
        for _ in 0..20 {
            self.now_ms += RANGE_INTERVAL_MS;
            self.poll_nack();
            while let Some(packet) = self.to_station.pop_front() {
                self.arrive_at_station(packet);
            }
            while let Some(sequenced) = self.sender.next_to_send() {
                self.to_host.push_back(ToHost::Event(sequenced));
            }
            while let Some(packet) = self.to_host.pop_front() {
                self.arrive_at_host(packet);
            }
        }
    }
}

fn apply_fate<T: Clone>(line: &mut VecDeque<T>, fate: Fate) -> Vec<T> {
    let Some(packet) = line.pop_front() else { return vec![] };
    match fate {
        Fate::Arrives => vec![packet],
        Fate::Lost => vec![],
        Fate::Duplicated => vec![packet.clone(), packet],
        Fate::Delayed(behind) => {
            line.insert(behind.min(line.len()), packet);
            vec![]
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_event_arrives_once_and_in_order_whatever_the_line_does(
        steps in proptest::collection::vec(step(3), 0..300),
    ) {
        let mut conversation = Conversation::new();
        steps.into_iter().for_each(|step| conversation.go(step));
        conversation.push();
        conversation.drain();
        // At most 300 steps of 3 events: the station evicts none.
        let first = conversation.received.first().copied();
        prop_assert_eq!(&conversation.received, &(first.unwrap()..conversation.pushed).collect::<Vec<_>>());
        prop_assert_eq!((conversation.lost, conversation.sender.evicted_unsent()), (0, 0));
    }

    #[test]
    fn evicted_events_are_counted_and_the_rest_arrives_once_and_in_order(
        steps in proptest::collection::vec(step(400), 0..200),
    ) {
        let mut conversation = Conversation::new();
        steps.into_iter().for_each(|step| conversation.go(step));
        conversation.push();
        conversation.drain();
        prop_assert!(conversation.received.is_sorted_by(|a, b| a < b), "{:?}", conversation.received);
        prop_assert_eq!(conversation.received.last().copied(), Some(conversation.pushed - 1));
        prop_assert_eq!(conversation.received.len() as u64 + conversation.lost, conversation.pushed - conversation.received[0]);
    }
}

/// A third of all packets each way is lost: how often each event is sent on average.
#[test]
fn few_events_are_resent_that_were_not_missing() {
    let mut conversation = Conversation::new();
    let (mut sent, mut flip) = (0, 0);
    let mut is_lost = || {
        flip += 1;
        flip % 2 == 0 && flip % 3 != 0
    };
    while conversation.pushed < 600 {
        conversation.push();
        conversation.now_ms += 50;
        conversation.poll_nack();
        while let Some(packet) = conversation.to_station.pop_front() {
            if !is_lost() {
                conversation.arrive_at_station(packet);
            }
        }
        while let Some(sequenced) = conversation.sender.next_to_send() {
            sent += 1;
            conversation.to_host.push_back(ToHost::Event(sequenced));
        }
        while let Some(packet) = conversation.to_host.pop_front() {
            if !is_lost() {
                conversation.arrive_at_host(packet);
            }
        }
    }
    conversation.drain();
    assert_eq!(
        (conversation.received.len() as u64, conversation.lost),
        (conversation.pushed - conversation.received[0], 0)
    );
    assert!(sent < conversation.pushed * 2, "{sent} sent for {} events", conversation.pushed);
}
