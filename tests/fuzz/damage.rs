//! Random damage to bytes, with a focus on numbers.

use std::path::PathBuf;

use rand::Rng as _;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;

/// Numbers at the edges of types, in text.
const NUMBERS: [&str; 12] = [
    "0",
    "-1",
    "1",
    "255",
    "65536",
    "4294967295",
    "4294967296",
    "18446744073709551616",
    "1e309",
    "-0.0",
    "nan",
    "0x7f",
];
const BYTES: [u8; 8] = [0, 1, 0x7F, 0x80, 0xFF, b'"', b'\n', b'['];

/// The bytes after one to six mutations, some using other bytes of the corpus.
pub fn damaged(bytes: &[u8], corpus: &[(PathBuf, Vec<u8>)], random: &mut SmallRng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.random_range(1..=6) {
        if bytes.is_empty() {
            bytes.push(random.random());
        }
        let at = random.random_range(0..bytes.len());
        let end = (at + random.random_range(1..=64)).min(bytes.len());
        match random.random_range(0..9) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = *BYTES.choose(random).unwrap(),
            2 => bytes[at] = random.random(),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let copy = bytes[at..end].to_vec();
                let to = random.random_range(0..bytes.len());
                bytes.splice(to..to, copy);
            }
            5 => {
                let fill = *BYTES.choose(random).unwrap();
                bytes[at..end].fill(fill);
            }
            6 => bytes.truncate(at),
            7 => replace_number(&mut bytes, at, random),
            _ => {
                let other = &corpus.choose(random).unwrap().1;
                let from = random.random_range(0..=other.len());
                let to = (from + random.random_range(1..=512)).min(other.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
        }
    }
    bytes
}

/// The first digits from `at` on become another number.
fn replace_number(bytes: &mut Vec<u8>, at: usize, random: &mut SmallRng) {
    let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit).map(|start| at + start) else { return };
    let length = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    bytes.splice(start..start + length, NUMBERS.choose(random).unwrap().bytes());
}
