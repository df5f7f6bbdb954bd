//! Which Arrow type a column has, found by looking at all its values.
//!
//! A column of the input keeps the type that it had there, as long as every value fits it. Otherwise: whole numbers are
//! `Int64`, numbers `Float64`, booleans `Boolean`; lists of numbers are lists of these, embeddings lists of `Float32`, and of
//! a fixed size where all have the same; all else is text, what is nested as JSON.

use arrow_schema::DataType;
use serde_json::Number;

use super::arrays;
use super::fields::Cell;

/// What is known of a column's values so far.
#[derive(Debug, Default)]
pub(super) struct Guess {
    /// The type that it is said to have; none once a value did not fit.
    declared: Option<DataType>,
    met: bool,
    bools: bool,
    ints: bool,
    floats: bool,
    lists: Option<Lists>,
    others: bool,
}

/// What is known of lists of numbers.
#[derive(Debug)]
struct Lists {
    whole: bool,
    short: bool,
    size: Option<usize>,
}

impl Guess {
    pub(super) fn new(declared: Option<DataType>) -> Guess {
        Guess { declared, ..Guess::default() }
    }

    /// Looks at one more value.
    pub(super) fn see(&mut self, cell: &Cell<'_>) {
        let Cell::Raw(raw) = cell else {
            let Cell::Text(text) = cell else { return };
            return self.see_text(text);
        };
        match raw.as_bytes().first() {
            Some(b'n') => return,
            Some(b'"') => return self.see_text(&cell.text()),
            _ => {}
        }
        self.met = true;
        self.declared.take_if(|declared| !arrays::fits(declared, raw));
        match raw.as_bytes().first() {
            Some(b't' | b'f') => self.bools = true,
            Some(b'[') => match serde_json::from_str::<Vec<Number>>(raw) {
                Ok(numbers) => self.see_list(&numbers),
                Err(_) => self.others = true,
            },
            Some(b'-' | b'0'..=b'9') if raw.parse::<i64>().is_ok() => self.ints = true,
            // A whole number that is larger than any integer would lose digits as a float.
            Some(b'-' | b'0'..=b'9') if raw.contains(['.', 'e', 'E']) => self.floats = true,
            _ => self.others = true,
        }
    }

    fn see_text(&mut self, text: &str) {
        (self.met, self.others) = (true, true);
        self.declared.take_if(|declared| !arrays::fits(declared, text));
    }

    fn see_list(&mut self, numbers: &[Number]) {
        let whole = numbers.iter().all(Number::is_i64);
        let short = numbers.iter().all(is_short);
        let lists = self.lists.get_or_insert(Lists { whole: true, short: true, size: Some(numbers.len()) });
        lists.whole &= whole;
        lists.short &= short;
        lists.size = lists.size.filter(|size| *size == numbers.len());
    }

    /// Returns the type that holds all of them; `embedding` says that lists of numbers are vectors of an embedding.
    pub(super) fn data_type(&self, embedding: bool) -> DataType {
        let scalars = [self.bools, self.ints || self.floats, self.lists.is_some(), self.others];
        match (&self.declared, &self.lists) {
            (Some(declared), _) => declared.clone(),
            _ if scalars.into_iter().filter(|met| *met).count() != 1 || self.others => DataType::Utf8,
            (None, Some(lists)) => lists.data_type(embedding),
            (None, None) if self.bools => DataType::Boolean,
            (None, None) if self.floats => DataType::Float64,
            (None, None) => DataType::Int64,
        }
    }
}

impl Lists {
    fn data_type(&self, embedding: bool) -> DataType {
        let item = match self.whole {
            true if !embedding => DataType::Int64,
            _ if embedding && self.short => DataType::Float32,
            _ => DataType::Float64,
        };
        match self.size.and_then(|size| i32::try_from(size).ok()).filter(|size| *size > 0) {
            Some(size) => DataType::new_fixed_size_list(item, size, true),
            None => DataType::new_list(item, true),
        }
    }
}

/// Returns whether 32 bits tell a number with all the digits that it was written with.
fn is_short(number: &Number) -> bool {
    number.as_f64().is_some_and(|wide| (wide as f32).to_string().parse::<f64>() == Ok(wide))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(declared: Option<DataType>, values: &[&str]) -> String {
        let mut guess = Guess::new(declared);
        values.iter().for_each(|raw| guess.see(&Cell::Raw((*raw).into())));
        guess.data_type(false).to_string()
    }

    #[test]
    fn a_type_is_found_that_loses_nothing() {
        let cases: [(&[&str], &str); 11] = [
            (&["1", "null", "-2"], "Int64"),
            (&["1", "2.5", "1e3"], "Float64"),
            (&["true", "false"], "Boolean"),
            (&["1", "true"], "Utf8"),
            (&["1", "\"2\""], "Utf8"),
            (&["99999999999999999999"], "Utf8"),
            (&["{}"], "Utf8"),
            (&["[1,2]", "[3,4]"], "FixedSizeList(2 x Int64)"),
            (&["[1,2]", "[3.5]"], "List(Float64)"),
            (&["[1,\"a\"]"], "Utf8"),
            (&["null"], "Utf8"),
        ];
        for (values, expected) in cases {
            assert_eq!(guess(None, values), expected, "{values:?}");
        }
    }

    #[test]
    fn a_declared_type_holds_until_a_value_does_not_fit() {
        assert_eq!(guess(Some(DataType::Int8), &["1", "127"]), "Int8");
        assert_eq!(guess(Some(DataType::Int8), &["1", "128"]), "Int64");
        assert_eq!(guess(Some(DataType::Date32), &["\"2024-02-29\"", "null"]), "Date32");
        assert_eq!(guess(Some(DataType::Date32), &["\"tomorrow\""]), "Utf8");
        assert_eq!(guess(Some(DataType::Float64), &[]), "Float64");
    }

    #[test]
    fn embeddings_are_short_numbers_if_that_is_what_they_were() {
        let mut vectors = Guess::new(None);
        vectors.see(&Cell::Raw("[0.1,-2,1e-7]".into()));
        assert_eq!(vectors.data_type(true).to_string(), "FixedSizeList(3 x Float32)");
        vectors.see(&Cell::Raw("[0.123456789012,0]".into()));
        assert_eq!(vectors.data_type(true).to_string(), "List(Float64)");
    }
}
