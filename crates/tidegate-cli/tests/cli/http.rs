//! The binary against servers: what goes over the wire, what comes back, and what refusals do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::{Place, Reply, Server, Sim, by_id, done, records, rows, text};

/// Returns the command for `in.jsonl`, holding those rows, into `out.jsonl`, with a template over `text`.
fn command(place: &Place, input: &str, url: &str, arguments: &[&str]) -> Command {
    place.write("in.jsonl", input);
    let mut command = place.tidegate(&["run", "in.jsonl", "-p", "Say {{ text }}", "-o", "out.jsonl"]);
    command.args(["--base-url", url]).args(arguments);
    command
}

#[test]
fn every_prompt_gets_its_own_answer() {
    let (place, sim) = (Place::new(), Sim::start("latency: {lognormal: {median_ms: 5, sigma: 1}}"));
    done(&mut command(&place, &rows(0..200), &sim.base_url(), &["-m", "m"])).exits(0);
    let records = place.records("out.jsonl");
    assert_eq!((by_id(&records).len(), sim.count("arrivals"), sim.count("distinct_ids")), (200, 200, 200));
    for record in &records {
        let asked = format!("] Say {}", text(&record["input"]["text"]));
        assert!(text(&record["output"]).ends_with(&asked), "{record}");
        assert_eq!(
            (&record["finish_reason"], &record["attempts"], &record["error"]),
            (&json!("stop"), &json!(1), &Value::Null)
        );
        assert!(record["usage"]["input_tokens"].as_u64().unwrap() > 0 && record["cost_usd"].is_null(), "{record}");
    }
}

#[test]
fn a_call_costs_what_its_tier_costs_and_a_budget_needs_that_price() {
    let server = Server::start(|request| {
        let tier = ["flex", "priority"].into_iter().find(|tier| request.contains(tier)).unwrap_or("default");
        let choices = json!([{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]);
        let usage = json!({"prompt_tokens": 1_000_000, "completion_tokens": 100_000});
        let body = json!({"choices": choices, "usage": usage, "service_tier": tier});
        Reply::of("200 OK", "", &body.to_string())
    });
    let run = |tier: &str, arguments: &[&str]| {
        let place = Place::new();
        place.write("in.jsonl", "{\"id\": 1, \"text\": \"a\"}\n");
        let param = format!("service_tier=\"{tier}\"");
        let mut command = place.tidegate(&["run", "in.jsonl", "-m", "openai/gpt-4.1", "-p", "{{ text }}"]);
        command.args(["-o", "out.jsonl", "--max-tokens", "9", "--param", &param]).args(arguments);
        let done = done(command.env("OPENAI_API_KEY", "sk-1").env("OPENAI_BASE_URL", server.base_url()));
        let cost = place.records("out.jsonl").first().map(|record| record["cost_usd"].clone());
        (done, cost)
    };
    let cost = |tier, arguments: &[&str]| run(tier, arguments).1;
    assert_eq!(cost("auto", &[]), Some(json!(2.8)));
    assert_eq!(cost("flex", &[]), Some(json!(1.4)));
    assert_eq!(cost("priority", &[]), Some(Value::Null));
    assert_eq!(cost("priority", &["--price", "3.5,14"]), Some(json!(4.9)));
    let before = server.seen().len();
    let (refused, _) = run("priority", &["--budget-usd", "1"]);
    refused.says(&["the price of the service tier that is asked for", "give --price IN,OUT for that tier"]);
    assert_eq!(server.seen().len(), before);
}

/// A wire with a counter: passes connections on to a server.
fn counting_forwarder(to: &str) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, count, to) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default(), to.to_owned());
    let counter = count.clone();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            counter.fetch_add(1, Ordering::SeqCst);
            let (client, server) = (client.unwrap(), TcpStream::connect(&to).unwrap());
            for (mut from, mut to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    (address, count)
}

#[test]
fn over_tls_many_calls_share_a_connection() {
    let place = Place::new();
    let certificate = place.path("cert.pem").display().to_string();
    let sim = Sim::start_with("latency: {fixed: {ms: 50}}", &["--tls", "--tls-cert-out", &certificate]);
    let connections = |more: &[&str]| {
        let _ = std::fs::remove_dir_all(place.path("out.jsonl.tidegate"));
        let _ = std::fs::remove_file(place.path("out.jsonl"));
        let (address, count) = counting_forwarder(sim.address());
        let url = format!("https://localhost:{}/v1", address.port());
        let mut command = command(&place, &rows(0..120), &url, &["-m", "m", "--concurrency", "60"]);
        done(command.args(more).env("SSL_CERT_FILE", &certificate)).exits(0);
        assert_eq!(by_id(&place.records("out.jsonl")).len(), 120);
        count.load(Ordering::SeqCst)
    };
    let (shared, separate) = (connections(&[]), connections(&["--http2", "never"]));
    assert!(shared < 10, "{shared} connections for 60 calls at a time over HTTP/2");
    assert!(separate >= 30, "{separate} connections for 60 calls at a time over HTTP/1.1");
}

#[test]
fn a_refused_key_stops_the_run_and_records_nothing() {
    let (place, sim) = (Place::new(), Sim::start("{keys: [right], latency: {fixed: {ms: 5}}}"));
    let mut wrong = command(&place, &rows(0..500), &sim.base_url(), &["-m", "openai/m"]);
    let stopped = done(wrong.env("OPENAI_API_KEY", "wrong")).exits(3);
    let said = stopped.stderr.matches("Incorrect API key").count();
    assert_eq!(said, 1, "the provider's message is said once:\n{}", stopped.stderr);
    assert!(sim.count("arrivals") <= 20, "it went on sending");
    assert!(place.records("out.jsonl").is_empty());
    let mut right = command(&place, &rows(0..500), &sim.base_url(), &["-m", "openai/m"]);
    done(right.env("OPENAI_API_KEY", "right")).exits(0);
    assert_eq!(by_id(&place.records("out.jsonl")).len(), 500);
}

#[test]
fn a_model_that_nobody_has_stops_the_run() {
    let (place, sim) = (Place::new(), Sim::start("models: [good]"));
    done(&mut command(&place, &rows(0..200), &sim.base_url(), &["-m", "bad"])).exits(3).says(&["not_found", "bad"]);
    assert!(place.records("out.jsonl").is_empty());
    done(&mut command(&place, &rows(0..200), &sim.base_url(), &["-m", "bad", "-m", "good"])).exits(0);
    let records = place.records("out.jsonl");
    assert_eq!(by_id(&records).len(), 200);
    assert!(records.iter().all(|record| text(&record["model"]).ends_with("good")), "the second model answers");
}

#[test]
fn an_empty_account_stops_the_run() {
    let body = json!({"error": {"message": "You exceeded your current quota.", "code": "insufficient_quota"}});
    let server = Server::start(move |_| Reply::of("429 Too Many Requests", "", &body.to_string()));
    let place = Place::new();
    let stopped = done(&mut command(&place, &rows(0..100), &server.base_url(), &["-m", "m"]));
    stopped.exits(3).says(&["out_of_credit", "You exceeded your current quota."]);
    assert!(place.records("out.jsonl").is_empty() && server.seen().len() <= 20);
}

#[test]
fn fifty_failures_of_one_cause_stop_the_run() {
    let (place, sim) = (Place::new(), Sim::start("script: [{contains: '', status: 400}]"));
    let stopped = done(&mut command(&place, &rows(0..500), &sim.base_url(), &["-m", "m"]));
    stopped.exits(3).says(&["50 rows in a row failed alike"]);
    let records = place.records("out.jsonl");
    assert!((50..120).contains(&records.len()), "{}", records.len());
    assert!(records.iter().all(|record| record["error"]["kind"] == "bad_request"));
}

#[test]
fn a_key_command_runs_again_when_its_key_is_refused() {
    let (place, sim) = (Place::new(), Sim::start("keys: [fresh]"));
    // The first time it prints a key that has expired.
    place.write("key.sh", "test -e used && echo fresh || { touch used; echo stale; }\n");
    place.write("tidegate.toml", "[providers.openai]\nkey_command = 'sh key.sh'\n");
    done(&mut command(&place, &rows(0..40), &sim.base_url(), &["-m", "openai/m"])).exits(0);
    assert_eq!(by_id(&place.records("out.jsonl")).len(), 40);
    assert!(place.path("used").exists());
}

#[test]
fn a_rate_limit_is_waited_for_and_costs_no_attempt() {
    let scenario = "
latency: {fixed: {ms: 5}}
script: [{contains: question 3, times: 2, status: 429, retry_after_s: 1}]";
    let (place, sim) = (Place::new(), Sim::start(scenario));
    let mut run = command(&place, &rows(0..8), &sim.base_url(), &["-m", "m", "--max-attempts", "1"]);
    run.args(["--summary", "summary.json"]);
    done(&mut run).exits(0);
    let records = place.records("out.jsonl");
    assert_eq!((records.len(), &by_id(&records)["r3"]["attempts"]), (8, &json!(3)));
    let summary: Value = serde_json::from_str(&place.read("summary.json")).unwrap();
    assert!(summary["seconds"].as_f64().unwrap() >= 2.0, "{summary}");
    assert_eq!(summary["endpoints"][0]["rejected"], 2, "{summary}");
}

#[test]
fn a_limit_that_is_stated_is_kept() {
    let limits = "{latency: {fixed: {ms: 20}}, limits: [{of: requests, limit: 630, burst: 4}]}";
    let (place, sim) = (Place::new(), Sim::start(limits));
    done(&mut command(&place, &rows(0..35), &sim.base_url(), &["-m", "m", "--rpm", "600"])).exits(0);
    let stats = sim.stats();
    assert_eq!(stats["by_status"], json!({"200": 35}), "none was rejected");
    for second in stats["arrivals_per_second"].as_array().unwrap() {
        assert!(second.as_u64().unwrap() <= 12, "600 a minute are 10 a second: {stats}");
    }
}

#[test]
fn a_hidden_limit_is_found() {
    let limits = "{latency: {fixed: {ms: 20}}, headers: none, retry_after: none, limits: [{of: requests, limit: 50, per_s: 1, hidden: true}]}";
    let (place, sim) = (Place::new(), Sim::start(limits));
    done(&mut command(&place, &rows(0..150), &sim.base_url(), &["-m", "m"])).exits(0);
    assert_eq!(by_id(&place.records("out.jsonl")).len(), 150);
}

#[test]
fn several_keys_are_several_endpoints() {
    let (place, sim) = (Place::new(), Sim::start("{keys: [one, two], latency: {fixed: {ms: 20}}}"));
    let mut run = command(&place, &rows(0..40), &sim.base_url(), &["-m", "openai/m", "--concurrency", "4"]);
    done(run.env("OPENAI_API_KEY", "one,two")).exits(0);
    let records = place.records("out.jsonl");
    let of = |name: &str| records.iter().filter(|record| record["endpoint"] == name).count();
    let (first, second) = (of("openai/m"), of("openai/m#2"));
    assert!(first > 5 && second > 5 && first + second == 40, "{first} and {second}");
    assert_eq!(sim.count("peak_in_flight"), 8);

    // One of them being wrong costs nothing but its share.
    let place = Place::new();
    let mut run = command(&place, &rows(0..40), &sim.base_url(), &["-m", "openai/m"]);
    done(run.env("OPENAI_API_KEY", "wrong,two")).exits(0);
    assert_eq!(by_id(&place.records("out.jsonl")).len(), 40);
}

#[test]
fn a_batch_file_becomes_batch_results() {
    let (place, sim) = (Place::new(), Sim::start("script: [{contains: lose, status: 400}]"));
    let line = |id: &str, says: &str| {
        let body = json!({"model": "ignored", "messages": [{"role": "user", "content": says}], "top_k": 3});
        json!({"custom_id": id, "method": "POST", "url": "/v1/chat/completions", "body": body}).to_string() + "\n"
    };
    let embed =
        json!({"custom_id": "e", "method": "POST", "url": "/v1/embeddings", "body": {"model": "x", "input": "hi"}});
    place.write("in.jsonl", line("a", "hello") + &line("b", "lose") + &embed.to_string() + "\n");
    let run = format!("run in.jsonl --base-url {} -m m -o out.jsonl", sim.base_url());
    place.run(&run).exits(1);
    let results = place.records("out.jsonl");
    let found = |id: &str| results.iter().find(|line| line["custom_id"] == id).unwrap_or_else(|| panic!("no {id}"));
    let (chat, embedding) = (&found("a")["response"], &found("e")["response"]);
    assert_eq!((chat["status_code"].as_u64(), &found("a")["error"]), (Some(200), &Value::Null));
    assert!(text(&chat["body"]["choices"][0]["message"]["content"]).ends_with("hello"), "{chat}");
    assert_eq!(
        (&chat["body"]["object"], &chat["body"]["model"]),
        (&json!("chat.completion"), &json!("m")),
        "untouched"
    );
    assert_eq!(embedding["body"]["data"][0]["embedding"].as_array().unwrap().len(), 8);
    assert_eq!(results.len(), 2);
    let errors = place.records("out.jsonl.errors.jsonl");
    assert_eq!((errors.len(), &errors[0]["custom_id"]), (1, &json!("b")));
    let before = sim.count("arrivals");
    place.run(&run).exits(1);
    assert_eq!(sim.count("arrivals"), before);
}

#[test]
fn embeddings_are_lists_of_numbers() {
    let (place, sim) = (Place::new(), Sim::start(""));
    place.write("in.csv", "id,text\n1,a\n2,b\n");
    place.run(&format!("run in.csv --base-url {} -m m --embed text -o out.jsonl", sim.base_url())).exits(0);
    let records = place.records("out.jsonl");
    let lengths: Vec<_> = records.iter().map(|record| record["output"].as_array().map(Vec::len)).collect();
    assert_eq!(lengths, [Some(8), Some(8)]);
    assert_ne!(records[0]["output"], records[1]["output"]);
}

#[test]
fn what_is_asked_for_is_what_goes_over_the_wire() {
    let server = Server::start(|_| Reply::chat("fine"));
    let place = Place::new();
    let arguments =
        ["-m", "openai/m", "--system", "Be {{ id }}.", "--temperature", "0.5", "--max-tokens", "9", "--stop", "END"];
    let mut run = command(&place, &rows(7..8), &server.base_url(), &arguments);
    run.args(["--seed", "3", "--param", "top_k=5", "--param", "x={\"y\": [1]}", "--header", "x-team: a, b"]);
    done(run.env("OPENAI_API_KEY", "sk-1").env("TIDEGATE_HEADER", "")).exits(0);
    let seen = server.seen();
    let (head, body) = seen[0].split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("post /v1/chat/completions http/1.1\r\n"), "{head}");
    for header in
        ["authorization: bearer sk-1", "content-type: application/json", "x-team: a, b", "user-agent: tidegate/"]
    {
        assert!(head.contains(&format!("\r\n{header}")), "no {header} in {head}");
    }
    let body: Value = serde_json::from_str(body).unwrap();
    let messages = json!([{"role": "system", "content": "Be r7."}, {"role": "user", "content": "Say question 7"}]);
    assert_eq!((&body["model"], &body["messages"]), (&json!("m"), &messages));
    assert_eq!((&body["temperature"], &body["seed"], &body["top_k"]), (&json!(0.5), &json!(3), &json!(5)));
    assert_eq!((&body["x"], &body["stop"]), (&json!({"y": [1]}), &json!(["END"])));
    assert!(body["max_tokens"] == 9 || body["max_completion_tokens"] == 9, "{body}");
}

#[test]
fn a_packed_file_is_read_as_it_is() {
    let (place, sim) = (Place::new(), Sim::start(""));
    place.write("in.jsonl", rows(0..30));
    assert!(place.command("gzip", &["in.jsonl"]).status().unwrap().success());
    place.run(&format!("run in.jsonl.gz --base-url {} -m m -p x{{{{text}}}} -o out.jsonl", sim.base_url())).exits(0);
    assert_eq!(by_id(&place.records("out.jsonl")).len(), 30);
    let packed = place.bytes("in.jsonl.gz");
    place.write("cut.jsonl.gz", &packed[..packed.len() / 2]);
    let cut = place.run(&format!("run cut.jsonl.gz --base-url {} -m m -p x{{{{text}}}} -o cut.jsonl", sim.base_url()));
    cut.exits(2).says(&["cut.jsonl.gz: cannot be read"]);
}

#[test]
fn a_pipe_is_answered_while_it_is_still_open() {
    let (place, sim) = (Place::new(), Sim::start("latency: {fixed: {ms: 1}}"));
    let url = sim.base_url();
    let mut run =
        place.tidegate(&["run", "-", "--format", "jsonl", "--base-url", &url, "-m", "m", "-p", "Say {{ text }}"]);
    let mut child = run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    for row in rows(0..3).lines() {
        writeln!(input, "{row}").unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let record = &records(&line)[0];
        assert!(text(&record["output"]).ends_with(&text(&record["input"]["text"])), "{record}");
    }
    drop(input);
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(told.contains("without -o there is no journal"), "{told}");
}

#[test]
fn an_answer_that_came_as_a_stream_is_an_answer() {
    let (place, sim) = (Place::new(), Sim::start("latency: {fixed: {ms: 1}}"));
    let params = ["-m", "m", "--param", "stream=true", "--param", "stream_options={\"include_usage\": true}"];
    done(&mut command(&place, &rows(0..3), &sim.base_url(), &params)).exits(0);
    assert_eq!(sim.count("arrivals"), 3);
    for record in place.records("out.jsonl") {
        assert!(text(&record["output"]).ends_with(&text(&record["input"]["text"])), "{record}");
        assert!(record["usage"]["output_tokens"].as_u64().unwrap() > 0, "{record}");
    }
}

#[test]
fn a_compressed_reply_is_named_and_not_asked_for_again() {
    let server = Server::start(|_| Reply::of("200 OK", "content-encoding: gzip\r\n", "\u{1f}"));
    for stream in [&[][..], &["--stream"]] {
        let (place, before) = (Place::new(), server.seen().len());
        let arguments = [&["-m", "m"], stream].concat();
        done(&mut command(&place, &rows(0..1), &server.base_url(), &arguments)).exits(1).says(&["compressed (gzip)"]);
        assert_eq!(server.seen().len() - before, 1);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_log_that_cannot_be_written_changes_nothing() {
    let (place, sim) = (Place::new(), Sim::start("latency: {fixed: {ms: 1}}"));
    let mut run = command(&place, &rows(0..3), &sim.base_url(), &["-m", "m"]);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert!(run.stderr(full).status().unwrap().success());
    assert_eq!(place.records("out.jsonl").len(), 3);
}

#[test]
fn a_reader_that_leaves_ends_the_run() {
    let (place, sim) = (Place::new(), Sim::start("latency: {fixed: {ms: 20}}"));
    place.write("in.jsonl", rows(0..2000));
    let script = format!(
        "{} run in.jsonl --base-url {} -m m -p 'x{{{{ text }}}}' 2>err.txt | head -n 1 >/dev/null",
        crate::support::TIDEGATE,
        sim.base_url()
    );
    done(&mut place.command("sh", &["-c", &script]));
    assert!(sim.count("arrivals") < 1000, "it went on sending for nobody");
    assert!(!place.read("err.txt").contains("panicked"), "{}", place.read("err.txt"));
}

#[test]
fn a_pipe_is_resumed_under_another_prompt() {
    let (place, sim) = (Place::new(), Sim::start("latency: {fixed: {ms: 1}}"));
    let url = sim.base_url();
    let run = |input: &str, prompt: &str| {
        place.write("input", input);
        let fixed = ["run", "-", "--format", "jsonl", "--base-url", &url, "-m", "m", "-o", "out.jsonl", "-p", prompt];
        let mut command = place.tidegate(&fixed);
        done(command.stdin(std::fs::File::open(place.path("input")).unwrap()))
    };
    run(&rows(0..5), "Say {{ text }}").exits(0);
    run(&rows(0..5), "Say {{ text }}").exits(0);
    assert_eq!(sim.count("arrivals"), 5);
    run(&rows(0..5), "Tell {{ text }}").exits(2).says(&["<stdin>:1: ", "answered before", "--redo-changed"]);
    // Rows that the new prompt does not touch are no reason to ask, and looking for such rows must not use up the pipe.
    run(&rows(5..5000), "Tell {{ text }}").exits(0);
    assert_eq!((by_id(&place.records("out.jsonl")).len(), sim.count("arrivals")), (5000, 5000));
}

#[test]
fn an_explicit_concurrency_is_used_at_once() {
    let (place, sim) = (Place::new(), Sim::start("latency: {fixed: {ms: 500}}"));
    let mut run = command(&place, &rows(0..300), &sim.base_url(), &["-m", "m", "--concurrency", "300"]);
    done(&mut run).exits(0);
    assert!(sim.count("peak_in_flight") > 250, "{}", sim.stats());
}
