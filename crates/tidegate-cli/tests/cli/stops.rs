//! What ends a run before its input does: budgets, deadlines, failure policies, signals; and how it goes on.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Done, Place, Sim, by_id, done, rows, text};

/// One cent for an input token, two for one of output.
const PRICE: &str = "10000,20000";

fn command(place: &Place, sim: &Sim, arguments: &[&str]) -> Command {
    let fixed = ["run", "in.jsonl", "-p", "Say {{ text }}", "-o", "out.jsonl", "--summary", "summary.json"];
    let mut command = place.tidegate(&fixed);
    command.args(["--base-url", &sim.base_url(), "-m", "m"]).args(arguments);
    command
}

fn run(place: &Place, sim: &Sim, arguments: &str) -> Done {
    done(&mut command(place, sim, &arguments.split_whitespace().collect::<Vec<_>>()))
}

fn summary(place: &Place) -> Value {
    serde_json::from_str(&place.read("summary.json")).unwrap()
}

/// What the simulator's own log says that its good replies cost.
fn billed(sim: &Sim) -> f64 {
    sim.count("input_tokens") as f64 * 0.01 + sim.count("output_tokens") as f64 * 0.02
}

fn budget(usd: u32) -> String {
    format!("--price {PRICE} --max-tokens 40 --budget-usd {usd}")
}

#[test]
fn a_budget_is_never_exceeded_and_a_higher_one_goes_on() {
    let scenario = "{latency: {fixed: {ms: 5}}, output_tokens: 20, faults: {status_500: 0.1}}";
    let (place, sim) = (Place::new(), Sim::start(scenario));
    place.write("in.jsonl", rows(0..120));
    let first = run(&place, &sim, &budget(20)).exits(3);
    first.says(&["stopping: the budget: ", "of $20.00 spent", "With a higher budget the same command resumes."]);
    let spent = billed(&sim);
    assert!((16.0..=20.0).contains(&spent), "{spent}");
    let told = summary(&place);
    assert_eq!(told["stopped"]["reason"], "budget");
    assert!((told["budget"]["spent_usd"].as_f64().unwrap() - spent).abs() < 1e-9, "{told}");
    let recorded: f64 = place.records("out.jsonl").iter().map(|record| record["cost_usd"].as_f64().unwrap()).sum();
    assert!((recorded - spent).abs() < 1e-9);

    // The same budget is spent: next to nothing more is sent. A higher one counts what was spent before.
    run(&place, &sim, &budget(20)).exits(3);
    assert!(billed(&sim) <= 20.0);
    run(&place, &sim, &budget(35)).exits(3).says(&["of $35.00 spent, by all runs together"]);
    assert!((31.0..=35.0).contains(&billed(&sim)), "{}", billed(&sim));
    run(&place, &sim, &budget(500)).exits(0);
    assert_eq!(by_id(&place.records("out.jsonl")).len(), 120);
    assert!(sim.stats()["by_status"]["500"].as_u64().unwrap() > 5);
    assert_eq!(sim.count("answered_more_than_once"), 0);
}

#[test]
fn calls_of_which_nobody_knows_are_charged_in_full() {
    let scenario = "{latency: {fixed: {ms: 5}}, output_tokens: 20, faults: {hang: 0.2, reset: 0.1}}";
    let (place, sim) = (Place::new(), Sim::start(scenario));
    place.write("in.jsonl", rows(0..200));
    run(&place, &sim, &format!("{} --timeout 300ms --max-attempts 2", budget(40))).exits(3);
    let told = summary(&place);
    let spent = told["budget"]["spent_usd"].as_f64().unwrap();
    let records = place.records("out.jsonl");
    let recorded: f64 = records.iter().filter_map(|record| record["cost_usd"].as_f64()).sum();
    assert!(spent <= 40.0 && spent > recorded + 2.0 && billed(&sim) <= 40.0, "{spent} and {recorded}");
    // What no record says is not forgotten.
    run(&place, &sim, &format!("{} --timeout 300ms", budget(40))).exits(3);
    assert!(summary(&place)["budget"]["before_usd"].as_f64().unwrap() >= spent - 1e-9);
}

#[test]
fn who_is_killed_has_not_forgotten_what_it_may_have_spent() {
    let scenario = "{latency: {fixed: {ms: 20}}, output_tokens: 20}";
    let (place, sim) = (Place::new(), Sim::start(scenario));
    place.write("in.jsonl", rows(0..400));
    let arguments = format!("--price {PRICE} --max-tokens 25 --budget-usd 150 --concurrency 4");
    for _ in 0..4 {
        let arguments: Vec<_> = arguments.split_whitespace().collect();
        let mut child = command(&place, &sim, &arguments).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(250));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(billed(&sim) <= 150.0, "{}", billed(&sim));
    }
    run(&place, &sim, &arguments).exits(3);
    let spent = summary(&place)["budget"]["spent_usd"].as_f64().unwrap();
    assert!(billed(&sim) <= spent && spent <= 150.0, "{} and {spent}", billed(&sim));
    // Each kill costs at most what was in flight, and the way to the next mark.
    let lost = 4.0 * (4.0 * 2.4 + 150.0 / 64.0);
    assert!(spent - billed(&sim) <= lost, "{} and {spent}", billed(&sim));
}

#[test]
fn a_budget_of_tokens_needs_no_price() {
    let (place, sim) = (Place::new(), Sim::start("{latency: {fixed: {ms: 5}}, output_tokens: 20}"));
    place.write("in.jsonl", rows(0..200));
    run(&place, &sim, "--budget-tokens 2000 --max-tokens 40").exits(3).says(&["of 2,000 tokens used"]);
    let used = sim.count("input_tokens") + sim.count("output_tokens");
    assert!((1700..=2000).contains(&used), "{used}");
}

#[test]
fn a_budget_that_cannot_be_kept_is_refused_before_anything_is_sent() {
    let (place, sim) = (Place::new(), Sim::start(""));
    place.write("in.jsonl", rows(0..5));
    run(&place, &sim, "--budget-usd 1 --max-tokens 5").exits(2).says(&["compatible/m", "give --price IN,OUT"]);
    run(&place, &sim, "--budget-usd 1 --price 1,2").exits(2).says(&["give --max-tokens N"]);
    assert_eq!(sim.count("arrivals"), 0);
    place.write("tidegate.toml", "[budget]\nusd = 1\n[price]\ninput = 1\noutput = 2\n[params]\nmax_tokens = 5\n");
    run(&place, &sim, "").exits(0);
}

#[test]
fn a_budget_without_max_tokens_says_how_few_requests_fit() {
    let (place, sim) = (Place::new(), Sim::start(""));
    place.write("in.jsonl", rows(0..5));
    let mut command =
        place.tidegate(&["run", "in.jsonl", "-p", "Say {{ text }}", "-o", "out.jsonl", "--budget-usd", "1"]);
    command.args(["--base-url", &sim.base_url(), "-m", "openai/gpt-5-mini"]).env("OPENAI_API_KEY", "k");
    let warned = ["warning: without --max-tokens each request to openai/gpt-5-mini", "at most 3 be in flight"];
    done(&mut command).exits(0).says(&warned);
    let look = place.run("run in.jsonl -m openai/gpt-5-mini -p {{text}} --dry-run").exits(0);
    let said = "80 to 640,000 output tokens (no --max-tokens: the most that the model writes is 128,000 a request)";
    assert!(look.stdout.contains(said), "{}", look.stdout);
}

#[test]
fn a_deadline_lets_calls_end_and_the_same_command_goes_on() {
    let (place, sim) = (Place::new(), Sim::start("latency: {fixed: {ms: 200}}"));
    place.write("in.jsonl", rows(0..60));
    let stopped = run(&place, &sim, "--concurrency 4 --max-time 1s --timeout 1s --max-attempts 1").exits(3);
    stopped.says(&["stopping: the time allowed (1 s) is over", "The same command resumes."]);
    let told = summary(&place);
    assert_eq!(told["stopped"], json!({"reason": "deadline", "seconds": 1.0}));
    let finished = place.records("out.jsonl").len();
    assert!((4..60).contains(&finished) && sim.count("arrivals") as usize == finished, "{finished}");
    run(&place, &sim, "--concurrency 60 --stop-at 2099-01-01T00:00:00Z").exits(0);
    assert_eq!((by_id(&place.records("out.jsonl")).len(), sim.count("arrivals")), (60, 60));
}

#[test]
fn a_deadline_can_give_calls_up() {
    let (place, sim) = (Place::new(), Sim::start("latency: {fixed: {ms: 20000}}"));
    place.write("in.jsonl", rows(0..5));
    let stopped = run(&place, &sim, "--max-time 500ms --at-deadline cancel").exits(3);
    stopped.says(&["warning: the 5 attempts of up to 600s that a row may take"]);
    assert!(place.records("out.jsonl").is_empty());
    assert!(summary(&place)["seconds"].as_f64().unwrap() < 10.0);
    run(&place, &sim, "--stop-at 2001-01-01T00:00:00Z").exits(2).says(&["is over already"]);
}

#[test]
fn a_failed_row_can_stop_the_run() {
    for (flags, rule) in [("--on-failure stop", "first"), ("--stop-on timeout,bad_request", "kind")] {
        let scenario = "{latency: {fixed: {ms: 50}}, script: [{contains: question 7, status: 400}]}";
        let (place, sim) = (Place::new(), Sim::start(scenario));
        place.write("in.jsonl", rows(0..300));
        run(&place, &sim, &format!("--concurrency 4 {flags}"))
            .exits(3)
            .says(&["stopping: a row failed", "bad_request"]);
        let stopped = &summary(&place)["stopped"];
        assert_eq!((&stopped["reason"], &stopped["rule"]), (&json!("failures"), &json!(rule)), "{stopped}");
        // What was in flight is kept.
        assert_eq!(place.records("out.jsonl").len() as u64, sim.count("arrivals"));
        assert!(sim.count("arrivals") < 100);
    }
}

#[test]
fn too_large_a_share_of_failures_stops_the_run() {
    let scenario = "{latency: {fixed: {ms: 20}}, script: [{contains: 3, status: 400}]}";
    let (place, sim) = (Place::new(), Sim::start(scenario));
    place.write("in.jsonl", rows(0..600));
    let limits = "--concurrency 8 --max-failure-rate 0.15 --min-sample 25";
    run(&place, &sim, limits).exits(3).says(&["rows failed, more than allowed"]);
    let stopped = &summary(&place)["stopped"];
    assert_eq!(stopped["rule"], "rate");
    let (failed, finished) = (stopped["failed"].as_f64().unwrap(), stopped["finished"].as_f64().unwrap());
    assert!(finished >= 25.0 && failed / finished > 0.15, "{stopped}");
}

#[test]
fn a_fallback_stands_in_and_stays_a_failure() {
    let scenario = "{latency: {fixed: {ms: 5}}, script: [{contains: question 3, times: 1, status: 400}]}";
    let (place, sim) = (Place::new(), Sim::start(scenario));
    place.write("in.jsonl", rows(0..8));
    run(&place, &sim, "--on-failure fallback").exits(2).says(&["give --fallback TEXT"]);
    run(&place, &sim, "--fallback n/a").exits(1).says(&["1 with the fallback in place of an answer"]);
    let records = place.records("out.jsonl");
    let record = by_id(&records)["r3"];
    assert_eq!((&record["output"], &record["fallback"]), (&json!("n/a"), &json!(true)), "{record}");
    assert_eq!(record["error"]["kind"], "bad_request");
    assert!(records.iter().filter(|record| record.get("fallback").is_some()).count() == 1);
    assert_eq!((&summary(&place)["failed"], &summary(&place)["fallbacks"]), (&json!(1), &json!(1)));
    run(&place, &sim, "--fallback n/a --retry-failed=bad_request").exits(0);
    let records = place.records("out.jsonl");
    assert!(text(&by_id(&records)["r3"]["output"]).ends_with("question 3"));
    assert!(records.iter().all(|record| record["error"].is_null()) && records.len() == 8);
}

#[test]
fn a_corrected_row_takes_its_bad_record_away() {
    let (place, sim) = (Place::new(), Sim::start("latency: {fixed: {ms: 5}}"));
    let good = rows(0..4);
    place.write("in.jsonl", good.clone() + "{\"id\": \"r4\", broken\nnonsense\n");
    run(&place, &sim, "--skip-bad-rows").exits(1);
    assert_eq!(place.records("out.jsonl").len(), 6);
    // One of them is corrected: only its record goes, and the other is not made again.
    place.write("in.jsonl", good.clone() + "{\"id\": \"r4\", \"text\": \"question 4\"}\nnonsense\n");
    run(&place, &sim, "--skip-bad-rows").exits(1);
    let bad = |records: &[Value]| records.iter().filter(|record| record["error"]["kind"] == "bad_row").count();
    let records = place.records("out.jsonl");
    assert_eq!((records.len(), bad(&records)), (6, 1));
    place.write("in.jsonl", good + "{\"id\": \"r4\", \"text\": \"question 4\"}\n");
    run(&place, &sim, "").exits(0);
    let records = place.records("out.jsonl");
    assert_eq!((by_id(&records).len(), bad(&records), sim.count("arrivals")), (5, 0, 5));
    let report = done(&mut place.tidegate(&["report", "out.jsonl", "--json"])).exits(0);
    let report: Value = serde_json::from_str(&report.stdout).unwrap();
    assert_eq!((&report["succeeded"], &report["failed"]), (&json!(5), &json!(0)));
}

#[test]
fn a_signal_before_the_first_row_ends_the_run_at_once() {
    for signal in ["INT", "TERM", "HUP"] {
        let (place, sim) = (Place::new(), Sim::start(""));
        let url = sim.base_url();
        let mut command =
            place.tidegate(&["run", "-", "--format", "csv", "--base-url", &url, "-m", "m", "-p", "Say {{ text }}"]);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // The pipe stays open and empty.
        let _open = child.stdin.take();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(lines.next().unwrap().unwrap().contains("without -o there is no journal"));
        place.command("kill", &[&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert_eq!(lines.next().unwrap().unwrap(), "stopped: nothing was sent");
        assert_eq!(sim.count("arrivals"), 0);
    }
}
