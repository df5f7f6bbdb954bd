//! Rows that share calls: identical ones, packed ones, and those that begin alike.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Done, Place, Sim, by_id, done, rows};

fn command(place: &Place, sim: &Sim, out: &str, arguments: &str) -> Command {
    let mut command = place.tidegate(&["run", "in.jsonl", "-p", "Say {{ text }}", "--price", "1,2", "-m", "m"]);
    command.args(["-o", out, "--base-url", &sim.base_url()]).args(arguments.split_whitespace());
    command
}

fn run(place: &Place, sim: &Sim, out: &str, arguments: &str) -> Done {
    done(&mut command(place, sim, out, arguments))
}

/// Checks that every row has the answer to its own prompt.
fn check_answers(records: &[Value]) {
    for record in records {
        let (output, asked) = (record["output"].as_str().unwrap(), record["input"]["text"].as_str().unwrap());
        assert!(output.ends_with(&format!("] Say {asked}")), "{record}");
    }
}

fn sum(records: &[Value], of: impl Fn(&Value) -> Option<f64>) -> f64 {
    records.iter().map(|record| of(record).unwrap()).sum()
}

#[test]
fn identical_rows_are_asked_once() {
    let (place, sim) = (Place::new(), Sim::start("{latency: {fixed: {ms: 20}}}"));
    let row = |id: usize| format!("{{\"id\":\"r{id}\",\"text\":\"question {}\"}}\n", id % 5);
    place.write("in.jsonl", (0..200).map(row).collect::<String>());
    run(&place, &sim, "out.jsonl", "--dedupe --summary s.json")
        .exits(0)
        .says(&["195 rows have the outcome of an identical row"]);
    let records = place.records("out.jsonl");
    assert_eq!((records.len(), sim.count("arrivals")), (200, 5));
    check_answers(&records);
    let shared: Vec<&Value> = records.iter().filter(|record| record["shared"] == true).collect();
    assert!(shared.len() == 195 && shared.iter().all(|row| row["cost_usd"] == json!(0) && row["attempts"] == json!(0)));
    let summary: Value = serde_json::from_str(&place.read("s.json")).unwrap();
    assert_eq!((&summary["succeeded"], &summary["shared"]), (&json!(200), &json!(195)), "{summary}");
    run(&place, &sim, "two.jsonl", "--dedupe --repeat 2").exits(2).says(&["--repeat asks for a new answer each time"]);
    run(&place, &sim, "three.jsonl", "--temperature 0 --repeat 2 --rows 10").exits(0);
    assert_eq!(sim.count("arrivals"), 25);
}

#[test]
fn thirty_rows_at_ten_are_three_calls_and_resume_row_by_row() {
    let (place, sim) = (Place::new(), Sim::start("{latency: {fixed: {ms: 20}}}"));
    place.write("in.jsonl", rows(0..30));
    let looked = run(&place, &sim, "out.jsonl", "--pack 10 --dry-run").exits(0).stdout;
    assert!(looked.contains("3 calls for them"), "{looked}");
    run(&place, &sim, "out.jsonl", "--pack 10 --summary s.json").exits(0).says(&["30 rows in 3 calls, 27 saved"]);
    let records = place.records("out.jsonl");
    assert_eq!((records.len(), sim.count("arrivals")), (30, 3));
    check_answers(&records);
    assert!(records.iter().all(|record| record["packed"] == json!(10) && record["attempts"] == json!(1)));
    assert!((sum(&records, |record| record["calls"].as_f64()) - 3.0).abs() < 1e-9);
    assert_eq!(sum(&records, |record| record["usage"]["input_tokens"].as_f64()), sim.count("input_tokens") as f64);
    assert_eq!(sum(&records, |record| record["usage"]["output_tokens"].as_f64()), sim.count("output_tokens") as f64);
    let summary: Value = serde_json::from_str(&place.read("s.json")).unwrap();
    assert_eq!(summary["packing"], json!({"rows": 30, "calls": 3, "saved_calls": 27}), "{summary}");
    place.write("in.jsonl", rows(0..33));
    run(&place, &sim, "out.jsonl", "").exits(0);
    assert_eq!((place.records("out.jsonl").len(), sim.count("arrivals")), (33, 6));
}

#[test]
fn a_look_at_packed_rows_knows_the_output_limit_of_a_ladders_first_rung() {
    let (place, sim) = (Place::new(), Sim::start("{}"));
    place.write("in.jsonl", rows(0..20));
    let ladder = "--pack 10 --ladder max_tokens=100;temperature=1 --dry-run --json";
    let looked: Value = serde_json::from_str(&run(&place, &sim, "out.jsonl", ladder).exits(0).stdout).unwrap();
    // Each of the ten rows of a call may write 100 tokens, and 16 for the form.
    assert_eq!((&looked["calls"], &looked["output_tokens"][1]), (&json!(2), &json!(2 * 10 * 116)), "{looked}");
    let body = &looked["samples"][0]["body"];
    assert!(body["max_tokens"] == json!(1160) || body["max_completion_tokens"] == json!(1160), "{body}");
}

#[test]
fn a_packed_row_that_failed_is_asked_again_and_the_others_are_not() {
    let scenario = "{latency: {fixed: {ms: 5}}, script: [{contains: 'question 3', times: 3, status: 400}]}";
    let (place, sim) = (Place::new(), Sim::start(scenario));
    place.write("in.jsonl", rows(0..4));
    run(&place, &sim, "out.jsonl", "--pack 4").exits(1);
    let records = place.records("out.jsonl");
    let failed = by_id(&records)["r3"];
    assert_eq!((&failed["error"]["kind"], &failed["attempts"]), (&json!("bad_request"), &json!(3)), "{failed}");
    assert_eq!((sim.count("arrivals"), records.len()), (5, 4));
    sim.reset();
    run(&place, &sim, "out.jsonl", "--pack 4 --retry-failed=bad_request").exits(1);
    assert_eq!(sim.count("arrivals"), 1);
}

#[test]
fn the_first_row_of_a_prefix_goes_ahead_and_the_summary_says_what_that_saved() {
    let (place, sim) = (Place::new(), Sim::start("{latency: {fixed: {ms: 100}}}"));
    place.write("in.jsonl", rows(0..60));
    place.write("t.toml", format!("system = \"{}\"\n", "word ".repeat(2000)));
    let run = |out: &str, arguments: &[&str]| {
        let mut command =
            place.tidegate(&["run", "in.jsonl", "-p", "Say {{ text }}", "-m", "anthropic/claude-haiku-4-5"]);
        command.env("ANTHROPIC_API_KEY", "k").args([
            "-c",
            "t.toml",
            "-o",
            out,
            "--concurrency",
            "20",
            "--summary",
            "s.json",
        ]);
        command.args(["--base-url", sim.base_url().trim_end_matches("/v1")]).args(arguments);
        done(&mut command)
    };
    run("out.jsonl", &["--prompt-cache", "conservative"])
        .exits(0)
        .says(&["tokens read from the provider's cache for 59 rows"]);
    let records = place.records("out.jsonl");
    let written: Vec<&Value> = records.iter().filter(|row| row["usage"]["cache_write_tokens"].is_number()).collect();
    assert_eq!((written.len(), records.len()), (1, 60));
    let summary: Value = serde_json::from_str(&place.read("s.json")).unwrap();
    assert_eq!(summary["prompt_cache"]["hits"], json!(59), "{summary}");
    assert!(summary["prompt_cache"]["saved_usd"].as_f64().unwrap() > 0.0, "{summary}");
}
