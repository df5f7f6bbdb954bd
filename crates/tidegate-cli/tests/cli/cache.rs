//! Answers that are not paid for twice, by several runs and processes, whatever becomes of them.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Done, Place, Sim, by_id, done, rows};

fn command(place: &Place, sim: &Sim, out: &str, arguments: &str) -> Command {
    let fixed = ["run", "in.jsonl", "-p", "Say {{ text }}", "--price", "1,2", "-m", "m", "-o"];
    let mut command = place.tidegate(&fixed);
    command.args([out, "--base-url", &sim.base_url(), "--cache", "answers.sqlite"]);
    command.args(arguments.split_whitespace());
    command
}

fn run(place: &Place, sim: &Sim, out: &str, arguments: &str) -> Done {
    done(&mut command(place, sim, out, arguments))
}

fn cached(records: &[Value]) -> usize {
    records.iter().filter(|record| record["cached"] == true).count()
}

/// Checks that every answered row has the answer to its own prompt.
fn check_answers(records: &[Value]) {
    for record in records {
        let (output, asked) = (record["output"].as_str().unwrap(), record["input"]["text"].as_str().unwrap());
        assert!(output.ends_with(&format!("] Say {asked}")), "{record}");
    }
}

#[test]
fn a_second_output_costs_nothing() {
    let (place, sim) = (Place::new(), Sim::start("{latency: {fixed: {ms: 2}}}"));
    place.write("in.jsonl", rows(0..40));
    run(&place, &sim, "one.jsonl", "").exits(0);
    assert_eq!(cached(&place.records("one.jsonl")), 0);
    let asked = sim.count("input_tokens");
    place.write("in.jsonl", rows(0..50));
    let second = run(&place, &sim, "two.jsonl", "--summary two.json --output-column said").exits(0);
    second.says(&["40 of those answered from the cache, at no cost"]);
    let records = place.records("two.jsonl");
    let by_id = by_id(&records);
    let hit = by_id["r3"];
    assert_eq!((&hit["cached"], &hit["attempts"], &hit["cost_usd"]), (&json!(true), &json!(0), &json!(0)), "{hit}");
    assert_eq!(hit["usage"], Value::Null);
    assert!(hit["said"].as_str().unwrap().ends_with("] Say question 3"), "{hit}");
    assert!(by_id["r45"].get("cached").is_none_or(|cached| *cached == json!(false)));
    let summary: Value = serde_json::from_str(&place.read("two.json")).unwrap();
    assert_eq!((&summary["succeeded"], &summary["cached"]), (&json!(50), &json!(40)), "{summary}");
    assert!(sim.count("input_tokens") < asked * 3 / 2);
}

#[test]
fn failures_are_asked_for_again_and_samples_are_refused() {
    let scenario = "{latency: {fixed: {ms: 2}}, script: [{contains: 'question 3', times: 1, status: 400}]}";
    let (place, sim) = (Place::new(), Sim::start(scenario));
    place.write("in.jsonl", rows(0..6));
    run(&place, &sim, "one.jsonl", "").exits(1);
    run(&place, &sim, "two.jsonl", "").exits(0);
    let records = place.records("two.jsonl");
    assert_eq!(cached(&records), 5);
    check_answers(&records);
    run(&place, &sim, "three.jsonl", "--repeat 2").exits(2).says(&["--repeat asks for a new answer each time"]);
}

#[test]
fn two_processes_share_a_cache() {
    let (place, sim) = (Place::new(), Sim::start("{latency: {fixed: {ms: 10}}}"));
    place.write("in.jsonl", rows(0..400));
    let start = |out| command(&place, &sim, out, "--concurrency 20").stderr(Stdio::piped()).spawn().unwrap();
    let both = [start("one.jsonl"), start("two.jsonl")];
    for process in both {
        let output = process.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && !said.contains("warning: the cache"), "{said}");
    }
    sim.reset();
    run(&place, &sim, "three.jsonl", "").exits(0).says(&["400 of those answered from the cache"]);
    assert_eq!(sim.count("input_tokens"), 0);
    check_answers(&place.records("three.jsonl"));
}

#[test]
fn killed_while_two_write_it_holds_whole_answers_only() {
    let (place, sim) = (Place::new(), Sim::start("{latency: {fixed: {ms: 10}}}"));
    place.write("in.jsonl", rows(0..2000));
    for round in 0..8u64 {
        let out = format!("{round}.jsonl");
        let start = |out: &str| command(&place, &sim, out, "--concurrency 16 --quiet").spawn().unwrap();
        // Two at once, of which one goes on for a while after the other was killed.
        let both = [start(&out), start(&format!("beside-{out}"))];
        for mut process in both {
            std::thread::sleep(Duration::from_millis(150 + round * 53));
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
    run(&place, &sim, "last.jsonl", "--concurrency 200").exits(0);
    let records = place.records("last.jsonl");
    assert!(records.len() == 2000 && cached(&records) > 50, "{}", cached(&records));
    check_answers(&records);
}

#[test]
fn another_file_is_not_taken_for_a_cache() {
    let (place, sim) = (Place::new(), Sim::start("{}"));
    place.write("in.jsonl", rows(0..2));
    place.write("answers.sqlite", "these are my notes, ".repeat(100));
    run(&place, &sim, "out.jsonl", "").exits(4).says(&["answers.sqlite: cannot be used as a cache"]);
    assert!(place.read("answers.sqlite").starts_with("these are my notes"));
}
