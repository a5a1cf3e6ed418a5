use std::sync::atomic::AtomicBool;

use proptest::prelude::*;
use shared::wire::{
    BootId, CHUNK, CaptureInfo, CapturePart, CaptureState, Downgrade, FrameReport, ModelDigest, ModelRefusal,
    Name, Notice, QcFlags, RETRANSMIT_CAPACITY, RetransmitBuffer, SequencedEvent, StageProgress, StageTimes,
};
use shared::{DutyCycle, LabelImage, encode_labels};

use super::*;

static GO_ON: AtomicBool = AtomicBool::new(false);

fn identity(protocol: u16) -> Response {
    Response::Hello(Identity { protocol, version: Name::new(), name: Name::new() })
}

fn station(line: Scripted) -> StationClient<Scripted> {
    StationClient::new(line, "memory", DEFAULT_BAUD)
}

fn silent() -> Scripted {
    memory_line(|_, _| (vec![], None))
}

fn report(frame: u32) -> FrameReport {
    FrameReport {
        frame,
        time_unix_ms: 0,
        source: Name::new(),
        model: ModelDigest([0; 32]),
        width: 6,
        height: 4,
        count: 2,
        true_count: None,
        median_diameter_px: 0.0,
        confluence: 0.0,
        scale: 1.0,
        exposure: None,
        illumination: DutyCycle::OFF,
        focus: 0.5,
        saturated: 0.0,
        qc_flags: QcFlags::NONE,
        times: StageTimes::default(),
        skipped: 0,
    }
}

#[test]
fn greets_through_noise_and_a_lost_request() {
    let mut line = memory_line(|_, _| (vec![], Some((identity(PROTOCOL_VERSION), vec![]))));
    line.lose = vec![0, 1];
    line.to_host.extend(b"login: \x00\xff\xff");
    let mut station = station(line);
    assert_eq!(station.handshake().unwrap().protocol, PROTOCOL_VERSION);
    assert_eq!((station.stats().retransmits, station.stats().damaged), (2, 2));
}

#[test]
fn what_is_no_station_is_recognized_by_what_it_sends() {
    let noise = || {
        let mut line = silent();
        line.to_host.extend([7; 100]);
        line
    };
    let echo = || Scripted::new(Box::new(|packet| vec![packet]));
    for (line, expected) in [
        (silent(), LineObservation::Silence),
        (noise(), LineObservation::Noise),
        (echo(), LineObservation::Echo),
    ] {
        let error = station(line).handshake().unwrap_err();
        assert!(matches!(error, LinkError::NoStation { observed, .. } if observed == expected), "{error}");
    }
}

#[test]
fn another_version_is_reported_however_it_shows() {
    let by_refusal =
        memory_line(|_, _| (vec![], Some((Response::Refused(Refusal::Protocol { station: 7 }), vec![]))));
    let by_identity = memory_line(|_, _| (vec![], Some((identity(7), vec![]))));
    let mut by_header = silent();
    let content = [&[7, 2, 0, 0, 0, 0][..]].concat();
    let crc = crc32(&content);
    let mut framed = vec![0; 64];
    let length = cobs_encode(&[content, crc.to_le_bytes().to_vec()].concat(), &mut framed);
    by_header.to_host.extend(&framed[..length]);
    by_header.to_host.push_back(0);
    for line in [by_refusal, by_identity, by_header] {
        let error = station(line).handshake().unwrap_err();
        assert!(matches!(error, LinkError::Protocol { station: 7, .. }), "{error}");
        let failure = host_console::Failure::from(error);
        assert_eq!(failure.exit(), host_console::Exit::StationAbsent);
        assert!(
            failure.to_string().contains(&format!("protocol 7, this program {PROTOCOL_VERSION}")),
            "{failure}"
        );
    }
}

/// CRC-32 ISO-HDLC, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1)))
    })
}

/// COBS of fewer than 254 bytes.
fn cobs_encode(bytes: &[u8], out: &mut [u8]) -> usize {
    let mut code = 0;
    for (i, &byte) in bytes.iter().chain(&[0]).enumerate() {
        if byte == 0 {
            out[code] = (i + 1 - code) as u8;
            code = i + 1;
        } else {
            out[i + 1] = byte;
        }
    }
    code
}

/// A result on the line.
fn sequenced(boot_id: u32, sequence: u64) -> Vec<u8> {
    let event = ReliableEvent::Frame(report(sequence as u32));
    let event = SequencedEvent { boot_id: BootId(boot_id), sequence, event };
    packet(sequence as u16, Event::Sequenced(event).into())
}

fn packet(sequence: u16, message: Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    Packet::new(sequence, message).encode(&mut bytes).unwrap();
    bytes
}

/// The frames that arrive until nothing is on the line any more.
fn frames(station: &mut StationClient<Scripted>) -> Vec<u32> {
    let mut frames = Vec::new();
    loop {
        match station.next_event(Duration::ZERO).unwrap() {
            Some(Incoming::Event(ReliableEvent::Frame(report))) => frames.push(report.frame),
            None if station.transport.to_host.is_empty() => return frames,
            None => {}
            other => panic!("{other:?}"),
        }
    }
}

/// A station that has sent every event before some number, and resends what is requested.
fn resending(next_unsent: u32) -> Scripted {
    let mut buffer = RetransmitBuffer::new(BootId(1));
    (0..next_unsent).for_each(|number| buffer.push(ReliableEvent::Frame(report(number))));
    buffer.skip_unsent();
    Scripted::new(Box::new(move |request| {
        let (response, resends) = match request.message {
            Message::Request(Request::Hello { .. }) => (identity(PROTOCOL_VERSION), false),
            Message::Request(Request::Resend(nack)) => (Response::Resend(buffer.on_nack(&nack)), true),
            _ => (Response::Echo, false),
        };
        let mut packets = vec![Packet::new(request.sequence, response)];
        while resends && let Some(event) = buffer.next_to_send() {
            packets.push(Packet::new(event.sequence as u16, Event::Sequenced(event)));
        }
        packets
    }))
}

#[test]
fn events_are_kept_while_an_answer_is_awaited() {
    let mut station =
        station(memory_line(|_, _| (vec![ReliableEvent::Frame(report(5))], Some((Response::Echo, vec![])))));
    for _ in 0..3 {
        station.request(&Request::Echo, &[]).unwrap();
    }
    assert_eq!(station.take_events().len(), 3);
    assert_eq!(station.next_event(Duration::ZERO).unwrap(), None);
}

#[test]
fn what_the_line_loses_repeats_or_brings_late_comes_once_and_in_order() {
    for lose in [vec![], vec![1], vec![1, 2]] {
        let mut line = resending(9);
        line.lose = lose.clone();
        // A line that takes no time: what does not come at once does not come.
        let timeouts = Timeouts { response: Duration::ZERO, ..Timeouts::default() };
        let mut station = StationClient::new(line, "memory", u32::MAX).with_timeouts(timeouts);
        station.handshake().unwrap();
        for number in [2, 3, 3, 2, 6, 5, 8] {
            station.transport.to_host.extend(sequenced(1, number));
        }
        let received: Vec<u32> = (0..=lose.len()).flat_map(|_| frames(&mut station)).collect();
        assert_eq!(received, [2, 3, 4, 5, 6, 7, 8], "{lose:?}");
        let stats = station.stats();
        assert_eq!((stats.events_lost, stats.events_recovered), (0, 3));
        assert!(stats.events_duplicate >= 2, "{stats:?}");
    }
}

#[test]
fn evicted_events_are_counted_as_lost() {
    let mut station = station(resending(RETRANSMIT_CAPACITY as u32 + 20));
    station.handshake().unwrap();
    station.transport.to_host.extend([sequenced(1, 3), sequenced(1, 10)].concat());
    let received = frames(&mut station);
    let all = [3, 10].into_iter().chain(20..RETRANSMIT_CAPACITY as u32 + 20);
    assert_eq!(received, all.collect::<Vec<u32>>());
    assert_eq!(station.stats().events_lost, 6 + 9);
}

#[test]
fn what_the_line_before_still_held_is_not_taken_for_new() {
    let mut line = memory_line(|_, _| (vec![], Some((Response::Echo, vec![]))));
    line.to_host.extend([sequenced(1, 7), sequenced(1, 8)].concat());
    let mut before = station(line);
    before.request(&Request::Echo, &[]).unwrap();
    let request = before.session.next_request();

    let mut line = resending(12);
    line.to_host.extend(sequenced(1, 8));
    line.to_host.extend(
        [packet(request, Response::Echo.into()), sequenced(1, 9), sequenced(1, 7), sequenced(0, 3)].concat(),
    );
    let mut after = station(line).with_session(before.session());
    assert!(after.handshake().is_ok(), "an answer of the line before was taken for the greeting's");
    // The last two were sent while no line was open.
    assert_eq!(frames(&mut after), [9, 10, 11]);
    assert_eq!((after.stats().late_responses, after.stats().events_duplicate), (1, 3));
}

#[test]
fn a_restarted_station_is_followed_from_its_first_result_on() {
    let mut station = station(resending(4));
    station.handshake().unwrap();
    station.transport.to_host.extend([sequenced(0, 70), sequenced(0, 71), sequenced(1, 3)].concat());
    assert_eq!(frames(&mut station), [70, 71, 0, 1, 2, 3]);
    assert_eq!((station.stats().events_duplicate, station.stats().events_lost), (1, 0));
}

#[test]
fn a_new_host_receives_nothing_old() {
    let mut station = station(resending(9));
    station.handshake().unwrap();
    station.transport.to_host.extend(sequenced(1, 9));
    assert_eq!(frames(&mut station), [9]);
}

#[test]
fn late_and_unfitting_answers_are_not_taken_for_the_right_ones() {
    let mut line = memory_line(|_, _| (vec![], Some((identity(PROTOCOL_VERSION), vec![]))));
    let mut late = Vec::new();
    Packet::new(12345, Response::Echo).encode(&mut late).unwrap();
    line.to_host.extend(late);
    let mut station = station(line);
    assert!(matches!(station.status(), Err(LinkError::UnexpectedResponse { .. })));
    assert_eq!(station.stats().late_responses, 1);
}

#[test]
fn a_station_that_falls_silent_is_an_error() {
    let mut station = station(silent());
    assert!(matches!(station.status(), Err(LinkError::Timeout { .. })));
    assert_eq!(station.stats().retransmits, REQUEST_ATTEMPTS - 1);
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_counted_as_damaged_packets(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let complete = bytes.iter().rposition(|&byte| byte == 0).map_or(&[][..], |end| &bytes[..end]);
        let damaged = complete.split(|&byte| byte == 0).filter(|packet| !packet.is_empty()).count();
        let mut line = memory_line(|_, _| (vec![], Some((Response::Echo, vec![]))));
        line.to_host.extend(bytes);
        let mut station = station(line);
        while station.next_event(Duration::ZERO).unwrap().is_some() {}
        prop_assert!(station.stats().damaged as usize >= damaged);
        prop_assert!(station.request(&Request::Echo, &[]).is_ok());
    }
}

/// A station that takes models: what it stores, and what it makes of them.
struct Flashable {
    digest: ModelDigest,
    stored: Vec<Option<Vec<u8>>>,
    length: u32,
    verdict: Result<(), ModelRefusal>,
    /// The request by number at which it restarts and has only this many chunks left.
    restart: Option<(u32, usize)>,
    requests: u32,
    progress: StageProgress,
}

impl Flashable {
    fn new(onnx: &[u8], verdict: Result<(), ModelRefusal>) -> Self {
        let chunks = onnx.len().div_ceil(CHUNK as usize);
        Self {
            digest: ModelDigest::of(onnx),
            stored: vec![None; chunks],
            length: onnx.len() as u32,
            verdict,
            restart: None,
            requests: 0,
            progress: StageProgress::Idle,
        }
    }

    fn receiving(&self) -> StageProgress {
        let whole = self.stored.iter().take_while(|chunk| chunk.is_some()).count() as u32;
        let received = (whole * CHUNK).min(self.length);
        StageProgress::Receiving { digest: self.digest, received, length: self.length }
    }

    fn answer(&mut self, request: &Request, bulk: &[u8]) -> Response {
        self.requests += 1;
        if let Some((at, left)) = self.restart
            && at == self.requests
        {
            self.stored[left..].fill(None);
        }
        let digest = self.digest;
        self.progress = match (*request).clone() {
            Request::Stage { .. } => self.receiving(),
            Request::StageChunk { offset, .. } => {
                self.stored[(offset / CHUNK) as usize] = Some(bulk.to_vec());
                self.receiving()
            }
            Request::Activate { .. } => {
                let onnx: Vec<u8> = self.stored.iter().flatten().flatten().copied().collect();
                assert_eq!(ModelDigest::of(&onnx), digest);
                StageProgress::Verifying { digest }
            }
            Request::StageStatus => match (self.progress, self.verdict) {
                (StageProgress::Verifying { .. }, Err(reason)) => StageProgress::Failed { digest, reason },
                (StageProgress::Verifying { .. }, Ok(())) => StageProgress::Trial { digest, frames_left: 1 },
                (StageProgress::Trial { .. }, _) => StageProgress::Confirmed { digest },
                (progress, _) => progress,
            },
            other => panic!("{other:?}"),
        };
        Response::Stage(self.progress)
    }

    fn into_station(mut self, lose: Vec<u32>) -> StationClient<Scripted> {
        let mut line =
            memory_line(move |request, bulk| (vec![], Some((self.answer(&request, bulk), vec![]))));
        line.lose = lose;
        station(line)
    }
}

fn file(chunks: u32) -> Vec<u8> {
    (0..chunks * CHUNK + 100).map(|i| (i % 251) as u8).collect()
}

fn step(update: OperationUpdate<FlashProgress>) -> Option<FlashProgress> {
    match update {
        OperationUpdate::Progress(step) => Some(step),
        OperationUpdate::Event(_) => None,
    }
}

/// The frames among what an operation reported, and then those that still wait at the client.
fn frames_of<P>(updates: &[OperationUpdate<P>], station: &mut StationClient<Scripted>) -> Vec<u32> {
    let frame = |event: &Incoming| match event {
        Incoming::Event(ReliableEvent::Frame(report)) => report.frame,
        other => panic!("{other:?}"),
    };
    let reported = updates.iter().filter_map(|update| match update {
        OperationUpdate::Event(event) => Some(frame(event)),
        OperationUpdate::Progress(_) => None,
    });
    let mut frames: Vec<u32> = reported.collect();
    frames.extend(station.take_events().iter().map(frame));
    frames
}

#[test]
fn a_flash_passes_on_every_count_and_reports_progress_with_every_answer() {
    let onnx = file(12);
    let mut flashable = Flashable::new(&onnx, Ok(()));
    let (mut frame, mut polls) = (0, 0);
    let line = memory_line(move |request, bulk| {
        frame += 1;
        // The verification outlasts many polls.
        let is_verifying = matches!(flashable.progress, StageProgress::Verifying { .. });
        let response = match request {
            Request::StageStatus if is_verifying && polls < 20 => {
                polls += 1;
                Response::Stage(flashable.progress)
            }
            request => flashable.answer(&request, bulk),
        };
        (vec![ReliableEvent::Frame(report(frame))], Some((response, vec![])))
    });
    let mut station = station(line);
    let mut updates = Vec::new();
    let flashed =
        flash(&mut station, &onnx, Downgrade::Refused, &GO_ON, |update| updates.push(update)).unwrap();
    assert!(matches!(flashed, FlashOutcome::Confirmed(_)));
    let verifying = OperationUpdate::Progress(FlashProgress::Verifying);
    assert_eq!(updates.iter().filter(|&update| *update == verifying).count(), 21);
    // 1 announcement, 13 chunks, 1 activation, 22 polls.
    assert_eq!(frames_of(&updates, &mut station), (1..=37).collect::<Vec<_>>());
    assert!(updates.iter().any(|update| matches!(update, OperationUpdate::Event(_))));
}

#[test]
fn an_old_announcement_is_not_mistaken_for_the_present_state() {
    let onnx = file(1);
    let digest = ModelDigest::of(&onnx);
    let mut flashable = Flashable::new(&onnx, Ok(()));
    let failed = StageProgress::Failed { digest, reason: ModelRefusal::NotOnnx };
    let line = memory_line(move |request, bulk| {
        let events = match request {
            Request::Activate { .. } => vec![ReliableEvent::Notice(Notice::Stage(failed))],
            _ => vec![],
        };
        (events, Some((flashable.answer(&request, bulk), vec![])))
    });
    let flashed = flash(&mut station(line), &onnx, Downgrade::Refused, &GO_ON, |_| {});
    assert!(matches!(flashed, Ok(FlashOutcome::Confirmed(_))), "{flashed:?}");
}

#[test]
fn flashes_over_a_bad_line_and_through_a_restart() {
    let onnx = file(30);
    for (lose, restart, resent) in [
        (vec![], None, 0),
        (vec![1, 4, 5, 20], None, 4),
        (vec![], Some((20, 7)), 0),
        (vec![3], Some((12, 0)), 0),
    ] {
        let mut flashable = Flashable::new(&onnx, Ok(()));
        flashable.restart = restart;
        let mut steps = Vec::new();
        let mut station = flashable.into_station(lose);
        let flashed =
            flash(&mut station, &onnx, Downgrade::Refused, &GO_ON, |update| steps.extend(step(update)))
                .unwrap();
        let FlashOutcome::Confirmed(uploaded) = flashed else { panic!("{flashed:?}") };
        assert!(uploaded.bytes as usize <= onnx.len() && uploaded.resent >= resent, "{uploaded:?}");
        assert!(
            steps.contains(&FlashProgress::Verifying)
                && steps.contains(&FlashProgress::Trial { frames_left: 1 })
        );
    }
}

#[test]
fn goes_on_where_it_stopped() {
    let onnx = file(8);
    let mut flashable = Flashable::new(&onnx, Ok(()));
    for (stored, chunk) in flashable.stored.iter_mut().zip(onnx.chunks(CHUNK as usize)).take(5) {
        *stored = Some(chunk.to_vec());
    }
    let mut steps = Vec::new();
    let flashed = flash(&mut flashable.into_station(vec![]), &onnx, Downgrade::Refused, &GO_ON, |update| {
        steps.extend(step(update));
    })
    .unwrap();
    assert_eq!(steps[0], FlashProgress::Resumed { held: 5 * CHUNK });
    assert!(matches!(flashed, FlashOutcome::Confirmed(uploaded) if uploaded.bytes == 3 * CHUNK + 100));
}

#[test]
fn a_stop_leaves_what_the_station_holds() {
    let onnx = file(30);
    let stop = AtomicBool::new(false);
    let mut station = Flashable::new(&onnx, Ok(())).into_station(vec![]);
    let flashed = flash(&mut station, &onnx, Downgrade::Refused, &stop, |update| {
        if matches!(step(update), Some(FlashProgress::Sending { held, .. }) if held >= 6 * CHUNK) {
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    });
    assert!(matches!(flashed, Ok(FlashOutcome::Stopped { held }) if (6 * CHUNK..30 * CHUNK).contains(&held)));
}

#[test]
fn a_refused_model_is_reported_with_its_reason() {
    let onnx = file(2);
    for reason in [ModelRefusal::NotOnnx, ModelRefusal::GoldenMismatch, ModelRefusal::TrialFailed] {
        let mut station = Flashable::new(&onnx, Err(reason)).into_station(vec![]);
        let error = flash(&mut station, &onnx, Downgrade::Refused, &GO_ON, |_| {}).unwrap_err();
        assert!(matches!(error, FlashError::Model(found) if found == reason));
    }
    let refuse = || Some((Response::Refused(Refusal::Model(ModelRefusal::TooLarge { limit: 5 })), vec![]));
    let error = flash(
        &mut station(memory_line(move |_, _| (vec![], refuse()))),
        &onnx,
        Downgrade::Refused,
        &GO_ON,
        |_| {},
    )
    .unwrap_err();
    assert!(matches!(error, FlashError::Model(ModelRefusal::TooLarge { limit: 5 })));
}

#[test]
fn a_station_that_forgets_everything_is_given_up() {
    let onnx = file(2);
    let mut station =
        station(memory_line(|_, _| (vec![], Some((Response::Stage(StageProgress::Idle), vec![])))));
    assert!(matches!(
        flash(&mut station, &onnx, Downgrade::Refused, &GO_ON, |_| {}),
        Err(FlashError::UploadLost)
    ));
}

/// A station whose frame has an image of many pieces.
fn camera(states: Vec<CaptureState>, picture: Vec<u8>, labels: Vec<u8>) -> Scripted {
    let mut states = states.into_iter();
    memory_line(move |request, _| {
        let reply = match request {
            Request::Capture { .. } => (Response::Capture(states.next().unwrap()), vec![]),
            Request::ReadCapture { token, part, offset } => {
                let bytes = if part == CapturePart::Picture { &picture } else { &labels };
                let end = bytes.len().min((offset + CHUNK) as usize);
                (Response::CaptureData { token, offset }, bytes[offset as usize..end].to_vec())
            }
            other => panic!("{other:?}"),
        };
        (vec![ReliableEvent::Frame(report(1))], Some(reply))
    })
}

#[test]
fn captures_every_piece_whatever_is_lost() {
    let picture: Vec<u8> = file(11);
    let labels = LabelImage::new(6, 4, (0..24).map(|i| i / 12 * 2).collect()).unwrap();
    let encoded = encode_labels(&labels);
    let info = CaptureInfo {
        report: report(1),
        picture_length: picture.len() as u32,
        labels_length: encoded.len() as u32,
        truth_length: 0,
    };
    for lose in [vec![], vec![2], vec![2, 3, 7], vec![13, 14]] {
        let states = vec![CaptureState::Pending, CaptureState::Ready(info.clone())];
        let mut line = camera(states, picture.clone(), encoded.clone());
        line.lose = lose;
        let shot = station(line).capture(9, &GO_ON, |_| {}).unwrap();
        let CaptureOutcome::Taken(captured) = shot else { panic!("{shot:?}") };
        assert_eq!(captured.picture_png, picture);
        assert_eq!((captured.labels, captured.truth), (labels.clone(), None));
    }
}

#[test]
fn a_capture_passes_on_every_count_and_reports_progress_with_every_answer() {
    let picture = file(11);
    let encoded = encode_labels(&LabelImage::new(6, 4, vec![0; 24]).unwrap());
    let length = picture.len() as u32;
    let info = CaptureInfo {
        report: report(1),
        picture_length: length,
        labels_length: encoded.len() as u32,
        truth_length: 0,
    };
    let states = vec![CaptureState::Pending, CaptureState::Pending, CaptureState::Ready(info)];
    let mut station = station(camera(states, picture, encoded));
    let mut updates = Vec::new();
    station.capture(9, &GO_ON, |update| updates.push(update)).unwrap();
    let pending = OperationUpdate::Progress(CaptureProgress::Pending);
    assert_eq!(updates.iter().filter(|&update| *update == pending).count(), 2);
    assert!(updates.contains(&OperationUpdate::Progress(CaptureProgress::Reading { bytes: length, length })));
    // 3 requests for the state, 12 pieces of the image, 1 of the labels.
    assert_eq!(frames_of(&updates, &mut station).len(), 3 + 12 + 1);
}

#[test]
fn a_capture_that_cannot_be_is_no_frame() {
    let info = CaptureInfo { report: report(1), picture_length: 10, labels_length: 3, truth_length: 0 };
    let capture =
        |state: CaptureState| station(camera(vec![state], file(1), vec![1; 3])).capture(9, &GO_ON, |_| {});
    assert_eq!(capture(CaptureState::Finished).unwrap(), CaptureOutcome::Finished);
    assert_eq!(capture(CaptureState::CameraAbsent).unwrap(), CaptureOutcome::CameraAbsent);
    let too_long = CaptureInfo { picture_length: u32::MAX, ..info.clone() };
    assert!(matches!(
        capture(CaptureState::Ready(too_long)),
        Err(CaptureError::Link(LinkError::UnexpectedResponse { .. }))
    ));
    let other_length = CaptureInfo { picture_length: 9, ..info };
    assert!(capture(CaptureState::Ready(other_length)).is_err());
}

#[test]
fn a_line_is_judged_by_what_comes_back() {
    let mut packets = 0;
    let mut line = memory_line(move |_, bulk| {
        packets += 1;
        let mut bulk = bulk.to_vec();
        if packets == 5 {
            bulk[0] ^= 1;
        }
        (vec![], Some((Response::Echo, bulk)))
    });
    line.lose = vec![2, 41];
    let stop = AtomicBool::new(false);
    let end_soon = |share| {
        if share > 0.0 {
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    };
    let quality = measure(&mut station(line), Duration::from_secs(60), &stop, end_soon).unwrap();
    assert_eq!((quality.lost, quality.altered, quality.packets), (2, 1, 44), "{quality:?}");
    assert!(quality.bytes_per_second > 0.0 && quality.round_trip_median_ms.is_some());
}
