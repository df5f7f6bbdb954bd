//! The command itself: what it prints where, what it writes, and what it looks at without sending anything.

use serde_json::{Value, json};

use crate::support::{Place, Sim, by_id, done, records, rows, text};

/// Runs `in.jsonl` against the simulated provider in the same process.
fn run(place: &Place, arguments: &[&str]) -> crate::support::Done {
    let mut command = place.tidegate(&["run", "in.jsonl", "-m", "sim/echo", "-p", "Say {{ text }}"]);
    done(command.args(arguments))
}

fn with_rows(count: usize) -> Place {
    let place = Place::new();
    place.write("in.jsonl", rows(0..count));
    place
}

#[test]
fn the_example_of_the_help_works() {
    let place = Place::new();
    let elements = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/elements.csv");
    let arguments =
        ["run", elements, "--id-column", "symbol", "-m", "sim/echo", "-p", "About {{ name }}", "-o", "out.jsonl"];
    done(&mut place.tidegate(&arguments)).exits(0).says(&["118 answered", "out.jsonl"]);
    let records = place.records("out.jsonl");
    let iron = by_id(&records)["Fe"];
    assert_eq!((records.len(), text(&iron["input"]["name"])), (118, "Iron".to_owned()));
    assert!(text(&iron["output"]).ends_with("About Iron"));
}

#[test]
fn a_record_has_every_field_in_its_order() {
    let place = with_rows(1);
    run(&place, &["-o", "out.jsonl", "--price", "1,2"]).exits(0);
    let record = &place.records("out.jsonl")[0];
    let names: Vec<_> = record.as_object().unwrap().keys().map(String::as_str).collect();
    let wanted = "id input output model endpoint finish_reason usage cost_usd latency_ms attempts request_id error";
    assert_eq!(names.join(" "), wanted);
    let usage: Vec<_> = record["usage"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(usage, ["input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"]);
    let (input, output) = (&record["usage"]["input_tokens"], &record["usage"]["output_tokens"]);
    let cost = (input.as_f64().unwrap() + 2.0 * output.as_f64().unwrap()) / 1e6;
    assert!((record["cost_usd"].as_f64().unwrap() - cost).abs() < 1e-9, "{record}");
}

#[test]
fn fields_are_chosen_and_renamed() {
    let place = with_rows(2);
    run(&place, &["-o", "out.jsonl", "--fields", "id,output", "--output-column", "answer"]).exits(0);
    for record in place.records("out.jsonl") {
        assert_eq!(record.as_object().unwrap().keys().collect::<Vec<_>>(), ["id", "answer"]);
    }
    run(&place, &["-o", "other.jsonl", "--fields", "id,outptu"])
        .exits(0)
        .says(&["no row of this run has the column \"outptu\"", "did you mean 'output'?"]);
}

#[test]
fn a_table_keeps_its_columns_and_gets_ours() {
    let place = Place::new();
    place.write("in.csv", "id,model,text\n1,mine,\"a, \"\"b\"\"\"\n2,yours,\"two\nlines\"\n");
    place.run("run in.csv -m sim/echo -p {{text}} -o out.csv").exits(0);
    let table = place.read("out.csv");
    let header = table.lines().next().unwrap();
    assert!(header.starts_with("id,model,text,output,model_"), "a clash gets a suffix: {header}");
    assert!(table.contains("\n1,mine,\"a, \"\"b\"\"\",") && table.contains("\n2,yours,\"two\nlines\","), "{table}");
}

#[test]
fn lines_of_text_are_prompts() {
    let place = Place::new();
    place.write("in.txt", "first\r\nsecond\n\nlast without an end");
    place.run("run in.txt -m sim/echo -o out.jsonl").exits(0);
    let mut says: Vec<_> =
        place.records("out.jsonl").iter().map(|r| text(&r["output"]).split_once(' ').unwrap().1.to_owned()).collect();
    says.sort();
    assert_eq!(says, ["first", "last without an end", "second"]);
}

#[test]
fn rows_may_carry_messages() {
    let place = Place::new();
    let message = json!({"role": "user", "content": [{"type": "text", "text": "in parts"}]});
    place.write("in.jsonl", format!("\u{feff}{}\r\n", json!({"id": 1, "messages": [message]})));
    place.run("run in.jsonl -m sim/echo -o out.jsonl").exits(0);
    assert!(text(&place.records("out.jsonl")[0]["output"]).ends_with("in parts"));
}

#[test]
#[cfg(unix)]
fn only_the_owner_can_read_what_was_asked_and_answered() {
    use std::os::unix::fs::PermissionsExt;
    let place = with_rows(2);
    run(&place, &["-o", "out.jsonl"]).exits(0);
    let mode = |name: &str| std::fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("out.jsonl"), mode("out.jsonl.tidegate")), (0o600, 0o700));
    assert_eq!((mode("out.jsonl.tidegate/journal"), mode("out.jsonl.tidegate/manifest.json")), (0o600, 0o600));
}

#[test]
fn quiet_is_quiet_until_something_is_wrong() {
    let place = with_rows(3);
    let quiet = run(&place, &["-o", "out.jsonl", "--quiet"]).exits(0);
    assert_eq!((quiet.stdout, quiet.stderr), (String::new(), String::new()));
    let sim = Sim::start("keys: [right]");
    let url = sim.base_url();
    let stopped = run(&place, &["-o", "other.jsonl", "--quiet", "--base-url", &url, "-m", "m"]).exits(3);
    assert_eq!(stopped.stderr.lines().count(), 1, "{}", stopped.stderr);
    stopped.says(&["no endpoint can serve any more: auth"]);
}

#[test]
fn results_on_the_standard_output_are_alone_there() {
    let place = with_rows(5);
    let shown = run(&place, &["-v"]).exits(0).says(&["without -o"]);
    assert_eq!(by_id(&records(&shown.stdout)).len(), 5);
}

#[test]
fn events_are_json_lines() {
    let place = with_rows(5);
    let told = run(&place, &["-o", "out.jsonl", "--json-events"]).exits(0);
    let events = records(&told.stderr);
    let last = events.last().unwrap();
    assert_eq!((&last["event"], &last["succeeded"]), (&json!("summary"), &json!(5)), "{}", told.stderr);
}

#[test]
fn the_summary_is_a_file_too() {
    let place = with_rows(5);
    run(&place, &["-o", "out.jsonl", "--summary", "summary.json", "--rows", "3"]).exits(0);
    let summary: Value = serde_json::from_str(&place.read("summary.json")).unwrap();
    assert_eq!((&summary["version"], &summary["succeeded"], &summary["read"]), (&json!(1), &json!(3), &json!(3)));
    run(&place, &["-o", "out.jsonl", "--summary", "no/where.json"]).exits(4).says(&["no/where.json"]);
    assert_eq!(place.records("out.jsonl").len(), 5, "the results are there all the same");
}

#[test]
fn the_log_has_a_file_of_its_own() {
    let place = with_rows(5);
    run(&place, &["-o", "out.jsonl", "-vv", "--log-file", "log.txt", "--log-format", "json"]).exits(0);
    for line in records(&place.read("log.txt")) {
        assert!(line.is_object());
    }
}

#[test]
fn looking_sends_nothing_and_writes_nothing() {
    let place = Place::new();
    place.write("in.jsonl", rows(0..7) + &rows(3..4) + "{\"id\": \"x\", \"txt\": 1}\n");
    let sim = Sim::start("");
    let url = sim.base_url();
    let look = |flags: &[&str]| run(&place, &[&["-o", "out.jsonl", "-m", "m", "--base-url", &url], flags].concat());
    let plain = look(&["--dry-run"]).exits(2);
    assert!(plain.stdout.contains("in.jsonl:8") || plain.stdout.contains("in.jsonl:9"), "{}", plain.stdout);
    let checked = look(&["--check-input", "--json", "--allow-duplicate-ids"]).exits(2);
    let found: Value = serde_json::from_str(&checked.stdout).unwrap();
    assert_eq!((&found["rows"], &found["bad_rows"], &found["to_send"]), (&json!(9), &json!(1), &json!(8)), "{found}");
    place.write("in.jsonl", rows(0..7));
    let dry = look(&["--dry-run", "--json", "--price", "1,1", "--max-tokens", "100"]).exits(0);
    let found: Value = serde_json::from_str(&dry.stdout).unwrap();
    assert_eq!((&found["to_send"], found["samples"].as_array().unwrap().len()), (&json!(7), 3));
    assert!(found["cost_usd"][0].as_f64().unwrap() < found["cost_usd"][1].as_f64().unwrap(), "{found}");
    assert_eq!(sim.count("arrivals"), 0);
    assert!(!place.path("out.jsonl").exists() && !place.path("out.jsonl.tidegate").exists(), "looking left traces");
}

#[test]
fn settings_come_from_file_variables_and_flags_in_that_order() {
    let place = with_rows(1);
    place.write("tidegate.toml", "models = ['sim/file']\n[limits]\nrpm = 1\ntpm = 2\n[retry]\nmax_attempts = 3\n");
    let mut command = place.tidegate(&["run", "in.jsonl", "--print-config", "--tpm", "30"]);
    let shown = done(command.env("TIDEGATE_RPM", "10").env("TIDEGATE_TPM", "20")).exits(0).stdout;
    let wanted = ["models = [\"sim/file\"]", "rpm = 10.0", "tpm = 30.0", "max_attempts = 3"];
    for line in wanted {
        assert!(shown.contains(line), "no {line} in:\n{shown}");
    }
    done(&mut place.tidegate(&["run", "in.jsonl", "-p", "x", "-o", "out.jsonl"])).exits(0).says(&["tidegate.toml"]);
    done(&mut place.tidegate(&["run", "in.jsonl", "-p", "x", "-o", "other.jsonl", "--no-config"]))
        .exits(2)
        .says(&["-m"]);
}

#[test]
fn models_are_listed() {
    let place = Place::new();
    let listed = place.run("models --provider openai --json").exits(0);
    let models: Vec<Value> = serde_json::from_str(&listed.stdout).unwrap();
    assert!(!models.is_empty());
    assert!(place.run("models").exits(0).stdout.lines().count() > models.len());
    place.run("models --provider opnai").exits(2).says(&["opnai", "openai"]);
}

#[test]
fn a_wrong_flag_is_answered_with_the_nearest() {
    let place = Place::new();
    place.run("run in.jsonl --retry-faled").exits(2).says(&["--retry-failed"]);
    place.run("run in.jsonl -m a -p x -t y").exits(2).says(&["cannot be used with"]);
    assert!(place.run("--version").exits(0).stdout.starts_with("tidegate "));
}

#[test]
fn a_scenario_with_a_mistake_is_named_by_line() {
    let place = with_rows(1);
    place.write("s.yaml", "latency: {fixed: {ms: 1}}\nlimts: []\n");
    run(&place, &["-o", "out.jsonl", "--scenario", "s.yaml"]).exits(2).says(&["s.yaml", "limts"]);
    place.run("sim --listen 127.0.0.1:0 --scenario s.yaml").exits(2).says(&["s.yaml", "limts"]);
    place.run("sim --listen 127.0.0.1:0 --latency-ms NaN").exits(2).says(&["--latency-ms"]);
}
