//! What a person asks for on the page.

use serde::Deserialize;

use crate::records::gates::Gates;

/// What a person asks for.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Another brightness of the illumination.
    Illumination {
        /// Per cent, 0 to 100.
        percent: f32,
    },
    /// Other gates; they are kept.
    Gates {
        /// The gates.
        gates: Gates,
    },
    /// Frames are recorded, or no more.
    Record {
        /// Whether.
        on: bool,
    },
    /// One frame with its labels and evidence, as files.
    Snapshot,
    /// Back to the model before the running one.
    Revert,
    /// Another model onto the station.
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
    fn commands_are_read_and_others_refused() {
        let gates = Gates { min_area_px: 9, max_area_px: None, border: Border::Exclude };
        let cases = [
            (r#"{"do":"snapshot"}"#, Some(Command::Snapshot)),
            (r#"{"do":"illumination","percent":40}"#, Some(Command::Illumination { percent: 40.0 })),
            (
                r#"{"do":"gates","gates":{"min_area_px":9,"border":"exclude"}}"#,
                Some(Command::Gates { gates }),
            ),
            (r#"{"do":"flash","name":"x","onnx":[]}"#, None),
            (r#"{"do":"format"}"#, None),
            ("snapshot", None),
        ];
        for (text, expected) in cases {
            assert_eq!(serde_json::from_str::<Command>(text).ok(), expected, "{text}");
        }
    }
}
