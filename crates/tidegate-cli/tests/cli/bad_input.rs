//! Everything that can be wrong with a command, its input and the servers it meets: each a clear message and an exit code,
//! and nothing lost.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::support::{Done, Place, Reply, Server, Sim, by_id, done, rows};

/// Runs `tidegate run` on `in.jsonl` into `out.jsonl`, with a template over `text`.
fn run(place: &Place, arguments: &[&str]) -> Done {
    let mut command = place.tidegate(&["run", "in.jsonl", "-p", "Say {{ text }}", "-o", "out.jsonl"]);
    done(command.args(arguments))
}

fn with_rows(contents: &str) -> Place {
    let place = Place::new();
    place.write("in.jsonl", contents);
    place
}

/// Runs a file of that name and contents against the simulated provider.
fn run_file(name: &str, contents: impl AsRef<[u8]>, arguments: &[&str]) -> (Place, Done) {
    let place = Place::new();
    place.write(name, contents);
    let mut command = place.tidegate(&["run", name, "-m", "sim/echo", "-p", "Say {{ text }}", "-o", "out.jsonl"]);
    let done = done(command.args(arguments));
    (place, done)
}

#[test]
fn a_missing_file_is_named() {
    let place = Place::new();
    run(&place, &["-m", "sim/echo"]).exits(2).says(&["error: in.jsonl: there is no such file"]);
    assert!(!place.path("out.jsonl").exists() && !place.path("out.jsonl.tidegate").exists());
}

#[test]
fn a_pattern_that_matches_nothing_is_named() {
    let place = Place::new();
    place.run("run *.jsonl -m sim/echo -p x -o out.jsonl").exits(2).says(&["*.jsonl: no file matches"]);
}

#[test]
fn an_empty_file_is_a_run_of_nothing() {
    for name in ["in.jsonl", "in.csv", "in.txt"] {
        let (place, done) = run_file(name, "", &["--summary", "summary.json"]);
        // A table without a header has no columns, so that a template cannot be checked: it must not be refused either.
        done.exits(0);
        let summary: Value = serde_json::from_str(&place.read("summary.json")).unwrap();
        assert_eq!((&summary["succeeded"], &summary["failed"], &summary["unsent"]), (&json!(0), &json!(0), &json!(0)));
        assert_eq!(place.read("out.jsonl"), "", "{name}");
    }
}

#[test]
fn a_field_that_no_row_can_have_is_refused_before_anything_is_sent() {
    let (place, done) = run_file("in.csv", "id,text\na,hi\n", &["--fields", "id,outptu"]);
    done.exits(2).says(&["--fields: `outptu` is neither a field of the results nor a column; did you mean `output`?"]);
    assert!(!place.path("out.jsonl").exists());
    // Rows of JSON may have columns that the first one has not.
    let place = with_rows("{\"text\": \"a\"}\n{\"text\": \"b\", \"note\": 1}\n");
    run(&place, &["-m", "sim/echo", "--fields", "note"]).exits(0);
    assert!(place.read("out.jsonl").contains("{\"note\":1}"));
}

#[test]
fn what_is_not_utf8_is_named_by_line() {
    for (name, contents) in [
        ("in.jsonl", &b"{\"text\": \"a\"}\n{\"text\": \"\xff\"}\n"[..]),
        ("in.csv", b"text\na\n\xff\n"),
        ("in.txt", b"a\n\xe9t\xe9\n"),
    ] {
        let arguments: &[&str] = if name == "in.txt" { &["--format", "text"] } else { &[] };
        let line = if name == "in.csv" { 3 } else { 2 };
        let (place, done) = run_file(name, contents, arguments);
        done.exits(2).says(&[&format!("{name}:{line}: "), "not UTF-8", "iconv"]);
        assert_eq!(place.records("out.jsonl").len(), 1, "the row before it is kept");
    }
    let (_, done) = run_file("in.jsonl", b"\xff\xfe{\0}\0", &[]);
    done.exits(2).says(&["in.jsonl: is UTF-16; convert it with iconv"]);
}

#[test]
fn a_broken_line_stops_the_intake_and_keeps_what_is_done() {
    let broken = "{\"id\": 1, \"text\": \"a\"}\n{\"id\": 2, \"text\":\n{\"id\": 3, \"text\": \"c\"}\n";
    let (place, stopped) = run_file("in.jsonl", broken, &[]);
    stopped.exits(2).says(&["in.jsonl:2: broken JSON", "--skip-bad-rows"]);
    assert_eq!(by_id(&place.records("out.jsonl")).keys().collect::<Vec<_>>(), ["1"]);

    run(&place, &["-m", "sim/echo", "--skip-bad-rows"]).exits(1).says(&["in.jsonl:2: broken JSON"]);
    let records = place.records("out.jsonl");
    assert_eq!(records.len(), 3);
    let bad = records.iter().find(|record| !record["error"].is_null()).unwrap();
    assert_eq!(bad["error"]["kind"], "bad_row");
    assert!(bad["error"]["message"].as_str().unwrap().starts_with("in.jsonl:2: broken JSON"), "{bad}");

    let before = place.bytes("out.jsonl");
    run(&place, &["-m", "sim/echo", "--skip-bad-rows"]).exits(1);
    assert_eq!(place.bytes("out.jsonl"), before, "a second run adds nothing");
}

#[test]
fn a_line_that_is_no_object_is_refused() {
    let (_, done) = run_file("in.jsonl", "{\"text\": \"a\"}\n[1, 2]\n", &[]);
    done.exits(2).says(&["in.jsonl:2: ", "object"]);
    let (_, done) = run_file("in.json", "[{\"text\": \"a\"}]\n", &[]);
    done.exits(2).says(&["in.json: is one JSON list, not an object a line; convert it with jq"]);
}

#[test]
fn a_ragged_table_names_line_and_counts() {
    let (place, done) = run_file("in.csv", "id,text\n1,a\n2,b,c\n", &[]);
    done.exits(2).says(&["in.csv:3: the row has 3 fields, the header has 2"]);
    assert_eq!(place.records("out.jsonl").len(), 1);
    let (_, done) = run_file("in.csv", "id,text\n1,\"a\n2,b\n", &[]);
    done.exits(2).says(&["in.csv:2: a quote is opened"]);
    let (_, done) = run_file("in.csv", "text,text\n1,2\n", &[]);
    done.exits(2).says(&["the header names the column `text` twice"]);
}

#[test]
fn a_row_that_is_too_large_is_named() {
    let large = format!("{{\"id\": 1, \"text\": \"a\"}}\n{{\"id\": 2, \"text\": \"{}\"}}\n", "x".repeat(5000));
    let (_, stopped) = run_file("in.jsonl", &large, &["--max-row-bytes", "1000"]);
    stopped.exits(2).says(&["in.jsonl:2: the row is larger than 1000 bytes"]);
    let (place, skipped) = run_file("in.jsonl", large + &rows(0..3), &["--max-row-bytes", "1000", "--skip-bad-rows"]);
    skipped.exits(1);
    assert_eq!(place.records("out.jsonl").len(), 5);
}

#[test]
fn an_unknown_model_or_provider_is_answered_with_the_nearest() {
    let place = with_rows(&rows(0..1));
    for (model, wants) in [
        ("opnai/gpt-5-mini", "no provider 'opnai'; did you mean 'openai'?"),
        ("gpt5-mini", "did you mean 'gpt-5-mini'?"),
    ] {
        run(&place, &["-m", model]).exits(2).says(&[wants]);
    }
    run(&place, &[]).exits(2).says(&["no model", "-m"]);
    run(&place, &["-m", "sim/a", "-m", "sim/b", "--balance", "ordred"])
        .exits(2)
        .says(&["invalid value 'ordred'", "'order'"]);
}

#[test]
fn flags_about_what_a_run_does_not_have_are_refused() {
    let place = with_rows(&rows(0..1));
    for flag in ["--redo-changed", "--keep-changed", "--prune", "--retry-failed", "--json"] {
        let told = done(&mut place.tidegate(&["run", "in.jsonl", "-m", "sim/echo", "-p", "x", flag])).exits(2);
        assert!(told.says(&[flag, "counts only with"]).stdout.is_empty());
    }
}

#[test]
fn numbers_that_make_no_sense_are_refused_with_their_flag() {
    let place = with_rows(&rows(0..1));
    for (flag, values) in [
        ("--rpm", &["0", "-1", "NaN", "inf", "many"][..]),
        ("--tpm", &["0", "NaN"]),
        ("--total-rpm", &["0"]),
        ("--concurrency", &["0", "-1", "1.5"]),
        ("--timeout", &["0", "-5s", "nan", "soon", "1e300"]),
        ("--connect-timeout", &["-1"]),
        ("--drain-timeout", &["-1s"]),
        ("--max-attempts", &["0"]),
        ("--temperature", &["NaN", "-0.5"]),
        ("--max-tokens", &["0"]),
        ("--price", &["1", "-1,2", "NaN,1"]),
        ("--repeat", &["0"]),
        ("--rows", &["0"]),
        ("--param", &["top_p", "top_p=nonsense"]),
        ("--retry-failed", &["timeuot"]),
    ] {
        for value in values {
            let flag_and_value = format!("{flag}={value}");
            let done = run(&place, &["-m", "sim/echo", &flag_and_value]).exits(2).says(&[flag, value]);
            assert!(done.stderr.starts_with("error: "), "{}", done.stderr);
        }
    }
    let mut by_variable = place.tidegate(&["run", "in.jsonl", "-m", "sim/echo", "-p", "x", "-o", "out.jsonl"]);
    done(by_variable.env("TIDEGATE_RPM", "0")).exits(2).says(&["TIDEGATE_RPM: ", "more than 0"]);
}

#[test]
fn a_mistake_in_the_configuration_is_named_by_line() {
    let place = with_rows(&rows(0..1));
    for (text, wants) in [
        ("models = ['sim/echo']\nrpm = 5\n", &["tidegate.toml", "2", "rpm"][..]),
        ("[limits]\nrpm = 0\n", &["tidegate.toml", "2", "more than 0"]),
        ("[retry]\ntimeout = '-5s'\n", &["tidegate.toml", "2", "more than 0"]),
        ("[limits\n", &["tidegate.toml", "1"]),
    ] {
        place.write("tidegate.toml", text);
        run(&place, &["-m", "sim/echo"]).exits(2).says(wants);
    }
}

#[test]
fn an_output_that_cannot_be_written_is_a_storage_error() {
    let place = with_rows(&rows(0..3));
    let done = place.run("run in.jsonl -m sim/echo -p x -o nowhere/out.jsonl");
    done.exits(4).says(&["nowhere/out.jsonl", "No such file or directory"]);
    std::fs::create_dir(place.path("directory")).unwrap();
    place.run("run in.jsonl -m sim/echo -p x -o directory").exits(2).says(&["directory"]);
}

/// A full disk, as far as a test can have one: the shell forbids files beyond some blocks of 512 bytes.
#[test]
#[cfg(unix)]
fn a_full_disk_publishes_nothing_that_is_not_stored() {
    let place = with_rows(&rows(0..400));
    let sim = Sim::start("latency: {fixed: {ms: 5}}");
    let script = format!(
        "trap '' XFSZ; ulimit -f 64; exec {} run in.jsonl --base-url {} -m m -p 'Say {{{{ text }}}}' -o out.jsonl",
        crate::support::TIDEGATE,
        sim.base_url()
    );
    let stopped = done(&mut place.command("sh", &["-c", &script]));
    stopped.exits(4).says(&["error: out.jsonl.tidegate/journal: cannot be written", "File too large"]);
    let published = place.records("out.jsonl").len();
    assert!(published < 400, "the limit was not reached");

    let before = sim.count("finished");
    run(&place, &["-m", "m", "--base-url", &sim.base_url()]).exits(0);
    let records = place.records("out.jsonl");
    assert_eq!((records.len(), by_id(&records).len()), (400, 400));
    let sent = sim.count("finished") - before;
    assert!(sent <= 400 - published as u64, "{sent} sent, although {published} were stored");
}

#[test]
fn templates_are_checked_before_anything_is_sent() {
    let sim = Sim::start("");
    let place = with_rows(&rows(0..3));
    let run = |template: &str| {
        let url = sim.base_url();
        let arguments = ["run", "in.jsonl", "--base-url", &url, "-m", "m", "-o", "out.jsonl", "-p", template];
        done(&mut place.tidegate(&arguments)).exits(2)
    };
    run("{{ txet }}").says(&["-p:1: there is no column `txet`; did you mean `text`? the columns are: id, text"]);
    run("a\nb {{ text").says(&["-p:2: syntax error"]);
    run("{{ text | uper }}").says(&["uper"]);
    place.write("t.txt", "fine\n{{ missing }}\n");
    place
        .run(&format!("run in.jsonl --base-url {} -m m -t t.txt -o out.jsonl", sim.base_url()))
        .exits(2)
        .says(&["t.txt:2: there is no column `missing`"]);
    place.run("run in.jsonl -m sim/echo -t gone.txt -o out.jsonl").exits(2).says(&["gone.txt", "No such file"]);
    place
        .run("run in.jsonl -m sim/echo --id-column idd -p x -o out.jsonl")
        .exits(2)
        .says(&["no column `idd`", "did you mean `id`?"]);
    place.run("run in.jsonl -m sim/echo -o out.jsonl").exits(0);
    assert_eq!(sim.count("arrivals"), 0);
}

#[test]
fn a_later_row_without_a_column_is_named() {
    let (place, done) = run_file("in.jsonl", "{\"id\": 1, \"text\": \"a\"}\n{\"id\": 2, \"txt\": \"b\"}\n", &[]);
    done.exits(2).says(&["in.jsonl:2: ", "column `text` is missing", "--skip-bad-rows"]);
    assert_eq!(place.records("out.jsonl").len(), 1);
}

#[test]
fn batch_lines_name_what_they_cannot_be() {
    let line = |url: &str, method: &str| {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        json!({"custom_id": "a", "method": method, "url": url, "body": body}).to_string() + "\n"
    };
    for (line, wants) in [
        (line("/v1/completions", "POST"), "the url `/v1/completions` is not supported"),
        (line("/v1/chat/completions", "GET"), "`method` is not POST"),
    ] {
        let place = with_rows(&line);
        place.run("run in.jsonl -m sim/echo -o out.jsonl").exits(2).says(&["in.jsonl:1: ", wants]);
    }
}

#[test]
fn a_missing_key_names_its_variable() {
    let place = with_rows(&rows(0..1));
    for (model, variable) in
        [("openai/gpt-5-mini", "OPENAI_API_KEY"), ("groq/x", "GROQ_API_KEY"), ("deepseek/x", "DEEPSEEK_API_KEY")]
    {
        run(&place, &["-m", model]).exits(2).says(&[&format!("set {variable}")]);
    }
    assert!(!place.path("out.jsonl.tidegate").exists());
}

/// Runs two rows against a server with `--max-attempts 2` and returns their errors.
fn errors_of(server: &Server, arguments: &[&str]) -> Vec<Value> {
    let place = with_rows(&rows(0..2));
    let url = server.base_url();
    let fixed = ["-m", "m", "--base-url", url.as_str(), "--max-attempts", "2", "--timeout", "1s"];
    run(&place, &[&fixed[..], arguments].concat()).exits(1);
    let records = place.records("out.jsonl");
    assert_eq!(records.len(), 2);
    records.into_iter().map(|mut record| record["error"].take()).collect()
}

#[test]
fn a_reply_that_is_not_json_fails_its_row_after_retries() {
    let server = Server::start(|_| Reply::of("200 OK", "content-type: text/html\r\n", "<html>Welcome</html>"));
    for error in errors_of(&server, &[]) {
        assert_eq!((&error["kind"], &error["status"]), (&json!("malformed"), &json!(200)), "{error}");
    }
    assert_eq!(server.seen().len(), 4);
}

#[test]
fn a_server_that_hangs_is_given_up_after_the_timeout() {
    let server = Server::start(|_| Reply::Hang);
    for error in errors_of(&server, &[]) {
        assert_eq!(error["kind"], "timeout");
        assert!(error["message"].as_str().unwrap().contains("1s"), "{error}");
    }
}

#[test]
fn a_server_that_closes_is_a_cut() {
    let server = Server::start(|_| Reply::Close);
    for error in errors_of(&server, &[]) {
        assert_eq!(error["kind"], "cut", "{error}");
    }
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"choices\": [";
    let server = Server::start(move |_| Reply::Bytes(half.to_owned()));
    for error in errors_of(&server, &[]) {
        assert!(["cut", "timeout"].contains(&error["kind"].as_str().unwrap()), "{error}");
    }
}

#[test]
fn nobody_listening_is_a_failed_connection() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let place = with_rows(&rows(0..1));
    let url = format!("http://{address}/v1");
    run(&place, &["-m", "m", "--base-url", &url, "--max-attempts", "2"]).exits(1);
    let record = &place.records("out.jsonl")[0];
    assert_eq!(record["error"]["kind"], "connect");
    assert!(record["error"]["message"].as_str().unwrap().contains(&address.to_string()), "{record}");
    assert_eq!(record["attempts"], 2);
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Server::start(|_| Reply::chat("stolen"));
    let location = format!("location: {}/chat/completions\r\n", elsewhere.base_url());
    let server = Server::start(move |_| Reply::of("307 Temporary Redirect", &location, ""));
    for error in errors_of(&server, &[]) {
        assert_eq!((&error["kind"], &error["status"]), (&json!("bad_request"), &json!(307)));
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("redirects to") && message.contains(&elsewhere.base_url()), "{error}");
    }
    assert!(elsewhere.seen().is_empty(), "the request, with its key, went to a host that nobody named");
}

#[test]
fn a_certificate_that_nobody_trusts_is_named() {
    let sim = Sim::start_with("", &["--tls"]);
    let place = with_rows(&rows(0..1));
    let url = format!("https://{}/v1", sim.address());
    run(&place, &["-m", "m", "--base-url", &url, "--max-attempts", "1"]).exits(1).says(&["certificate"]);
    assert_eq!(place.records("out.jsonl")[0]["error"]["kind"], "connect");
}

#[test]
fn a_tls_client_at_a_plain_server_is_told() {
    let sim = Sim::start("");
    let place = with_rows(&rows(0..1));
    let url = format!("https://{}/v1", sim.address());
    run(&place, &["-m", "m", "--base-url", &url, "--max-attempts", "1"]).exits(1);
    assert_eq!(place.records("out.jsonl")[0]["error"]["kind"], "connect");
}

#[test]
fn a_key_is_shown_nowhere() {
    const KEY: &str = "sk-test-4f1c2b7d9e";
    let refusing = Server::start(|request| {
        let head = request.split("\r\n\r\n").next().unwrap();
        let message = format!("no: {}", head.lines().find(|line| line.contains(KEY)).unwrap_or_default());
        Reply::of("400 Bad Request", "", &json!({"error": {"message": message}}).to_string())
    });
    let place = with_rows(&rows(0..2));
    let url = refusing.base_url();
    let mut everything = String::new();
    for extra in
        [&["-vv"][..], &["--json-events"], &["--print-config"], &["--dry-run"], &["--redo-changed", "--seed", "1"]]
    {
        let arguments =
            ["run", "in.jsonl", "-p", "{{ text }}", "-m", "openai/m", "-o", "out.jsonl", "--base-url", &url];
        let mut command = place.tidegate(&arguments);
        let Done { stdout, stderr, .. } = done(command.args(extra).env("OPENAI_API_KEY", KEY));
        write!(everything, "{stdout}{stderr}").unwrap();
    }
    assert!(refusing.seen()[0].contains(KEY), "the key was not even sent:\n{everything}");
    let before = refusing.seen().len();
    let header = format!("authorization: Bearer {KEY}");
    let Done { stdout, stderr, .. } =
        run(&place, &["-m", "m", "--base-url", &url, "--redo-changed", "--header", &header]);
    assert_eq!(refusing.seen().iter().filter(|request| request.contains(KEY)).count(), before + 2);
    write!(everything, "{stdout}{stderr}").unwrap();
    everything += &place.read("out.jsonl");
    everything += &String::from_utf8_lossy(&place.bytes("out.jsonl.tidegate/journal"));
    everything += &place.read("out.jsonl.tidegate/manifest.json");
    assert!(!everything.contains(KEY), "the key is shown:\n{everything}");
}

#[test]
fn a_flag_that_nothing_heeds_is_refused_before_anything_is_sent() {
    let place = with_rows("{\"text\": \"a\"}\n");
    for (flags, said) in [
        (&["--regions", "us-east-1"][..], "--regions (`bedrock.regions`) counts only with a model at Bedrock"),
        (&["--cache-ttl", "1h", "--dry-run"], "--cache-ttl (`cache.ttl`) counts only with --cache PATH"),
    ] {
        run(&place, &[&["-m", "sim/echo"], flags].concat()).exits(2).says(&[said]);
        assert!(!place.path("out.jsonl").exists());
    }
    place.write("tidegate.toml", "[bedrock]\nallow_global = true\n");
    run(&place, &["-m", "sim/echo"]).exits(0);
}
