//! What a key asks for.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::screen::Screen;
use crate::monitor::web::Command;
use crate::records::gates::Gates;

/// The keys, for the person.
pub const KEYS: &str = "S snapshot   R record   +/- light   G no gates   V revert model   Q quit";
/// What + and - change the light by, per cent.
const LIGHT_STEP: f32 = 5.0;

/// What came of a key.
#[derive(Debug, PartialEq)]
pub enum Pressed {
    Nothing,
    Quit,
    Ask(Command),
}

/// Which of the stations a key asks for: its number, or the one after or before the chosen one. `None` where it asks for
/// none.
pub fn choose(key: KeyEvent, chosen: usize, stations: usize) -> Option<usize> {
    let asked = match key.code {
        KeyCode::Tab | KeyCode::Right => chosen + 1,
        KeyCode::BackTab | KeyCode::Left => chosen + stations.saturating_sub(1),
        KeyCode::Char(digit @ '1'..='9') => {
            let number = digit.to_digit(10)? as usize - 1;
            return (number < stations).then_some(number);
        }
        _ => return None,
    };
    asked.checked_rem(stations)
}

/// What a key asks for, as things stand.
pub fn press(key: KeyEvent, screen: &mut Screen) -> Pressed {
    let asked = std::mem::take(&mut screen.asks_to_revert);
    let KeyCode::Char(character) = key.code else { return Pressed::Nothing };
    let character = character.to_ascii_lowercase();
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return if character == 'c' { Pressed::Quit } else { Pressed::Nothing };
    }
    match character {
        'y' if asked => Pressed::Ask(Command::Revert),
        'q' => Pressed::Quit,
        's' => Pressed::Ask(Command::Snapshot),
        'r' => Pressed::Ask(Command::Record { on: screen.work.recording.is_none() }),
        'g' => Pressed::Ask(Command::Gates { gates: Gates::default() }),
        '+' | '=' => light(screen, LIGHT_STEP),
        '-' => light(screen, -LIGHT_STEP),
        'v' => {
            screen.asks_to_revert = true;
            Pressed::Nothing
        }
        _ => Pressed::Nothing,
    }
}

/// Another brightness. The next key goes on from there, whenever the station tells its own.
fn light(screen: &mut Screen, step: f32) -> Pressed {
    let Some(station) = &mut screen.station else { return Pressed::Nothing };
    station.illumination_percent = (station.illumination_percent + step).clamp(0.0, 100.0);
    Pressed::Ask(Command::Illumination { percent: station.illumination_percent })
}
