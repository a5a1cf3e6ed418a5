use super::*;
use crate::station::client::{SerialTransport, Transport as _};

fn ends(line: &VirtualLine, baud: u32) -> (SerialTransport, SerialTransport) {
    let open = |path: PathBuf| SerialTransport::open(path.to_str().unwrap(), baud).unwrap();
    (open(line.host_end()), open(line.station_end()))
}

fn receive(end: &mut SerialTransport, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut room = [0; 4096];
    while bytes.len() < count {
        let came = end.receive(&mut room, Duration::from_secs(5)).unwrap();
        assert!(came > 0, "{} of {count} bytes came", bytes.len());
        bytes.extend_from_slice(&room[..came]);
    }
    bytes
}

/// An end counts as open once the pump has looked at it: until then bytes for it are lost.
fn introduce(from: &mut SerialTransport, to: &mut SerialTransport) {
    let mut room = [0; 16];
    loop {
        from.send(b"?").unwrap();
        if to.receive(&mut room, TICK * 5).unwrap() > 0 {
            break;
        }
    }
    while to.receive(&mut room, TICK * 10).unwrap() > 0 {}
}

#[test]
fn every_byte_arrives_both_ways_at_once_and_unchanged() {
    let line = VirtualLine::new(4_000_000).unwrap();
    let (mut host, mut station) = ends(&line, 921_600);
    introduce(&mut host, &mut station);
    introduce(&mut station, &mut host);
    let bytes: Vec<u8> = (0..100_000u32).map(|i| (i * 7 % 256) as u8).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let came = receive(&mut station, bytes.len());
            station.send(&came).unwrap();
        });
        host.send(&bytes).unwrap();
        assert_eq!(receive(&mut host, bytes.len()), bytes);
    });
    assert!(line.carried().0 >= 100_000 && line.carried().1 >= 100_000);
}

#[test]
fn a_line_is_no_faster_than_its_rate() {
    let line = VirtualLine::new(115_200).unwrap();
    let (mut host, mut station) = ends(&line, 115_200);
    introduce(&mut host, &mut station);
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| receive(&mut station, 5760));
        host.send(&[0xA5; 5760]).unwrap();
    });
    let least = Duration::from_millis(500) - MAX_CREDIT - TICK;
    assert!(start.elapsed() >= least, "{:?}", start.elapsed());
}

#[test]
fn an_end_closed_and_opened_again_starts_empty() {
    let line = VirtualLine::new(921_600).unwrap();
    let (mut host, mut station) = ends(&line, 921_600);
    introduce(&mut host, &mut station);
    let first = std::fs::read_link(line.station_end()).unwrap();
    drop(station);
    let start = Instant::now();
    while std::fs::read_link(line.station_end()).unwrap() == first {
        assert!(start.elapsed() < Duration::from_secs(5), "the pump did not notice");
        host.send(b"to nobody").unwrap();
        std::thread::yield_now();
    }
    let mut station = SerialTransport::open(line.station_end().to_str().unwrap(), 921_600).unwrap();
    introduce(&mut host, &mut station);
    host.send(b"again").unwrap();
    assert_eq!(receive(&mut station, 5), b"again");
}

#[test]
fn an_end_may_be_opened_in_the_very_moment_that_it_was_closed() {
    let line = VirtualLine::new(921_600).unwrap();
    let (host, mut station) = ends(&line, 921_600);
    drop(host);
    for round in 0..100 {
        let mut host = SerialTransport::open(line.host_end().to_str().unwrap(), 921_600).unwrap();
        // Closed again at any time around the pump's tick.
        std::thread::sleep(TICK * round / 33);
        introduce(&mut host, &mut station);
    }
}

#[test]
fn programs_that_are_started_meanwhile_hold_no_terminal() {
    let _line = VirtualLine::new(921_600).unwrap();
    let listing = std::process::Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap();
    let listing = String::from_utf8(listing.stdout).unwrap();
    assert!(!listing.contains("ptmx"), "{listing}");
}
