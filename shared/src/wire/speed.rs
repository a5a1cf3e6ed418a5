//! The speeds at which host and station look for each other.

/// Speeds that every line falls back to, bits a second, fastest first.
const COMMON: [u32; 4] = [921_600, 460_800, 230_400, 115_200];

/// The speeds of a line whose fastest is `top` bits a second: that one, and the common ones below it, fastest first.
///
/// Either side chooses among these: the host by what is answered, the station by what it understands.
pub fn speeds(top: u32) -> impl Iterator<Item = u32> {
    core::iter::once(top).chain(COMMON.into_iter().filter(move |&speed| speed < top))
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn a_line_begins_with_its_own_speed_and_goes_down() {
        assert_eq!(speeds(921_600).collect::<Vec<_>>(), COMMON);
        assert_eq!(speeds(3_000_000).collect::<Vec<_>>(), [3_000_000, 921_600, 460_800, 230_400, 115_200]);
        assert_eq!(speeds(250_000).collect::<Vec<_>>(), [250_000, 230_400, 115_200]);
        assert_eq!(speeds(9_600).collect::<Vec<_>>(), [9_600]);
    }
}
