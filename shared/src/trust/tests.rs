use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::DutyCycle;
use crate::wire::{
    Challenge, Change, Downgrade, KeyId, ModelDigest, ModelRefusal, Nonce, Setting, SignedChange, Trust,
    TrustRefusal, UnixSeconds,
};

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn trusted(seed: u8) -> TrustedKey {
    TrustedKey { name: format!("key {seed}").as_str().try_into().unwrap(), key: key(seed).public() }
}

fn keyring() -> Keyring {
    Keyring::new(vec![trusted(1), trusted(2)]).unwrap()
}

const NOON: UnixSeconds = UnixSeconds(1_800_000_000);

#[test]
fn keys_are_read_as_they_are_written() {
    for seed in 0..20 {
        let key = key(seed);
        assert_eq!(key.public().to_string().parse(), Ok(key.public()));
        assert_eq!(key.to_text().parse::<SecretKey>().unwrap().public(), key.public());
        assert!(!format!("{key:?}").contains(&key.to_text()[20..40]), "a secret is not shown");
    }
    let public = key(1).public().to_string();
    let swapped = public.replace("ed25519:", "ed25519-secret:");
    assert_eq!(swapped.parse::<PublicKey>(), Err(KeyError::Prefix { prefix: "ed25519:" }));
    assert_eq!(public[..40].parse::<PublicKey>(), Err(KeyError::Length));
    // RFC 8032's neutral element: every signature of a certain form holds for it.
    let weak = format!("ed25519:AQ{}=", "A".repeat(41));
    assert_eq!(weak.parse::<PublicKey>(), Err(KeyError::Point));
}

#[test]
fn a_keyring_holds_different_keys_and_not_too_many() {
    assert!(Keyring::default().is_open());
    assert_eq!(Keyring::default().trust(), Trust::Open);
    assert_eq!(keyring().trust(), Trust::Keys(2));
    let same = Keyring::new(vec![trusted(1), trusted(2), trusted(1)]);
    assert!(matches!(same, Err(KeyringError::Same { .. })));
    let many = Keyring::new((0..=MAX_KEYS as u8).map(trusted).collect());
    assert_eq!(many, Err(KeyringError::TooMany { count: MAX_KEYS + 1 }));
}

#[test]
fn an_open_station_takes_any_model_and_any_change() {
    let open = Keyring::default();
    assert_eq!(open.check_model(b"not even a model"), Ok(None));
    let mut guard = ReplayGuard::new(open, Nonce([0; 16]));
    assert_eq!(guard.admit_unsigned(), Ok(()));
    let challenge = guard.challenge();
    assert_eq!(guard.admit(&key(9).sign_change(&challenge, revert(1)), 0), Ok(Admission::Fresh(None)));
}

#[test]
fn a_signature_is_at_the_end_and_is_replaced_by_the_next() {
    let onnx = b"a model".as_slice();
    let signed = key(1).sign_model(onnx, NOON);
    assert_eq!(signed.len(), onnx.len() + SIGNATURE_LENGTH);
    assert!(signed.starts_with(onnx));
    let found = ModelSignature::at_end(&signed[3..]).unwrap();
    assert_eq!((found.key, found.signed), (key(1).public().id(), NOON));
    assert_eq!(without_signature(&signed), onnx);
    assert_eq!(key(2).sign_model(&signed, NOON), key(2).sign_model(onnx, NOON));
    assert_eq!(ModelSignature::at_end(onnx), None);
}

#[test]
fn only_what_a_trusted_key_signed_is_run() {
    let signed = |seed| key(seed).sign_model(b"a model", NOON);
    let ring = keyring();
    for seed in [1, 2] {
        let by = ring.check_model(&signed(seed)).unwrap().unwrap();
        assert_eq!(by.key, key(seed).public());
    }
    let stranger = ModelRefusal::UnknownKey { key: key(3).public().id() };
    assert_eq!(ring.check_model(&signed(3)), Err(stranger));
    for unsigned in [&b"a model"[..], b"", &[0; SIGNATURE_LENGTH]] {
        assert_eq!(ring.check_model(unsigned), Err(ModelRefusal::Unsigned));
    }
    // Another's model under a trusted id, and a trusted key's signature of another model.
    let posed = ModelSignature {
        key: key(1).public().id(),
        ..ModelSignature::at_end(&key(3).sign_model(b"a model", NOON)).unwrap()
    };
    assert_eq!(ring.check_model(&[b"a model", &posed.entry()[..]].concat()), Err(ModelRefusal::BadSignature));
    let mut moved = key(1).sign_model(b"a modem", NOON);
    moved[..7].copy_from_slice(b"a model");
    assert_eq!(ring.check_model(&moved), Err(ModelRefusal::BadSignature));
}

fn refusal(onnx: &[u8]) -> ModelRefusal {
    keyring().check_model(onnx).unwrap_err()
}

proptest! {
    #[test]
    fn no_bit_of_a_signed_file_may_differ(
        onnx in prop::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>(), bit in 0..8
    ) {
        let mut file = key(1).sign_model(&onnx, NOON);
        prop_assert!(keyring().check_model(&file).is_ok());
        let at = at.index(file.len());
        file[at] ^= 1u8 << bit;
        let refusal = refusal(&file);
        // A changed body never passes for an unsigned file, and an entry that is no longer one never for a signed one.
        match ModelSignature::at_end(&file) {
            None => {
                prop_assert!(at >= onnx.len(), "byte {at} of {}", file.len());
                prop_assert_eq!(refusal, ModelRefusal::Unsigned);
            }
            Some(ModelSignature { key: id, .. }) if keyring().find(id).is_none() => {
                prop_assert!(at >= onnx.len(), "byte {at} of {}", file.len());
                prop_assert_eq!(refusal, ModelRefusal::UnknownKey { key: id });
            }
            Some(_) => prop_assert_eq!(refusal, ModelRefusal::BadSignature),
        }
    }

    #[test]
    fn no_signed_file_may_be_cut_or_grown(
        onnx in prop::collection::vec(any::<u8>(), 0..300),
        cut in any::<prop::sample::Index>(),
        more in prop::collection::vec(any::<u8>(), 1..200),
    ) {
        let file = key(1).sign_model(&onnx, NOON);
        prop_assert_eq!(refusal(&file[..cut.index(file.len())]), ModelRefusal::Unsigned);
        let beheaded = if onnx.is_empty() { ModelRefusal::Unsigned } else { ModelRefusal::BadSignature };
        prop_assert_eq!(refusal(&file[1..]), beheaded);
        prop_assert_eq!(refusal(&[&file[..], &more].concat()), ModelRefusal::Unsigned);
        prop_assert_eq!(refusal(&[&more, &file[..]].concat()), ModelRefusal::BadSignature);
    }

    #[test]
    fn arbitrary_bytes_are_no_signed_model(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(keyring().check_model(&bytes).is_err());
    }

    #[test]
    fn no_bit_of_a_signed_change_may_differ(at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut guard = guard();
        let signed = key(2).sign_change(&guard.challenge(), stage());
        let mut bytes = postcard::to_allocvec(&signed).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        if let Ok((other, [])) = postcard::take_from_bytes::<SignedChange>(&bytes) && other != signed {
            prop_assert!(guard.admit(&other, 0).is_err(), "{other:?}");
        }
        prop_assert!(matches!(guard.admit(&signed, 0), Ok(Admission::Fresh(Some(_)))));
    }
}

fn guard() -> ReplayGuard {
    ReplayGuard::new(keyring(), Nonce([7; 16]))
}

const fn revert(digest: u8) -> Change {
    Change::Revert { digest: ModelDigest([digest; 32]) }
}

const fn stage() -> Change {
    Change::Stage { length: 70_000, digest: ModelDigest([5; 32]) }
}

fn new(seed: u8) -> Result<Admission, TrustRefusal> {
    Ok(Admission::Fresh(Some(trusted(seed).name)))
}

#[test]
fn a_change_counts_once_and_its_answer_may_be_asked_again() {
    let mut guard = guard();
    assert_eq!(guard.admit_unsigned(), Err(TrustRefusal::Unsigned));
    let first = key(1).sign_change(&guard.challenge(), stage());
    assert_eq!(guard.admit(&first, 0), new(1));
    assert_eq!(guard.admit(&first, 1), Ok(Admission::Retry));
    let second = key(2).sign_change(&guard.challenge(), revert(1));
    assert_eq!(guard.admit(&second, 2), new(2));
    assert_eq!(guard.admit(&first, 3), Err(TrustRefusal::StaleChallenge), "replayed");
    let skipping = Challenge { next_counter: 9, ..guard.challenge() };
    assert_eq!(guard.admit(&key(1).sign_change(&skipping, revert(2)), 4), new(1));
    assert_eq!(guard.challenge().next_counter, 10);
    let last = Challenge { next_counter: u32::MAX, ..guard.challenge() };
    assert_eq!(guard.admit(&key(1).sign_change(&last, revert(2)), 5), Err(TrustRefusal::StaleChallenge));

    let kept = key(1).sign_change(&guard.challenge(), stage());
    guard.rotate_nonce(Nonce([8; 16]));
    for old in [kept, first] {
        assert_eq!(guard.admit(&old, 6), Err(TrustRefusal::StaleChallenge));
    }
    assert_eq!(guard.admit(&key(1).sign_change(&guard.challenge(), stage()), 7), new(1));
}

#[test]
fn every_change_is_signed_as_itself() {
    let digest = ModelDigest([5; 32]);
    let changes = [
        stage(),
        Change::Stage { length: 70_001, digest },
        Change::Activate { digest, downgrade: Downgrade::Refused },
        Change::Activate { digest, downgrade: Downgrade::Allowed },
        Change::Revert { digest },
        Change::Set(Setting::Illumination(DutyCycle::FULL)),
        Change::Set(Setting::Illumination(DutyCycle::OFF)),
    ];
    for change in changes {
        for other in changes.into_iter().filter(|&other| other != change) {
            let mut guard = guard();
            let signed = key(1).sign_change(&guard.challenge(), change);
            let forged = SignedChange { change: other, ..signed };
            assert_eq!(guard.admit(&forged, 0), Err(TrustRefusal::BadSignature), "{change:?} as {other:?}");
            assert_eq!(guard.admit(&signed, 0), new(1));
        }
    }
}

#[test]
fn guessing_locks_and_time_unlocks() {
    let mut guard = guard();
    let challenge = guard.challenge();
    let good = key(1).sign_change(&challenge, stage());
    let stranger = key(3).sign_change(&challenge, stage());
    let forged = SignedChange { key: KeyId(key(1).public().id().0), ..stranger };
    let refusals = [TrustRefusal::UnknownKey { key: stranger.key }, TrustRefusal::BadSignature];

    for at in 0..MAX_FAILURES - 1 {
        let wrong = [stranger, forged][usize::from(at % 2)];
        assert_eq!(guard.admit(&wrong, 100), Err(refusals[usize::from(at % 2)]));
    }
    assert_eq!(guard.admit(&good, 100), new(1), "one that is right ends the row");

    let good = key(1).sign_change(&guard.challenge(), revert(1));
    for _ in 0..MAX_FAILURES {
        let forged = SignedChange { change: revert(2), ..good };
        assert_eq!(guard.admit(&forged, 1000), Err(TrustRefusal::BadSignature));
    }
    let seconds = (LOCK_MS / 1000) as u16;
    assert_eq!(guard.admit(&good, 1000), Err(TrustRefusal::LockedOut { seconds }));
    guard.rotate_nonce(Nonce([8; 16]));
    let good = key(1).sign_change(&guard.challenge(), revert(1));
    let late = 1000 + LOCK_MS;
    assert_eq!(guard.admit(&good, late - 1), Err(TrustRefusal::LockedOut { seconds: 1 }));
    assert_eq!(guard.admit(&good, late), new(1));
}

#[test]
fn stale_changes_lock_nobody_out() {
    let mut guard = guard();
    let old = key(1).sign_change(&guard.challenge(), stage());
    guard.rotate_nonce(Nonce([8; 16]));
    for _ in 0..3 * MAX_FAILURES {
        assert_eq!(guard.admit(&old, 0), Err(TrustRefusal::StaleChallenge));
    }
    let names: Vec<_> = guard.keyring().keys().iter().map(|trusted| trusted.name.as_str()).collect();
    assert_eq!(names, ["key 1", "key 2"]);
    assert_eq!(guard.admit(&key(1).sign_change(&guard.challenge(), stage()), 0), new(1));
}
