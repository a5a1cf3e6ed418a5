//! Text in a comma-separated line, after RFC 4180.

use std::borrow::Cow;

/// A text as one field: in quotes where it holds a comma, a quote or a line break. What a spreadsheet would evaluate as
/// a formula gets an apostrophe before it, since names of images come from other people.
pub fn field(text: &str) -> Cow<'_, str> {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']) && text.parse::<f64>().is_err();
    let text = if is_formula { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) };
    if text.contains([',', '"', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_only_what_needs_it() {
        for (text, expected) in
            [("a b", "a b"), ("a,b", "\"a,b\""), ("say \"a\"", "\"say \"\"a\"\"\""), ("a\nb", "\"a\nb\"")]
        {
            assert_eq!(field(text), expected);
        }
    }

    #[test]
    fn formulas_are_text_and_numbers_stay_numbers() {
        for (text, expected) in [
            ("=1+2", "'=1+2"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-2+cmd|'/C calc'!A0", "'-2+cmd|'/C calc'!A0"),
            ("=HYPERLINK(\"x\",\"y\")", "\"'=HYPERLINK(\"\"x\"\",\"\"y\"\")\""),
            ("\t=1", "'\t=1"),
            ("-2.5", "-2.5"),
            ("+3", "+3"),
            ("a=1", "a=1"),
        ] {
            assert_eq!(field(text), expected);
        }
    }
}
