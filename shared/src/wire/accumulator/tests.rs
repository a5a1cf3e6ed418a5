use alloc::{vec, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::wire::{
    BootId, CHUNK, Event, Fragment, MAX_NAME, MAX_PACKET, Message, ModelDigest, Notice, ReliableEvent,
    Request, Response, SequencedEvent, StageProgress,
};

/// Pushes `bytes` in pieces of the given sizes, over and over, and collects what comes.
fn received(
    accumulator: &mut Accumulator,
    bytes: &[u8],
    pieces: &[usize],
) -> Vec<Result<Packet, PacketError>> {
    let mut results = Vec::new();
    let mut rest = bytes;
    for &piece in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (head, tail) = rest.split_at(piece.clamp(1, rest.len()));
        accumulator.push(head, |result| results.push(result));
        rest = tail;
        assert!(accumulator.run.len() < MAX_PACKET && accumulator.run.capacity() == MAX_PACKET);
    }
    results
}

fn wire(packets: &[Packet]) -> Vec<u8> {
    let mut out = Vec::new();
    for packet in packets {
        packet.encode(&mut out).unwrap();
    }
    out
}

fn packet() -> impl Strategy<Value = Packet> {
    let digest = any::<[u8; 32]>().prop_map(ModelDigest);
    let request = prop_oneof![
        any::<u16>().prop_map(|protocol| Request::Hello { protocol }),
        (digest.clone(), any::<u32>()).prop_map(|(digest, length)| Request::Stage { length, digest }),
        (digest.clone(), any::<u32>()).prop_map(|(digest, offset)| Request::StageChunk { digest, offset }),
        Just(Request::Echo),
    ];
    let response = (digest, any::<u32>(), any::<u32>()).prop_map(|(digest, received, length)| {
        Response::Stage(StageProgress::Receiving { digest, received, length })
    });
    let event = prop_oneof![
        any::<(u32, u32, u32)>().prop_map(|(frame, offset, total)| Event::Masks(Fragment {
            frame,
            offset,
            total
        })),
        Just(Event::Sequenced(SequencedEvent {
            boot_id: BootId(7),
            sequence: 70_000,
            event: ReliableEvent::Notice(Notice::Stage(StageProgress::Idle)),
        })),
    ];
    let message =
        prop_oneof![request.prop_map_into(), response.prop_map_into(), event.prop_map(Message::from)];
    let bulk = prop_oneof![
        Just(Vec::new()),
        proptest::collection::vec(any::<u8>(), 0..600),
        proptest::collection::vec(prop_oneof![Just(0u8), Just(0xFF)], 0..600),
        any::<u8>().prop_map(|byte| vec![byte; CHUNK as usize]),
    ];
    (any::<u16>(), message, bulk).prop_map(|(sequence, message, bulk)| Packet { sequence, message, bulk })
}

fn garbage() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn round_trips_under_any_chunking(
        packets in proptest::collection::vec(packet(), 0..6),
        pieces in proptest::collection::vec(1usize..5000, 1..8),
    ) {
        let mut accumulator = Accumulator::new();
        let results = received(&mut accumulator, &wire(&packets), &pieces);
        prop_assert_eq!(results, packets.into_iter().map(Ok).collect::<Vec<_>>());
        prop_assert_eq!(accumulator.damaged(), 0);
    }

    #[test]
    fn passes_over_garbage_between_packets(
        parts in proptest::collection::vec((garbage(), packet()), 1..6),
        pieces in proptest::collection::vec(1usize..300, 1..8),
    ) {
        let mut bytes = Vec::new();
        for (garbage, packet) in &parts {
            bytes.extend_from_slice(garbage);
            bytes.push(0);
            packet.encode(&mut bytes).unwrap();
        }
        let results = received(&mut Accumulator::new(), &bytes, &pieces);
        let good: Vec<Packet> = results.into_iter().flatten().collect();
        prop_assert_eq!(good, parts.into_iter().map(|(_, packet)| packet).collect::<Vec<_>>());
    }

    #[test]
    fn a_corrupted_byte_never_gives_a_wrong_packet(
        packets in proptest::collection::vec(packet(), 3),
        at in any::<proptest::sample::Index>(),
        flip in 1u8..=255,
    ) {
        let mut bytes = wire(&packets);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let mut accumulator = Accumulator::new();
        let results = received(&mut accumulator, &bytes, &[64]);
        let good: Vec<&Packet> = results.iter().flatten().collect();
        let mut sent = packets.iter();
        prop_assert!(good.iter().all(|packet| sent.any(|other| other == *packet)), "order and content");
        prop_assert!(good.len() < 3);
        // A corrupted zero joins two packets; the end of the stream may lack its own.
        prop_assert!(!good.is_empty());
        prop_assert!(accumulator.damaged() > 0 || at == bytes.len() - 1);

        let mut after = vec![0];
        packets[0].encode(&mut after).unwrap();
        let results = received(&mut accumulator, &after, &[64]);
        prop_assert_eq!(results.last(), Some(&Ok(packets[0].clone())));
    }

    #[test]
    fn survives_any_bytes(bytes in proptest::collection::vec(0u8..4, 0..2000)) {
        let results = received(&mut Accumulator::new(), &bytes, &[17]);
        prop_assert!(results.iter().all(Result::is_err));
    }
}

#[test]
fn an_overlong_run_is_dropped_to_its_zero() {
    let packet = Packet::new(1, Request::Status);
    let good = wire(core::slice::from_ref(&packet));
    for length in [MAX_PACKET, MAX_PACKET + 1, 10 * MAX_PACKET] {
        for piece in [1, 999, 100_000] {
            let bytes = [&vec![0xAA; length][..], &[0], &good].concat();
            let mut accumulator = Accumulator::new();
            let results = received(&mut accumulator, &bytes, &[piece]);
            assert_eq!(results, [Err(PacketError::Oversize), Ok(packet.clone())]);
            assert_eq!(accumulator.damaged(), 1);
        }
    }
}

#[test]
fn successive_zeros_are_silent() {
    let packet = Packet::new(1, Response::Echo);
    let bytes = [&[0, 0, 0][..], &wire(core::slice::from_ref(&packet)), &[0, 0]].concat();
    assert_eq!(received(&mut Accumulator::new(), &bytes, &[1]), [Ok(packet)]);
}

#[test]
fn reset_forgets_a_begun_packet() {
    let packet = Packet::new(1, Request::Slots);
    let good = wire(core::slice::from_ref(&packet));
    let mut accumulator = Accumulator::new();
    assert!(received(&mut accumulator, &good[..3], &[9]).is_empty());
    accumulator.reset();
    assert_eq!(received(&mut accumulator, &good, &[9]), [Ok(packet)]);
}

#[test]
fn a_name_of_any_length_fits() {
    let name: crate::wire::Name = core::iter::repeat_n('é', MAX_NAME / 2).collect();
    let identity = crate::wire::Identity { protocol: 1, version: name.clone(), name };
    let packet = Packet::new(9, Response::Hello(identity));
    assert_eq!(received(&mut Accumulator::new(), &wire(core::slice::from_ref(&packet)), &[7]), [Ok(packet)]);
}
