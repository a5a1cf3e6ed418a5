use std::cell::RefCell;
use std::rc::Rc;

use host_console::{Exit, Failure};
use shared::trust::{Admission, Keyring, MAX_FAILURES, ReplayGuard, TrustedKey};
use shared::wire::{Acquisition, Nonce, Setting, Settings, Stream};
use shared::{DutyCycle, PixelSize};

use super::*;
use crate::station::client::{DEFAULT_BAUD, Scripted, memory_line};

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

const SETTINGS: Settings = Settings {
    illumination: DutyCycle::OFF,
    pixel_size: None,
    acquisition: Acquisition::Continuous,
    masks: Stream::On,
    preview: Stream::On,
};

/// A station that has settings and lets changes in as a real one does.
struct Guarded {
    guard: ReplayGuard,
    settings: Settings,
    /// How many changes were done.
    done: u32,
    challenges: u32,
}

impl Guarded {
    fn answer(&mut self, request: Request) -> Response {
        let admitted = match &request {
            Request::Change(signed) => self.guard.admit(signed, 0),
            _ => self.guard.admit_unsigned().map(|()| Admission::Fresh(None)),
        };
        match (request, admitted) {
            (Request::Challenge, _) => {
                self.challenges += 1;
                Response::Challenge(self.guard.challenge())
            }
            (Request::Set(setting), Ok(_)) => self.set(setting),
            (Request::Change(signed), Ok(Admission::Fresh(_))) => match signed.change {
                Change::Set(setting) => self.set(setting),
                other => panic!("{other:?}"),
            },
            (Request::Change(_), Ok(Admission::Retry)) => Response::Settings(self.settings),
            (_, Err(refusal)) => Response::Refused(Refusal::Trust(refusal)),
            (other, _) => panic!("{other:?}"),
        }
    }

    fn set(&mut self, setting: Setting) -> Response {
        self.done += 1;
        match setting {
            Setting::PixelSize(pixel_size) => self.settings.pixel_size = pixel_size,
            other => panic!("{other:?}"),
        }
        Response::Settings(self.settings)
    }
}

type Shared = Rc<RefCell<Guarded>>;

/// A station that trusts the keys of these seeds.
fn station(seeds: &[u8], lose: Vec<u32>) -> (StationClient<Scripted>, Shared) {
    let keys = seeds
        .iter()
        .map(|&seed| TrustedKey { name: "ana".try_into().unwrap(), key: key(seed).public() })
        .collect();
    let guard = ReplayGuard::new(Keyring::new(keys).unwrap(), Nonce([1; 16]));
    let guarded = Rc::new(RefCell::new(Guarded { guard, settings: SETTINGS, done: 0, challenges: 0 }));
    let mut line = memory_line({
        let guarded = Rc::clone(&guarded);
        move |request, _| (vec![], Some((guarded.borrow_mut().answer(request), vec![])))
    });
    line.lose = lose;
    (StationClient::new(line, "memory", DEFAULT_BAUD), guarded)
}

fn size(um: f32) -> Setting {
    Setting::PixelSize(Some(PixelSize::try_from(um).unwrap()))
}

#[test]
fn an_open_station_is_asked_plainly() {
    let (mut station, guarded) = station(&[], vec![]);
    for um in [0.5, 0.6] {
        station.set(size(um)).unwrap();
    }
    assert_eq!((guarded.borrow().done, guarded.borrow().challenges), (2, 0));
    assert_eq!(station.trust().unwrap(), Trust::Open);
    station.set(size(0.7)).unwrap();
    assert_eq!(guarded.borrow().done, 3);
}

#[test]
fn a_trusting_station_is_asked_with_a_signature_whatever_is_lost() {
    for lose in [vec![], vec![0], vec![1], vec![2, 3], vec![1, 4, 6]] {
        let (mut station, guarded) = station(&[1, 2], lose);
        station.sign_with(Ok(key(2)));
        for um in [0.5, 0.6, 0.7] {
            assert_eq!(station.set(size(um)).unwrap().pixel_size.map(PixelSize::get), Some(um));
        }
        assert_eq!(
            (guarded.borrow().done, guarded.borrow().challenges),
            (3, 1),
            "asked for a challenge once"
        );
    }
}

#[test]
fn a_restarted_station_is_asked_for_a_new_challenge() {
    let (mut station, guarded) = station(&[1], vec![]);
    station.sign_with(Ok(key(1)));
    station.set(size(0.5)).unwrap();
    guarded.borrow_mut().guard.rotate_nonce(Nonce([2; 16]));
    assert!(station.set(size(0.6)).is_ok());
    assert_eq!(guarded.borrow().challenges, 2);

    let other = ReplayGuard::new(Keyring::default(), Nonce([3; 16]));
    guarded.borrow_mut().guard = other;
    assert!(station.set(size(0.7)).is_ok(), "its keys were taken off the list");
}

#[test]
fn without_a_key_the_error_says_what_to_do() {
    let several = || KeyStoreError::Several { names: "ana, ben".to_owned() };
    for (error, next) in [(KeyStoreError::None, "nuclei-host key new"), (several(), "choose one with --key")]
    {
        let (mut station, guarded) = station(&[1], vec![]);
        station.sign_with(Err(error));
        assert_eq!(station.trust().unwrap(), Trust::Keys(1), "what changes nothing needs no key");
        let failure = Failure::from(station.set(size(0.5)).unwrap_err());
        assert_eq!((failure.exit(), guarded.borrow().done), (Exit::Failed, 0));
        assert!(failure.to_string().contains(next), "{failure}");
    }
}

#[test]
fn a_stranger_is_refused_and_then_waits() {
    let (mut station, guarded) = station(&[1], vec![]);
    station.sign_with(Ok(key(3)));
    for _ in 0..MAX_FAILURES {
        let failure = Failure::from(station.set(size(0.5)).unwrap_err()).to_string();
        let id = key(3).public().id().to_string();
        assert!(failure.contains("does not trust key") && failure.contains(&id), "{failure}");
        assert!(failure.contains("[trust.keys]"), "{failure}");
    }
    let failure = Failure::from(station.set(size(0.5)).unwrap_err()).to_string();
    assert!(
        failure.contains("accepts no changes for 30 s") && failure.contains("again in 30 s"),
        "{failure}"
    );
    assert_eq!(guarded.borrow().done, 0);
}
