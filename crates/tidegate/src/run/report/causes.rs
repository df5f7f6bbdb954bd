//! Failed rows, grouped by cause and by what was said: a hundred thousand failures are mostly a handful of mistakes.

use std::collections::BTreeMap;

use super::{clip, name_of, readable};
use crate::failure::Kind;
use crate::run::record::{Record, RecordError};

/// Messages of one cause that are told apart.
const MESSAGES: usize = 200;
/// Messages of one cause that are shown.
const SHOWN: usize = 6;
/// Rows that are named for each message.
const NAMED: usize = 5;
/// Characters of a message and of an example.
const MESSAGE: usize = 400;
const EXAMPLE: usize = 1000;

/// Rows that failed for one cause.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CauseReport {
    /// The cause.
    pub kind: Kind,
    /// How many rows.
    pub rows: u64,
    /// What was said, the most frequent first.
    pub messages: Vec<MessageReport>,
    /// Rows with other messages than those.
    pub others: u64,
}

/// Rows that failed with about the same message.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct MessageReport {
    /// What the first of them said; of others only numbers differ.
    pub message: String,
    /// The HTTP status, if a reply came.
    pub status: Option<u16>,
    /// How many rows.
    pub rows: u64,
    /// A few of them, as `tidegate show` takes them.
    pub names: Vec<String>,
    /// A few of them as the input had them, if examples are asked for.
    pub inputs: Vec<String>,
}

/// Collects failed rows.
pub(super) struct Causes {
    examples: usize,
    kinds: BTreeMap<Kind, (u64, BTreeMap<String, MessageReport>)>,
}

impl Causes {
    pub(super) fn new(examples: usize) -> Causes {
        Causes { examples, kinds: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, number: u64, record: &Record<'_>) {
        let Some(RecordError { kind, message, status }) = &record.error else { return };
        let (rows, messages) = self.kinds.entry(*kind).or_default();
        *rows += 1;
        let form = form(message);
        if !messages.contains_key(&form) && messages.len() >= MESSAGES {
            return;
        }
        let group = messages.entry(form).or_insert_with(|| MessageReport {
            message: clip(message, MESSAGE),
            status: *status,
            ..MessageReport::default()
        });
        group.rows += 1;
        // Under several models or samples a row may fail more than once.
        let add = |list: &mut Vec<String>, most, text| {
            if list.len() < most && !list.contains(&text) {
                list.push(text);
            }
        };
        add(&mut group.names, NAMED, name_of(number, record));
        if let Some(input) = record.input {
            add(&mut group.inputs, self.examples, clip(&readable(input.get()), EXAMPLE));
        }
    }

    pub(super) fn finish(self) -> Vec<CauseReport> {
        let report = |(kind, (rows, messages)): (Kind, (u64, BTreeMap<String, MessageReport>))| {
            let mut messages: Vec<_> = messages.into_values().collect();
            messages.sort_by_key(|group| std::cmp::Reverse(group.rows));
            messages.truncate(SHOWN);
            let others = rows - messages.iter().map(|group| group.rows).sum::<u64>();
            CauseReport { kind, rows, messages, others }
        };
        let mut all: Vec<_> = self.kinds.into_iter().map(report).collect();
        all.sort_by_key(|cause| std::cmp::Reverse(cause.rows));
        all
    }
}

/// Returns a message without what differs from row to row: words with digits in them, such as counts and ids.
fn form(message: &str) -> String {
    let word =
        |word: &str| if word.bytes().any(|byte| byte.is_ascii_digit()) { "#".to_owned() } else { word.to_owned() };
    let words: Vec<_> = clip(message, MESSAGE).split_whitespace().map(word).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(message: &str) -> String {
        let error = serde_json::json!({"kind": "bad_request", "message": message, "status": 400});
        format!(
            r#"{{"input":{{"text":"private"}},"output":null,"model":"m","endpoint":"m","finish_reason":null,"usage":null,"cost_usd":null,"latency_ms":1,"attempts":1,"request_id":null,"error":{error}}}"#
        )
    }

    #[test]
    fn messages_that_differ_in_numbers_are_one_and_the_rest_is_counted() {
        let mut causes = Causes::new(0);
        let mut add = |n, message: &str| causes.add(n, &Record::parse(record(message).as_bytes()).unwrap());
        (0..10).for_each(|n| add(n, &format!("row {n} of batch-{n}a is wrong")));
        ["a", "b", "c", "d", "e", "f", "g"].into_iter().for_each(|message| add(10, message));
        let found = causes.finish();
        assert_eq!((found.len(), found[0].rows, found[0].others), (1, 17, 2));
        let first = &found[0].messages[0];
        assert_eq!((first.rows, first.names.len(), first.inputs.len()), (10, NAMED, 0));
        assert_eq!((&*first.message, first.status), ("row 0 of batch-0a is wrong", Some(400)));
    }

    #[test]
    fn what_was_asked_is_shown_only_on_demand() {
        let mut causes = Causes::new(2);
        let text = record("no");
        (0..5).for_each(|n| causes.add(n, &Record::parse(text.as_bytes()).unwrap()));
        let input = |to: &str| text.replace("private", to);
        (5..9).for_each(|n| causes.add(n, &Record::parse(input(r"\u6f6e").as_bytes()).unwrap()));
        // A row that failed more than once is shown once, and as a person would write it.
        assert_eq!(causes.finish()[0].messages[0].inputs, [r#"{"text":"private"}"#, r#"{"text":"潮"}"#]);
    }
}
