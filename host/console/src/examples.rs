//! The examples in the help of a command, for tests that they parse.

/// The command lines of `program` in a help text, as words. A line may hold several, joined by `&&`, `;` or `|`, and
/// end in a remark in brackets.
pub fn example_command_lines(help: &str, program: &str) -> Vec<Vec<String>> {
    let lines = help.lines().map(|line| line.split_once("  (").map_or(line, |(line, _)| line));
    let commands = lines.flat_map(|line| line.split(['&', ';', '|'])).map(words);
    commands.filter(|words| words.first().is_some_and(|word| word == program)).collect()
}

/// Words between spaces; quotes hold spaces together.
fn words(command: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let (mut quote, mut is_within) = (None, false);
    for letter in command.trim().chars() {
        match (letter, quote) {
            (mark, Some(open)) if mark == open => quote = None,
            ('\'' | '"', None) => quote = Some(letter),
            (' ', None) => is_within = false,
            (letter, _) => {
                if !std::mem::replace(&mut is_within, true) {
                    words.push(String::new());
                }
                if let Some(word) = words.last_mut() {
                    word.push(letter);
                }
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_are_found_among_remarks_and_other_programs() {
        let help = "Examples:\n  tool a --name 'two words' && tool b   (two; of them)\n  tool c | jq .count\n  \
                    other tool d";
        let found = example_command_lines(help, "tool");
        assert_eq!(found, [vec!["tool", "a", "--name", "two words"], vec!["tool", "b"], vec!["tool", "c"]]);
    }
}
