use std::sync::mpsc::{Receiver, channel};
use std::thread;

use shared::wire::{BootId, CameraState, Event, Message, Notice, Request, Response};

use super::*;

/// A line in memory that is kept open, and what came over it.
struct Kept {
    link: MemoryLink,
    outbox: Arc<Outbox>,
    damaged: Arc<AtomicU32>,
    ports: Receiver<Port>,
    events: Receiver<LineEvent>,
    stop: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
}

impl Kept {
    fn new(room: usize, baud: u32) -> Self {
        let (link, outbox) = (MemoryLink::new(room), Arc::new(Outbox::new(baud, BootId(1))));
        let (damaged, stop) = (Arc::new(AtomicU32::new(0)), CancellationToken::default());
        let (opened, ports) = channel();
        let (heard, events) = channel();
        let thread = thread::spawn({
            let (link, outbox, damaged, stop) =
                (link.clone(), Arc::clone(&outbox), Arc::clone(&damaged), stop.clone());
            move || {
                keep_open(
                    Box::new(link),
                    &outbox,
                    &damaged,
                    &stop,
                    |port| {
                        let _ = opened.send(port);
                    },
                    move |event| drop(heard.send(event)),
                );
            }
        });
        Self { link, outbox, damaged, ports, events, stop, thread: Some(thread) }
    }

    /// Waits for an answer to have been put on the open line.
    fn exchange(&self, sequence: u16) {
        let mut bytes = Vec::new();
        Packet::new(sequence, Request::Echo).encode(&mut bytes).unwrap();
        self.link.send(&bytes);
        loop {
            match self.events.recv().unwrap() {
                LineEvent::Packet(Ok(packet)) if packet.sequence == sequence => break,
                LineEvent::Packet(Err(_)) => {}
                other => panic!("{other:?}"),
            }
        }
        self.outbox.answer(sequence, Response::Echo, vec![1, 2, 3]);
    }

    fn packets_until(&self, is_last: impl Fn(&Packet) -> bool) -> Vec<Packet> {
        packets_until(&self.link, is_last)
    }
}

/// Packets that the host reads until `is_last`.
fn packets_until(link: &MemoryLink, is_last: impl Fn(&Packet) -> bool) -> Vec<Packet> {
    let mut accumulator = Accumulator::new();
    let mut packets: Vec<Packet> = Vec::new();
    while !packets.iter().any(&is_last) {
        accumulator.push(&link.receive(), |packet| packets.push(packet.unwrap()));
    }
    packets
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.stop.cancel();
        self.outbox.close();
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn requests_come_in_and_answers_go_out_whatever_noise_there_is() {
    let kept = Kept::new(1 << 16, 921_600);
    assert_eq!(kept.ports.recv(), Ok(Port::Open));
    kept.link.send(b"login: \0\x05noise\0");
    kept.exchange(7);
    let packets = kept.packets_until(|packet| packet.sequence == 7);
    assert_eq!(packets.last().unwrap().message, Message::Response(Response::Echo));
    // Damage is counted after what was read with it is handed over, and before more is read.
    kept.exchange(8);
    assert_eq!(kept.damaged.load(Ordering::Relaxed), 2);
}

#[test]
fn a_line_that_was_pulled_is_opened_again() {
    let kept = Kept::new(1 << 16, 921_600);
    assert_eq!(kept.ports.recv(), Ok(Port::Open));
    kept.exchange(1);
    kept.link.pull();
    assert!(matches!(kept.events.recv(), Ok(LineEvent::Lost)));
    assert_eq!(kept.ports.recv(), Ok(Port::Absent));
    kept.link.plug_in();
    while kept.ports.recv() != Ok(Port::Open) {}
    kept.exchange(2);
    kept.packets_until(|packet| packet.sequence == 2);
}

#[test]
fn a_host_that_does_not_read_costs_previews_and_nothing_else() {
    let kept = Kept::new(600, 9600);
    assert_eq!(kept.ports.recv(), Ok(Port::Open));
    kept.exchange(1);
    // The line is full with the first of these; whoever puts them in is not held up.
    for frame in 0..100 {
        kept.outbox.notice(Notice::Camera(CameraState::Running));
        kept.outbox.preview(Bulk { frame, bytes: vec![0; 5000] });
    }
    kept.exchange(2);
    let is_notice = |packet: &Packet| matches!(packet.message, Message::Event(Event::Sequenced(_)));
    let is_last = |packet: &Packet| {
        matches!(packet.message, Message::Event(Event::Preview(piece))
            if piece.frame == 99 && piece.offset + 256 >= piece.total)
    };
    let packets = kept.packets_until(is_last);
    assert_eq!(packets.iter().filter(|packet| is_notice(packet)).count(), 100);
    assert!(packets.iter().any(|packet| packet.sequence == 2));
    assert!((98..=99).contains(&kept.outbox.unsent()), "{}", kept.outbox.unsent());
}

#[test]
fn a_flood_of_requests_waits_at_the_hosts_end() {
    let kept = Kept::new(64, 921_600);
    assert_eq!(kept.ports.recv(), Ok(Port::Open));
    let mut flood = Vec::new();
    for sequence in 0..5000 {
        Packet::new(sequence, Request::Status).encode(&mut flood).unwrap();
    }
    kept.link.send(&flood);
    let link = kept.link.clone();
    let host = thread::spawn(move || packets_until(&link, |packet| packet.sequence == 4999));
    for event in kept.events.iter().take(5000) {
        let LineEvent::Packet(Ok(packet)) = event else { panic!("{event:?}") };
        kept.outbox.answer(packet.sequence, Response::Echo, vec![]);
    }
    let sequences: Vec<u16> = host.join().unwrap().iter().map(|packet| packet.sequence).collect();
    assert_eq!(sequences, (0..5000).collect::<Vec<u16>>(), "every request is answered, in order");
}
