//! Files that go with a prompt: columns of paths, and files as rows.

use serde_json::json;

use crate::support::{Done, Place, Sim, by_id, done, text};

const PNG: &[u8] = b"\x89PNG\r\n\x1A\nrest";

fn run(place: &Place, sim: &Sim, arguments: &[&str]) -> Done {
    let mut command = place.tidegate(&["run"]);
    done(command.args(arguments).args(["-m", "m", "--base-url", &sim.base_url(), "-o", "out.jsonl"]))
}

#[test]
fn a_missing_file_fails_its_row_and_a_changed_one_is_a_changed_request() {
    let (place, sim) = (Place::new(), Sim::start("latency: {fixed: {ms: 2}}"));
    std::fs::create_dir(place.path("data")).unwrap();
    place.write("data/a.png", PNG);
    place.write("data/rows.csv", "id,photo,q\n1,a.png,What?\n2,none.png,Who?\n3,,Where?\n");
    let arguments = ["data/rows.csv", "-p", "{{ q }}", "--image-column", "photo"];
    run(&place, &sim, &arguments).exits(1).says(&["1 bad_row", "none.png"]);
    let records = place.records("out.jsonl");
    let by_id = by_id(&records);
    assert!(text(&by_id["1"]["output"]).contains("data:image/png;base64,"));
    assert_eq!((&by_id["2"]["error"]["kind"], &by_id["2"]["output"]), (&json!("bad_row"), &json!(null)));
    assert_eq!(by_id["1"]["input"]["photo"], "a.png");
    assert_eq!(sim.count("arrivals"), 2);

    run(&place, &sim, &arguments).exits(1);
    assert_eq!(sim.count("arrivals"), 2);
    place.write("data/none.png", PNG);
    run(&place, &sim, &[&arguments[..], &["--retry-failed=bad_row"]].concat()).exits(0);
    assert_eq!(sim.count("arrivals"), 3);
    place.write("data/a.png", [PNG, b"!"].concat());
    run(&place, &sim, &arguments).exits(2).says(&["asks something else now"]);
    run(&place, &sim, &[&arguments[..], &["--redo-changed"]].concat()).exits(0);
    assert_eq!(sim.count("arrivals"), 4);
}

#[test]
fn every_file_of_a_glob_is_a_row() {
    let (place, sim) = (Place::new(), Sim::start("latency: {fixed: {ms: 2}}"));
    place.write("b.pdf", "%PDF-b");
    place.write("a.pdf", "%PDF-a");
    run(&place, &sim, &["*.pdf", "-p", "Total of {{ name }}?"]).exits(0);
    let mut names: Vec<_> = place.records("out.jsonl").iter().map(|record| text(&record["input"]["name"])).collect();
    names.sort_unstable();
    assert_eq!(names, ["a.pdf", "b.pdf"]);
    place.write("c.pdf", "%PDF-c");
    run(&place, &sim, &["*.pdf", "-p", "Total of {{ name }}?"]).exits(0);
    assert_eq!(sim.count("arrivals"), 3);
}

#[test]
fn base64_is_in_no_record_and_what_cannot_be_sent_is_named() {
    let (place, sim) = (Place::new(), Sim::start("latency: {fixed: {ms: 2}}"));
    let data = "iVBORw0KGgoA".repeat(100);
    let image = json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{data}")}});
    let row = json!({"id": "x", "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, image]}]});
    place.write("in.jsonl", format!("{row}\n"));
    run(&place, &sim, &["in.jsonl"]).exits(0);
    let written = place.read("out.jsonl");
    assert!(!written.contains("iVBOR") && written.contains("[image/png, 900 bytes, sha256 "), "{written}");
    assert_eq!(place.records("out.jsonl")[0]["id"], "x");

    place.write("clip.mp4", b"\0\0\0\x18ftypisom");
    let place_of = |lossy: &[&str], out: &str| {
        let base = sim.base_url();
        let mut command =
            place.tidegate(&["run", "clip.mp4", "-p", "What?", "-m", "m", "-o", out, "--base-url", &base]);
        done(command.args(lossy))
    };
    place_of(&[], "video.jsonl").exits(1).says(&["unsupported"]);
    let message = text(&place.records("video.jsonl")[0]["error"]["message"]);
    assert_eq!(message, "messages[0].parts[0]: OpenAI's format has no place for a video");
    place_of(&["--lossy"], "lossy.jsonl").exits(0);
    assert!(text(&place.records("lossy.jsonl")[0]["warnings"][0]).starts_with("left out: "));
}
