//! `tidegate sim` as a process: plain HTTP/1.1 over a socket, without any client library that could hide a mistake.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// A running simulator; it is killed when the test ends.
struct Sim {
    process: Child,
    address: String,
    /// What it says further.
    lines: BufReader<ChildStdout>,
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Sim {
    fn start(args: &[&str]) -> Sim {
        let mut process = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["sim", "--listen", "127.0.0.1:0"])
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line}")).to_owned();
        Sim { process, address, lines }
    }

    /// Starts with a scenario in a file of its own.
    fn with(scenario: &str, folder: &Path) -> Sim {
        let file = folder.join("scenario.yaml");
        std::fs::write(&file, scenario).unwrap();
        Sim::start(&["--scenario", file.to_str().unwrap()])
    }

    fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        Sim::send_to(&self.address, method, path, headers, body)
    }

    fn send_to(address: &str, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        let mut socket = TcpStream::connect(address).unwrap();
        let length = body.len();
        write!(
            socket,
            "{method} {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        )
        .unwrap();
        let mut whole = String::new();
        // A reset shows as an error after what came before.
        let _ = socket.read_to_string(&mut whole);
        let (head, body) = whole.split_once("\r\n\r\n").unwrap_or((&whole, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Reply { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    fn chat(&self, text: &str, key: &str) -> Reply {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": text}]}).to_string();
        self.send("POST", "/v1/chat/completions", &format!("authorization: Bearer {key}\r\n"), &body)
    }

    fn stats(&self) -> Value {
        serde_json::from_str(&self.send("GET", "/__sim/stats", "", "").body).unwrap()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn it_answers_refuses_and_counts() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = "{keys: [k], latency: {fixed: {ms: 1}}, limits: [{of: requests, limit: 1}]}";
    let sim = Sim::with(scenario, folder.path());
    let good = sim.chat("hello", "k");
    assert_eq!(good.status, 200, "{}", good.head);
    let body: Value = serde_json::from_str(&good.body).unwrap();
    assert!(body["choices"][0]["message"]["content"].as_str().unwrap().ends_with("] hello"));
    assert!(good.head.contains("x-ratelimit-remaining-requests: 0"), "{}", good.head);
    assert_eq!(sim.chat("hello", "other").status, 401);
    let refused = sim.chat("again", "k");
    assert_eq!(refused.status, 429);
    assert!(refused.head.contains("retry-after: 60"), "{}", refused.head);
    let stats = sim.stats();
    assert_eq!(stats["by_status"], json!({"200": 1, "401": 1, "429": 1}));
    assert_eq!((&stats["arrivals"], &stats["finished"]), (&json!(3), &json!(3)));
}

#[test]
fn faults_reach_the_socket() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = "{slow_body_ms: 100, latency: {fixed: {ms: 0}}, script: [{contains: reset, fault: reset},
                     {contains: cut, fault: cut_body}, {contains: slow, fault: slow_body}]}";
    let sim = Sim::with(scenario, folder.path());
    assert_eq!(sim.chat("reset", "k").status, 0);
    let cut = sim.chat("cut", "k");
    assert!(cut.status == 200 && serde_json::from_str::<Value>(&cut.body).is_err());
    let slow = sim.chat("slow", "k");
    assert!(slow.status == 200 && serde_json::from_str::<Value>(&slow.body).is_ok());
    let streamed = json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": "hi"}]}).to_string();
    let streamed = sim.send("POST", "/v1/chat/completions", "", &streamed);
    assert!(streamed.head.contains("transfer-encoding: chunked"), "{}", streamed.head);
    assert!(streamed.body.contains("data: [DONE]"));
    assert_eq!((&sim.stats()["finished"], &sim.stats()["abandoned"]), (&json!(4), &json!(0)));
}

#[test]
fn a_client_that_hangs_up_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let sim = Sim::with("{limits: [{of: concurrency, limit: 1}], faults: {hang: 1}}", folder.path());
    let mut socket = TcpStream::connect(&sim.address).unwrap();
    let body = r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#;
    write!(socket, "POST /chat/completions HTTP/1.1\r\nhost: sim\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .unwrap();
    let wait_until = |name: &str, count: u64| while sim.stats()[name] != json!(count) {};
    wait_until("in_flight", 1);
    drop(socket);
    wait_until("in_flight", 0);
    assert_eq!(sim.stats()["abandoned"], 1);
}

#[test]
fn wrong_arguments_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yaml");
    std::fs::write(&file, "seed: 1\nlatancy: 2\n").unwrap();
    let error = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_tidegate")).arg("sim").args(args).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let message = error(&["--scenario", file.to_str().unwrap()]);
    assert!(message.contains("bad.yaml") && message.contains("line 2") && message.contains("latancy"), "{message}");
    assert!(error(&["--scenario", "/no/such/file"]).contains("/no/such/file"));
    assert!(error(&["--latency-ms=-1"]).contains("--latency-ms"));
    assert!(error(&["--max-streams", "0"]).contains("--max-streams"));
}

#[cfg(unix)]
#[test]
fn it_stops_when_told() {
    let mut sim = Sim::start(&["--latency-ms", "0"]);
    assert_eq!(sim.chat("a", "k").status, 200);
    let pid = sim.process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(sim.process.wait().unwrap().success());
}

#[test]
fn the_examples_are_scenarios() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/scenarios");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty());
    for file in files {
        let sim = Sim::start(&["--scenario", file.to_str().unwrap()]);
        assert_eq!(sim.stats()["arrivals"], 0, "{}", file.display());
    }
}

#[test]
fn its_numbers_are_read_at_an_address_of_their_own() {
    let mut sim = Sim::start(&["--metrics-listen", "127.0.0.1:0"]);
    let mut line = String::new();
    sim.lines.read_line(&mut line).unwrap();
    let at = line.trim().strip_prefix("metrics: http://").and_then(|url| url.strip_suffix("/metrics")).unwrap();
    assert_eq!(sim.send("POST", "/v1/chat/completions", "", r#"{"model": "m", "messages": []}"#).status, 400);
    let chat = r#"{"model": "m", "messages": [{"role": "user", "content": "a tide"}]}"#;
    assert_eq!(sim.send("POST", "/v1/chat/completions", "", chat).status, 200);
    let text = Sim::send_to(at, "GET", "/metrics", "", "").body;
    for line in [
        "# TYPE tidegate_sim_arrivals_total counter\n",
        "tidegate_sim_replies_total{http_response_status_code=\"200\"} 1\n",
        "tidegate_sim_in_flight 0\n",
        "tidegate_sim_tokens_total{gen_ai_token_type=\"input\"} ",
    ] {
        assert!(text.contains(line), "no {line} in:\n{text}");
    }
    let json: Value = serde_json::from_str(&Sim::send_to(at, "GET", "/metrics.json", "", "").body).unwrap();
    assert_eq!(json["metrics"][0]["name"], "tidegate_sim_arrivals_total");
}
