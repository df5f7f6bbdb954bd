//! The same command again: what is done is not sent, what is new is, and what has changed is asked about.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Done, Place, Sim, by_id, done, rows, text};

/// A directory and a simulated provider that counts what is sent.
struct Bench {
    place: Place,
    sim: Sim,
}

const SAY: [&str; 2] = ["-p", "Say {{ text }}"];

impl Bench {
    /// Makes one whose input is rows with ids.
    fn new(input: &str) -> Bench {
        Bench::with("latency: {fixed: {ms: 2}}", input)
    }

    fn with(scenario: &str, input: &str) -> Bench {
        let bench = Bench { place: Place::new(), sim: Sim::start(scenario) };
        bench.input(input);
        bench
    }

    fn input(&self, contents: &str) {
        self.place.write("in.jsonl", contents);
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = self.place.tidegate(&["run", "in.jsonl", "-o", "out.jsonl"]);
        command.args(["--base-url", &self.sim.base_url()]).args(arguments);
        if !arguments.contains(&"-m") {
            command.args(["-m", "m"]);
        }
        command
    }

    /// Runs with the usual template and those arguments.
    fn say(&self, arguments: &[&str]) -> Done {
        done(&mut self.command(&[&SAY, arguments].concat()))
    }

    /// Runs with the usual template, checks that all is well and returns how many calls were made.
    #[track_caller]
    fn sends(&self, arguments: &[&str]) -> u64 {
        let before = self.sim.count("arrivals");
        self.say(arguments).exits(0);
        self.sim.count("arrivals") - before
    }

    /// Runs anything that is to be refused, and checks that nothing was sent and the output is what it was.
    #[track_caller]
    fn refuses(&self, arguments: &[&str], code: i32, says: &[&str]) {
        let before = (self.sim.count("arrivals"), self.place.bytes("out.jsonl"));
        done(&mut self.command(arguments)).exits(code).says(says);
        assert!(before == (self.sim.count("arrivals"), self.place.bytes("out.jsonl")), "something was sent or written");
    }

    fn records(&self) -> Vec<Value> {
        self.place.records("out.jsonl")
    }

    /// Returns the output as a sorted list of texts.
    fn outputs(&self) -> Vec<String> {
        let mut outputs: Vec<_> = self.records().iter().map(|record| text(&record["output"])).collect();
        outputs.sort();
        outputs
    }
}

#[test]
fn a_finished_output_sends_nothing() {
    for extra in [&[][..], &["--repeat", "3"], &["--each-model", "-m", "a", "-m", "b"], &["--fields", "id,output"]] {
        let bench = Bench::new(&rows(0..20));
        assert!(bench.sends(extra) >= 20);
        let before = bench.place.bytes("out.jsonl");
        assert_eq!(bench.sends(extra), 0, "{extra:?}");
        assert_eq!(bench.place.bytes("out.jsonl"), before, "{extra:?}");
    }
}

#[test]
fn a_finished_table_sends_nothing() {
    let bench = Bench::new("");
    bench.place.write("in.csv", "id,text\n1,a\n2,\"b, \"\"c\"\"\"\n3,d\n");
    let url = bench.sim.base_url();
    let run = || {
        let mut command = bench.place.tidegate(&["run", "in.csv", "-o", "out.csv", "-m", "m", "--base-url", &url]);
        done(command.args(SAY)).exits(0);
        bench.place.read("out.csv")
    };
    let first = run();
    assert_eq!(first.lines().count(), 4);
    assert!(first.starts_with("id,text,"), "{first}");
    assert_eq!((run(), bench.sim.count("arrivals")), (first, 3));
}

#[test]
fn another_prompt_is_asked_about() {
    let bench = Bench::new(&rows(0..12));
    assert_eq!(bench.sends(&[]), 12);
    let changed = ["-p", "Tell {{ text }}"];
    let differs = ["prompt: was \"Say {{ text }}\", is \"Tell {{ text }}\"", "12 finished rows", "--redo-changed"];
    bench.refuses(&changed, 2, &differs);
    bench.refuses(&[&SAY[..], &["--temperature", "0.5"]].concat(), 2, &["temperature", "12 finished rows"]);
    bench.refuses(&[&SAY[..], &["--system", "Be brief."]].concat(), 2, &["system: was none, is \"Be brief.\""]);

    bench.input(&rows(0..15));
    let before = bench.sim.count("arrivals");
    done(&mut bench.command(&[&changed[..], &["--keep-changed"]].concat())).exits(0);
    assert_eq!(bench.sim.count("arrivals") - before, 3, "only the new rows");
    let records = bench.records();
    let says = |word: &str| records.iter().filter(|record| text(&record["output"]).contains(word)).count();
    assert_eq!((records.len(), says("] Say"), says("] Tell")), (15, 12, 3));

    done(&mut bench.command(&[&changed[..], &["--redo-changed"]].concat())).exits(0);
    assert_eq!(bench.sim.count("arrivals") - before, 15, "and now the old ones");
    let records = bench.records();
    assert_eq!(by_id(&records).len(), 15);
    assert!(records.iter().all(|record| text(&record["output"]).contains("] Tell")));
}

#[test]
fn a_price_is_named_where_it_is_known() {
    let bench = Bench::new(&rows(0..4));
    bench.sends(&["--price", "1000,1000"]);
    bench.refuses(&["-p", "Tell {{ text }}", "--price", "1000,1000"], 2, &["4 finished rows", "for about $"]);
}

#[test]
fn new_sorted_and_wider_rows_send_only_what_is_new() {
    let with_ids: Vec<String> = rows(0..10).lines().map(str::to_owned).collect();
    let without: Vec<String> = (0..10).map(|n| format!("{{\"text\": \"question {}\"}}", n / 2)).collect();
    for rows in [with_ids, without] {
        let bench = Bench::new(&(rows.join("\n") + "\n"));
        assert_eq!(bench.sends(&[]), 10);
        let mut sorted = rows.clone();
        sorted.reverse();
        sorted.insert(3, "{\"id\": \"new\", \"text\": \"another\"}".to_owned());
        bench.input(&(sorted.join("\n") + "\n"));
        assert_eq!(bench.sends(&[]), 1, "one inserted row, the others in another order: {}", rows[0]);
        let wider: String = sorted.iter().map(|row| row.replace('}', ", \"unused\": 1}") + "\n").collect();
        bench.input(&wider);
        assert_eq!(bench.sends(&[]), 0, "a column that the prompt does not use: {}", rows[0]);
        let shorter: String = wider.lines().take(4).map(|row| row.to_owned() + "\n").collect();
        bench.input(&shorter);
        assert_eq!(bench.sends(&[]), 0, "rows that are gone");
        assert_eq!(bench.records().len(), 11);
    }
}

#[test]
fn a_row_with_the_same_id_and_another_text_is_asked_about() {
    let bench = Bench::new(&rows(0..6));
    bench.sends(&[]);
    bench.input(&rows(0..6).replace("question 4", "another question"));
    bench.refuses(&SAY, 2, &["in.jsonl:5: ", "answered before", "--redo-changed", "--keep-changed"]);
    assert_eq!(bench.sends(&["--keep-changed"]), 0);
    assert_eq!(bench.sends(&["--redo-changed"]), 1);
    let records = bench.records();
    assert_eq!(by_id(&records)["r4"]["output"].as_str().unwrap().split_once("] ").unwrap().1, "Say another question");
    assert_eq!((records.len(), bench.sends(&[])), (6, 0));
}

#[test]
fn keys_limits_and_concurrency_are_no_change() {
    let bench = Bench::new(&rows(0..5));
    bench.sends(&[]);
    for extra in ["--rpm=5000", "--tpm=1e9", "--concurrency=3", "--timeout=30s", "--max-attempts=2", "--header=a: b"] {
        assert_eq!(bench.sends(&[extra]), 0, "{extra}");
    }
    let mut with_key = bench.command(&SAY);
    done(with_key.env("TIDEGATE_API_KEY", "another")).exits(0);
    assert_eq!(bench.sim.count("arrivals"), 5);
}

#[test]
fn a_row_is_done_while_its_model_is_listed() {
    let bench = Bench::new(&rows(0..5));
    assert_eq!(bench.sends(&["-m", "first"]), 5);
    assert_eq!(bench.sends(&["-m", "second", "-m", "first"]), 0);
    assert_eq!(bench.sends(&["-m", "second"]), 5);
    let records = bench.records();
    assert_eq!(by_id(&records).len(), 5);
    assert!(records.iter().all(|record| text(&record["model"]).ends_with("second")), "{records:?}");
}

#[test]
fn failed_rows_are_kept_until_they_are_asked_for() {
    let script = "
latency: {fixed: {ms: 2}}
script:
- {contains: question 3, times: 2, status: 500}
- {contains: question 4, status: 400}";
    let bench = Bench::with(script, &rows(0..8));
    bench.say(&["--max-attempts", "1"]).exits(1);
    let records = bench.records();
    let failed = |records: &[Value]| records.iter().filter(|record| !record["error"].is_null()).count();
    assert_eq!((records.len(), failed(&records)), (8, 2));
    let before = bench.sim.count("arrivals");
    bench.say(&[]).exits(1).says(&["8 already done (2 of them failed)"]);
    assert_eq!(bench.sim.count("arrivals"), before, "failed rows are finished rows");

    bench.say(&["--retry-failed", "--max-attempts", "1"]).exits(1);
    assert_eq!(bench.sim.count("arrivals"), before + 1, "a 400 is not transient");
    bench.say(&["--retry-failed"]).exits(1);
    assert_eq!(bench.sim.count("arrivals"), before + 2);
    let records = bench.records();
    assert_eq!((by_id(&records).len(), failed(&records)), (8, 1), "the second time it was answered");
    bench.say(&["--retry-failed=bad_request"]).exits(1);
    assert_eq!(bench.sim.count("arrivals"), before + 3);
    assert_eq!(bench.records().len(), 8);
}

#[test]
fn a_trial_is_kept_when_the_whole_follows() {
    let bench = Bench::new(&rows(0..60));
    assert_eq!(bench.sends(&["--rows", "10"]), 10);
    assert_eq!(bench.sends(&["--rows", "10"]), 0);
    let sampled = bench.sends(&["--sample", "20"]);
    assert!((10..=20).contains(&sampled), "{sampled}");
    assert_eq!(bench.sends(&["--sample", "20"]), 0, "a sample is the same each time");
    assert_eq!(bench.sends(&[]), 50 - sampled);
    assert_eq!(by_id(&bench.records()).len(), 60);
}

#[test]
fn the_second_process_on_an_output_is_refused() {
    let bench = Bench::with("latency: {fixed: {ms: 1500}}", &rows(0..3));
    let mut first = bench.command(&SAY).stderr(Stdio::null()).spawn().unwrap();
    wait_for(|| bench.sim.count("arrivals") == 3);
    bench.say(&[]).exits(5).says(&["out.jsonl is in use by another tidegate process"]);
    if cfg!(unix) {
        // Nothing is in the output yet, so it is the lock that tells.
        bench.say(&["--journal", "other"]).exits(5).says(&["out.jsonl is in use by another tidegate process"]);
    }
    // A report takes no lock.
    bench.place.run("report out.jsonl").exits(0);
    assert!(first.wait().unwrap().success());
    assert_eq!((bench.sim.count("arrivals"), bench.records().len()), (3, 3));
}

#[cfg(unix)]
#[test]
fn a_file_has_one_journal_under_all_of_its_names() {
    let bench = Bench::new(&rows(0..5));
    for (target, link) in [("real.jsonl", "middle.jsonl"), ("middle.jsonl", "out.jsonl")] {
        std::os::unix::fs::symlink(target, bench.place.path(link)).unwrap();
    }
    assert_eq!(bench.sends(&[]), 5);
    assert!(bench.place.path("real.jsonl.tidegate").is_dir() && !bench.place.path("out.jsonl.tidegate").exists());
    for name in ["real.jsonl", "middle.jsonl"] {
        let mut run = bench.place.tidegate(&["run", "in.jsonl", "-o", name, "-m", "m", "--base-url"]);
        done(run.arg(bench.sim.base_url()).args(SAY)).exits(0).says(&["5 already done"]);
    }
    // Made anew, it is still where it was, and the links still lead there.
    assert_eq!(bench.sends(&["--temperature", "0.5", "--redo-changed"]), 5);
    assert!(bench.place.path("out.jsonl").is_symlink() && !bench.place.path("real.jsonl").is_symlink());
    assert_eq!(bench.place.records("real.jsonl").len(), 5);
}

#[test]
fn a_file_of_somebody_elses_is_not_overwritten() {
    let bench = Bench::new(&rows(0..3));
    bench.place.write("out.jsonl", "my notes\n");
    bench.refuses(&SAY, 2, &["refusing to overwrite out.jsonl", "-o"]);
    bench.place.write("out.jsonl", "");
    assert_eq!(bench.sends(&[]), 3, "an empty file holds nothing to lose");
}

#[test]
fn an_output_that_is_gone_or_torn_is_made_again() {
    let bench = Bench::new(&rows(0..9));
    bench.sends(&[]);
    let whole = bench.outputs();
    std::fs::remove_file(bench.place.path("out.jsonl")).unwrap();
    assert_eq!((bench.sends(&[]), bench.outputs()), (0, whole.clone()));
    let length = bench.place.bytes("out.jsonl").len() as u64;
    for cut in [0, 1, length / 2, length - 1] {
        OpenOptions::new().write(true).open(bench.place.path("out.jsonl")).unwrap().set_len(cut).unwrap();
        assert_eq!((bench.sends(&[]), bench.outputs()), (0, whole.clone()), "cut at {cut}");
    }
}

#[test]
fn the_output_is_no_input_although_a_pattern_matches_it() {
    let bench = Bench::new(&rows(0..3));
    bench.place.write("more.jsonl", rows(3..5));
    let url = bench.sim.base_url();
    let run =
        |inputs: &str| bench.place.run(&format!("run {inputs} --base-url {url} -m m -p Hi{{{{id}}}} -o out.jsonl"));
    for inputs in ["*.jsonl", "*.jsonl", "./in.jsonl ./more.jsonl ./out.jsonl"] {
        run(inputs).exits(0);
        assert_eq!((bench.sim.count("arrivals"), bench.records().len()), (5, 5), "{inputs}");
    }
    run("out.jsonl").exits(2).says(&["out.jsonl: is also the output; choose another output with -o"]);
}

#[test]
fn what_was_added_by_hand_is_moved_away_not_destroyed() {
    let bench = Bench::new(&rows(0..9));
    bench.sends(&[]);
    let whole = bench.outputs();
    let mut file = OpenOptions::new().append(true).open(bench.place.path("out.jsonl")).unwrap();
    file.write_all(b"{\"id\": \"mine\"}\n").unwrap();
    bench.say(&[]).exits(0).says(&["out.jsonl.tidegate/out.jsonl.kept-1"]);
    assert_eq!((bench.sim.count("arrivals"), bench.outputs()), (9, whole));
    assert!(bench.place.read("out.jsonl.tidegate/out.jsonl.kept-1").ends_with("{\"id\": \"mine\"}\n"));
}

const JOURNAL: &str = "out.jsonl.tidegate/journal";

#[test]
fn a_torn_journal_is_repaired() {
    let bench = Bench::new(&rows(0..9));
    bench.sends(&["--rows", "4"]);
    let first = bench.place.bytes(JOURNAL).len() as u64;
    bench.sends(&[]);
    let whole = bench.outputs();
    let mut file = OpenOptions::new().append(true).open(bench.place.path(JOURNAL)).unwrap();
    file.write_all(&[77; 123]).unwrap();
    bench.say(&[]).exits(0).says(&["Repaired  123 B"]);
    assert_eq!((bench.sim.count("arrivals"), bench.outputs()), (9, whole.clone()));

    // Without the second run's last bytes its rows do not count, and what the output says of them is not thrown away.
    let file = OpenOptions::new().write(true).open(bench.place.path(JOURNAL)).unwrap();
    file.set_len(first + 100).unwrap();
    bench.say(&[]).exits(0).says(&["kept-1"]);
    assert_eq!((bench.sim.count("arrivals"), bench.outputs()), (14, whole));
}

#[test]
fn garbage_inside_the_journal_is_an_error_with_its_place() {
    let bench = Bench::new(&rows(0..9));
    bench.sends(&["--rows", "3"]);
    let place_of_damage = bench.place.bytes(JOURNAL).len();
    bench.sends(&["--rows", "6"]);
    bench.sends(&[]);
    let mut journal = bench.place.bytes(JOURNAL);
    journal[place_of_damage + 40] ^= 0xff;
    bench.place.write(JOURNAL, &journal);
    let offset = format!("damaged at byte {place_of_damage}");
    bench.refuses(&SAY, 4, &["out.jsonl.tidegate/journal", &offset, "backup"]);
    assert_eq!(bench.place.bytes(JOURNAL), journal, "damage is never repaired silently");
    bench.place.run("report out.jsonl").exits(4).says(&[&offset]);
}

#[test]
fn a_journal_of_a_newer_version_is_refused() {
    let bench = Bench::new(&rows(0..3));
    bench.sends(&[]);
    let mut journal = bench.place.bytes(JOURNAL);
    journal[8] = 9;
    bench.place.write(JOURNAL, &journal);
    bench.refuses(&SAY, 4, &["written by a newer tidegate (format 9", "update tidegate"]);
}

#[test]
fn a_repeated_id_stops_the_intake_and_names_both_lines() {
    let input = rows(0..5) + &rows(2..3) + &rows(5..8);
    let bench = Bench::new(&input);
    bench.say(&[]).exits(2).says(&["in.jsonl:6: the id \"r2\" is that of in.jsonl:3 too", "--allow-duplicate-ids"]);
    assert_eq!(by_id(&bench.records()).len(), 5, "what came before is kept");
    bench.say(&["--allow-duplicate-ids"]).exits(0);
    assert_eq!((bench.records().len(), bench.sim.count("arrivals")), (9, 9));
    assert_eq!(bench.sends(&["--allow-duplicate-ids"]), 0);
}

#[test]
fn rows_without_ids_are_counted() {
    let input = "{\"text\": \"a\"}\n{\"text\": \"b\"}\n{\"text\": \"a\"}\n{\"text\": \"a\"}\n";
    let bench = Bench::new(input);
    assert_eq!(bench.sends(&[]), 4);
    bench.input(&(input.to_owned() + "{\"text\": \"a\"}\n{\"text\": \"b\"}\n"));
    assert_eq!(bench.sends(&[]), 2);
    let says = |what: &str| bench.outputs().iter().filter(|output| output.ends_with(what)).count();
    assert_eq!((says("Say a"), says("Say b")), (4, 2));
}

#[test]
fn samples_and_models_have_a_record_each() {
    let bench = Bench::new(&rows(0..4));
    assert_eq!(bench.sends(&["--repeat", "3"]), 12);
    let mut found: Vec<_> = bench.records().iter().map(|r| (text(&r["id"]), r["sample"].as_u64().unwrap())).collect();
    found.sort();
    let wanted: Vec<_> = (0..4).flat_map(|row| (0..3).map(move |sample| (format!("r{row}"), sample))).collect();
    assert_eq!(found, wanted);
    assert_eq!(bench.sends(&["--repeat", "5"]), 8, "two more of each");

    let bench = Bench::new(&rows(0..4));
    assert_eq!(bench.sends(&["--each-model", "-m", "a", "-m", "b"]), 8);
    assert_eq!(bench.sends(&["--each-model", "-m", "a", "-m", "b", "-m", "c"]), 4, "the new model's");
    let mut found: Vec<_> = bench.records().iter().map(|r| (text(&r["id"]), text(&r["model"]))).collect();
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 12);
    bench.refuses(&[&SAY[..], &["-m", "a"]].concat(), 2, &["made with --each-model", "another output with -o"]);
    let bench = Bench::new(&rows(0..4));
    assert_eq!(bench.sends(&["-m", "a"]), 4);
    bench.refuses(&[&SAY[..], &["--each-model", "-m", "a"]].concat(), 2, &["made without --each-model"]);
}

#[test]
fn a_report_says_what_the_output_holds() {
    let bench = Bench::new(&rows(0..7));
    bench.sends(&["--rows", "3"]);
    bench.sends(&[]);
    let report = bench.place.run("report out.jsonl --json").exits(0);
    let report: Value = serde_json::from_str(&report.stdout).unwrap();
    assert_eq!((report["version"].as_u64(), report["succeeded"].as_u64()), (Some(1), Some(7)), "{report}");
    assert!(bench.place.run("report out.jsonl").exits(0).stdout.contains("7 answered"));
    bench.place.run("report other.jsonl").exits(2).says(&["other.jsonl"]);
}

#[cfg(unix)]
mod signals {
    use super::{Bench, Done, Duration, SAY, Stdio, Write, by_id, rows, wait_for};

    fn interrupt(child: &std::process::Child, signal: &str) {
        let status = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn ended(child: std::process::Child) -> Done {
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Done { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Starts a run of 40 rows that gets two thirds of them answered at once, and waits until that is stored.
    fn start(bench: &Bench, arguments: &[&str]) -> std::process::Child {
        let mut command = bench.command(&[&SAY, &["--concurrency", "4"], arguments].concat());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for(|| bench.sim.count("arrivals") >= 12);
        child
    }

    #[test]
    fn one_interrupt_finishes_what_is_in_flight() {
        for signal in ["-INT", "-TERM", "-HUP"] {
            let bench = Bench::with("latency: {fixed: {ms: 150}}", &rows(0..40));
            let child = start(&bench, &[]);
            interrupt(&child, signal);
            ended(child).exits(130).says(&["The same command resumes"]);
            let (records, finished) = (bench.records().len() as u64, bench.sim.count("finished"));
            assert_eq!((records, bench.sim.count("abandoned")), (finished, 0), "what was in flight was waited for");
            assert!(records < 40);
            bench.say(&["--concurrency", "40"]).exits(0);
            assert_eq!((by_id(&bench.records()).len(), bench.sim.count("arrivals")), (40, 40), "none was sent twice");
        }
    }

    #[test]
    fn a_second_interrupt_stops_now() {
        let bench = Bench::with("latency: {fixed: {ms: 30000}}", &rows(0..20));
        let mut command = bench.command(&SAY);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for(|| bench.sim.count("arrivals") >= 16);
        interrupt(&child, "-INT");
        std::thread::sleep(Duration::from_millis(300));
        assert!(child.try_wait().unwrap().is_none(), "it waits for what is in flight");
        interrupt(&child, "-INT");
        wait_for(|| child.try_wait().unwrap().is_some());
        ended(child).exits(130);
        assert!(bench.records().is_empty());
    }

    #[test]
    fn the_time_to_drain_is_limited() {
        let bench = Bench::with("latency: {fixed: {ms: 30000}}", &rows(0..20));
        let mut command = bench.command(&[&SAY[..], &["--drain-timeout", "300ms"]].concat());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for(|| bench.sim.count("arrivals") >= 16);
        interrupt(&child, "-TERM");
        ended(child).exits(130);
        assert!(bench.records().is_empty());
    }

    #[test]
    fn a_pipe_that_nobody_writes_to_can_be_left() {
        for written in ["", "{\"id\": 1, \"text\": \"a\"}\n"] {
            let bench = Bench::new("");
            let url = bench.sim.base_url();
            let fixed = ["run", "-", "--format", "jsonl", "--base-url", &url, "-m", "m", "-o", "out.jsonl"];
            let mut command = bench.place.tidegate(&[&fixed[..], &SAY].concat());
            let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let mut input = child.stdin.take().unwrap();
            input.write_all(written.as_bytes()).unwrap();
            wait_for(|| bench.sim.count("finished") == u64::from(!written.is_empty()));
            std::thread::sleep(Duration::from_millis(300));
            // Not SIGINT: a shell starts background jobs with that one ignored.
            interrupt(&child, "-TERM");
            let gone = (0..250).any(|_| {
                std::thread::sleep(Duration::from_millis(20));
                child.try_wait().unwrap().is_some()
            });
            drop(input);
            let done = ended(child);
            assert!(gone, "it waited for its input, {written:?}:\n{}", done.stderr);
            assert_eq!(done.status.code(), Some(130), "{}", done.stderr);
        }
    }
}

/// Waits until something is so, 20 seconds at most.
#[track_caller]
fn wait_for(mut so: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("waited 20 seconds in vain");
}
