//! How wide the terminal is, and lines that fit into it.
//!
//! What goes into a file or a pipe is never folded: other programs read it.

/// The narrowest text: a terminal that says it is narrower is not believed.
const LEAST: usize = 20;

/// Returns the width of the terminal that the standard output is; nothing if it is none.
pub(crate) fn of_stdout() -> Option<usize> {
    terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| usize::from(width.0))
}

/// Folds a line at blanks into pieces of at most that many characters; a longer word stays whole, so that an address can
/// still be copied.
pub(crate) fn fold(line: &str, width: Option<usize>) -> Vec<&str> {
    let Some(width) = width.map(|width| width.max(LEAST)) else { return vec![line] };
    let (mut pieces, mut start, mut blank, mut length) = (Vec::new(), 0, None, 0);
    for (at, letter) in line.char_indices() {
        length += 1;
        if letter == ' ' {
            blank = Some(at);
        }
        if length > width
            && let Some(end) = blank.filter(|end| !line[start..*end].trim().is_empty())
        {
            pieces.push(line[start..end].trim_end());
            start = end + 1;
            length = line.get(start..=at).map_or(0, |kept| kept.chars().count());
            blank = None;
        }
    }
    pieces.push(&line[start..]);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_folded_at_blanks_and_words_stay_whole() {
        let text = "low tide and high tide come twice a day";
        assert_eq!(fold(text, Some(20)), ["low tide and high", "tide come twice a", "day"]);
        assert_eq!(fold(text, None), [text]);
        let address = "see https://example.com/a/very/long/address for more";
        assert_eq!(fold(address, Some(20)), ["see", "https://example.com/a/very/long/address", "for more"]);
        assert_eq!(fold("", Some(20)), [""]);
        assert_eq!(fold("ééé ééé ééé ééé ééé ééé", Some(20)), ["ééé ééé ééé ééé ééé", "ééé"]);
    }
}
