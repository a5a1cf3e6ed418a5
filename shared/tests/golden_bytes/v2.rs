//! Protocol version 2: keys that a station trusts.

use shared::DutyCycle;
use shared::trust::SecretKey;
use shared::wire::*;

use crate::{check, hex, variants};

const DIGEST: ModelDigest = ModelDigest(*b"0123456789abcdefghijklmnopqrstuv");
const KEY: KeyId = KeyId(*b"testkey1");
const NONCE: Nonce = Nonce(*b"sixteen bytes at");
const SIGNATURE: Signature = Signature { r: [0x11; 32], s: [0x22; 32] };
const SIGNATURE_BYTES: &str = "1111111111111111111111111111111111111111111111111111111111111111
    2222222222222222222222222222222222222222222222222222222222222222";

const fn signed(change: Change) -> SignedChange {
    SignedChange { key: KEY, nonce: NONCE, counter: 300, change, signature: SIGNATURE }
}

#[test]
fn request() {
    let row =
        format!("0e 746573746b657931 7369787465656e206279746573206174 ac02 02 digest {SIGNATURE_BYTES}");
    check(
        &variants!(Request: Hello Status Slots Stage StageChunk Activate StageStatus Revert Settings Set
            Capture ReadCapture Echo; Challenge Change ..),
        &[(Request::Challenge, "0d"), (Request::Change(signed(Change::Revert { digest: DIGEST })), &row)],
    );
}

#[test]
fn response() {
    let challenge = Challenge { nonce: NONCE, next_counter: 300, trust: Trust::Keys(2) };
    check(
        &variants!(Response: Hello Status Slots Stage Settings Capture CaptureData Echo Refused; Challenge ..),
        &[
            (Response::Challenge(challenge), "09 7369787465656e206279746573206174 ac02 0102"),
            (
                Response::Challenge(Challenge { trust: Trust::Open, ..challenge }),
                "09 7369787465656e206279746573206174 ac02 00",
            ),
        ],
    );
    check(&variants!(Trust: Open Keys), &[(Trust::Open, "00"), (Trust::Keys(300), "01ac02")]);
}

#[test]
fn change() {
    let duty = DutyCycle::try_from(500).unwrap();
    check(
        &variants!(Change: Stage Activate Revert Set),
        &[
            (Change::Stage { length: 1_000_000, digest: DIGEST }, "00c0843d digest"),
            (Change::Activate { digest: DIGEST, downgrade: Downgrade::Refused }, "01 digest 00"),
            (Change::Activate { digest: DIGEST, downgrade: Downgrade::Allowed }, "01 digest 01"),
            (Change::Revert { digest: DIGEST }, "02 digest"),
            (Change::Set(Setting::Illumination(duty)), "0300f403"),
        ],
    );
    check(&variants!(Downgrade: Refused Allowed), &[(Downgrade::Refused, "00"), (Downgrade::Allowed, "01")]);
}

#[test]
fn refusal() {
    check(
        &variants!(Refusal: Unknown Protocol NotFound OutOfRange Busy Model; Trust),
        &[(Refusal::Trust(TrustRefusal::StaleChallenge), "0603")],
    );
    check(
        &variants!(TrustRefusal: Unsigned UnknownKey BadSignature StaleChallenge LockedOut),
        &[
            (TrustRefusal::Unsigned, "00"),
            (TrustRefusal::UnknownKey { key: KEY }, "01 746573746b657931"),
            (TrustRefusal::BadSignature, "02"),
            (TrustRefusal::StaleChallenge, "03"),
            (TrustRefusal::LockedOut { seconds: 300 }, "04ac02"),
        ],
    );
}

#[test]
fn model_refusal() {
    let older = ModelRefusal::Older { signed: UnixSeconds(1_700_000_000), confirmed: UnixSeconds(300) };
    check(
        &variants!(ModelRefusal: TooLarge DigestMismatch NotOnnx NoManifest ManifestVersion BadManifest
            Unsupported GoldenMismatch TrialFailed TrialInterrupted Reverted Storage;
            Unsigned UnknownKey BadSignature Older),
        &[
            (ModelRefusal::Unsigned, "0c"),
            (ModelRefusal::UnknownKey { key: KEY }, "0d 746573746b657931"),
            (ModelRefusal::BadSignature, "0e"),
            (older, "0f80e2cfaa06ac02"),
        ],
    );
}

/// Computed with Python's cryptography 50, from the layout in the documentation of `shared::trust`.
#[test]
fn signatures() {
    let seed: [u8; 32] = std::array::from_fn(|byte| byte as u8);
    let key = SecretKey::from_seed(&seed);
    assert_eq!(key.public().to_string(), "ed25519:A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=");
    let file = key.sign_model(b"a model", UnixSeconds(1_800_000_000));
    let expected = b"a model\x72\x80\x01\x0a\x10nuclei_signature\x12\x6c\
        AQOhB7/zzhC+ANJJawAAAADwTE8in0mFvrzdLJs7Sy50afj3Y62dMuxcLlQSOKabWupHMHLBRB3RcQpCv+K6/3aoDSOvzu/YlvEzdUcEn8ID";
    assert_eq!(file, expected);

    let challenge = Challenge { nonce: NONCE, next_counter: 300, trust: Trust::Keys(1) };
    let signed = key.sign_change(&challenge, Change::Revert { digest: DIGEST });
    assert_eq!(signed.key.to_string(), "03a107bff3ce10be");
    let expected = "388943af1c916805950e709c7361ebe74fd0fbb7bb452ca59a32151cd8aa5463\
                    a33d415f7884f58c7e5043bc05367f9044b69a70ddc2504a03582f45328f7603";
    assert_eq!(hex(&signed.signature.r) + &hex(&signed.signature.s), expected);
}
