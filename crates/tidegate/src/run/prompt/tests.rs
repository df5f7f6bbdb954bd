use bytes::Bytes;
use proptest::prelude::{any, prop, proptest};
use serde_json::{Value, json};

use super::{PromptOptions, Rendered, Renderer, fingerprint};
use crate::call::wire::WireId;
use crate::request::{Message, Part, Request, Role, Task, TaskKind};
use crate::run::input::{Place, Row};

fn row(json: &str) -> Row {
    let place = Place { file: "x.jsonl".into(), line: 1 };
    Row { place, json: Bytes::copy_from_slice(json.as_bytes()), fault: None }
}

fn template(text: &str) -> PromptOptions {
    PromptOptions { template: Some((text.to_owned(), "-p".to_owned())), ..PromptOptions::default() }
}

fn names(columns: &[&str]) -> Vec<String> {
    columns.iter().map(|&name| name.to_owned()).collect()
}

fn render(options: &PromptOptions, json: &str) -> Result<Rendered, String> {
    Renderer::new(options, None).unwrap().render(&row(json))
}

/// What a template makes of a row, as text.
fn filled(text: &str, json: &str) -> Result<String, String> {
    let rendered = render(&template(text), json)?;
    let Task::Chat(messages) = rendered.request.task else { panic!("not a conversation") };
    match &messages[..] {
        [Message { role: Role::User, parts, .. }] => match &parts[..] {
            [Part::Text(text)] => Ok(text.clone()),
            parts => panic!("{parts:?}"),
        },
        messages => panic!("{messages:?}"),
    }
}

fn refused(options: &PromptOptions, columns: &[&str]) -> String {
    Renderer::new(options, Some(&names(columns))).err().map_or("no error".to_owned(), |error| error.to_string())
}

#[test]
fn columns_are_filled_in_as_they_are() {
    let json = r#"{"unused":{"a":[1]},"text":"<b>\u00e9 & \"q\"</b>","n":18446744073709551615,"f":1.5,"ok":true,"list":["a","b"]}"#;
    assert_eq!(filled("{{ text }}\n", json).unwrap(), "<b>é & \"q\"</b>");
    assert_eq!(filled("{{ n }} {{ f }} {{ ok }} {{ list[1] }} {{ list | join('-') }}", json).unwrap(), "18446744073709551615 1.5 true b a-b");
    assert_eq!(filled("{% for item in list %}{{ loop.index }}{{ item }}{% endfor %}", json).unwrap(), "1a2b");
    assert_eq!(filled("{{ list | tojson }}", json).unwrap(), r#"["a","b"]"#);
    assert_eq!(filled("{{ text }}", r#"{"text":"first","\u0074ext":"last"}"#).unwrap(), "last");
    assert_eq!(filled("{{ row['Review Text'] }} of {{ row | length }}", r#"{"Review Text":"fine","x":1}"#).unwrap(), "fine of 2");
    assert_eq!(filled("{{ range }}{{ row }}", r#"{"range":"far","row":"own"}"#), Ok("farown".to_owned()).filter_known());
}

/// Without known columns `range` and `row` are what they are in every template.
trait FilterKnown {
    fn filter_known(self) -> Self;
}

impl FilterKnown for Result<String, String> {
    fn filter_known(self) -> Self {
        let renderer = Renderer::new(&template("{{ range }}{{ row }}"), Some(&names(&["range", "row"]))).unwrap();
        assert!(renderer.render(&row(r#"{"range":"far","row":"own"}"#)).is_ok());
        filled("{{ range }}{{ row }}", r#"{"range":"far","row":"own"}"#)
    }
}
