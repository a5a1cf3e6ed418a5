//! Protocol version 3: the flat field that frames are corrected by.

use shared::wire::*;

use crate::{check, hex, squeezed, variants};

#[test]
fn request() {
    check(
        &variants!(Request: Hello Status Slots Stage StageChunk Activate StageStatus Revert Settings Set
            Capture ReadCapture Echo Challenge Change; FlatField),
        &[(Request::FlatField, "0f")],
    );
}

#[test]
fn response() {
    let digest = FlatFieldDigest(*b"0123456789abcdefghijklmnopqrstuv");
    check(
        &variants!(Response: Hello Status Slots Stage Settings Capture CaptureData Echo Refused Challenge;
            FlatField),
        &[(Response::FlatField(None), "0a00"), (Response::FlatField(Some(digest)), "0a01 digest")],
    );
}

/// Packets carry their version, so that this test goes with the version in force. The CRCs are those of Python's
/// zlib.
#[test]
fn packet() {
    let rows: [(u16, Message, &[u8], &str); 4] = [
        (0x0102, Request::Hello { protocol: 3 }.into(), b"", "060301020102010603b4c2720e00"),
        (
            0x0102,
            Response::Refused(Refusal::Protocol { station: 3 }).into(),
            b"",
            "0603020201030808010309a6c30800",
        ),
        (0, Request::Echo.into(), b"\0bulk\0", "030301010201020c0562756c6b05bfec178100"),
        (
            0xFFFF,
            Event::Masks(Piece { frame: 300, offset: 0, total: 4 }).into(),
            &[1, 2, 3, 4],
            "060303ffff050401ac020a04010203047c6891df00",
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
