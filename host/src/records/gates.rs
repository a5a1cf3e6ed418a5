//! The gates: which nuclei to count, by area and by the image's border.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use host_console::{Failure, write_whole};
use serde::{Deserialize, Serialize};
use shared::Object;

use crate::support::user_config;

/// The rule for nuclei cut by the image's border.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Border {
    /// Count them.
    #[default]
    Count,
    /// Count none of them.
    Exclude,
    /// Count those at the upper and left border but not those at the lower and right: over many fields, each nucleus
    /// then counts once, as in a counting chamber.
    TwoEdges,
}

impl Border {
    /// The rule as text.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Count => "all count",
            Self::Exclude => "none counts",
            Self::TwoEdges => "those at the upper and left border count",
        }
    }
}

/// Which nuclei count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gates {
    /// Least area, px.
    pub min_area_px: u32,
    /// Maximum area, px; absent for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_area_px: Option<u32>,
    /// The rule for nuclei at the border.
    #[serde(default)]
    pub border: Border,
}

impl Gates {
    /// Whether a nucleus in an image of that size counts.
    pub fn pass(&self, nucleus: &Object, width: u32, height: u32) -> bool {
        let outline = nucleus.bounding_box;
        let at_far_edge = outline.x + outline.width >= width || outline.y + outline.height >= height;
        let is_cut = match self.border {
            Border::Count => false,
            Border::Exclude => nucleus.touches_border,
            Border::TwoEdges => at_far_edge,
        };
        let is_large = nucleus.area_px >= self.min_area_px;
        is_large && !is_cut && self.max_area_px.is_none_or(|max| nucleus.area_px <= max)
    }

    /// The gates, if some nucleus can pass them.
    ///
    /// # Errors
    /// [`Failure`] when the maximum area is below the minimum.
    pub fn checked(self) -> Result<Self, Failure> {
        match self.max_area_px {
            Some(most) if most < self.min_area_px => {
                let problem =
                    format!("the maximum area, {most} px, is below the minimum, {} px", self.min_area_px);
                Err(Failure::usage(problem, "no nucleus would count: correct the area's gates"))
            }
            _ => Ok(self),
        }
    }

    /// The path of the user's gates; `None` without a home folder.
    pub fn path() -> Option<PathBuf> {
        user_config::path("gates.toml")
    }

    /// The user's gates, as saved last.
    ///
    /// # Errors
    /// [`Failure`] when their file is damaged.
    pub fn saved() -> Result<Self, Failure> {
        Ok(Self::path().as_deref().map(Self::load).transpose()?.unwrap_or_default())
    }

    /// The gates as text.
    pub fn describe(&self) -> String {
        let most = self.max_area_px.map_or("any".to_owned(), |most| format!("{most} px"));
        format!("area from {} px to {most}; at the border: {}", self.min_area_px, self.border.describe())
    }

    /// Loads gates; without the file, every nucleus passes.
    ///
    /// # Errors
    /// [`Failure`] when the file is damaged.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let Ok(text) = std::fs::read_to_string(path) else { return Ok(Self::default()) };
        let unfit = |problem: String| {
            let problem = format!("{} is damaged: {problem}", path.display());
            Failure::failed(problem, "correct or delete the file; without it there are no gates")
        };
        let gates: Self = toml::from_str(&text).map_err(|error| unfit(error.message().to_owned()))?;
        gates.checked().map_err(|_| unfit("its maximum area is below its minimum".to_owned()))
    }

    /// Saves the gates.
    ///
    /// # Errors
    /// [`Failure`] when the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Failure> {
        let text = toml::to_string(self).map_err(|error| Failure::failed(error, "please report this"))?;
        Ok(write_whole(path, text.as_bytes())?)
    }
}

#[cfg(test)]
mod tests {
    use shared::{BoundingBox, Point};

    use super::*;

    fn nucleus(area_px: u32, [x, y, width, height]: [u32; 4], touches_border: bool) -> Object {
        Object {
            label: 1,
            area_px,
            centroid: Point { x: 0.0, y: 0.0 },
            equivalent_diameter_px: 1.0,
            perimeter_px: 1.0,
            circularity: 1.0,
            mean_intensity: 0.0,
            bounding_box: BoundingBox { x, y, width, height },
            touches_border,
        }
    }

    #[test]
    fn area_and_edge_decide() {
        let (inside, left, right) = ([5, 5, 10, 10], [0, 5, 10, 10], [90, 5, 10, 10]);
        let gates = |border| Gates { min_area_px: 50, max_area_px: Some(100), border };
        let cases = [
            (gates(Border::Count), 49, inside, false),
            (gates(Border::Count), 50, inside, true),
            (gates(Border::Count), 100, right, true),
            (gates(Border::Count), 101, inside, false),
            (gates(Border::Exclude), 80, inside, true),
            (gates(Border::Exclude), 80, left, false),
            (gates(Border::TwoEdges), 80, left, true),
            (gates(Border::TwoEdges), 80, right, false),
            (Gates::default(), u32::MAX, right, true),
        ];
        for (gates, area, outline, expected) in cases {
            let nucleus = nucleus(area, outline, outline != inside);
            assert_eq!(gates.pass(&nucleus, 100, 100), expected, "{gates:?} {area} {outline:?}");
        }
    }

    #[test]
    fn gates_are_saved() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nuclei/gates.toml");
        assert_eq!(Gates::load(&path).unwrap(), Gates::default());
        for gates in
            [Gates { min_area_px: 30, max_area_px: Some(900), border: Border::TwoEdges }, Gates::default()]
        {
            gates.save(&path).unwrap();
            assert_eq!(Gates::load(&path).unwrap(), gates);
        }
        std::fs::write(&path, "min_area_px = -3").unwrap();
        assert!(Gates::load(&path).unwrap_err().to_string().contains("gates.toml is damaged"));
    }
    #[test]
    fn gates_that_nothing_passes_are_refused() {
        let gates = |min_area_px, max_area_px| Gates { min_area_px, max_area_px, ..Gates::default() };
        for kept in [gates(0, None), gates(90, None), gates(90, Some(90)), gates(0, Some(0))] {
            assert_eq!(kept.checked().unwrap(), kept);
        }
        assert!(gates(91, Some(90)).checked().unwrap_err().to_string().contains("90 px, is below"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gates.toml");
        gates(91, Some(90)).save(&path).unwrap();
        let refused = Gates::load(&path).unwrap_err().to_string();
        assert!(refused.contains("gates.toml is damaged: its maximum area is below"), "{refused}");
    }
}
