use alloc::vec;

use super::*;
use crate::wire::*;

/// The content of an encoded packet, before COBS.
fn content(wire: &[u8]) -> Vec<u8> {
    cobs::decode_vec(wire).unwrap()
}

/// Seals a content as [`encode_packet`] would.
fn sealed(content: &[u8]) -> Vec<u8> {
    [content, &CRC_32.checksum(content).to_le_bytes()].concat()
}

#[test]
fn header_is_as_the_table_says() {
    let mut wire = Vec::new();
    let message = Request::Capture { token: 1 }.into();
    encode_packet(0x1234, &message, &[7, 0, 9], &mut wire).unwrap();
    assert_eq!(wire.iter().filter(|&&byte| byte == 0).count(), 1);
    let expected = sealed(&[PROTOCOL, 1, 0x34, 0x12, 2, 0, 10, 1, 7, 0, 9]);
    assert_eq!(content(&wire), expected);
    assert_eq!(Packet::decode(&expected), Ok(Packet { sequence: 0x1234, message, bulk: vec![7, 0, 9] }));
}

#[test]
fn crc_is_that_of_zlib() {
    assert_eq!(CRC_32.checksum(b"123456789"), 0xCBF4_3926);
}

#[test]
fn distinguishes_damage_from_unknown_messages() {
    let damaged = PacketError::Damaged;
    let unknown = |kind| PacketError::UnknownMessage { kind, sequence: 5 };
    let request = Some(Kind::Request);
    let cases: &[(&str, Vec<u8>, PacketError)] = &[
        ("nothing", vec![], damaged),
        ("only a CRC", sealed(&[]), damaged),
        ("short header", sealed(&[PROTOCOL, 1, 5, 0, 1]), damaged),
        ("wrong CRC", [PROTOCOL, 1, 5, 0, 1, 0, 1, 0, 0, 0, 0].to_vec(), damaged),
        ("unknown request", sealed(&[PROTOCOL, 1, 5, 0, 1, 0, 99]), unknown(request)),
        ("unknown kind", sealed(&[PROTOCOL, 9, 5, 0, 1, 0, 1]), unknown(None)),
        ("no message", sealed(&[PROTOCOL, 1, 5, 0, 0, 0]), unknown(request)),
        ("message longer than the packet", sealed(&[PROTOCOL, 1, 5, 0, 2, 0, 1]), unknown(request)),
        ("bytes after the message", sealed(&[PROTOCOL, 1, 5, 0, 2, 0, 1, 0]), unknown(request)),
        ("duty cycle out of range", sealed(&[PROTOCOL, 1, 5, 0, 4, 0, 9, 0, 0xE9, 7]), unknown(request)),
        (
            "older protocol",
            sealed(&[PROTOCOL - 1, 1, 5, 0, 9, 9, 99, 99]),
            PacketError::ProtocolVersion { found: PROTOCOL - 1, kind: request, sequence: 5 },
        ),
        (
            "newer protocol with a kind of its own",
            sealed(&[PROTOCOL + 1, 4, 5, 0, 0, 0]),
            PacketError::ProtocolVersion { found: PROTOCOL + 1, kind: None, sequence: 5 },
        ),
    ];
    for (name, bytes, expected) in cases {
        assert_eq!(Packet::decode(bytes), Err(*expected), "{name}");
    }
}

#[test]
fn bulk_is_bounded() {
    let largest = vec![0xA5; CHUNK as usize];
    let mut out = vec![1, 2, 3];
    let too_long = [&largest[..], &[0]].concat();
    let refused = encode_packet(0, &Request::Echo.into(), &too_long, &mut out);
    assert_eq!(refused, Err(EncodeError::Bulk { length: too_long.len() }));
    assert_eq!(out, [1, 2, 3]);

    out.clear();
    encode_packet(0, &Request::Echo.into(), &largest, &mut out).unwrap();
    assert!(out.len() <= MAX_PACKET);
    let oversize = sealed(&[&[PROTOCOL, 1, 0, 0, 1, 0, 12][..], &too_long].concat());
    assert_eq!(Packet::decode(&oversize), Err(PacketError::Oversize));
}

#[test]
fn largest_messages_fit() {
    let name: Name = core::iter::repeat_n('x', MAX_NAME).collect();
    let report = FrameReport {
        frame: u32::MAX,
        time_unix_ms: u64::MAX,
        source: name.clone(),
        model: ModelDigest([0xFF; 32]),
        width: u32::MAX,
        height: u32::MAX,
        count: u32::MAX,
        true_count: Some(u32::MAX),
        median_diameter_px: f32::MAX,
        confluence: 1.0,
        scale: f32::MAX,
        exposure: Some(crate::Microseconds(u32::MAX)),
        illumination: crate::DutyCycle::FULL,
        focus: f32::MAX,
        saturated: 1.0,
        qc_flags: QcFlags(u16::MAX),
        times: StageTimes {
            convert: crate::Microseconds(u32::MAX),
            preprocess: crate::Microseconds(u32::MAX),
            network: crate::Microseconds(u32::MAX),
            extraction: crate::Microseconds(u32::MAX),
            evidence: crate::Microseconds(u32::MAX),
            encode: crate::Microseconds(u32::MAX),
        },
        skipped: u32::MAX,
    };
    let event = SequencedEvent {
        boot_id: BootId(u32::MAX),
        sequence: u64::MAX,
        event: ReliableEvent::Frame(report.clone()),
    };
    let nack =
        Nack { boot_id: BootId(u32::MAX), base: u64::MAX, bitmap: [u8::MAX; RETRANSMIT_CAPACITY / 8].into() };
    let range = EventRange { boot_id: BootId(u32::MAX), first_available: u64::MAX, next_unsent: u64::MAX };
    let messages: [Message; 4] = [
        Event::Sequenced(event).into(),
        Request::Resend(nack).into(),
        Response::Resend(range).into(),
        Response::Capture(CaptureState::Ready(CaptureInfo {
            report,
            picture_length: u32::MAX,
            labels_length: u32::MAX,
            truth_length: u32::MAX,
        }))
        .into(),
    ];
    for message in messages {
        let mut room = [0; MAX_MESSAGE];
        assert!(message.encode(&mut room).is_ok(), "{message:?}");
        let mut wire = Vec::new();
        encode_packet(u16::MAX, &message, &[1; CHUNK as usize], &mut wire).unwrap();
        assert!(wire.len() <= MAX_PACKET);
    }
}
