//! Counts the codec's table of first guesses.

use shared::LabelImage;

use crate::outline::{CHOICE_CONTEXTS, Neighbourhood, OUTLINE_CONTEXTS, Place};

/// Steps of one outline context to the next that differs in more than its last step.
const SIBLINGS: usize = 9;
const LINE: usize = 100;

/// No and yes.
type Tally = [f64; 2];

/// The table as it stands in `prior.rs`.
pub(super) fn count<'a>(pictures: impl Iterator<Item = &'a LabelImage>) -> String {
    let mut outline = [[0.0; 2]; OUTLINE_CONTEXTS];
    let mut choices = [[0.0; 2]; CHOICE_CONTEXTS];
    for labels in pictures {
        count_picture(labels, &mut outline, &mut choices);
    }
    let mut text = String::new();
    for siblings in outline.chunks(SIBLINGS) {
        let all = siblings.iter().fold([0.5; 2], |sum: Tally, tally| [sum[0] + tally[0], sum[1] + tally[1]]);
        let share = 2.0 / (all[0] + all[1]);
        text.extend(siblings.iter().map(|t| level([t[0] + all[0] * share, t[1] + all[1] * share])));
    }
    text.extend(choices.iter().map(|tally| level([tally[0] + 0.4, tally[1] + 0.4])));
    let lines: Vec<&str> =
        (0..text.len()).step_by(LINE).map(|at| &text[at..text.len().min(at + LINE)]).collect();
    lines.join("\n") + "\n"
}

/// The odds of yes in quarters of a power of two, as one character.
fn level([no, yes]: Tally) -> char {
    let level = (32.0 + 4.0 * (yes / no).log2()).round().clamp(0.0, 63.0);
    char::from(b'0' + level as u8)
}

fn count_picture(labels: &LabelImage, outline: &mut [Tally], choices: &mut [Tally]) {
    let width = labels.width() as usize;
    let mut neighbourhood = Neighbourhood::new(width);
    for row in labels.labels_hw().chunks_exact(width) {
        for (x, &label) in row.iter().enumerate() {
            let (corner, west) = (neighbourhood.corner(x), neighbourhood.west(x));
            let place = if neighbourhood.calm(x) > 0 { Place::Calm } else { Place::AtOutline };
            if place == Place::AtOutline {
                outline[corner.context][usize::from(label != west)] += 1.0;
            }
            if label != west {
                for (candidate, context) in corner.choices(place) {
                    choices[context][usize::from(candidate == label)] += 1.0;
                    if candidate == label {
                        break;
                    }
                }
            }
            neighbourhood.push(x, 1, label);
        }
        neighbourhood.end_row();
    }
}
