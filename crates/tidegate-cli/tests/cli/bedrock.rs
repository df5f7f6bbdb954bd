//! Bedrock over HTTP: regions, the control plane, what a check finds and a run then uses.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Place, Reply, Server, Sim, done, rows, text};

const SONNET: &str = "anthropic.claude-sonnet-4-5-20250929-v1:0";
const KEYS: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", "AKIAONE"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_EC2_METADATA_DISABLED", "true")];

/// Returns a command with AWS credentials, at a server that stands for both of Bedrock's hosts.
fn command(place: &Place, url: &str, arguments: &[&str]) -> Command {
    place.write("in.jsonl", rows(0..40));
    let mut command = place.tidegate(arguments);
    command.args(["--base-url", url]).envs(KEYS);
    command
}

fn run(place: &Place, url: &str, model: &str, more: &[&str]) -> Command {
    let mut command = command(place, url, &["run", "in.jsonl", "-p", "Say {{ text }}", "-o", "out.jsonl", "-m", model]);
    command.args(more);
    command
}

fn check(place: &Place, url: &str, model: &str, more: &[&str]) -> (i32, Value) {
    let mut command = command(place, url, &["check", "--json", "-m", model]);
    let output = command.args(more).output().unwrap();
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap())
}

/// Returns the address that stands for Bedrock's hosts.
fn host(sim: &Sim) -> String {
    format!("http://{}", sim.address())
}

fn by_region(sim: &Sim) -> BTreeMap<String, u64> {
    serde_json::from_value(sim.stats()["by_region"].clone()).unwrap()
}

#[test]
fn each_row_gets_some_of_the_regions() {
    for (more, regions) in [(&["--regions-per-request", "1"][..], 4), (&["--region-order", "shuffle"], 4), (&[], 1)] {
        let (place, sim) = (Place::new(), Sim::start("keys: ['AKIAONE:secret']"));
        let regions_of = ["--regions", "us-east-1,us-west-2,eu-west-1,eu-central-1"];
        done(run(&place, &host(&sim), "bedrock/Claude 3 Haiku", more).args(regions_of)).exits(0);
        let counts = by_region(&sim);
        assert_eq!((counts.len(), counts.values().sum::<u64>()), (regions, 40), "{more:?}: {counts:?}");
        let share = *counts.values().max().unwrap();
        assert!(more.first() != Some(&"--regions-per-request") || share == 10, "{counts:?}");
    }
}

#[test]
fn what_a_live_check_finds_is_used_by_it_and_by_runs() {
    let yaml = format!(
        "keys: ['AKIAONE:secret']\nmodels: ['{SONNET}', 'tide.low-tide-v1:0', 'us.tide.low-tide-v1:0']\n\
         script: [{{contains: inference-profiles, status: 429, times: 1}}]"
    );
    let (place, sim) = (Place::new(), Sim::start(&yaml));
    let model = format!("bedrock/{SONNET}");
    let ways = |found: &Value| found["models"][0]["regions"][0]["ways"].as_array().unwrap().clone();
    let here = ["--regions", "us-east-1"];
    let (code, before) = check(&place, &host(&sim), &model, &here);
    // The table says that it is served through a profile only, the account has it directly.
    assert_eq!((code, ways(&before)), (0, vec![json!({"access": "regional", "id": format!("us.{SONNET}")})]));
    let (code, live) = check(&place, &host(&sim), &model, &["--regions", "us-east-1", "--live"]);
    assert_eq!((code, ways(&live)), (0, vec![json!({"access": "direct", "id": SONNET})]), "{live}");
    let switched_off = format!("{}", live["warnings"][0]).contains("switched off by its provider on");
    assert_eq!(
        (live["warnings"].as_array().map(Vec::len), switched_off, &live["combinations"]),
        (Some(1), true, &json!(1))
    );
    assert_eq!(live["accounts"][0], json!({"account": "default", "status": "credentials AKIAONE"}));

    // A name that nobody but the account knows.
    let (code, named) = check(&place, &host(&sim), "bedrock/Low Tide", &here);
    let both = [("direct", "tide.low-tide-v1:0"), ("regional", "us.tide.low-tide-v1:0")];
    assert_eq!((code, ways(&named)), (0, both.map(|(access, id)| json!({"access": access, "id": id})).to_vec()));

    sim.reset();
    done(&mut run(&place, &host(&sim), &model, &here)).exits(0);
    assert_eq!(sim.count("arrivals"), 40, "none of them went to the profile");
    assert_eq!(place.records("out.jsonl")[0]["endpoint"], format!("bedrock/{SONNET}@us-east-1"));
}

#[test]
fn a_bearer_key_asks_the_control_plane_too() {
    let (place, sim) = (Place::new(), Sim::start(&format!("keys: [bedrock-key]\nmodels: ['{SONNET}']")));
    let mut check = place.tidegate(&["check", "--json", "--live", "-m", &format!("bedrock/{SONNET}")]);
    check.args(["--regions", "us-east-1", "--base-url", &host(&sim)]);
    let output = check.env("AWS_BEARER_TOKEN_BEDROCK", "bedrock-key").output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["models"][0]["regions"][0]["ways"], json!([{"access": "direct", "id": SONNET}]), "{found}");
    let mut run = place.tidegate(&["run", "in.jsonl", "-p", "Say {{ text }}", "-o", "out.jsonl"]);
    place.write("in.jsonl", rows(0..3));
    run.args(["-m", &format!("bedrock/{SONNET}"), "--regions", "us-east-1", "--base-url", &host(&sim)]);
    done(run.env("AWS_BEARER_TOKEN_BEDROCK", "bedrock-key")).exits(0);
    assert_eq!(place.records("out.jsonl")[0]["endpoint"], format!("bedrock/{SONNET}@us-east-1"));
}

#[test]
fn a_list_that_may_not_be_seen_is_a_warning_and_a_wrong_key_too() {
    let denied = "keys: ['AKIAONE:secret']\nscript: [{contains: foundation-models, status: 403}]";
    for (yaml, why) in [(denied, "it may not list models"), ("keys: ['AKIAONE:other']", "signature")] {
        let (place, sim) = (Place::new(), Sim::start(yaml));
        let (code, found) =
            check(&place, &host(&sim), "bedrock/Nova Lite", &["--regions", "us-east-1,eu-west-1", "--live"]);
        let warnings: Vec<String> = found["warnings"].as_array().unwrap().iter().map(text).collect();
        assert_eq!((code, warnings.len()), (0, 2), "{found}");
        for warning in warnings {
            assert!(warning.contains(why) && warning.ends_with("the bundled list is used"), "{warning}");
        }
        assert_eq!(found["combinations"], 4);
    }
}

#[test]
fn a_check_lists_all_faults_with_what_to_do() {
    let place = Place::new();
    let mut check = place.tidegate(&["check", "-m", "openai/gpt-5-mini", "-m", "bedrock/Claude Sonnet 4.5"]);
    check.args(["--regions", "sa-east-1", "--aws-profile", "gone"]);
    let done = done(&mut check).exits(2);
    for part in ["3 errors", "nothing in the geography of sa-east-1", "no AWS profile 'gone'", "set OPENAI_API_KEY"] {
        assert!(done.stdout.contains(part), "{part}: {}", done.stdout);
    }
}

#[test]
fn embeddings_are_made_by_each_vendor() {
    for (model, more, length) in [
        ("bedrock/amazon.titan-embed-text-v2:0", &["--param", "dimensions=256"][..], 256),
        ("bedrock/Cohere Embed English", &[], 16),
    ] {
        let (place, sim) = (Place::new(), Sim::start("keys: ['AKIAONE:secret']\ndimensions: 16"));
        place.write("in.jsonl", rows(0..40));
        let mut embed = place.tidegate(&["run", "in.jsonl", "--embed", "text", "-o", "out.jsonl", "-m", model]);
        embed.args(["--base-url", &host(&sim), "--regions", "us-east-1"]).args(more).envs(KEYS);
        done(&mut embed).exits(0);
        let records = place.records("out.jsonl");
        assert_eq!(records.len(), 40);
        for record in records {
            assert_eq!(record["output"].as_array().unwrap().len(), length, "{record}");
            assert!(record["cost_usd"].as_f64().unwrap() > 0.0, "{record}");
        }
    }
}

#[test]
fn anthropics_bodies_are_streamed() {
    let (place, sim) = (Place::new(), Sim::start("keys: ['AKIAONE:secret']"));
    let more = ["--regions", "us-east-1", "--stream", "--max-tokens", "50"];
    done(&mut run(&place, &host(&sim), "bedrock-invoke/Claude 3 Haiku", &more)).exits(0);
    for record in place.records("out.jsonl") {
        let asked = format!("] Say {}", text(&record["input"]["text"]));
        assert!(
            text(&record["output"]).ends_with(&asked) && record["usage"]["output_tokens"].as_u64() > Some(0),
            "{record}"
        );
    }
}

#[test]
fn what_a_model_refuses_is_left_out_only_if_the_run_is_lossy() {
    let converse = json!({"output": {"message": {"role": "assistant", "content": [{"text": "high"}]}},
        "stopReason": "end_turn", "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}});
    let answer = move |asked: &str| match asked.contains("top_k") {
        true => Reply::of(
            "400 Bad Request",
            "x-amzn-ErrorType: ValidationException\r\n",
            r#"{"message":"Malformed input request: extraneous key [top_k] is not permitted, please reformat"}"#,
        ),
        false => Reply::of("200 OK", "content-type: application/json\r\n", &converse.to_string()),
    };
    let server = Server::start(answer);
    let url = server.base_url();
    let place = Place::new();
    let more = ["--regions", "us-east-1", "--param", "top_k=5", "--concurrency", "1"];
    done(&mut run(&place, url.trim_end_matches("/v1"), "bedrock/Nova Lite", &more)).exits(1);
    let place = Place::new();
    done(run(&place, url.trim_end_matches("/v1"), "bedrock/Nova Lite", &more).arg("--lossy")).exits(0);
    let records = place.records("out.jsonl");
    assert_eq!(records.len(), 40);
    for record in &records {
        assert!(record["warnings"][0].as_str().unwrap().starts_with("left out: top_k"), "{record}");
    }
    let more_than_one = records.iter().filter(|record| record["attempts"] != 1).count();
    assert_eq!(more_than_one, 1, "the first row finds it out, for all of them");
}
