//! A station's name as topics and folders allow it.

/// Whether a slug may contain a character: ASCII letters, digits, `-` and `_`.
pub const fn is_slug_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_')
}

/// The name with `_` for every other character; `_` of an empty name.
pub fn station_slug(name: &str) -> String {
    let slug: String = name.chars().map(|letter| if is_slug_letter(letter) { letter } else { '_' }).collect();
    if slug.is_empty() { "_".to_owned() } else { slug }
}
