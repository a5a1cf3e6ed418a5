//! Keys and their actions.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::screen_state::ScreenState;
use crate::monitor::view::ViewCommand;
use crate::records::gates::Gates;

/// The line of help.
pub const KEYS: &str = "S snapshot   R record   +/- light   G clear gates   V revert model   Q quit";
/// Step of the illumination for + and -, percent.
const LIGHT_STEP: f32 = 5.0;

/// What a key does.
#[derive(Debug, PartialEq)]
pub enum KeyAction {
    Nothing,
    Quit,
    Send(ViewCommand),
}

/// The station that a key selects: by number, or the next or previous one. `None` of other keys.
pub fn tab_for(key: KeyEvent, selected: usize, stations: usize) -> Option<usize> {
    let other = match key.code {
        KeyCode::Tab | KeyCode::Right => selected + 1,
        KeyCode::BackTab | KeyCode::Left => selected + stations.saturating_sub(1),
        KeyCode::Char(digit @ '1'..='9') => {
            let number = digit.to_digit(10)? as usize - 1;
            return (number < stations).then_some(number);
        }
        _ => return None,
    };
    other.checked_rem(stations)
}

/// What a key does in the current state.
pub fn action_for(key: KeyEvent, screen: &mut ScreenState) -> KeyAction {
    let confirms_revert = std::mem::take(&mut screen.confirms_revert);
    let KeyCode::Char(character) = key.code else { return KeyAction::Nothing };
    let character = character.to_ascii_lowercase();
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return if character == 'c' { KeyAction::Quit } else { KeyAction::Nothing };
    }
    match character {
        'y' if confirms_revert => KeyAction::Send(ViewCommand::Revert),
        'q' => KeyAction::Quit,
        's' => KeyAction::Send(ViewCommand::Snapshot),
        'r' => KeyAction::Send(ViewCommand::Record { on: screen.activity.recording.is_none() }),
        'g' => KeyAction::Send(ViewCommand::Gates { gates: Gates::default() }),
        '+' | '=' => change_light(screen, LIGHT_STEP),
        '-' => change_light(screen, -LIGHT_STEP),
        'v' => {
            screen.confirms_revert = true;
            KeyAction::Nothing
        }
        _ => KeyAction::Nothing,
    }
}

/// Changes the illumination. The next key continues from there, whenever the station reports its own.
fn change_light(screen: &mut ScreenState, step: f32) -> KeyAction {
    let Some(station) = &mut screen.station else { return KeyAction::Nothing };
    station.illumination_percent = (station.illumination_percent + step).clamp(0.0, 100.0);
    KeyAction::Send(ViewCommand::Illumination { percent: station.illumination_percent })
}
