//! One conversation: all requests of a host, retried when the line loses them, and checked.

use std::fmt::{self, Display, Formatter};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use firmware::{
    CameraSource, CancellationToken, FolderStorage, Grab, GrabStrategy, IlluminationConfig, RunError,
    SourceKind, Station as Appliance, StatusLight,
};
use host::{
    CaptureError, CaptureOutcome, FlashError, FlashOutcome, Incoming, LinkError, LinkStats, OperationUpdate,
    SessionState, StationClient, Timeouts, flash,
};
use rand::rngs::SmallRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use shared::trust::{Keyring, SecretKey, TrustedKey};
use shared::wire::{
    Acquisition, CHUNK, Downgrade, ModelDigest, Name, ReliableEvent, Request, Response, Setting, Settings,
    Slot, SlotState, Stream, UnixSeconds,
};
use shared::{DutyCycle, Execution, Image, Kernels, PixelSize, decode_image};

use crate::fixture::{brightness_model, padded};
use crate::line::{FaultyLine, HostEnd};
use crate::received_counts::ReceivedCounts;
use crate::schedule::FAULTS;

/// A line of this rate takes no time.
const BAUD: u32 = 12_000_000;
const TIMEOUTS: Timeouts = Timeouts {
    handshake: Duration::from_millis(150),
    response: Duration::from_millis(150),
    restart: Duration::from_secs(3),
};
/// No conversation takes this long, even on a busy machine.
const TALK_TIMEOUT: Duration = Duration::from_secs(180);
const CAPTURES: usize = 3;
const CAMERA: CameraSource =
    CameraSource::Simulated { width: 96, height: 64, seed: 5, nuclei: 4, frames_per_second: 60.0 };
static GO_ON: AtomicBool = AtomicBool::new(false);

static FACTORY: LazyLock<Vec<u8>> = LazyLock::new(|| brightness_model(0.4));
/// What the camera shows first.
static PICTURES: LazyLock<Vec<Image>> = LazyLock::new(|| {
    let mut camera = CAMERA.open().unwrap();
    let mut next = || match camera.grab(GrabStrategy::OneByOne).unwrap() {
        Grab::Frame(frame) => frame.image,
        Grab::Finished => panic!("a simulated microscope has no end"),
    };
    (0..CAPTURES).map(|_| next()).collect()
});

/// Statistics of conversations.
#[derive(Default)]
pub struct Outcome {
    pub faults: [u32; FAULTS.len()],
    counts: u32,
    conversations: u32,
    damaged_at_station: u32,
    link: LinkStats,
}

impl Outcome {
    pub fn add(&mut self, other: &Self) {
        for (sum, count) in self.faults.iter_mut().zip(other.faults) {
            *sum += count;
        }
        self.counts += other.counts;
        self.conversations += other.conversations;
        self.damaged_at_station += other.damaged_at_station;
        self.sum(other.link);
    }

    /// Results and notices that were lost and resent.
    pub const fn regained(&self) -> u32 {
        self.link.events_recovered
    }

    fn sum(&mut self, other: LinkStats) {
        let sum = &mut self.link;
        sum.sent += other.sent;
        sum.received += other.received;
        sum.damaged += other.damaged;
        sum.retransmits += other.retransmits;
        sum.late_responses += other.late_responses;
        sum.events_lost += other.events_lost;
        sum.events_recovered += other.events_recovered;
        sum.events_duplicate += other.events_duplicate;
    }
}

impl Display for Outcome {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { counts, conversations, damaged_at_station, link, .. } = self;
        write!(
            f,
            "{counts} counts came once each, over {conversations} openings of the line; {} bytes to stations and {} \
             to hosts, {damaged_at_station} and {} packets of them damaged; {} requests resent, {} late responses ignored; {} results and notices resent, {} lost, {} duplicate or late events ignored",
            link.sent,
            link.received,
            link.damaged,
            link.retransmits,
            link.late_responses,
            link.events_recovered,
            link.events_lost,
            link.events_duplicate
        )
    }
}

/// Runs the conversation of that seed; every second one with a station that trusts a single key.
pub fn converse(seed: u64) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let key = (seed % 2 == 1).then(|| SecretKey::from_seed(&[7; 32]));
    let line = FaultyLine::new(seed, TIMEOUTS.response);
    let appliance = Running::start(line.clone(), folder.path(), key.as_ref());
    let mut talk = Talk {
        line,
        host: None,
        session: SessionState::default(),
        key,
        random: SmallRng::seed_from_u64(seed),
        settings: SETTINGS,
        ledger: ReceivedCounts::default(),
        outcome: Outcome::default(),
        until: Instant::now() + TALK_TIMEOUT,
    };

    talk.set_all();
    talk.echo(12);
    talk.watch(20);
    let first = talk.flash(folder.path(), 0.35);
    talk.watch(10);
    assert_eq!(talk.ledger.model, Some(first), "another model counts than the one confirmed");
    talk.set_all();
    let second = talk.flash(folder.path(), 0.45);
    talk.echo(6);
    talk.revert(second, first);
    talk.capture();
    talk.set_all();
    talk.watch(10);
    talk.end(appliance)
}

const SETTINGS: Settings = Settings {
    illumination: DutyCycle::OFF,
    pixel_size: None,
    acquisition: Acquisition::Continuous,
    masks: Stream::On,
    preview: Stream::On,
};

/// A station on a thread.
struct Running {
    stop: CancellationToken,
    thread: Option<JoinHandle<Result<(), RunError>>>,
}

impl Running {
    fn start(line: FaultyLine, folder: &Path, key: Option<&SecretKey>) -> Self {
        let keys = key.map(|key| TrustedKey { name: Name::new(), key: key.public() });
        let appliance = Appliance {
            camera: Box::new(|| CAMERA.open()),
            source_kind: SourceKind::Replayable,
            flat_field: None,
            connector: Box::new(line),
            baud: BAUD,
            storage: Box::new(FolderStorage::open(folder).unwrap()),
            illumination: IlluminationConfig::open_optional(None).unwrap(),
            light: StatusLight::none(),
            settings: SETTINGS,
            name: "faulty".to_owned(),
            execution: Execution { threads: NonZeroUsize::MIN, kernels: Kernels::default() },
            factory: &FACTORY,
            keyring: Keyring::new(keys.into_iter().collect()).unwrap(),
        };
        let stop = CancellationToken::default();
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || appliance.run(&stop, |_| {})
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Why an operation must be retried, or has failed.
trait Passing: fmt::Debug {
    fn is_transient(&self) -> bool;
}

impl Passing for LinkError {
    fn is_transient(&self) -> bool {
        self.is_transient()
    }
}

impl Passing for FlashError {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Link(error) if error.is_transient())
    }
}

impl Passing for CaptureError {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Link(error) if error.is_transient())
    }
}

/// A host's side of the conversation.
struct Talk {
    line: FaultyLine,
    host: Option<StationClient<HostEnd>>,
    session: SessionState,
    key: Option<SecretKey>,
    random: SmallRng,
    /// As the station must have them.
    settings: Settings,
    ledger: ReceivedCounts,
    outcome: Outcome,
    until: Instant,
}

impl Talk {
    /// Retries an operation, reconnecting if necessary, until it is done.
    fn insist<T, E: Passing>(
        &mut self,
        what: &str,
        mut act: impl FnMut(&mut Self, &mut StationClient<HostEnd>) -> Result<T, E>,
    ) -> T {
        loop {
            assert!(Instant::now() < self.until, "{what} is not done in {TALK_TIMEOUT:?}");
            let mut host = match self.host.take() {
                Some(host) => host,
                None => match self.open() {
                    Some(host) => host,
                    None => continue,
                },
            };
            match act(self, &mut host) {
                Ok(done) => {
                    self.host = Some(host);
                    return done;
                }
                Err(error) => {
                    assert!(error.is_transient(), "{what}: {error:?}");
                    self.close(host);
                }
            }
        }
    }

    /// The line opened and the station greeted, where that works.
    fn open(&mut self) -> Option<StationClient<HostEnd>> {
        let Ok(end) = self.line.open_host() else {
            std::thread::sleep(Duration::from_millis(5));
            return None;
        };
        let mut host = StationClient::new(end, "memory", BAUD)
            .with_timeouts(TIMEOUTS)
            .with_session(self.session.clone());
        if let Some(key) = &self.key {
            host.sign_with(Ok(key.clone()));
        }
        self.outcome.conversations += 1;
        match host.handshake() {
            Ok(identity) => assert_eq!(identity.name.as_str(), "faulty"),
            Err(error) => {
                assert!(error.is_transient(), "greeting: {error:?}");
                self.close(host);
                return None;
            }
        }
        Some(host)
    }

    fn close(&mut self, mut host: StationClient<HostEnd>) {
        host.take_events().iter().for_each(|event| self.take(event));
        self.session = host.session();
        self.outcome.sum(host.stats());
    }

    /// Changes every setting; the station then has these and no others.
    fn set_all(&mut self) {
        let random = &mut self.random;
        let stream = |on| if on { Stream::On } else { Stream::Off };
        self.settings = Settings {
            illumination: DutyCycle::try_from(random.random_range(0..=1000)).unwrap(),
            pixel_size: Some(PixelSize::try_from(random.random_range(0.1..2.0)).unwrap()),
            acquisition: Acquisition::Continuous,
            masks: stream(random.random()),
            preview: stream(random.random()),
        };
        let wanted = self.settings;
        let all = [
            Setting::Illumination(wanted.illumination),
            Setting::PixelSize(wanted.pixel_size),
            Setting::Acquisition(wanted.acquisition),
            Setting::Masks(wanted.masks),
            Setting::Preview(wanted.preview),
        ];
        let found = self.insist("setting", |_, host| {
            for setting in all {
                host.set(setting)?;
            }
            host.settings()
        });
        assert_eq!(found, wanted);
    }

    /// Every echo is of the bytes sent, and no earlier ones.
    fn echo(&mut self, times: usize) {
        for _ in 0..times {
            let mut bytes = vec![0; self.random.random_range(0..=CHUNK as usize)];
            self.random.fill_bytes(&mut bytes);
            let (response, back) = self.insist("an echo", |_, host| host.request(&Request::Echo, &bytes));
            assert!(response == Response::Echo && back == bytes, "another echo than what was sent");
        }
    }

    /// Receives counts until this many have arrived, despite all faults.
    fn watch(&mut self, counts: u32) {
        let target = self.ledger.counts() + counts;
        self.insist("asking", |talk, host| {
            host.status()?;
            host.take_events();
            talk.ledger.listen();
            Ok::<_, LinkError>(())
        });
        self.insist("watching", |talk, host| {
            let mut listened = Ok(());
            while listened.is_ok() && talk.ledger.counts() < target {
                assert!(Instant::now() < talk.until, "no counts come");
                listened = match host.next_event(TIMEOUTS.response) {
                    Ok(Some(event)) => {
                        talk.take(&event);
                        Ok(())
                    }
                    // Silence may mean that the other side is gone.
                    Ok(None) => host.status().map(drop),
                    Err(error) => Err(error),
                };
            }
            listened
        });
        self.ledger.leave();
    }

    fn take(&mut self, event: &Incoming) {
        if let Incoming::Event(ReliableEvent::Frame(report)) = event {
            self.ledger.enter(report);
        }
    }

    /// A model onto the station; its digest.
    fn flash(&mut self, folder: &Path, threshold: f32) -> ModelDigest {
        let length = self.random.random_range(20_000..60_000);
        let mut onnx = padded(brightness_model(threshold), length);
        if let Some(key) = &self.key {
            onnx = key.sign_model(&onnx, UnixSeconds((threshold * 1000.0) as u64));
        }
        let digest = ModelDigest::of(&onnx);
        // Counts go on meanwhile.
        self.ledger.listen();
        let flashed = self.insist("flashing", |talk, host| {
            flash(host, &onnx, Downgrade::Refused, &GO_ON, |update| {
                if let OperationUpdate::Event(event) = update {
                    talk.take(&event);
                }
            })
        });
        self.ledger.leave();
        assert!(matches!(flashed, FlashOutcome::Confirmed(_)), "{flashed:?}");
        let (status, slots) =
            self.insist("asking", |_, host| Ok::<_, LinkError>((host.status()?, host.slots()?)));
        assert_eq!(status.model, digest);
        let (name, content) = match slots.active {
            Slot::A => ("a.onnx", slots.a),
            Slot::B => ("b.onnx", slots.b),
            Slot::Factory => panic!("{slots:?}"),
        };
        assert_eq!((content.state, content.digest), (SlotState::Confirmed, Some(digest)));
        assert!(std::fs::read(folder.join(name)).unwrap() == onnx, "the station holds other bytes");
        digest
    }

    /// Reverts a model to the previous one, and no further, however often requested.
    fn revert(&mut self, from: ModelDigest, to: ModelDigest) {
        self.insist("reverting", |_, host| host.revert(from));
        loop {
            let (status, slots) =
                self.insist("asking", |_, host| Ok::<_, LinkError>((host.status()?, host.slots()?)));
            let active = if slots.active == Slot::A { slots.a } else { slots.b };
            assert_eq!(active.digest, Some(to), "{slots:?}");
            if status.model == to {
                return;
            }
            assert!(Instant::now() < self.until, "the model before does not run");
        }
    }

    /// The camera's first images, each once, none beside them.
    fn capture(&mut self) {
        let first = self.random.random::<u32>();
        let mut token = first;
        let captured = self.insist("capturing", |_, host| {
            host.stream(Stream::Off, Stream::Off)?;
            host.set(Setting::Acquisition(Acquisition::Continuous))?;
            host.set(Setting::Acquisition(Acquisition::Triggered))?;
            let mut captured = Vec::new();
            while captured.len() < CAPTURES {
                token = token.wrapping_add(1);
                match host.capture(token, &GO_ON, |_| {})? {
                    CaptureOutcome::Taken(shot) => captured.push(shot),
                    // The camera is being reopened.
                    CaptureOutcome::CameraAbsent => {}
                    other => panic!("{other:?}"),
                }
            }
            Ok::<_, CaptureError>(captured)
        });
        for (index, shot) in captured.iter().enumerate() {
            let number = captured[0].report.frame + index as u32;
            assert_eq!(shot.report.frame, number, "a frame was taken beside those captured");
            assert!(
                decode_image(&shot.picture_png).unwrap() == PICTURES[index],
                "another picture than asked for"
            );
            assert_eq!(shot.labels.max_label(), shot.report.count);
            assert_eq!(shot.truth.as_ref().map(|truth| truth.count()), shot.report.true_count);
        }
    }

    /// The station still works, and stops on request.
    fn end(mut self, mut appliance: Running) -> Outcome {
        let status = self.insist("asking", |_, host| host.status());
        if let Some(host) = self.host.take() {
            self.close(host);
        }
        let thread = appliance.thread.take().unwrap();
        assert!(!thread.is_finished(), "the station ended by itself");
        appliance.stop.cancel();
        thread.join().unwrap().unwrap();
        assert_eq!(self.outcome.link.events_lost, 0, "results or notices were lost that the station kept");
        self.outcome.damaged_at_station = status.damaged_packets;
        self.outcome.counts = self.ledger.counts();
        self.outcome.faults = self.line.tally();
        self.outcome
    }
}
