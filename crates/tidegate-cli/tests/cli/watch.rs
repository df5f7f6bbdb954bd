//! Looking at a run: the page of `tidegate report`, and metrics while it goes on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::support::{Place, Sim, rows};

/// Returns an output of two models, one of which fails a row.
fn asked() -> Place {
    let place = Place::new();
    place.write("rows.csv", "id,text\na1,private low\na2,private high\na3,<b>wrong</b>\n");
    place.write("s.yaml", "script: [{contains: wrong, status: 400, times: 1}]\n");
    let run = "run rows.csv -m sim/x,sim/y --each-model -p About:{{text}} --price 1,2 --scenario s.yaml -o out.jsonl";
    place.run(run).exits(1);
    place
}

#[test]
fn the_page_has_everything_in_one_file_and_no_content_unless_asked_for() {
    let place = asked();
    assert!(place.run("report out.jsonl --html page.html").exits(0).stdout.contains("page.html"));
    let page = place.read("page.html");
    for part in
        ["Over time", "Latency", "sim/x", "Side by side", "bad_request", "<code>a3</code>", "default-src 'none'"]
    {
        assert!(page.contains(part), "no {part} in the page");
    }
    for elsewhere in ["<script", "src=", "url(", "@import", "http://", "https://"] {
        assert!(!page.contains(elsewhere), "the page has {elsewhere}");
    }
    for content in ["private", "About:", "wrong</b>"] {
        assert!(!page.contains(content), "the page shows {content}");
    }
    let page = place.run("report out.jsonl --html - --examples 2").exits(0).stdout;
    assert!(page.contains("private low") && page.contains("About:") && page.contains("&lt;b&gt;wrong&lt;/b&gt;"));
    // A page is written over a page, and over nothing else.
    place.run("report out.jsonl --html page.html").exits(0);
    place.run("report out.jsonl --html out.jsonl").exits(2).says(&["refusing to overwrite out.jsonl", "--html"]);
    place.run("report out.jsonl --html no/page.html").exits(4).says(&["no/page.html", "cannot write the report"]);
    place.run("report out.jsonl --examples 2").exits(2).says(&["--html"]);
}

#[test]
fn a_report_needs_nothing_but_the_journal() {
    let place = asked();
    std::fs::remove_file(place.path("out.jsonl.tidegate/timeline.jsonl")).unwrap();
    place.run("report out.jsonl --html page.html").exits(0);
    assert!(!place.read("page.html").contains("Over time"));
}

/// A run in a process of its own that tells where its metrics are.
struct Running {
    child: Child,
    address: String,
}

impl Running {
    fn start(place: &Place, sim: &Sim) -> Running {
        let url = sim.base_url();
        let words =
            ["run", "in.jsonl", "--base-url", &url, "-m", "m", "-o", "out.jsonl", "--metrics-listen", "127.0.0.1:0"];
        let mut child = place.tidegate(&words).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let told = lines.find_map(|line| line.unwrap().strip_prefix("metrics: http://").map(str::to_owned)).unwrap();
        Running { child, address: told.trim_end_matches("/metrics").to_owned() }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn metrics_are_read_while_the_run_goes_on() {
    let place = Place::new();
    place.write("in.jsonl", rows(0..1));
    // The only answer never comes, so that the run is there as long as it is looked at.
    let sim = Sim::start("faults: {hang: 1}\n");
    let running = Running::start(&place, &sim);
    while sim.count("arrivals") == 0 {
        std::thread::yield_now();
    }
    let text = running.get("/metrics");
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("text/plain; version=0.0.4"), "{text}");
    for line in [
        "tidegate_endpoint_in_flight{endpoint=\"compatible/m\"} 1\n",
        "tidegate_rows_total{state=\"answered\"} 0\n",
        "# TYPE tidegate_rows_total counter\n",
    ] {
        assert!(text.contains(line), "no {line} in:\n{text}");
    }
    assert!(!text.contains("question"), "{text}");
    let reply = running.get("/metrics.json");
    let body: Value = serde_json::from_str(reply.split_once("\r\n\r\n").unwrap().1).unwrap();
    let family = body["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .find(|family| family["name"] == "tidegate_endpoint_in_flight")
        .unwrap();
    assert_eq!(
        (&family["samples"][0]["labels"]["endpoint"], &family["samples"][0]["value"]),
        (&json!("compatible/m"), &json!(1.0))
    );
    assert!(running.get("/").starts_with("HTTP/1.1 404"));
}

#[test]
fn an_address_that_is_taken_is_named_before_anything_is_sent() {
    let place = Place::new();
    place.write("in.jsonl", rows(0..1));
    let sim = Sim::start("");
    let (url, taken) = (sim.base_url(), sim.address().to_owned());
    place
        .run(&format!("run in.jsonl --base-url {url} -m m -o out.jsonl --metrics-listen {taken}"))
        .exits(2)
        .says(&["--metrics-listen", &taken]);
    assert_eq!(sim.count("arrivals"), 0);
}

#[cfg(not(feature = "tui"))]
#[test]
fn a_build_without_the_full_screen_says_how_to_get_it() {
    let place = Place::new();
    place.write("rows.csv", "id,text\n1,a\n");
    let install = "cargo install --locked --path crates/tidegate-cli --features tui";
    place.run("run rows.csv -m sim/echo -p {{text}} -o out.jsonl --tui").exits(2).says(&["'tui'", install]);
    assert!(!place.path("out.jsonl").exists());
}

#[cfg(feature = "tui")]
#[test]
fn the_full_screen_needs_a_terminal() {
    let place = Place::new();
    place.write("rows.csv", "id,text\n1,a\n");
    place.run("run rows.csv -m sim/echo -p {{text}} -o out.jsonl --tui").exits(2).says(&["--tui needs a terminal"]);
    assert!(!place.path("out.jsonl").exists());
}
