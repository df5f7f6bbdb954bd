//! Answers that hold: schemas on every wire, checks, ladders, lifted fields, routing by task.

use std::process::Command;

use crate::support::{Done, Place, Sim, by_id, done, rows};

const SCHEMA: &str = r#"{"type": "object", "required": ["stars", "mood"], "properties": {
    "stars": {"enum": [1, 2, 3, 4, 5]}, "mood": {"type": ["string", "null"]}}}"#;

/// A directory with rows, a schema, and a configuration that knows a simulated provider by each wire.
fn bench(scenario: &str, more: &str) -> (Place, Sim) {
    let (place, sim) = (Place::new(), Sim::start(scenario));
    let url = sim.base_url();
    let root = url.trim_end_matches("/v1");
    let provider = |name: &str, url: &str| format!("[providers.{name}x]\nwire = '{name}'\nbase_url = '{url}'\n");
    let providers = [provider("openai", &url), provider("anthropic", root), provider("gemini", root)].concat();
    place.write("tidegate.toml", format!("prompt = 'Rate {{{{ text }}}}'\n{more}\n{providers}"));
    place.write("schema.json", SCHEMA);
    place.write("in.jsonl", rows(0..40));
    (place, sim)
}

fn run(place: &Place, arguments: &[&str]) -> Command {
    let mut command = place.tidegate(&["run", "in.jsonl"]);
    command.args(arguments);
    command
}

fn ran(place: &Place, arguments: &[&str]) -> Done {
    done(&mut run(place, arguments))
}

#[test]
fn a_schema_holds_on_every_wire() {
    let faults = "faults: {schema_violation: 0.1, damaged_json: 0.2, fenced_json: 0.1}\nlatency: {fixed: {ms: 1}}";
    let (place, sim) = bench(faults, "");
    for wire in ["openai", "anthropic", "gemini"] {
        let (model, out) = (format!("{wire}x/m"), format!("{wire}.jsonl"));
        let flags = ["--schema", "schema.json", "--check", "output.stars > 0", "--max-check-retries", "9"];
        ran(&place, &[&["-m", &model, "-o", &out, "--lift", "stars"], &flags[..]].concat()).exits(0).says(&[
            "40 answered",
            "replies refused",
            "code fences taken off",
        ]);
        for record in place.records(&out) {
            assert!((1..=5).contains(&record["output"]["stars"].as_u64().unwrap()), "{record}");
            assert_eq!(record["stars"], record["output"]["stars"]);
            assert_eq!(record["checked"]["asks"], record["attempts"]);
        }
    }
    assert!(sim.count("arrivals") > 120);
}

#[test]
fn an_answer_that_never_passes_is_a_failed_row_with_its_faults() {
    let (place, _sim) = bench("faults: {schema_violation: 1}", "models = ['openaix/m']");
    ran(&place, &["--schema", "schema.json", "-o", "out.jsonl", "--rows", "3"]).exits(1).says(&["3 rejected: after 3"]);
    for record in place.records("out.jsonl") {
        assert_eq!((&record["error"]["kind"], &record["output"]), (&"rejected".into(), &serde_json::Value::Null));
        assert_eq!(record["checked"]["faults"][0]["message"], "\"stars\" is a required property");
        assert_eq!((record["attempts"].as_u64(), record["usage"]["input_tokens"].as_u64() > Some(0)), (Some(3), true));
    }
}

#[test]
fn another_check_or_ladder_is_another_job() {
    let (place, _sim) = bench("latency: {fixed: {ms: 1}}", "models = ['openaix/m']\nschema = 'schema.json'");
    ran(&place, &["-o", "out.jsonl"]).exits(0);
    ran(&place, &["-o", "out.jsonl", "--check", "output.stars > 2"]).exits(2).says(&["checks: was none, is"]);
    ran(&place, &["-o", "out.jsonl", "--ladder", "temperature=0;temperature=1"]).exits(2).says(&["ladder: was none"]);
    ran(&place, &["-o", "out.jsonl", "--max-check-retries", "5"]).exits(0).says(&["40 already done"]);
    ran(&place, &["-o", "out.jsonl", "--check", "output.stars > 0", "--redo-changed"]).exits(0).says(&["40 answered"]);
}

#[test]
fn a_ladder_asks_a_model_that_nothing_else_names() {
    let more = "models = ['openaix/cheap']\n[[ladder]]\nparams = { temperature = 0 }\n[[ladder]]\nmodel = 'geminix/strong'\n\
                [endpoints.'openaix/cheap']\nprice = { input = 1, output = 1 }\n\
                [endpoints.'geminix/strong']\nprice = { input = 10, output = 10 }";
    let (place, _sim) = bench("latency: {fixed: {ms: 1}}", more);
    place
        .write("check.sh", "while read -r line; do case \"$line\" in *Rate*1*) echo false;; *) echo true;; esac; done");
    ran(&place, &["-o", "out.jsonl", "--check-command", "sh check.sh", "--max-check-retries", "1"]).says(&[
        "Ladder",
        "rows went up",
        "saved",
        "geminix/strong",
    ]);
}

#[test]
fn rows_are_routed_by_task_or_by_a_model_of_their_own() {
    let more = "models = ['openaix/m']\n[tasks.hard]\nmodels = ['geminix/strong', 'openaix/m']";
    let (place, _sim) = bench("latency: {fixed: {ms: 1}}", more);
    place.write(
        "in.jsonl",
        "{\"id\": 1, \"text\": \"a\"}\n{\"id\": 2, \"text\": \"b\", \"task\": \"hard\"}\n\
         {\"id\": 3, \"text\": \"c\", \"task\": \"hard\", \"who\": \"openaix/m\"}\n",
    );
    ran(&place, &["-o", "out.jsonl", "--model-column", "who"]).exits(0);
    let records = place.records("out.jsonl");
    let by_id = by_id(&records);
    let models: Vec<_> = by_id.values().map(|record| record["model"].as_str().unwrap()).collect();
    assert_eq!(models, ["openaix/m", "geminix/strong", "openaix/m"]);
    place.write("in.jsonl", "{\"id\": 1, \"text\": \"a\", \"task\": \"hrad\"}\n");
    ran(&place, &["-o", "other.jsonl"]).exits(2).says(&["in.jsonl:1: no task \"hrad\"; did you mean \"hard\"?"]);
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_sent() {
    let (place, sim) = bench("", "models = ['openaix/m']");
    place.write("bad.json", "{\"type\": \"text\"}");
    let cases: [(&[&str], &str); 10] = [
        (&["--check", "output."], "the check `output.` is no expression"),
        (&["--check-regex", "("], "is no regular expression"),
        (&["--schema", "none.json"], "the schema none.json: "),
        (&["--schema", "bad.json"], "is no JSON Schema at /type"),
        (&["--ladder", "temperature=0", "--ladder-on", "timeout"], "a ladder cannot go on after timeout"),
        (&["--each-model", "--ladder", "temperature=0;model=openaix/n"], "this ladder asks its own ones"),
        (&["--ladder", "hot"], "write model=provider/model"),
        (&["--ladder", "temperature=hot"], "temperature=hot: not a number"),
        (&["--check-command", " "], "--check-command is empty"),
        (&["--check-command", "./none.sh 7"], "--check-command: there is no program `./none.sh`"),
    ];
    for (flags, expected) in cases {
        ran(&place, flags).exits(2).says(&[expected]);
    }
    assert_eq!(sim.count("arrivals"), 0);
}
