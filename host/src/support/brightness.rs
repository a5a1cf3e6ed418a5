//! The illumination's brightness in percent.

use shared::DutyCycle;

/// Percent of full brightness.
pub fn percent(brightness: DutyCycle) -> f32 {
    f32::from(brightness.get()) / 10.0
}

/// The brightness nearest to `percent`; `None` outside of 0 to 100.
pub fn from_percent(percent: f64) -> Option<DutyCycle> {
    let thousandths = (percent * 10.0).round();
    let thousandths = (0.0..=1000.0).contains(&thousandths).then_some(thousandths as u16)?;
    DutyCycle::try_from(thousandths).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn per_cent_round_trips_within_range() {
        for (typed, expected) in [
            (0.0, Some(0.0)),
            (33.33, Some(33.3)),
            (100.0, Some(100.0)),
            (100.1, None),
            (-0.1, None),
            (f64::NAN, None),
        ] {
            assert_eq!(from_percent(typed).map(percent), expected, "{typed}");
        }
    }
}
