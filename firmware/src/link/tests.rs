use std::sync::mpsc::{Receiver, channel};
use std::thread;

use shared::wire::{BootId, CameraState, Event, Message, Notice, Request, Response};

use super::*;

/// A line in memory that is kept open, and what arrived on it.
struct Harness {
    link: MemoryConnector,
    queue: Arc<TxQueue>,
    damaged: Arc<AtomicU32>,
    ports: Receiver<PortState>,
    events: Receiver<LinkEvent>,
    stop: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
}

impl Harness {
    fn new(capacity: usize, baud: u32) -> Self {
        let (link, queue) = (MemoryConnector::new(capacity), Arc::new(TxQueue::new(baud, BootId(1))));
        let (damaged, stop) = (Arc::new(AtomicU32::new(0)), CancellationToken::default());
        let (opened, ports) = channel();
        let (received, events) = channel();
        let thread = thread::spawn({
            let (link, queue, damaged, stop) =
                (link.clone(), Arc::clone(&queue), Arc::clone(&damaged), stop.clone());
            move || {
                keep_open(
                    Box::new(link),
                    &queue,
                    &damaged,
                    &stop,
                    |port| {
                        let _ = opened.send(port);
                    },
                    move |event| drop(received.send(event)),
                );
            }
        });
        Self { link, queue, damaged, ports, events, stop, thread: Some(thread) }
    }

    /// Sends a request and queues its response.
    fn exchange(&self, sequence: u16) {
        let mut bytes = Vec::new();
        Packet::new(sequence, Request::Echo).encode(&mut bytes).unwrap();
        self.link.send(&bytes);
        loop {
            match self.events.recv().unwrap() {
                LinkEvent::Packet(Ok(packet)) if packet.sequence == sequence => break,
                LinkEvent::Packet(Err(_)) => {}
                other => panic!("{other:?}"),
            }
        }
        self.queue.respond(sequence, Response::Echo, vec![1, 2, 3]);
    }

    fn packets_until(&self, is_last: impl Fn(&Packet) -> bool) -> Vec<Packet> {
        packets_until(&self.link, is_last)
    }
}

/// Packets that the host reads until `is_last`.
fn packets_until(link: &MemoryConnector, is_last: impl Fn(&Packet) -> bool) -> Vec<Packet> {
    let mut accumulator = Accumulator::new();
    let mut packets: Vec<Packet> = Vec::new();
    while !packets.iter().any(&is_last) {
        accumulator.push(&link.receive(), |packet| packets.push(packet.unwrap()));
    }
    packets
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.stop.cancel();
        self.queue.close();
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn requests_arrive_and_responses_leave_despite_noise() {
    let harness = Harness::new(1 << 16, 921_600);
    assert_eq!(harness.ports.recv(), Ok(PortState::Open));
    harness.link.send(b"login: \0\x05noise\0");
    harness.exchange(7);
    let packets = harness.packets_until(|packet| packet.sequence == 7);
    assert_eq!(packets.last().unwrap().message, Message::Response(Response::Echo));
    // Damage is counted after the packets read with it are passed on, and before more is read.
    harness.exchange(8);
    assert_eq!(harness.damaged.load(Ordering::Relaxed), 2);
}

#[test]
fn a_pulled_line_is_opened_again() {
    let harness = Harness::new(1 << 16, 921_600);
    assert_eq!(harness.ports.recv(), Ok(PortState::Open));
    harness.exchange(1);
    harness.link.pull();
    assert!(matches!(harness.events.recv(), Ok(LinkEvent::Lost)));
    assert_eq!(harness.ports.recv(), Ok(PortState::Absent));
    harness.link.plug_in();
    while harness.ports.recv() != Ok(PortState::Open) {}
    harness.exchange(2);
    harness.packets_until(|packet| packet.sequence == 2);
}

#[test]
fn a_host_that_does_not_read_misses_only_previews() {
    let harness = Harness::new(600, 9600);
    assert_eq!(harness.ports.recv(), Ok(PortState::Open));
    harness.exchange(1);
    // The line is full with the first of these; adding to the queue does not block.
    for frame in 0..100 {
        harness.queue.notice(Notice::Camera(CameraState::Running));
        harness.queue.preview(FramePayload { frame, bytes: vec![0; 5000] });
    }
    harness.exchange(2);
    let is_notice = |packet: &Packet| matches!(packet.message, Message::Event(Event::Sequenced(_)));
    let is_last = |packet: &Packet| {
        matches!(packet.message, Message::Event(Event::Preview(piece))
            if piece.frame == 99 && piece.offset + 256 >= piece.total)
    };
    let packets = harness.packets_until(is_last);
    assert_eq!(packets.iter().filter(|packet| is_notice(packet)).count(), 100);
    assert!(packets.iter().any(|packet| packet.sequence == 2));
    assert!((98..=99).contains(&harness.queue.unsent()), "{}", harness.queue.unsent());
}

#[test]
fn a_flood_of_requests_waits_at_the_hosts_end() {
    let harness = Harness::new(64, 921_600);
    assert_eq!(harness.ports.recv(), Ok(PortState::Open));
    let mut flood = Vec::new();
    for sequence in 0..5000 {
        Packet::new(sequence, Request::Status).encode(&mut flood).unwrap();
    }
    harness.link.send(&flood);
    let link = harness.link.clone();
    let host = thread::spawn(move || packets_until(&link, |packet| packet.sequence == 4999));
    for event in harness.events.iter().take(5000) {
        let LinkEvent::Packet(Ok(packet)) = event else { panic!("{event:?}") };
        harness.queue.respond(packet.sequence, Response::Echo, vec![]);
    }
    let sequences: Vec<u16> = host.join().unwrap().iter().map(|packet| packet.sequence).collect();
    assert_eq!(sequences, (0..5000).collect::<Vec<u16>>(), "every request gets its response, in order");
}
