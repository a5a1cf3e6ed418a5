//! Protocol version 3: the flat field that frames are corrected by.

use shared::wire::*;

use crate::{check, variants};

#[test]
fn request() {
    check(
        &variants!(Request: Hello Status Slots Stage StageChunk Activate StageStatus Revert Settings Set
            Capture ReadCapture Echo Challenge Change; FlatField ..),
        &[(Request::FlatField, "0f")],
    );
}

#[test]
fn response() {
    let digest = FlatFieldDigest(*b"0123456789abcdefghijklmnopqrstuv");
    check(
        &variants!(Response: Hello Status Slots Stage Settings Capture CaptureData Echo Refused Challenge;
            FlatField ..),
        &[(Response::FlatField(None), "0a00"), (Response::FlatField(Some(digest)), "0a01 digest")],
    );
}
