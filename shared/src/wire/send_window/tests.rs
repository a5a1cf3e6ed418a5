use super::*;
use crate::slots::{ChunkMap, ModelFile};
use crate::wire::ModelDigest;

const CONFIG: WindowConfig = WindowConfig { window: 4, timeout_ms: 100 };

/// Offset of the n-th chunk.
const fn at(n: u32) -> u32 {
    n * CHUNK
}

/// Every chunk that may be sent now.
fn burst(window: &mut SendWindow, now_ms: u64) -> Vec<u32> {
    core::iter::from_fn(|| window.next_to_send(now_ms)).collect()
}

#[test]
fn the_window_limits_what_is_in_flight() {
    let mut window = SendWindow::new(at(6) + 1, 0, CONFIG);
    assert_eq!(burst(&mut window, 0), [at(0), at(1), at(2), at(3)]);
    assert_eq!(window.next_timeout_ms(), Some(100));
    window.on_ack(at(0), at(1));
    window.on_ack(at(1), at(2));
    assert_eq!(burst(&mut window, 10), [at(4), at(5)]);
    assert_eq!(window.range(at(6)), at(6) as usize..at(6) as usize + 1);
    for n in 2..6 {
        window.on_ack(at(n), at(n + 1));
    }
    assert_eq!(burst(&mut window, 20), [at(6)]);
    assert!(!window.is_done());
    window.on_ack(at(6), at(6) + 1);
    assert!(window.is_done());
    assert_eq!((burst(&mut window, 999), window.next_timeout_ms(), window.resent()), (vec![], None, 0));
}

#[test]
fn only_lost_chunks_are_sent_again() {
    let mut window = SendWindow::new(at(6), 0, CONFIG);
    burst(&mut window, 0);
    // The third is acknowledged, so that the first two are lost.
    window.on_ack(at(2), 0);
    assert_eq!(window.acked_bytes(), CHUNK);
    assert_eq!(burst(&mut window, 5), [at(0), at(1), at(4)]);
    // The station holds the first two: only their acknowledgements were lost.
    window.on_ack(at(4), at(3));
    assert_eq!(window.acked_bytes(), at(4));
    assert_eq!(burst(&mut window, 6), [at(3), at(5)]);
    assert_eq!(window.resent(), 3);
}

#[test]
fn a_chunk_without_acknowledgement_times_out() {
    let mut window = SendWindow::new(at(5), 0, CONFIG);
    burst(&mut window, 0);
    assert!(burst(&mut window, 99).is_empty());
    assert_eq!(burst(&mut window, 100), [at(0), at(1), at(2), at(3)]);
    assert_eq!(window.next_timeout_ms(), Some(200));
}

#[test]
fn resumes_from_what_the_station_holds() {
    let cases = [
        ("from the start", 0, vec![at(0), at(1), at(2)]),
        ("from a chunk", at(2), vec![at(2)]),
        ("from within a chunk", at(1) + 9, vec![at(1), at(2)]),
        ("nothing left", at(2) + 5, vec![]),
        ("more than there is", u32::MAX, vec![]),
    ];
    for (name, received, expected) in cases {
        let mut window = SendWindow::new(at(2) + 5, received, CONFIG);
        assert_eq!(burst(&mut window, 0), expected, "{name}");
        assert_eq!(window.is_done(), expected.is_empty(), "{name}");
    }
}

#[test]
fn goes_back_when_the_station_lost_chunks() {
    let mut window = SendWindow::new(at(8), at(4), CONFIG);
    burst(&mut window, 0);
    window.on_ack(at(4), at(2));
    assert_eq!(burst(&mut window, 1), [at(2), at(3), at(4), at(5)]);

    // The station acknowledged a chunk beyond the gap and then lost it.
    let mut window = SendWindow::new(at(2), 0, CONFIG);
    burst(&mut window, 0);
    window.on_ack(at(1), 0);
    burst(&mut window, 1);
    window.on_ack(at(0), at(1));
    assert_eq!(burst(&mut window, 2), [at(1)]);
}

#[test]
fn timeout_covers_the_window() {
    for baud in [9_600, 115_200, 921_600, 3_000_000] {
        let config = WindowConfig::for_baud(baud, 1000);
        let window_ms = u64::from(config.window) * u64::from(CHUNK) * 10_000 / u64::from(baud);
        let range = 2 * window_ms + 1000..3 * window_ms + 1000;
        assert!(range.contains(&u64::from(config.timeout_ms)), "{baud}: {config:?}");
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    /// Whether something of this chance in a thousand happens.
    fn happens(&mut self, per_mille: u64) -> bool {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % 1000 < per_mille
    }
}

/// What a simulated line does to packets, in thousandths.
#[derive(Debug, Clone, Copy)]
struct LineFaults {
    /// Chunks and acknowledgements lost.
    loss: u64,
    /// Station restarts per chunk handled.
    restarts: u64,
}

#[derive(Debug)]
struct Outcome {
    sent: u32,
    elapsed_ms: u64,
}

/// Takes the first packet if it has arrived.
fn arrived<T>(line: &mut VecDeque<T>, has_arrived: impl Fn(&T) -> bool) -> Option<T> {
    if line.front().is_some_and(has_arrived) { line.pop_front() } else { None }
}

/// Milliseconds that a chunk takes on the line, and an acknowledgement altogether.
const CHUNK_MS: u64 = 45;
const ACK_MS: u64 = 10;

/// Uploads over a line that keeps order, loses packets, and ends at a station that syncs its map at every
/// 16th chunk and loses the rest when it restarts.
fn simulate(chunks: u32, line: LineFaults, seed: u64) -> Outcome {
    let mut random = Random(seed);
    let model = ModelFile { digest: ModelDigest([0; 32]), length: at(chunks) - 7 };
    let mut map = ChunkMap::new(model);
    let mut synced = map.encode();
    let mut window = SendWindow::new(model.length, 0, WindowConfig::for_baud(921_600, 1000));
    // Arrival times, in order.
    let mut to_station: VecDeque<(u64, u32)> = VecDeque::new();
    let mut to_host: VecDeque<(u64, u32, u32)> = VecDeque::new();
    let (mut now_ms, mut line_free_ms, mut handled) = (0, 0, 0);
    let mut sent = 0;
    while !window.is_done() {
        while let Some(offset) = window.next_to_send(now_ms) {
            sent += 1;
            line_free_ms = now_ms.max(line_free_ms) + CHUNK_MS;
            if !random.happens(line.loss) {
                to_station.push_back((line_free_ms, offset));
            }
        }
        let times = [to_station.front().map(|x| x.0), to_host.front().map(|x| x.0), window.next_timeout_ms()];
        now_ms = times.into_iter().flatten().min().expect("a timeout or an arrival is ahead").max(now_ms);
        while let Some((_, offset)) = arrived(&mut to_station, |x| x.0 <= now_ms) {
            map.insert(offset, window.range(offset).len()).unwrap();
            handled += 1;
            if handled % 16 == 0 || map.is_complete() {
                synced = map.encode();
            }
            if !random.happens(line.loss) {
                to_host.push_back((now_ms + ACK_MS, offset, map.received_prefix()));
            }
            if random.happens(line.restarts) {
                map = ChunkMap::decode(&synced, model).unwrap();
                to_station.clear();
            }
        }
        while let Some((_, offset, received)) = arrived(&mut to_host, |x| x.0 <= now_ms) {
            window.on_ack(offset, received);
        }
        assert!(now_ms < 100_000_000, "the upload does not end");
    }
    assert!(map.is_complete());
    Outcome { sent, elapsed_ms: now_ms }
}

#[test]
fn a_good_line_is_always_busy() {
    let outcome = simulate(500, LineFaults { loss: 0, restarts: 0 }, 1);
    assert_eq!(outcome.sent, 500);
    assert_eq!(outcome.elapsed_ms, 500 * CHUNK_MS + ACK_MS);
}

#[test]
fn ends_on_any_line_with_few_resends() {
    let cases = [
        ("1 % lost", LineFaults { loss: 10, restarts: 0 }, 1.05),
        ("10 % lost", LineFaults { loss: 100, restarts: 0 }, 1.3),
        ("half lost", LineFaults { loss: 500, restarts: 0 }, 3.5),
        ("restarts", LineFaults { loss: 10, restarts: 10 }, 1.6),
    ];
    for (name, line, most) in cases {
        for seed in 0..20 {
            let Outcome { sent, elapsed_ms } = simulate(400, line, seed);
            let waste = f64::from(sent) / 400.0;
            let slowness = elapsed_ms as f64 / (400 * CHUNK_MS) as f64;
            assert!(waste < most && slowness < 2.0 * most, "{name}, seed {seed}: {waste} {slowness}");
        }
    }
}
