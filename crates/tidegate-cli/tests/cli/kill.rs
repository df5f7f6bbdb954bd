//! The promise about crashes, by really killing the binary at random moments.
//!
//! Each round sends one file of rows to a simulated provider with faults, is killed a few times on the way, and is then
//! left to finish. Whatever happened, the output must be what an undisturbed run gives, and little may have been paid for
//! twice. `TIDEGATE_KILLS=1000` kills more often; `TIDEGATE_KILL_SEED=n` repeats a run that failed, as far as time allows.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Done, Place, Sim, done, records};

const ROWS: usize = 300;
const CONCURRENCY: u64 = 16;
const LATENCY_MS: u64 = 20;
/// The longest time until a kill: a little more than a whole run takes.
const LONGEST_MS: u64 = 700;
const KILLS_PER_ROUND: u64 = 3;

/// Rows that may be answered, but not stored, when a process dies: those in flight, and what is answered until the
/// journal's next commit, for which 100 ms are allowed.
const LOST_PER_KILL: u64 = CONCURRENCY + CONCURRENCY * 100 / LATENCY_MS;

const FAULTS: &str = "
latency: {fixed: {ms: 20}}
faults: {status_500: 0.01, reset: 0.01, cut_body: 0.01, malformed_json: 0.005}
script: [{contains: 'refused 01', times: 1, status: 400}]";

/// What is run, and what an undisturbed run makes of it.
struct Case {
    name: &'static str,
    input: String,
    arguments: &'static [&'static str],
    expected: Vec<Value>,
    /// The input tokens of all its prompts, which are equally long, so that tokens count answers.
    tokens: u64,
}

impl Case {
    fn new(name: &'static str, arguments: &'static [&'static str], row: impl Fn(usize) -> String) -> Case {
        let input = (0..ROWS).map(row).collect();
        let mut case = Case { name, input, arguments, expected: Vec::new(), tokens: 0 };
        let sim = Sim::start("latency: {fixed: {ms: 0}}");
        case.expected = fresh_run(&case, &sim);
        case.tokens = sim.count("input_tokens");
        case
    }

    /// Returns how many good answers the simulator gave beyond one for each row.
    fn paid_twice(&self, sim: &Sim) -> u64 {
        (sim.count("input_tokens") - self.tokens) / (self.tokens / self.expected.len() as u64)
    }
}

fn cases() -> [Case; 4] {
    let with_id = |n| format!("{{\"id\": {n}, \"text\": \"question {n:04}\"}}\n");
    // Every third prompt comes twice, and only their number tells the two apart.
    let without_id = |n| format!("{{\"text\": \"question {:04}\"}}\n", n - n % 3 / 2);
    // A third of these is refused once and recorded so; the next run replaces their records.
    let refused = |n| format!("{{\"id\": {n}, \"text\": \"refused {n:04}\"}}\n");
    [
        Case::new("replaced", &["--retry-failed=bad_request"], refused),
        Case::new("with ids", &[], with_id),
        Case::new("without ids", &[], without_id),
        Case::new("two samples", &["--repeat", "2", "--rows", "150"], without_id),
    ]
}

#[test]
#[expect(clippy::print_stdout, reason = "whoever runs this alone wants the numbers")]
fn nothing_is_lost_or_doubled_by_kills() {
    let kills = number("TIDEGATE_KILLS").unwrap_or(50);
    let seed = number("TIDEGATE_KILL_SEED").unwrap_or_else(|| fastrand::u64(..));
    let mut rng = fastrand::Rng::with_seed(seed);
    let sim = Sim::start(FAULTS);
    let cases = cases();
    let (mut killed, mut twice, mut rounds) = (0, 0, 0);
    while killed < kills {
        let case = &cases[rounds % cases.len()];
        sim.reset();
        let context = format!("round {rounds}, {}, TIDEGATE_KILL_SEED={seed}", case.name);
        killed += round(case, &sim, &mut rng, &context);
        twice += case.paid_twice(&sim);
        rounds += 1;
    }
    println!("{killed} kills in {rounds} rounds: {twice} answers beside {} came twice, seed {seed}", rounds * ROWS);
    assert!(twice <= killed * LOST_PER_KILL, "{twice} answers were paid for twice in {killed} kills, seed {seed}");
}

/// Runs one file, killing it on the way, and checks what comes out; returns the number of kills.
fn round(case: &Case, sim: &Sim, rng: &mut fastrand::Rng, context: &str) -> u64 {
    let place = Place::new();
    place.write("in.jsonl", &case.input);
    let mut killed = 0;
    while killed < KILLS_PER_ROUND {
        let mut command = command(&place, case, sim);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(rng.u64(0..LONGEST_MS)));
        if child.try_wait().unwrap().is_some() {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        killed += 1;
        assert_only_expected(&place, &case.expected, context);
    }
    let mut last = done(&mut command(&place, case, sim));
    if last.status.code() == Some(1) {
        // What was refused just now is what this run asks for again.
        last = done(&mut command(&place, case, sim));
    }
    let last = last.exits(0);
    assert_same(&settled(&place.read("out.jsonl")), &case.expected, &last, context);
    let before = sim.count("arrivals");
    done(&mut command(&place, case, sim)).exits(0);
    assert_eq!(sim.count("arrivals"), before, "a finished output sent something, {context}");
    killed
}

fn command(place: &Place, case: &Case, sim: &Sim) -> std::process::Command {
    let url = sim.base_url();
    let mut command = place.tidegate(&["run", "in.jsonl", "-m", "m", "-p", "Say {{ text }}", "-o", "out.jsonl"]);
    command.args(["--base-url", &url, "--concurrency", &CONCURRENCY.to_string()]).args(case.arguments);
    command
}

fn fresh_run(case: &Case, sim: &Sim) -> Vec<Value> {
    let place = Place::new();
    place.write("in.jsonl", &case.input);
    done(&mut command(&place, case, sim)).exits(0);
    let expected = settled(&place.read("out.jsonl"));
    assert_eq!(expected.len(), ROWS, "{}", case.name);
    for record in &expected {
        let asked = format!("Say {}", record["input"]["text"].as_str().unwrap());
        assert!(record["output"].as_str().unwrap().ends_with(&asked), "{record}");
    }
    expected
}

/// Returns the records in an order of their own, without what differs from run to run.
fn settled(output: &str) -> Vec<Value> {
    let mut records: Vec<_> = records(output).into_iter().map(without_chance).collect();
    records.sort_by_key(Value::to_string);
    records
}

fn without_chance(mut record: Value) -> Value {
    for name in ["latency_ms", "attempts", "request_id", "usage"] {
        record[name] = json!("any");
    }
    record
}

/// Checks what somebody would read after a crash: whole lines, apart from the last, and no answer twice.
fn assert_only_expected(place: &Place, expected: &[Value], context: &str) {
    let seen = std::fs::read_to_string(place.path("out.jsonl")).unwrap_or_default();
    let whole = &seen[..seen.rfind('\n').map_or(0, |end| end + 1)];
    let mut left: Vec<_> = expected.iter().collect();
    for record in settled(whole).into_iter().filter(|record| record["error"].is_null()) {
        let at = left.iter().position(|expected| **expected == record);
        left.swap_remove(at.unwrap_or_else(|| panic!("not expected, or not so often: {record}, {context}")));
    }
}

fn assert_same(found: &[Value], expected: &[Value], last: &Done, context: &str) {
    assert_eq!(found.len(), expected.len(), "another number of records, {context}\n{}", last.stderr);
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected, "{context}\n{}", last.stderr);
    }
}

#[expect(clippy::disallowed_methods, reason = "a test may be told how long to run")]
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is not a number")))
}
