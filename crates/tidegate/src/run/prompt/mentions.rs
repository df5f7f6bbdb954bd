//! Finds where a template speaks of a variable: for the line in a message, and for whether it may be missing.

/// Returns the line, from 1, of the first mention of a variable within `{{ … }}` or `{% … %}`.
pub(super) fn line_of(template: &str, name: &str) -> Option<usize> {
    let (at, _) = mentions(template, name).next()?;
    Some(1 + template[..at].matches('\n').count())
}

/// Returns whether the template asks somewhere if a variable is there, as in `{% if x is defined %}` or `x | default("")`:
/// rows may do without it then.
pub(super) fn is_optional(template: &str, name: &str) -> bool {
    mentions(template, name).any(|(_, rest)| {
        let rest = rest.trim_start();
        let words: Vec<&str> = rest.split_whitespace().take(3).collect();
        let filter = rest.strip_prefix('|').map(str::trim_start).unwrap_or_default();
        let filter = &filter[..filter.find(|c: char| !is_word(c)).unwrap_or(filter.len())];
        let asks = |word: Option<&&str>| word.is_some_and(|w| w.starts_with("defined") || w.starts_with("undefined"));
        let asked = match words.first() {
            Some(&"is") if words.get(1) == Some(&"not") => asks(words.get(2)),
            Some(&"is") => asks(words.get(1)),
            _ => false,
        };
        asked || matches!(filter, "default" | "d")
    })
}

/// Yields every mention of a variable: its place, and the rest of its block behind it.
fn mentions<'a>(template: &'a str, name: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    blocks(template).flat_map(move |(start, block)| {
        block.match_indices(name).filter_map(move |(at, _)| {
            let (before, after) = (&block[..at], &block[at + name.len()..]);
            let whole = !before.ends_with(is_word) && !after.starts_with(is_word) && !before.ends_with('.');
            whole.then_some((start + at, after))
        })
    })
}

/// Yields the insides of `{{ … }}` and `{% … %}` with their places.
fn blocks(template: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = from + ["{{", "{%"].iter().filter_map(|open| template[from..].find(open)).min()? + 2;
        let close = if template[..start].ends_with("{{") { "}}" } else { "%}" };
        let end = template[start..].find(close).map_or(template.len(), |length| start + length);
        from = end;
        Some((start, &template[start..end]))
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_blocks_are_looked_at() {
        let template = "text: text\n{# text #}{{ context }}{{ a.text }}\n{{ text }}";
        assert_eq!(line_of(template, "text"), Some(3));
        assert_eq!(line_of(template, "other"), None);
        assert_eq!(line_of("{{ open", "open"), Some(1));
    }

    #[test]
    fn a_variable_that_is_asked_for_may_be_missing() {
        for optional in [
            "{% if x is defined %}{{ x }}{% endif %}",
            "{{ x|default('') }}",
            "{{ x | d }}",
            "{% if x is not undefined%}",
        ] {
            assert!(is_optional(optional, "x"), "{optional}");
        }
        for needed in
            ["{{ x }}", "{{ x | upper }}", "{{ x | deduplicate }}", "{% if x is string %}{% endif %}", "x is defined"]
        {
            assert!(!is_optional(needed, "x"), "{needed}");
        }
    }
}
