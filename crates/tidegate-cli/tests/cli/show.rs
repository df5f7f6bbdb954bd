//! `tidegate show`: one row, from the journal alone.

use serde_json::{Value, json};

use crate::support::Place;

/// Returns a run of two models with two samples of three rows, one of which is refused once before it is answered.
fn asked() -> Place {
    let place = Place::new();
    place.write("rows.csv", "id,text\na1,low tide\na2,high tide\na3,fails once\n");
    place.write("s.yaml", "script: [{contains: once, status: 503, retry_after_s: 0.01, times: 1}]\n");
    let run =
        "run rows.csv -m sim/x,sim/y --each-model --repeat 2 -p {{text}} --max-tokens 9 --scenario s.yaml -o out.jsonl";
    place.run(run).exits(0);
    place
}

fn shown(place: &Place, command: &str) -> Vec<Value> {
    let shown = place.run(command).exits(0).stdout;
    shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_model_and_sample_of_a_row_is_shown_with_what_was_asked() {
    let place = asked();
    let found = shown(&place, "show out.jsonl a1 --json");
    let mut made: Vec<_> =
        found.iter().map(|one| one["record"]["model"].to_string() + &one["record"]["sample"].to_string()).collect();
    made.sort_unstable();
    assert_eq!(made, ["\"sim/x\"0", "\"sim/x\"1", "\"sim/y\"0", "\"sim/y\"1"]);
    for one in &found {
        assert_eq!((&one["as_asked"], &one["request"]["params"]), (&json!(true), &json!({"max_tokens": 9})), "{one}");
        assert_eq!(one["request"]["task"]["chat"][0]["parts"][0]["text"], "low tide");
    }
    let text = place.run("show out.jsonl a1").exits(0).stdout;
    assert_eq!(text.matches("low tide").count(), 8, "each prompt and its echo:\n{text}");
}

#[test]
fn every_attempt_of_a_row_that_took_several_is_shown() {
    let place = asked();
    let tries: Vec<_> = shown(&place, "show out.jsonl a3 --json").iter().map(|one| one["attempts"].clone()).collect();
    let failed: Vec<_> = tries.iter().filter(|attempts| attempts[0]["failure"]["status"] == 503).collect();
    assert_eq!(failed.len(), 2, "one of each model: {tries:?}");
    assert_eq!(failed[0].as_array().map(Vec::len), Some(2), "{tries:?}");
    let text = place.run("show out.jsonl a3").exits(0).stdout;
    assert!(text.contains("attempts  2") && text.contains("(HTTP 503)") && text.contains("answered"), "{text}");
}

#[test]
fn a_request_that_was_another_one_is_not_passed_off_as_what_was_asked() {
    let place = asked();
    let again = "run rows.csv -m sim/x,sim/y --each-model --repeat 2 -p NEW:{{text}} --max-tokens 9 -o out.jsonl";
    place.run(&format!("{again} --keep-changed")).exits(0);
    assert!(shown(&place, "show out.jsonl a1 --json").iter().all(|one| one["as_asked"] == false));
    assert!(place.run("show out.jsonl a1").exits(0).stdout.contains("NOT as it was asked"));
}

#[test]
fn an_id_that_is_not_there_is_answered_with_the_nearest() {
    let place = asked();
    place.run("show out.jsonl a11").exits(2).says(&["'a11'", "did you mean 'a1'?"]);
    place.run("show out.jsonl :13").exits(2).says(&["no record 13", "it holds 12"]);
    for command in ["show nothing.jsonl a1", "report nothing.jsonl", "report nothing.jsonl --html p.html"] {
        place.run(command).exits(2).says(&["nothing.jsonl: there is no journal"]);
    }
}

#[test]
fn rows_without_ids_are_known_by_their_number() {
    let place = Place::new();
    place.write("rows.jsonl", "{\"text\":\"one\"}\n{\"text\":\"two\"}\n");
    place.run("run rows.jsonl -m sim/x -o out.jsonl").exits(0);
    place.run("show out.jsonl one").exits(2).says(&["no ids", ":17"]);
    let found = shown(&place, "show out.jsonl :2 --json");
    assert_eq!((found.len(), &found[0]["as_asked"]), (1, &json!(true)));
    assert_eq!(found[0]["record"], place.records("out.jsonl")[1]);
}
