//! Models of strangers.

use shared::trust::{SecretKey, TrustedKey};
use shared::wire::{Change, Downgrade, UnixSeconds};

use super::*;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn keyring(seed: u8) -> Keyring {
    Keyring::new(vec![TrustedKey { name: truncated_name("ana"), key: key(seed).public() }]).unwrap()
}

impl Host {
    fn ask_signed(&mut self, change: Change) -> Response {
        let Response::Challenge(challenge) = self.ask(Request::Challenge) else { panic!() };
        self.ask(Request::Change(key(1).sign_change(&challenge, change)))
    }

    /// As [`flash`](Self::flash), with every change signed.
    fn flash_signed(&mut self, onnx: &[u8], downgrade: Downgrade) -> Result<StageProgress, Refusal> {
        let digest = ModelDigest::of(onnx);
        self.ask_signed(Change::Stage { length: onnx.len() as u32, digest });
        for (index, chunk) in onnx.chunks(CHUNK as usize).enumerate() {
            self.ask_with(Request::StageChunk { digest, offset: index as u32 * CHUNK }, chunk);
        }
        if let Response::Refused(refusal) = self.ask_signed(Change::Activate { digest, downgrade }) {
            return Err(refusal);
        }
        loop {
            match self.ask(Request::StageStatus) {
                Response::Stage(StageProgress::Verifying { .. } | StageProgress::Trial { .. }) => {
                    self.events.clear();
                    self.event(Some);
                }
                Response::Stage(progress) => return Ok(progress),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_trusting_station_runs_what_its_keys_signed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let storage = MemoryStorage::default();
    let running = Running::trusting(keyring(1), folder.path(), &storage, SIMULATED);
    let mut host = running.host();
    let factory = ModelDigest::of(MODEL);
    let onnx = &*OTHER_MODEL;
    let signed = key(1).sign_model(onnx, UnixSeconds(2000));
    let altered = {
        let mut onnx = signed.clone();
        onnx[1000] ^= 1;
        onnx
    };
    let stranger = key(2).sign_model(onnx, UnixSeconds(2000));
    let cases = [
        (onnx.clone(), ModelRefusal::Unsigned),
        (stranger, ModelRefusal::UnknownKey { key: key(2).public().id() }),
        (altered, ModelRefusal::BadSignature),
        // Nothing of a stranger's is parsed: that it is no model at all is not even found out.
        (
            key(2).sign_model(b"no model", UnixSeconds(1)),
            ModelRefusal::UnknownKey { key: key(2).public().id() },
        ),
        (key(1).sign_model(b"no model", UnixSeconds(1)), ModelRefusal::NotOnnx),
    ];
    for (onnx, reason) in cases {
        let digest = ModelDigest::of(&onnx);
        let failed = StageProgress::Failed { digest, reason };
        assert_eq!(host.flash_signed(&onnx, Downgrade::Refused), Ok(failed));
        assert_eq!(host.status().model, factory);
        host.events.clear();
        host.frame();
    }
    let digest = ModelDigest::of(&signed);
    let confirmed = Ok(StageProgress::Confirmed { digest });
    assert_eq!(host.flash_signed(&signed, Downgrade::Refused), confirmed);

    let old = key(1).sign_model(onnx, UnixSeconds(1000));
    let older = ModelRefusal::Older { signed: UnixSeconds(1000), confirmed: UnixSeconds(2000) };
    assert_eq!(host.flash_signed(&old, Downgrade::Refused), Err(Refusal::Model(older)));
    assert_eq!(host.status().model, digest);
    running.end();

    // What was confirmed is checked again at every start: a key taken off the list takes its models with it.
    for (seed, expected) in [(1, digest), (2, factory), (1, factory)] {
        let running = Running::trusting(keyring(seed), folder.path(), &storage, SIMULATED);
        assert_eq!(running.host().frame().model, expected, "key {seed}");
        running.end();
    }
}
