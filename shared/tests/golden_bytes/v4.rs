//! Protocol version 4: results and notices that are resent.

use shared::wire::*;

use crate::v1::report;
use crate::{check, hex, squeezed, variants};

const BOOT_ID: BootId = BootId(300);

#[test]
fn request() {
    let nack = Nack::new(BOOT_ID, 70_000, [70_000, 70_009].into_iter());
    check(
        &variants!(Request: Hello Status Slots Stage StageChunk Activate StageStatus Revert Settings Set
            Capture ReadCapture Echo Challenge Change FlatField; Resend),
        &[
            (Request::Resend(nack), "10 ac02 f0a204 020102"),
            (Request::Resend(Nack::new(BootId(0), 0, [].into_iter())), "10 00 00 00"),
        ],
    );
}

#[test]
fn response() {
    let range = EventRange { boot_id: BOOT_ID, first_available: 1, next_unsent: 70_000 };
    check(
        &variants!(Response: Hello Status Slots Stage Settings Capture CaptureData Echo Refused Challenge
            FlatField; Resend),
        &[(Response::Resend(range), "0b ac02 01 f0a204")],
    );
}

#[test]
fn event() {
    let sequenced = |event| Event::Sequenced(SequencedEvent { boot_id: BOOT_ID, sequence: 70_000, event });
    check(
        &variants!(Event: Frame Masks Preview Notice; Sequenced),
        &[
            (
                sequenced(ReliableEvent::Frame(report())),
                "04 ac02 f0a204 00 ac0280d095ffbc3105612e706e67 digest \
                 8804b8054101420000ac410000803e0000003f01a09c01f4030000c03f0000003e \
                 1101c801e8fb03a01f050607",
            ),
            (sequenced(ReliableEvent::Notice(Notice::Camera(CameraState::Absent))), "04 ac02 f0a204 01 0001"),
        ],
    );
    check(
        &variants!(ReliableEvent: Frame Notice),
        &[
            (
                ReliableEvent::Frame(report()),
                "00 ac0280d095ffbc3105612e706e67 digest \
                 8804b8054101420000ac410000803e0000003f01a09c01f4030000c03f0000003e \
                 1101c801e8fb03a01f050607",
            ),
            (ReliableEvent::Notice(Notice::Camera(CameraState::Absent)), "010001"),
        ],
    );
}

/// Packets carry their version, so that this test goes with the version in force. The CRCs are those of Python's
/// zlib.
#[test]
fn packet() {
    let rows: [(u16, Message, &[u8], &str); 4] = [
        (0x0102, Request::Hello { protocol: 4 }.into(), b"", "0604010201020106040e5ed39a00"),
        (
            0x0102,
            Response::Refused(Refusal::Protocol { station: 4 }).into(),
            b"",
            "06040202010308080104635ec6f200",
        ),
        (0, Request::Echo.into(), b"\0bulk\0", "030401010201020c0562756c6b05e7ea64fc00"),
        (
            0xFFFF,
            Event::Masks(Fragment { frame: 300, offset: 0, total: 4 }).into(),
            &[1, 2, 3, 4],
            "060403ffff050401ac020a04010203046667904400",
        ),
    ];
    for (sequence, message, bulk, expected) in rows {
        let packet = Packet { sequence, message, bulk: bulk.to_vec() };
        let mut bytes = Vec::new();
        packet.encode(&mut bytes).unwrap();
        assert_eq!(hex(&bytes), squeezed(expected), "{packet:?}");
        let mut received = Vec::new();
        Accumulator::new().push(&bytes, |result| received.push(result));
        assert_eq!(received, [Ok(packet)]);
    }
}
