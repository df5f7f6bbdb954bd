use bytes::Bytes;
use proptest::prelude::{any, prop, prop_assert_eq, proptest};
use serde_json::json;

use super::{Attached, Fetching, MediaColumn, PromptOptions, Rendered, Renderer, fingerprint};
use crate::call::wire::WireId;
use crate::request::{MediaKind, Message, Part, Request, Role, Task, TaskKind};
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
    Renderer::new(options, None).unwrap().render(&row(json), Attached::default())
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
    assert_eq!(
        filled("{{ n }} {{ f }} {{ ok }} {{ list[1] }} {{ list | join('-') }}", json).unwrap(),
        "18446744073709551615 1.5 True b a-b"
    );
    assert_eq!(filled("{% for item in list %}{{ loop.index }}{{ item }}{% endfor %}", json).unwrap(), "1a2b");
    assert_eq!(filled("{{ list | tojson }}", json).unwrap(), r#"["a", "b"]"#);
    assert_eq!(filled("{{ text }}", r#"{"text":"first","\u0074ext":"last"}"#).unwrap(), "last");
    assert_eq!(
        filled("{{ row['Review Text'] }} of {{ row | length }}", r#"{"Review Text":"fine","x":1}"#).unwrap(),
        "fine of 2"
    );
}

#[test]
fn a_column_hides_what_is_always_there() {
    let columns = names(&["range", "row"]);
    let renderer = Renderer::new(&template("{{ range }} {{ row }}"), Some(&columns)).unwrap();
    assert_eq!(renderer.used_columns(), columns);
    let rendered = renderer.render(&row(r#"{"range":"far","row":"own"}"#), Attached::default()).unwrap();
    assert_eq!(rendered.request, Request::prompt("far own"));
}

#[test]
fn rows_that_do_not_fit_the_template_are_named_and_not_quoted() {
    let error = |text, json| filled(text, json).unwrap_err();
    assert_eq!(
        error("Read:\n{{ text }}", r#"{"txt":"secret","id":1}"#),
        "template -p, line 2: column `text` is missing; in this row the columns are: txt, id"
    );
    assert_eq!(
        error("{{ a.b.c }}", r#"{"a":{"x":"secret"}}"#),
        "template -p, line 1: a value is missing; in this row the columns are: a"
    );
    assert_eq!(
        error("{{ text }}", r#"{"text":null}"#),
        "template -p, line 1: the value is null; write {{ x or \"\" }} to send nothing for it"
    );
    assert_eq!(error("{{ text + 1 }}", r#"{"text":"secret"}"#), "template -p, line 1: invalid operation");
    let (huge, told) = ("{% for n in range(9000000) %}{% endfor %}", "invalid operation: range has too many elements");
    assert_eq!(error(huge, r#"{"text":"secret"}"#), format!("template -p, line 1: {told}"));
    assert_eq!(error("{{ text | int }}", r#"{"text":"secret"}"#), "template -p, line 1: invalid operation");
    assert_eq!(
        error(
            "{% for i in range(99999) %}{% for j in range(99999) %}{{ text }}{% endfor %}{% endfor %}",
            r#"{"text":""}"#
        ),
        "template -p, line 1: the template does too much with this row"
    );
    let broken = Row { fault: Some("the row is larger than 9 bytes".to_owned()), ..row("") };
    let renderer = Renderer::new(&template("x"), None).unwrap();
    assert_eq!(renderer.render(&broken, Attached::default()), Err("the row is larger than 9 bytes".to_owned()));
}

#[test]
fn a_template_may_ask_for_a_column_first() {
    let text = "{% if notes is defined %}{{ notes }}{% else %}none{% endif %}{{ more | default('!') }}";
    let renderer = Renderer::new(&template(text), Some(&names(&["id"]))).unwrap();
    assert_eq!(renderer.used_columns(), ["more", "notes"]);
    assert_eq!(renderer.render(&row(r#"{"id":1}"#), Attached::default()).unwrap().request, Request::prompt("none!"));
    assert_eq!(renderer.render(&row(r#"{"notes":"N"}"#), Attached::default()).unwrap().request, Request::prompt("N!"));
}

#[test]
fn what_a_template_gets_wrong_is_said_before_the_first_row() {
    let columns = ["id", "text"];
    let cases = [
        ("Read: {{ txet }}", "-p:1: there is no column `txet`; did you mean `text`? the columns are: id, text"),
        ("the question:\n{{ question }}", "-p:2: there is no column `question`; the columns are: id, text"),
        ("{{ text }}\n{% if %}", "-p:2: syntax error: unexpected end of block"),
        ("\n{{ text | trunkate }}", "-p:2: unknown filter: filter trunkate is unknown"),
        ("{{ sum(text) }}", "-p:1: unknown function: sum is unknown"),
        ("{% include 'other' %}", "-p:1: template not found: tried to include non-existing template 'other'"),
        ("{{ text }}", "no error"),
        ("{{ row['Review Text'] }}", "no error"),
        ("{% set a = text %}{{ a }}{% for x in range(3) %}{{ loop.index }}{{ x }}{% endfor %}", "no error"),
    ];
    for (text, message) in cases {
        assert_eq!(refused(&template(text), &columns), message);
    }
}

#[test]
fn options_are_checked_against_the_columns() {
    let with = |embed: Option<&str>, id: Option<&str>, system: Option<&str>| PromptOptions {
        embed: embed.map(str::to_owned),
        id_column: id.map(str::to_owned),
        system: system.map(str::to_owned),
        ..PromptOptions::default()
    };
    let columns = ["key", "question"];
    let all = "the columns are: key, question";
    assert_eq!(
        refused(&with(Some("Question "), None, None), &columns),
        format!("--embed: there is no column `Question `; did you mean `question`? {all}")
    );
    assert_eq!(refused(&with(Some("question"), Some("key"), None), &columns), "no error");
    assert_eq!(
        refused(&with(Some("question"), Some("id"), None), &columns),
        format!("--id-column: there is no column `id`; {all}")
    );
    assert_eq!(
        refused(&with(Some("question"), None, Some("be brief")), &columns),
        "--embed takes its text from a column; leave the templates out"
    );
    assert_eq!(
        refused(&with(None, None, Some("be brief")), &columns),
        format!(
            "the rows have neither messages, body, prompt nor text; say what to ask with -p 'Summarise: {{{{ COLUMN }}}}'; {all}"
        )
    );
    assert_eq!(refused(&with(None, None, None), &["id", "prompt"]), "no error");
}

#[test]
fn rows_may_say_themselves_what_is_asked() {
    let plain = PromptOptions { system: Some("brief {{ id }}".to_owned()), ..PromptOptions::default() };
    let request = |json| render(&plain, json).unwrap();
    let asked = Request::prompt("hi").system("brief 1");
    assert_eq!(request(r#"{"id":1,"prompt":"hi","text":"unused"}"#), Rendered { request: asked.clone(), batch: false });
    assert_eq!(request(r#"{"id":1,"text":"hi","body":"a letter"}"#).request, asked);
    assert_eq!(request(r#"{"id":1,"messages":[{"role":"user","content":"hi"}],"prompt":"x"}"#).request, asked);

    let embed = PromptOptions { embed: Some("text".to_owned()), ..PromptOptions::default() };
    assert_eq!(render(&embed, r#"{"text":"hi"}"#).unwrap().request, Request::embed("hi"));
    assert_eq!(render(&embed, r#"{"text":1}"#), Err("`text` is not a text".to_owned()));
    assert_eq!(
        render(&embed, r#"{"a":1}"#),
        Err("column `text` is missing; in this row the columns are: a".to_owned())
    );
}

#[test]
fn bodies_go_out_as_they_are() {
    let body = r#"{ "model":"m", "messages":[],"x": 1.50 }"#;
    let options = PromptOptions::default();
    let chat = Request::original(WireId::Openai, TaskKind::Chat, body);
    assert_eq!(
        render(&options, &format!(r#"{{"body":{body}}}"#)),
        Ok(Rendered { request: chat.clone(), batch: false })
    );
    let line = |method: &str, url: &str, body: &str| {
        format!(r#"{{"custom_id":"a","method":"{method}","url":"{url}","body":{body}}}"#)
    };
    let batch = render(&options, &line("POST", "/v1/chat/completions", body)).unwrap();
    assert_eq!(batch, Rendered { request: chat.clone(), batch: true });
    let embedding = render(&options, r#"{"body":{"input":"x"}}"#).unwrap().request;
    assert_eq!(embedding.kind(), TaskKind::Embed);

    let anthropic = |body: &'static str| Request::original(WireId::Anthropic, TaskKind::Chat, body);
    assert_eq!(render(&options, &line("POST", "/v1/messages", body)).unwrap().request, anthropic(body));
    let own = r#"{"system":"s","messages":[]}"#;
    assert_eq!(render(&options, &format!(r#"{{"body":{own}}}"#)).unwrap().request, anthropic(own));

    for (kind, body) in [(TaskKind::Chat, r#"{"contents":[]}"#), (TaskKind::Embed, r#"{"content":{}}"#)] {
        let request = render(&options, &format!(r#"{{"body":{body}}}"#)).unwrap().request;
        assert_eq!(request, Request::original(WireId::Gemini, kind, body));
    }

    let error = |json: &str| render(&options, json).unwrap_err();
    assert_eq!(
        error(&line("POST", "/v1/completions", body)),
        "the url `/v1/completions` is not supported; /v1/chat/completions, /v1/responses, /v1/embeddings and /v1/messages are"
    );
    assert_eq!(error(&line("GET", "/v1/chat/completions", body)), "`method` is not POST");
    assert_eq!(error(r#"{"body":{"messages":[],"stream":true}}"#), "`body` asks for a stream; leave `stream` out");
    assert_eq!(error(r#"{"body":{"prompt":"x"}}"#), "`body` has neither `messages`, `input`, `contents` nor `content`");
    assert_eq!(
        error(r#"{"messages":[{"role":"user","content":1}]}"#),
        "messages[0]: `content` is neither text nor a list"
    );
    assert_eq!(
        error(r#"{"body":"secret"}"#),
        "the row has neither messages, a body object, prompt nor text; in this row the columns are: body"
    );
    let system = PromptOptions { system: Some("brief".to_owned()), ..options.clone() };
    assert_eq!(
        render(&system, r#"{"body":{"messages":[]}}"#),
        Err("a system message cannot be put into a row's own `body`; leave --system out".to_owned())
    );
}

#[test]
fn reading_and_rendering_may_happen_on_any_thread() {
    fn is_send<T: Send>() {}
    fn is_sync<T: Sync>() {}
    is_send::<crate::run::input::Input>();
    is_send::<Renderer>();
    is_sync::<Renderer>();
}

#[test]
fn parameters_are_put_on_every_request() {
    let mut options = template("{{ a }}");
    options.params.temperature = Some(0.5);
    let rendered = render(&options, r#"{"a":"x"}"#).unwrap();
    assert_eq!(rendered.request, Request::prompt("x").temperature(0.5));
}

#[test]
fn used_columns_are_what_a_row_is_known_by() {
    let used = |options: &PromptOptions| Renderer::new(options, None).unwrap().used_columns().to_vec();
    let with_system = PromptOptions { system: Some("{{ who }}".to_owned()), ..template("{{ text }}{{ text.x }}") };
    assert_eq!(used(&with_system), ["text", "who"]);
    assert_eq!(used(&template("{{ row.x }}{{ text }}")), [""; 0]);
    let own = used(&PromptOptions::default());
    assert!(own.contains(&"messages".to_owned()) && own.contains(&"body".to_owned()));
}

#[test]
fn fingerprints_see_everything_but_the_model_and_the_order_of_fields() {
    let base = || Request::prompt("hi").param("a", json!({"x": 1, "y": 2})).param("b", 1);
    let known = fingerprint(&base(), 7);
    let turned = Request::prompt("hi").param("b", 1).param("a", json!({"y": 2, "x": 1}));
    assert_eq!(fingerprint(&turned, 7), known);
    let others = [
        base().temperature(0.0),
        base().max_tokens(1),
        base().param("b", 2),
        base().system(""),
        Request::embed("hi").param("a", json!({"x": 1, "y": 2})).param("b", 1),
        Request::chat(vec![Message::assistant().text("hi")]).param("a", json!({"x": 1, "y": 2})).param("b", 1),
    ];
    for other in others {
        assert_ne!(fingerprint(&other, 7), known, "{other:?}");
    }
    assert_ne!(fingerprint(&base(), 8), known);

    let original = |text: &'static str| fingerprint(&Request::original(WireId::Openai, TaskKind::Chat, text), 7);
    assert_eq!(original(r#"{"model":"a","x":1}"#), original(r#"{"model":"other","x":1}"#));
    assert_ne!(original(r#"{"model":"a","x":1}"#), original(r#"{"model":"a","x":2}"#));
}

#[test]
fn fingerprints_stay_as_they_are_in_journals() {
    let typed = Request::prompt("hi").system("brief").temperature(0.5).param("top_p", 0.9);
    let original = Request::original(WireId::Openai, TaskKind::Chat, r#"{"model":"a","x":1}"#);
    assert_eq!([typed, original].map(|request| fingerprint(&request, 7)), [2_856_397_066, 424_551_845]);
}

#[test]
fn media_go_in_front_of_what_the_user_says() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.pdf"), "%PDF-1.7").unwrap();
    let media = vec![MediaColumn { column: "pdf".to_owned(), kind: Some(MediaKind::Document) }];
    let options = PromptOptions { media, ..template("Total of {{ name }}?") };
    let renderer = Renderer::new(&options, Some(&names(&["name", "pdf"]))).unwrap();
    assert_eq!(renderer.used_columns(), ["name", "pdf"]);
    let mut row = row(r#"{"name":"May","pdf":"a.pdf"}"#);
    row.place.file = folder.path().join("rows.jsonl").display().to_string().into();
    let attached = renderer.attach(&row, &Fetching::default()).unwrap();
    let request = renderer.render(&row, attached).unwrap().request;
    let Task::Chat(messages) = &request.task else { unreachable!() };
    assert!(matches!(&messages[0].parts[..], [Part::Document(_), Part::Text(text)] if text == "Total of May?"));
    let other = row.json.clone();
    row.json = Bytes::from_static(br#"{"body":{"messages":[]}}"#);
    let body = Renderer::new(&PromptOptions { template: None, ..options.clone() }, None).unwrap();
    let named = row.clone();
    let attached = || body.attach(&Row { json: other.clone(), ..named.clone() }, &Fetching::default()).unwrap();
    assert!(body.render(&row, attached()).unwrap_err().contains("cannot be put into a row's own `body`"));
    row.json =
        Bytes::from_static(br#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}"#);
    let Task::Chat(messages) = body.render(&row, attached()).unwrap().request.task else { unreachable!() };
    assert_eq!(messages[0].parts.len(), 2);
}

#[test]
fn a_media_column_that_is_none_is_refused() {
    let media = vec![MediaColumn { column: "phto".to_owned(), kind: Some(MediaKind::Image) }];
    let error =
        |options: &PromptOptions| Renderer::new(options, Some(&names(&["photo", "text"]))).err().unwrap().to_string();
    let message = error(&PromptOptions { media: media.clone(), ..template("x") });
    assert!(message.starts_with("--image-column: there is no column `phto`; did you mean `photo`?"), "{message}");
    let embed = PromptOptions { media, embed: Some("text".to_owned()), ..PromptOptions::default() };
    assert!(error(&embed).contains("--image-column goes with a prompt"));
}

proptest! {
    #[test]
    fn no_row_makes_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..60),
        json in "[{}\\[\\]\":,a\\\\ui01-e. ]{0,60}",
        name in prop::sample::select(vec!["a", "body", "messages", "text", "url", "method"]),
    ) {
        let options = [
            template("{{ a }}{{ row.b }}{{ a.c | length }}"),
            PromptOptions::default(),
            PromptOptions { embed: Some("a".to_owned()), ..PromptOptions::default() },
        ];
        for options in options {
            let renderer = Renderer::new(&options, None).unwrap();
            for text in [bytes.clone(), json.clone().into_bytes(), format!("{{\"{name}\":{json}}}").into_bytes()] {
                let row = Row { json: text.into(), ..row("") };
                if let Ok(rendered) = renderer.render(&row, Attached::default()) {
                    let _ = fingerprint(&rendered.request, 1);
                }
            }
        }
    }

    #[test]
    fn a_plain_template_says_what_the_engine_says(
        pieces in prop::collection::vec(
            prop::sample::select(vec!["{{ a }}", "{{b}}", "{{\ta\n}}", "{{- a }}", "{{ 'b' }}", "{", "}}", "\n", "é x ", "{{ b.c }}"]),
            0..6,
        ),
        a in prop::sample::select(vec![r#""text""#, r#""""#, r#""a\n\u00e9""#, "1.0", "true", "null", "[1]"]),
        with_b in any::<bool>(),
    ) {
        let (text, b) = (pieces.concat(), if with_b { r#","b":"{{ a }}""# } else { "" });
        let row = row(&format!(r#"{{"a":{a}{b}}}"#));
        let renderer = |text: &str| Renderer::new(&template(text), Some(&names(&["a", "b"]))).ok();
        // A comment at its beginning makes a template one for the engine, and changes nothing else.
        let (plain, engine) = (renderer(&text), renderer(&format!("{{# #}}{text}")));
        prop_assert_eq!(plain.is_some(), engine.is_some());
        if let (Some(plain), Some(engine)) = (plain, engine) {
            prop_assert_eq!(plain.render(&row, Attached::default()), engine.render(&row, Attached::default()), "{}", text);
        }
    }

    #[test]
    fn no_template_makes_it_panic(text in "[{}%|.()\\[\\]'a-e \n#]{0,40}", columns in prop::collection::vec("[a-e]", 0..3)) {
        for known in [None, Some(&columns[..])] {
            if let Ok(renderer) = Renderer::new(&template(&text), known) {
                let _ = renderer.render(&row(r#"{"a":"x","b":[1]}"#), Attached::default());
            }
        }
    }
}
