//! Formats of input and output, and what is exported from a journal.

use serde_json::{Value, json};

use crate::support::{Done, Place, done, records, text};

/// Asks the simulated model that repeats its prompt.
fn echo(place: &Place, arguments: &str) -> Done {
    let mut command = place.tidegate(&["run", "-m", "sim/echo", "-p", "{{ text }}"]);
    done(command.args(arguments.split_whitespace()))
}

fn numbered(numbers: std::ops::Range<usize>) -> String {
    numbers.map(|n| format!("{{\"id\":{n},\"text\":\"t{n}\"}}\n")).collect()
}

/// Returns the ids of some records, in their order.
fn ids(records: &[Value]) -> Vec<u64> {
    records.iter().map(|record| record["id"].as_u64().unwrap()).collect()
}

#[test]
fn packed_files_go_in_and_come_out() {
    let place = Place::new();
    place.write("in.jsonl", numbered(0..300));
    echo(&place, "in.jsonl -o a.jsonl.zst").exits(0);
    assert_eq!(place.bytes("a.jsonl.zst")[..4], [0x28, 0xB5, 0x2F, 0xFD]);
    let again = ["run", "a.jsonl.zst", "-m", "sim/echo", "-p", "{{ output }}", "-o", "b.tsv.gz"];
    done(&mut place.tidegate(&again)).exits(0);
    assert_eq!(place.bytes("b.tsv.gz")[..2], [0x1F, 0x8B]);
    let shown = place.run("export b.tsv.gz --ordered --fields id").exits(0).stdout;
    assert_eq!(records(&shown).len(), 300);
}

#[test]
fn a_packed_output_is_there_at_the_end_and_only_then() {
    let place = Place::new();
    place.write("in.jsonl", numbered(0..40));
    for out in ["out.csv.gz", "out.csv.zst"] {
        echo(&place, &format!("in.jsonl -o {out} --rows 10")).exits(0);
        let first = place.bytes(out);
        echo(&place, &format!("in.jsonl -o {out}")).exits(0);
        let second = place.bytes(out);
        assert_ne!(first, second);
        // Nothing new: nothing is made.
        echo(&place, &format!("in.jsonl -o {out}")).exits(0);
        assert_eq!(place.bytes(out), second);
        // The file of somebody else is kept.
        place.write(out, "theirs");
        echo(&place, &format!("in.jsonl -o {out}")).exits(0).says(&["was moved to"]);
        assert_eq!(place.bytes(&format!("{out}.tidegate/{out}.kept-1")), b"theirs");
        done(&mut place.tidegate(&["run", out, "-m", "sim/echo", "-p", "{{ output }}", "-o", &format!("{out}.jsonl")]))
            .exits(0);
        assert_eq!(place.records(&format!("{out}.jsonl")).len(), 40);
    }
}

#[test]
fn tsv_is_written_and_read() {
    let place = Place::new();
    place.write("in.jsonl", "{\"id\":1,\"text\":\"a\\tb\\\"c\"}\n");
    echo(&place, "in.jsonl -o out.tsv --fields id,output").exits(0);
    let text = place.read("out.tsv");
    assert!(text.starts_with("id\toutput\n1\t\"") && text.contains("a\tb\"\"c"), "{text}");
    done(&mut place.tidegate(&["run", "out.tsv", "-m", "sim/echo", "-p", "{{ output }}"])).exits(0);
}

#[test]
fn an_export_has_any_format_order_and_choice() {
    let place = Place::new();
    place.write("in.jsonl", numbered(0..200));
    echo(&place, "in.jsonl -o out.jsonl --rows 50 --concurrency 8").exits(0);
    echo(&place, "in.jsonl -o out.jsonl --concurrency 64").exits(0);
    place.run("export out.jsonl -o all.csv --ordered").exits(0).says(&["all.csv: 200 rows"]);
    let csv = place.read("all.csv");
    let column: Vec<_> = csv.lines().skip(1).map(|line| line.split(',').next().unwrap().to_owned()).collect();
    assert_eq!(column, (0..200).map(|n| n.to_string()).collect::<Vec<_>>());
    // Sorted another way and with a row gone: the input as it is now decides; what is gone comes last.
    let reversed: String = numbered(1..200).lines().rev().map(|line| format!("{line}\n")).collect();
    place.write("in.jsonl", reversed);
    let shown = place.run("export out.jsonl --ordered --fields id").exits(0).stdout;
    assert_eq!(ids(&records(&shown)), (1..200).rev().chain([0]).collect::<Vec<_>>());
    place.run("export out.jsonl -o in.jsonl").exits(2).says(&["in.jsonl is what a run writes or what is read"]);
    std::fs::remove_file(place.path("in.jsonl")).unwrap();
    place.run("export out.jsonl --ordered").exits(2).says(&["in.jsonl: there is no such file", "--join"]);
    place.run("export out.jsonl -o out.jsonl").exits(2).says(&["choose another file"]);
    place.run("export none.jsonl").exits(2).says(&["there is no journal"]);
}

#[test]
fn failed_rows_are_exported_apart() {
    let place = Place::new();
    place.write("in.jsonl", "{\"id\":1,\"text\":\"a\"}\n{\"id\":2}\n{\"id\":3,\"text\":\"c\"}\n");
    echo(&place, "in.jsonl -o out.jsonl --skip-bad-rows").exits(1);
    let only = |which: &str| records(&place.run(&format!("export out.jsonl --only {which} --ordered")).exits(0).stdout);
    assert_eq!(ids(&only("ok")), [1, 3]);
    let failed = only("failed");
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["error"]["kind"], "bad_row");
}

#[test]
fn answers_are_joined_to_the_rows_of_an_input() {
    let place = Place::new();
    place.write("in.csv", "key,text,output\na,x,mine\nb,y,\na,x,again\n");
    echo(&place, "in.csv -o out.jsonl --rows 1").exits(0);
    place
        .run("export out.jsonl --join in.csv -o joined.csv --fields output,attempts")
        .exits(0)
        .says(&["3 rows, 2 of them without"]);
    let joined = place.read("joined.csv");
    let lines: Vec<_> = joined.lines().collect();
    assert_eq!(lines[0], "key,text,output,output_2,attempts");
    assert!(lines[1].starts_with("a,x,mine,") && lines[1].ends_with(",1"), "{joined}");
    assert_eq!(lines[2..], ["b,y,,,", "a,x,again,,"]);
    // Rows without an id are known by what the prompt uses, as often as it occurs.
    echo(&place, "in.csv -o out.jsonl").exits(0);
    let all = records(&place.run("export out.jsonl --join in.csv --fields output").exits(0).stdout);
    let outputs: Vec<_> = all.iter().map(|row| text(&row["output_2"])).collect();
    assert!(outputs[0].ends_with('x') && outputs[1].ends_with('y') && outputs[2].ends_with('x'), "{outputs:?}");
    assert_eq!(all[2]["output"], "again");
}

#[test]
fn every_model_and_sample_has_its_place_in_the_order() {
    let place = Place::new();
    place.write("in.jsonl", numbered(0..20));
    echo(&place, "in.jsonl -m sim/b --each-model --repeat 2 -o out.jsonl").exits(0);
    let all = records(&place.run("export out.jsonl --ordered --fields id,model,sample").exits(0).stdout);
    let expected: Vec<Value> = (0..20)
        .flat_map(|id| ["sim/echo", "sim/b"].map(|model| (id, model)))
        .flat_map(|(id, model)| [0, 1].map(|sample| json!({"id": id, "model": model, "sample": sample})))
        .collect();
    assert_eq!(all, expected);
}

#[test]
fn a_run_ends_with_its_output_in_order() {
    let place = Place::new();
    place.write("in.jsonl", numbered(0..150));
    for out in ["out.jsonl", "out.jsonl.gz"] {
        echo(&place, &format!("in.jsonl -o {out} --ordered --rows 100 --concurrency 32")).exits(0);
        echo(&place, &format!("in.jsonl -o {out} --ordered --concurrency 32")).exits(0);
        let shown = place.run(&format!("export {out} --fields id")).exits(0).stdout;
        assert_eq!(records(&shown).len(), 150);
    }
    assert_eq!(ids(&place.records("out.jsonl")), (0..150).collect::<Vec<_>>());
    done(place.tidegate(&["run", "-", "-m", "sim/echo", "--ordered", "-o", "o"]).env("X", ""))
        .exits(2)
        .says(&["a pipe does not allow"]);
}

#[test]
fn pruning_drops_what_is_gone_and_nothing_else() {
    let place = Place::new();
    place.write("in.jsonl", numbered(0..10));
    echo(&place, "in.jsonl -o out.jsonl").exits(0);
    place.write("in.jsonl", numbered(5..12));
    echo(&place, "in.jsonl -o out.jsonl --prune").exits(0).says(&["5 records were dropped"]);
    let mut left = ids(&place.records("out.jsonl"));
    left.sort_unstable();
    assert_eq!(left, (5..12).collect::<Vec<_>>());
    // An input without rows is a mistake.
    place.write("in.jsonl", "");
    echo(&place, "in.jsonl -o out.jsonl --prune").exits(0);
    assert_eq!(place.records("out.jsonl").len(), 7);
    echo(&place, "in.jsonl -o out.jsonl --prune --rows 1").exits(2);
}

#[test]
fn a_journal_may_be_elsewhere() {
    let place = Place::new();
    place.write("in.jsonl", numbered(0..20));
    echo(&place, "in.jsonl -o out.jsonl --journal state/j").exits(4).says(&["cannot be created"]);
    echo(&place, "in.jsonl -o out.jsonl --journal state").exits(0);
    assert!(!place.path("out.jsonl.tidegate").exists());
    std::fs::remove_file(place.path("out.jsonl")).unwrap();
    echo(&place, "in.jsonl -o out.jsonl --journal state").exits(0);
    assert_eq!(place.records("out.jsonl").len(), 20);
    echo(&place, "in.jsonl -o other.jsonl --journal state").exits(2).says(&["is the journal of", "out.jsonl"]);
    assert_eq!(place.run("export state --only ok").exits(0).stdout.lines().count(), 20);
    place.run("report state").exits(0);
}

#[cfg(not(feature = "parquet"))]
#[test]
fn a_build_without_a_format_says_how_to_get_it() {
    let place = Place::new();
    place.write("in.parquet", "PAR1");
    place.write("in.jsonl", numbered(0..1));
    for arguments in ["in.parquet -o out.jsonl", "in.jsonl -o out.parquet", "in.jsonl -o out.arrow"] {
        echo(&place, arguments).exits(2).says(&["cargo install --locked --path crates/tidegate-cli --features full"]);
    }
    assert!(!place.path("out.parquet.tidegate").exists());
}

#[cfg(feature = "parquet")]
mod columns {
    use super::*;
    use crate::support::Sim;

    #[test]
    fn parquet_and_arrow_go_in_and_come_out_with_types() {
        let place = Place::new();
        place.write(
            "in.jsonl",
            "{\"id\":1,\"n\":2.5,\"ok\":true,\"text\":\"a\"}\n{\"id\":2,\"n\":3,\"ok\":null,\"text\":\"b\"}\n",
        );
        for kind in ["parquet", "arrow", "arrows"] {
            let (first, second) = (format!("a.{kind}"), format!("b-{kind}.jsonl"));
            echo(&place, &format!("in.jsonl -o {first} --ordered")).exits(0);
            let prompt = "{{ n + 1 }}{% if ok %} yes{% endif %}: {{ output }}";
            done(&mut place.tidegate(&["run", &first, "-m", "sim/echo", "-p", prompt, "-o", &second, "--ordered"]))
                .exits(0);
            let answers: Vec<_> = place.records(&second).iter().map(|record| text(&record["output"])).collect();
            assert!(answers[0].contains("3.5 yes: ") && answers[1].contains("4.0: "), "{answers:?}");
            let input = &place.records(&second)[0]["input"];
            assert_eq!((&input["id"], &input["n"], &input["ok"]), (&json!(1), &json!(2.5), &json!(true)));
        }
    }

    #[test]
    fn a_killed_run_leaves_no_half_file_and_the_same_command_finishes_it() {
        let (place, sim) = (Place::new(), Sim::start("latency: {fixed: {ms: 20}}"));
        place.write("in.jsonl", numbered(0..400));
        let base = sim.base_url();
        let arguments = [
            "run",
            "in.jsonl",
            "-m",
            "m",
            "-p",
            "{{ text }}",
            "--base-url",
            &base,
            "--concurrency",
            "8",
            "-o",
            "out.parquet",
        ];
        let mut child = place.tidegate(&arguments).spawn().unwrap();
        while sim.count("arrivals") < 40 {}
        // In the middle of the run: what is committed, in any format.
        let shown = loop {
            let shown = place.run("export out.parquet --fields id").exits(0).stdout;
            if !shown.is_empty() {
                break records(&shown).len();
            }
        };
        assert!((1..400).contains(&shown), "{shown}");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!place.path("out.parquet").exists());
        let (kept, sent) =
            (records(&place.run("export out.parquet --fields id").exits(0).stdout).len(), sim.count("arrivals"));
        done(&mut place.tidegate(&arguments)).exits(0);
        assert_eq!(
            sim.count("arrivals"),
            sent + 400 - kept as u64,
            "what was kept is not sent again, and the rest once"
        );
        place.run("export out.parquet -o all.jsonl").exits(0);
        assert_eq!(place.records("all.jsonl").len(), 400);
        done(&mut place.tidegate(&["run", "out.parquet", "--check-input", "-m", "sim/echo", "-p", "{{ output }}"]))
            .exits(0);
    }
}
