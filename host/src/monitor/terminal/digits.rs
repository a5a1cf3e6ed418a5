//! Large digits, readable at arm's length.

/// Rows of a digit.
pub const HEIGHT: usize = 5;

/// Three by five dots per digit; each row is an octal digit, the left dot its highest bit.
const DOTS: [u16; 10] =
    [0o75557, 0o26227, 0o71747, 0o71717, 0o55711, 0o74717, 0o74757, 0o71111, 0o75757, 0o75717];

/// A number in rows of blocks; a dot is two characters wide, as it is one high.
pub fn rows(number: u64) -> [String; HEIGHT] {
    let digits: Vec<usize> =
        number.to_string().bytes().map(|byte| usize::from(byte.saturating_sub(b'0'))).collect();
    std::array::from_fn(|row| {
        let digit = |&digit: &usize| {
            let dots = DOTS[digit] >> (3 * (HEIGHT - 1 - row));
            [4, 2, 1].map(|dot| if dots & dot == 0 { "  " } else { "██" }).concat()
        };
        digits.iter().map(digit).collect::<Vec<String>>().join("  ")
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Reads a number from rows of blocks.
    pub fn read(rows: &[String]) -> Option<u64> {
        let width = rows.iter().map(|row| row.trim_end().chars().count()).max()?;
        let dot = |row: &String, at: usize| u16::from(row.chars().nth(at) == Some('█'));
        let digit = |from: usize| {
            let dots = rows.iter().fold(0, |dots, row| {
                (0..3).fold(dots, |dots, column| dots << 1 | dot(row, from + 2 * column))
            });
            DOTS.iter().position(|&known| known == dots)
        };
        (0..width.div_ceil(8)).try_fold(0, |number, at| Some(10 * number + digit(8 * at)? as u64))
    }

    #[test]
    fn numbers_are_read_back() {
        for number in [0, 7, 12, 345, 6789, 1_234_567_890] {
            assert_eq!(read(&rows(number)), Some(number));
        }
        assert_eq!(rows(1)[4], "██████");
    }
}
