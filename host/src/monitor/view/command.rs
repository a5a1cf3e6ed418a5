//! Commands of a view.

use serde::Deserialize;

use crate::records::gates::Gates;

/// A command of a view.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum ViewCommand {
    /// Set the illumination.
    Illumination {
        /// Percent, 0 to 100.
        percent: f32,
    },
    /// Set and save the gates.
    Gates {
        /// The gates.
        gates: Gates,
    },
    /// Turn recording on or off.
    Record {
        /// Whether.
        on: bool,
    },
    /// Write one frame, its labels and its evidence to files.
    Snapshot,
    /// Revert to the previous model.
    Revert,
    /// Flash a model.
    #[serde(skip)]
    Flash {
        /// The file's name.
        name: String,
        /// The file.
        onnx: Vec<u8>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::gates::Border;

    #[test]
    fn commands_parse_and_others_do_not() {
        let gates = Gates { min_area_px: 9, max_area_px: None, border: Border::Exclude };
        let cases = [
            (r#"{"do":"snapshot"}"#, Some(ViewCommand::Snapshot)),
            (r#"{"do":"illumination","percent":40}"#, Some(ViewCommand::Illumination { percent: 40.0 })),
            (
                r#"{"do":"gates","gates":{"min_area_px":9,"border":"exclude"}}"#,
                Some(ViewCommand::Gates { gates }),
            ),
            (r#"{"do":"flash","name":"x","onnx":[]}"#, None),
            (r#"{"do":"format"}"#, None),
            ("snapshot", None),
        ];
        for (text, expected) in cases {
            assert_eq!(serde_json::from_str::<ViewCommand>(text).ok(), expected, "{text}");
        }
    }
}
