//! Templates that need no engine: text with `{{ column }}` in it, as most are.
//!
//! The engine takes more time for such a template than everything else that is done with a row before it is sent. What is
//! not certainly the same without it is left to it: any other syntax, blanks that it would cut, values that are not text.

use minijinja::value::Value;

/// A template of nothing but text and columns.
pub(super) struct Plain(Vec<Piece>);

enum Piece {
    Text(String),
    /// A column, by its place among those that the templates use.
    Column(usize),
}

impl Plain {
    /// Reads a template that the engine has accepted; nothing if it is not as plain as that.
    pub(super) fn read(template: &str, columns: &[String]) -> Option<Plain> {
        // The engine cuts off a last line break.
        if template.contains("{%") || template.contains("{#") || template.ends_with(['\n', '\r']) {
            return None;
        }
        let (mut pieces, mut rest) = (Vec::new(), template);
        while let Some((text, behind)) = rest.split_once("{{") {
            let (expression, after) = behind.split_once("}}")?;
            let name = expression.trim_ascii();
            pieces.push(Piece::Text(text.to_owned()));
            pieces.push(Piece::Column(columns.iter().position(|column| column == name)?));
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Some(Plain(pieces))
    }

    /// Fills in the columns' values; nothing if one of them is missing or not text.
    pub(super) fn fill(&self, values: &[Option<Value>]) -> Option<String> {
        let texts = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => Some(text.as_str()),
            Piece::Column(place) => values[*place].as_ref()?.as_str(),
        });
        texts.collect()
    }
}
