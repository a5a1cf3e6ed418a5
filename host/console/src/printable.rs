//! Text that a terminal prints as it is.
//!
//! Names come from stations, files and archives. One that holds escape sequences, line breaks or marks that reverse the
//! direction of writing could otherwise clear a terminal, hide what it says, or forge a line.

use std::borrow::Cow;
use std::fmt::Write as _;

/// What precedes each item of a list.
const LIST_BREAK: &str = "\n  ";

/// A text on one line, with escapes such as `\n` and `\u{1b}` for what a terminal would obey.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_obeyed(letter) {
            escaped.extend(letter.escape_default());
        } else {
            escaped.push(letter);
        }
    }
    Cow::Owned(escaped)
}

/// The same for a message that may hold a list: a line break before two spaces stays. What follows cannot be taken for
/// another message.
pub(crate) fn printable_list(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let lines: Vec<_> = text.split(LIST_BREAK).map(printable).collect();
    Cow::Owned(lines.join(LIST_BREAK))
}

/// The same for JSON, which stays JSON of the same value.
pub(crate) fn printable_json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_obeyed) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for letter in json.chars() {
        if is_obeyed(letter) {
            // None of them is beyond 16 bits. Writing to a string does not fail.
            let _ = write!(escaped, "\\u{:04x}", u32::from(letter));
        } else {
            escaped.push(letter);
        }
    }
    Cow::Owned(escaped)
}

/// Whether a terminal or a reader of lines does something else with a character than print it.
fn is_obeyed(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped_and_nothing_else() {
        for (text, expected) in [
            ("cells 3, \"ä\" – 核.png", "cells 3, \"ä\" – 核.png"),
            ("a\nerror: b", "a\\nerror: b"),
            ("\u{1b}[2Jx\u{1b}]0;y\u{7}", "\\u{1b}[2Jx\\u{1b}]0;y\\u{7}"),
            ("\u{9b}2J\u{7f}\r\t", "\\u{9b}2J\\u{7f}\\r\\t"),
            ("x\u{202e}gnp.y\u{2028}", "x\\u{202e}gnp.y\\u{2028}"),
        ] {
            assert_eq!(printable(text), expected);
        }
    }

    #[test]
    fn lists_stay_lists() {
        let text = "2 images:\n  a\u{1b}[m.png\n  b\nerror: c.png";
        assert_eq!(printable_list(text), "2 images:\n  a\\u{1b}[m.png\n  b\\nerror: c.png");
    }

    #[test]
    fn json_keeps_its_value() {
        let names: String = (0..0x2100).filter_map(char::from_u32).collect();
        let json = serde_json::to_string(&names).unwrap();
        let printed = printable_json(&json);
        assert!(!printed.contains(is_obeyed));
        assert_eq!(serde_json::from_str::<String>(&printed).unwrap(), names);
    }
}
