//! Looks into a row's JSON without building a tree: what the row is known by, and single columns of it.
//!
//! A run that is resumed looks at every finished row once, so this costs one pass over the bytes and no copies. A row is
//! known by its id, or, without one, by the hash of the columns that its request is made from, so that an unused column
//! may change and rows may be sorted without anything being sent again.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What rows are known by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRule {
    /// The column that holds the id, which every row must have then; without it `custom_id` and `id` are looked for.
    pub id_column: Option<String>,
    /// The columns that a row without an id is known by; none means all its bytes.
    pub columns: Vec<String>,
}

/// What a row is known by.
#[derive(Debug, Clone, Copy)]
pub struct Peeked<'a> {
    /// The id as it stands in the row: a string or an integer.
    pub id: Option<&'a RawValue>,
    /// The hash of the id, or of the columns if there is none.
    pub hash: u64,
}

/// Finds what a row is known by.
///
/// # Errors
///
/// Says where the JSON is broken, or what is wrong with the id; never quotes the row.
pub fn peek<'a>(json: &'a str, rule: &KeyRule, seed: u64) -> Result<Peeked<'a>, String> {
    let ids: &[&str] = match &rule.id_column {
        Some(column) => &[column.as_str()],
        None => &["custom_id", "id"],
    };
    let names = || ids.iter().copied().chain(rule.columns.iter().map(String::as_str));
    let mut found = vec![None; ids.len() + rule.columns.len()];
    pick(json, |name| names().position(|wanted| wanted == name), &mut found)?;
    let (found_ids, columns) = found.split_at(ids.len());
    for (name, raw) in ids.iter().zip(found_ids) {
        if let Some(id) = raw.map(|raw: &RawValue| read_id(name, raw)).transpose()?.flatten() {
            return Ok(Peeked { id: Some(id), hash: hash(seed, b"id", [Some(id)]) });
        }
    }
    match &rule.id_column {
        Some(column) => Err(format!("the id column `{column}` is missing or empty")),
        None if columns.is_empty() => Ok(Peeked { id: None, hash: xxh3_64_with_seed(json.as_bytes(), seed) }),
        None => Ok(Peeked { id: None, hash: hash(seed, b"row", columns.iter().copied()) }),
    }
}

/// Returns the key of one of the records of a row: of a model, where every model is asked, and of a sample. The first sample
/// has the row's own, so that asking more often later keeps it.
pub(crate) fn record_key(row: u64, model: Option<&str>, sample: u16) -> u64 {
    let row = model.map_or(row, |model| xxh3_64_with_seed(model.as_bytes(), row));
    if sample == 0 { row } else { xxh3_64_with_seed(&sample.to_le_bytes(), row) }
}

/// Returns the key of a row that cannot be used, by its bytes.
pub(crate) fn bad_key(bytes: &[u8], seed: u64) -> u64 {
    xxh3_64_with_seed(bytes, seed ^ 1)
}

/// Returns the id; null and empty text count as none, because CSV has no other way to leave a field out.
fn read_id<'a>(name: &str, raw: &'a RawValue) -> Result<Option<&'a RawValue>, String> {
    let digits = raw.get().strip_prefix('-').unwrap_or(raw.get());
    match raw.get() {
        "null" | "\"\"" => Ok(None),
        text if text.starts_with('"') || digits.bytes().all(|b| b.is_ascii_digit()) => Ok(Some(raw)),
        _ => Err(format!("the id in `{name}` is neither text nor an integer; choose another column with --id-column")),
    }
}

/// Hashes values one after the other; each is seeded with the hash so far, so that their borders count.
fn hash<'a>(seed: u64, tag: &[u8], values: impl IntoIterator<Item = Option<&'a RawValue>>) -> u64 {
    // No JSON value is an empty text, so that a missing one is unlike any other.
    values.into_iter().fold(xxh3_64_with_seed(tag, seed), |hash, value| {
        xxh3_64_with_seed(value.map_or("", RawValue::get).as_bytes(), hash)
    })
}

/// Reads some values of an object: `slot` says which place of `out` a name's value belongs to. Of a repeated name the last
/// value counts.
///
/// # Errors
///
/// Says where the JSON is broken.
pub(crate) fn pick<'de, V: Deserialize<'de>>(
    json: &'de str,
    slot: impl Fn(&str) -> Option<usize>,
    out: &mut [Option<V>],
) -> Result<(), String> {
    walk(json, Pick { slot, out })
}

/// Returns the names of an object's values, each once.
///
/// # Errors
///
/// Says where the JSON is broken.
pub(crate) fn columns_of(json: &str) -> Result<Vec<String>, String> {
    let mut names = Map::new();
    walk(json, Names(&mut names))?;
    Ok(names.into_iter().map(|(name, _)| name).collect())
}

/// Says what is wrong with a JSON text without quoting it.
pub(crate) fn json_fault(error: &serde_json::Error) -> String {
    let whole = error.to_string();
    let message = whole.split(" at line ").next().unwrap_or(&whole);
    match (error.is_eof(), error.column()) {
        (true, _) => format!("broken JSON: {message}"),
        (false, 0) => message.to_owned(),
        (false, column) => format!("broken JSON at column {column}: {message}"),
    }
}

fn walk<'de>(json: &'de str, visitor: impl Visitor<'de, Value = ()>) -> Result<(), String> {
    // Looked at first, because the parser's own complaint about another type would quote the row.
    if !json.trim_ascii_start().starts_with('{') {
        return Err("the row is not a JSON object".to_owned());
    }
    let mut parser = serde_json::Deserializer::from_str(json);
    parser.deserialize_map(visitor).and_then(|()| parser.end()).map_err(|e| json_fault(&e))
}

struct Pick<'o, V, S> {
    slot: S,
    out: &'o mut [Option<V>],
}

impl<'de, V: Deserialize<'de>, S: Fn(&str) -> Option<usize>> Visitor<'de> for Pick<'_, V, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(slot) = map.next_key_seed(Slot(&self.slot))? {
            match slot.and_then(|index| self.out.get_mut(index)) {
                Some(place) => *place = Some(map.next_value()?),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Looks a name up while it is read, so that none is copied.
struct Slot<'s, S>(&'s S);

impl<'de, S: Fn(&str) -> Option<usize>> DeserializeSeed<'de> for Slot<'_, S> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<S: Fn(&str) -> Option<usize>> Visitor<'_> for Slot<'_, S> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Option<usize>, E> {
        Ok((self.0)(name))
    }
}

struct Names<'o>(&'o mut Map<String, Value>);

impl<'de> Visitor<'de> for Names<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, IgnoredAny)) = map.next_entry()? {
            self.0.insert(name, Value::Null);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::proptest;

    fn rule(id_column: Option<&str>, columns: &[&str]) -> KeyRule {
        KeyRule {
            id_column: id_column.map(str::to_owned),
            columns: columns.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    fn id<'a>(json: &'a str, rule: &KeyRule) -> Result<Option<&'a str>, String> {
        peek(json, rule, 7).map(|peeked| peeked.id.map(RawValue::get))
    }

    fn hash_of(json: &str, rule: &KeyRule) -> u64 {
        peek(json, rule, 7).unwrap().hash
    }

    #[test]
    fn ids_are_found_in_their_order_of_rank() {
        let any = rule(None, &[]);
        assert_eq!(id(r#"{"id":1,"custom_id":"a"}"#, &any), Ok(Some("\"a\"")));
        assert_eq!(id(r#"{"custom_id":null,"id":-12}"#, &any), Ok(Some("-12")));
        assert_eq!(id(r#"{"id":"first","x":{"id":3},"\u0069d":"last"}"#, &any), Ok(Some("\"last\"")));
        assert_eq!(id(r#"{"id":""}"#, &any), Ok(None));
        assert_eq!(id(r#"{"key":"k","id":1}"#, &rule(Some("key"), &[])), Ok(Some("\"k\"")));
    }

    #[test]
    fn what_is_no_id_is_named_and_not_quoted() {
        let any = rule(None, &[]);
        let choose = "the id in `id` is neither text nor an integer; choose another column with --id-column";
        for wrong in [r#"{"id":1.5}"#, r#"{"id":1e3}"#, r#"{"id":["secret"]}"#, r#"{"id":true}"#] {
            assert_eq!(id(wrong, &any), Err(choose.to_owned()));
        }
        let key = rule(Some("key"), &[]);
        for missing in [r#"{"id":1}"#, r#"{"key":null}"#, r#"{"key":""}"#] {
            assert_eq!(id(missing, &key), Err("the id column `key` is missing or empty".to_owned()));
        }
    }

    #[test]
    fn broken_json_is_placed_and_not_quoted() {
        let error = |json| peek(json, &rule(None, &[]), 0).unwrap_err();
        assert_eq!(error(r#"["secret"]"#), "the row is not a JSON object");
        assert_eq!(error(r#"{"a":"secret""#), "broken JSON: EOF while parsing an object");
        assert_eq!(error(r#"{"a":secret}"#), "broken JSON at column 6: expected value");
        assert_eq!(error(r#"{"a":1} {"b":2}"#), "broken JSON at column 9: trailing characters");
    }

    #[test]
    fn a_row_without_id_is_known_by_its_columns() {
        let columns = rule(None, &["a", "b"]);
        let known = hash_of(r#"{"a":1,"b":2,"c":3}"#, &columns);
        assert_eq!(hash_of(r#"{ "b":2, "a":1 }"#, &columns), known);
        for other in [r#"{"a":2,"b":1}"#, r#"{"a":12}"#, r#"{"b":12}"#, r#"{"a":1,"b":2,"id":1}"#] {
            assert_ne!(hash_of(other, &columns), known, "{other}");
        }
        let whole = rule(None, &[]);
        assert_ne!(hash_of(r#"{"a":1}"#, &whole), hash_of(r#"{"a": 1}"#, &whole));
        assert_eq!(hash_of(r#"{"a":1,"id":5}"#, &whole), hash_of(r#"{"a":2,"id":5}"#, &columns));
        assert_ne!(hash_of(r#"{"id":5}"#, &whole), hash_of(r#"{"id":"5"}"#, &whole));
    }

    #[test]
    fn hashes_stay_as_they_are_in_journals() {
        let rules = [rule(None, &[]), rule(None, &["a", "b"])];
        let hashes = [
            hash_of(r#"{"id":"a"}"#, &rules[0]),
            hash_of(r#"{"a":"x"}"#, &rules[0]),
            hash_of(r#"{"a":"x"}"#, &rules[1]),
        ];
        assert_eq!(hashes, [13_308_269_633_779_843_208, 3_750_834_311_248_272_717, 16_577_878_888_726_896_763]);
    }

    #[test]
    fn columns_are_listed_once_in_their_order() {
        assert_eq!(columns_of(r#"{"b":1,"a":{"c":1},"b":2}"#).unwrap(), ["b", "a"]);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}", json in "[{}\\[\\]\":,a\\\\ui01-e. ]{0,60}") {
            for text in [text, format!("{{{json}}}"), json] {
                let _ = peek(&text, &rule(None, &["a"]), 1);
                let _ = peek(&text, &rule(Some("a"), &[]), 1);
                let _ = columns_of(&text);
            }
        }
    }
}
