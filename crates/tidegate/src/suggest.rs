//! "Did you mean …": the known name that is nearest to one that is not known.

/// Returns the candidate nearest to `name`, if one is near enough to be what was meant.
///
/// Near enough is one edit (a letter added, left out, replaced, or two swapped) for every three letters, at least one;
/// upper and lower case are the same. Of several equally near candidates the first wins.
///
/// ```
/// assert_eq!(tidegate::suggest::closest("tmeperature", ["stop", "temperature"]), Some("temperature"));
/// assert_eq!(tidegate::suggest::closest("stop", ["temperature"]), None);
/// ```
#[must_use]
pub fn closest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = fold(name);
    let limit = (name.len() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&name, &fold(candidate), limit), candidate))
        .filter(|(edits, candidate)| *edits <= limit && *edits < candidate.chars().count())
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

fn fold(name: &str) -> Vec<char> {
    name.chars().flat_map(char::to_lowercase).collect()
}

/// Counts the edits between two names: insertion, deletion, replacement, swap of neighbours. Lengths that differ by more
/// than `limit` are not compared at all, so that one very long name costs nothing.
fn distance(a: &[char], b: &[char], limit: usize) -> usize {
    if a.len().abs_diff(b.len()) > limit {
        return usize::MAX;
    }
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_mistakes_find_the_name_that_was_meant() {
        let models = ["gpt-4.1-mini", "gpt-4.1", "claude-sonnet-4-5"];
        assert_eq!(closest("gpt-4.1-mni", models), Some("gpt-4.1-mini"));
        assert_eq!(closest("GPT4.1", models), Some("gpt-4.1"));
        assert_eq!(closest("cluade-sonet-4-5", models), Some("claude-sonnet-4-5"));
        assert_eq!(closest("txet", ["id", "text"]), Some("text"));
        assert_eq!(closest("gröss", ["GRÖSSE"]), Some("GRÖSSE"));
    }

    #[test]
    fn what_is_far_away_is_not_offered() {
        assert_eq!(closest("question", ["id", "text"]), None);
        assert_eq!(closest("x", ["id", "y"]), None);
        assert_eq!(closest("", ["a", "ab"]), None);
        assert_eq!(closest("text", []), None);
        assert_eq!(closest("a", ["a"]), Some("a"));
    }
}
