//! Bedrock's endpoints (models x regions x accounts x ways) against the simulated provider, under paused time.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use secrecy::SecretString;
use tidegate::call::aws::{Account, Credentials};
use tidegate::call::transport::{HttpReply, HttpRequest, Transport};
use tidegate::catalog::bedrock::Preference;
use tidegate::sim::{Scenario, SimTransport, Simulator};
use tidegate::{
    Balance, Bedrock, Client, ClientBuilder, Failure, Item, Kind, Limits, Outcome, Refresh, RegionOrder, Request,
    RetryPolicy, Target,
};

const HAIKU: &str = "anthropic.claude-3-5-haiku-20241022-v1:0";
const SONNET: &str = "anthropic.claude-sonnet-4-5-20250929-v1:0";

fn account(label: &str) -> Account {
    Account::new(Some(label), Arc::new(Credentials::new(&format!("AKIA{label}"), "secret", None)))
}

fn regions(names: &[&str]) -> Bedrock {
    let regions = names.iter().map(|name| (*name).to_owned()).collect();
    Bedrock { regions, accounts: vec![account("one")], ..Bedrock::default() }
}

fn client(yaml: &str, models: &[&str], bedrock: &Bedrock) -> (ClientBuilder, Simulator) {
    let transport = SimTransport::new(Scenario::from_yaml(yaml).unwrap());
    let simulator = transport.simulator().clone();
    // Of several attempts only what costs none can be seen.
    let retry = RetryPolicy { max_attempts: 1, ..RetryPolicy::default() };
    let targets = models.iter().map(|model| Target::new(&format!("bedrock/{model}")).unwrap().bedrock(bedrock.clone()));
    let builder = Client::builder().transport(Arc::new(transport)).retry(retry);
    (targets.fold(builder, ClientBuilder::target), simulator)
}

async fn ask(client: &Client, rows: usize) -> Vec<Outcome> {
    let requests = (0..rows).map(|row| Request::prompt(format!("row {row}")));
    client.run(requests).map(|(outcome, ())| outcome).collect().await
}

fn endpoints(outcomes: &[Outcome]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for outcome in outcomes {
        outcome.result.as_ref().unwrap();
        *counts.entry(outcome.attempts.last().unwrap().endpoint.to_string()).or_insert(0) += 1;
    }
    counts
}

#[tokio::test(start_paused = true)]
async fn a_profile_that_is_demanded_is_learned_and_costs_no_attempt() {
    let keys = "keys: ['AKIAone:secret']\n";
    let (builder, simulator) = client(&format!("{keys}models: ['us.{HAIKU}']"), &[HAIKU], &regions(&["us-west-2"]));
    let client = builder.build().unwrap();
    let outcomes = ask(&client, 200).await;
    assert_eq!(endpoints(&outcomes), BTreeMap::from([(format!("bedrock/us.{HAIKU}@us-west-2#one"), 200)]));
    let wasted = simulator.stats().arrivals - 200;
    assert!((1..=16).contains(&wasted), "{wasted} requests went to the plain id");
    let response = outcomes[0].result.as_ref().unwrap();
    assert_eq!(response.model, format!("us.{HAIKU}"));
}

#[tokio::test(start_paused = true)]
async fn look_alikes_are_the_rows_own_fault() {
    let yaml = "script: [{contains: row, status: 400, body: '{\"message\":\"The provided region isn''t supported\"}'}]";
    let (builder, _) = client(yaml, &[HAIKU], &regions(&["us-west-2"]));
    let client = builder.build().unwrap();
    let outcomes = ask(&client, 3).await;
    for outcome in &outcomes {
        assert_eq!(outcome.result.as_ref().unwrap_err().kind, Kind::BadRequest);
        assert_eq!(outcome.attempts.len(), 1);
    }
    assert!(client.snapshot().endpoints.iter().all(|endpoint| endpoint.aside.is_none()));
}

#[tokio::test(start_paused = true)]
async fn the_global_fraction_is_that_fraction() {
    for share in [0.0, 0.1, 0.25, 0.5, 1.0] {
        let preference = Preference { allow_global: true, ..Preference::default() };
        let bedrock = Bedrock { preference, global_fraction: Some(share), ..regions(&["us-east-1"]) };
        let (builder, _) = client("", &[SONNET], &bedrock);
        let counts = endpoints(&ask(&builder.build().unwrap(), 400).await);
        let global = counts.get(&format!("bedrock/global.{SONNET}@us-east-1#one")).copied().unwrap_or(0);
        assert_eq!(global, (share * 400.0) as usize, "{share}: {counts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_region_and_account_is_an_endpoint_and_may_take_turns() {
    let places = regions(&["us-east-1", "eu-west-1"]);
    let two = Bedrock { accounts: vec![account("one"), account("two")], ..places };
    let nova = "amazon.nova-lite-v1:0";
    let names = |client: &Client| client.snapshot().endpoints.iter().map(|e| e.name.clone()).collect::<Vec<_>>();
    let (builder, _) = client("", &["mistral.mistral-large-2407-v1:0"], &two);
    let name = |place: &str| format!("bedrock/mistral.mistral-large-2407-v1:0@{place}");
    let all = ["us-east-1#one", "us-east-1#two", "eu-west-1#one", "eu-west-1#two"].map(name);
    assert_eq!(names(&builder.build().unwrap()), all);

    let rotating = Bedrock { region_order: RegionOrder::Rotate, ..two.clone() };
    let (builder, _) = client("", &[nova], &rotating);
    // As long as all have room: behind that, whoever is free first takes the next.
    let counts = endpoints(&ask(&builder.build().unwrap(), 40).await);
    assert_eq!((counts.len(), counts.values().all(|count| *count == 10)), (4, true), "{counts:?}");

    let models = ["mistral.mistral-large-2402-v1:0", "mistral.mistral-large-2407-v1:0"];
    let one = regions(&["us-east-1", "eu-west-1"]);
    let order =
        |names: Vec<String>| names.iter().map(|name| (name.contains("2402"), name.contains("us-"))).collect::<Vec<_>>();
    let (builder, _) = client("", &models, &one);
    assert_eq!(order(names(&builder.build().unwrap())), [(true, true), (true, false), (false, true), (false, false)]);
    let (builder, _) = client("", &models, &one);
    let first = builder.regions_first().build().unwrap();
    assert_eq!(order(names(&first)), [(true, true), (false, true), (true, false), (false, false)]);
}

const LARGE: &str = "mistral.mistral-large-2407-v1:0";
const FOUR: [&str; 4] = ["us-east-1", "us-west-2", "eu-west-1", "eu-central-1"];

fn by_region(simulator: &Simulator) -> BTreeMap<String, u64> {
    simulator.stats().by_region
}

#[tokio::test(start_paused = true)]
async fn shuffled_regions_come_by_chance_and_all_of_them() {
    let shuffled = Bedrock { region_order: RegionOrder::Shuffle, ..regions(&FOUR) };
    let (builder, simulator) = client("", &[LARGE], &shuffled);
    let client = builder.total(Limits { concurrency: Some(1), ..Limits::default() }).build().unwrap();
    let outcomes = ask(&client, 200).await;
    assert!(by_region(&simulator).values().all(|count| (30..75).contains(count)), "{:?}", by_region(&simulator));
    let first = |outcome: &Outcome| outcome.attempts[0].endpoint.clone();
    let repeated = outcomes.windows(2).filter(|pair| first(&pair[0]) == first(&pair[1])).count();
    assert!((25..80).contains(&repeated), "in turn it would be none: {repeated}");
}

#[tokio::test(start_paused = true)]
async fn each_request_gets_some_of_the_regions_in_turn() {
    for count in [1, 2, 3] {
        let (builder, simulator) = client("", &[LARGE], &regions(&FOUR));
        let client = builder.regions_per_request(NonZeroUsize::new(count).unwrap()).build().unwrap();
        ask(&client, 40).await;
        let counts = by_region(&simulator);
        assert!(counts.len() == 4 && counts.values().all(|count| *count == 10), "{count}: {counts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_single_request_may_name_its_regions() {
    let (builder, simulator) = client("", &[LARGE], &regions(&FOUR));
    let client = builder.build().unwrap();
    let item = |row: usize| {
        // The same prompt: what one region says is not another's answer.
        let item = Item::new(Request::prompt(format!("row {}", row / 3)).temperature(0.0), row);
        [item.clone(), item.clone().regions(["eu-west-1"]), item.regions(["eu-central-1"])][row % 3].clone()
    };
    let run = client.run_items(futures_util::stream::iter((0..30).map(item)));
    let outcomes: Vec<_> = run.regions(["us-west-2"]).unwrap().collect().await;
    for (outcome, row) in &outcomes {
        let place = ["@us-west-2#", "@eu-west-1#", "@eu-central-1#"][row % 3];
        assert!(outcome.attempts[0].endpoint.contains(place), "{row}: {outcome:?}");
    }
    assert_eq!(by_region(&simulator).into_values().collect::<Vec<_>>(), [10, 10, 10]);
    let one = client.send_item(&Item::from(Request::prompt("x")).regions(["eu-central-1"])).await;
    assert!(one.attempts[0].endpoint.contains("@eu-central-1#"), "{one:?}");
    let nowhere = client.send_item(&Item::from(Request::prompt("x")).regions(["mars-1"])).await;
    assert_eq!((nowhere.attempts.len(), nowhere.result.unwrap_err().kind), (0, Kind::NotFound));
}

/// A region that fails every request, at the 'network' in front of the simulated provider.
struct Broken(&'static str, SimTransport, std::sync::Mutex<BTreeMap<String, Vec<String>>>);

impl Transport for Broken {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpReply, Failure>> {
        let region = request.uri().host().unwrap().split('.').nth(1).unwrap().to_owned();
        let body = String::from_utf8_lossy(request.body()).into_owned();
        self.2.lock().unwrap().entry(body).or_default().push(region.clone());
        match region == self.0 {
            true => Box::pin(std::future::ready(Err(Failure::new(Kind::Connect, "no such place")))),
            false => self.1.send(request),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_fails_over_within_its_regions_only() {
    let broken = Arc::new(Broken("us-west-2", SimTransport::new(Scenario::default()), Default::default()));
    let (builder, _) = client("", &[LARGE], &regions(&FOUR));
    let retry = RetryPolicy { max_attempts: 4, ..RetryPolicy::default() };
    let client = builder.regions_per_request(NonZeroUsize::new(2).unwrap()).retry(retry);
    let client = client.transport(broken.clone()).build().unwrap();
    let outcomes = ask(&client, 40).await;
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()));
    let asked = broken.2.lock().unwrap();
    let moved: Vec<_> = asked.values().filter(|regions| regions[0] == "us-west-2").collect();
    assert!(!moved.is_empty());
    for regions in asked.values() {
        let several: std::collections::BTreeSet<_> = regions.iter().collect();
        assert!(several.len() <= 2, "{regions:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_region_that_is_closed_to_the_account_leaves_its_requests_to_others() {
    let closed = Arc::new(Closed("us-east-1", SimTransport::new(Scenario::default())));
    let (builder, _) = client("", &[LARGE], &regions(&FOUR[..3]));
    let one = NonZeroUsize::new(1).unwrap();
    let client = builder.regions_per_request(one).transport(closed).build().unwrap();
    let outcomes = ask(&client, 30).await;
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()));
    let counts = endpoints(&outcomes);
    assert_eq!(counts.len(), 2, "{counts:?}");
}

/// A region that the account may not use.
struct Closed(&'static str, SimTransport);

impl Transport for Closed {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpReply, Failure>> {
        if !request.uri().host().unwrap().contains(self.0) {
            return self.1.send(request);
        }
        let mut reply = HttpReply::new(r#"{"__type":"AccessDeniedException","message":"not for you"}"#.into());
        *reply.status_mut() = http::StatusCode::FORBIDDEN;
        Box::pin(std::future::ready(Ok(reply)))
    }
}

#[tokio::test(start_paused = true)]
async fn the_least_loaded_regions_come_first() {
    let yaml = "latency: {fixed: {ms: 100}}";
    let (builder, simulator) = client(yaml, &[LARGE], &regions(&FOUR));
    let builder = builder.balance(Balance::LeastLoaded).regions_per_request(NonZeroUsize::new(1).unwrap());
    let client = builder.total(Limits { concurrency: Some(8), ..Limits::default() }).build().unwrap();
    ask(&client, 80).await;
    assert!(by_region(&simulator).values().all(|count| *count == 20), "{:?}", by_region(&simulator));
}

#[tokio::test(start_paused = true)]
async fn a_region_that_is_used_up_leaves_its_rows_to_the_next() {
    let yaml = "per_key: true\nlimits: [{of: requests, limit: 5, per_s: 86400}]";
    let (builder, _) = client(yaml, &["mistral.mistral-large-2407-v1:0"], &regions(&["us-east-1", "eu-west-1"]));
    let counts = endpoints(&ask(&builder.build().unwrap(), 10).await);
    assert_eq!(counts.values().copied().collect::<Vec<_>>(), [5, 5], "{counts:?}");
}

#[test]
fn what_leaves_the_geography_is_refused_before_anything_is_sent() {
    let refusal = |model: &str, bedrock: &Bedrock| client("", &[model], bedrock).0.build().err().unwrap().to_string();
    assert!(refusal(SONNET, &regions(&["sa-east-1"])).contains("nothing in the geography of sa-east-1 serves it"));
    assert!(refusal(&format!("eu.{SONNET}"), &regions(&["us-east-1"])).contains("--allow-global"));
    let share = Bedrock { global_fraction: Some(0.5), ..regions(&["us-east-1"]) };
    assert!(refusal(SONNET, &share).contains("allow it with --allow-global"));
    assert!(refusal(SONNET, &Bedrock::default()).contains("at least one region"));
}

#[tokio::test(start_paused = true)]
async fn a_refused_account_leaves_the_others() {
    let two = Bedrock { accounts: vec![account("one"), account("two")], ..regions(&["us-east-1"]) };
    let (builder, _) = client("keys: ['AKIAtwo:secret']", &["mistral.mistral-large-2407-v1:0"], &two);
    let counts = endpoints(&ask(&builder.build().unwrap(), 20).await);
    assert_eq!(counts.into_keys().collect::<Vec<_>>(), ["bedrock/mistral.mistral-large-2407-v1:0@us-east-1#two"]);
}

#[tokio::test(start_paused = true)]
async fn a_streamed_reply_says_what_the_whole_one_says() {
    let answers = async |stream| {
        let (builder, _) = client("keys: ['AKIAone:secret']", &[HAIKU], &regions(&["us-east-1"]));
        let retry = RetryPolicy { stream, ..RetryPolicy::default() };
        let mut outcomes = ask(&builder.retry(retry).build().unwrap(), 20).await;
        outcomes.sort_by_key(|outcome| outcome.index);
        let told = |outcome: Outcome| outcome.result.map(|r| (r.output, r.finish, r.usage, r.model)).unwrap();
        outcomes.into_iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(answers(true).await, answers(false).await);
}

/// An account whose control plane is the simulated one, in so many regions.
fn found_by(yaml: &str, names: &[&str]) -> (Bedrock, Arc<SimTransport>) {
    (regions(names), Arc::new(SimTransport::new(Scenario::from_yaml(yaml).unwrap())))
}

#[tokio::test(start_paused = true)]
async fn what_the_control_plane_says_decides_over_the_table() {
    // The table says that Sonnet 4.5 is served through profiles only, and knows no Tide.
    let yaml = format!("models: ['{SONNET}', 'global.{SONNET}', 'tide.tide-v1:0', 'eu.tide.tide-v1:0']");
    let (mut bedrock, plane) = found_by(&yaml, &["us-east-1", "eu-west-1"]);
    assert!(Target::new("bedrock/tide.tide-v1:0").is_ok());
    let refreshed = bedrock.refresh(&Refresh::default(), &[], &*plane).await;
    assert_eq!((refreshed.asked, refreshed.kept, refreshed.warnings), (2, 0, vec![]));
    let ways = |id: &str, region: &str, bedrock: &Bedrock| {
        let target = Target::new(&format!("bedrock/{id}")).unwrap().bedrock(bedrock.clone());
        let client = Client::builder().target(target).build().unwrap();
        let info = client.access_info(&client.models()[0], region).unwrap();
        info.ways.into_iter().map(|way| way.id).collect::<Vec<_>>()
    };
    assert_eq!(ways(SONNET, "us-east-1", &bedrock), [SONNET]);
    let may = Preference { allow_global: true, ..Preference::default() };
    let abroad = Bedrock { preference: may, ..bedrock.clone() };
    assert_eq!(ways(SONNET, "us-east-1", &abroad), [SONNET.to_owned(), format!("global.{SONNET}")]);
    assert_eq!(ways("tide.tide-v1:0", "eu-west-1", &bedrock), ["tide.tide-v1:0", "eu.tide.tide-v1:0"]);
    assert_eq!(ways("tide.tide-v1:0", "us-east-1", &bedrock), ["tide.tide-v1:0"]);
    assert_eq!(
        ways(SONNET, "us-west-2", &regions(&["us-west-2"])),
        [format!("us.{SONNET}")],
        "nothing was asked there"
    );
}

#[tokio::test(start_paused = true)]
async fn lists_are_asked_for_again_kept_for_a_day_and_used_when_nobody_answers() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Refresh { folder: Some(folder.path().to_owned()), ..Refresh::default() };
    let yaml = format!(
        "keys: ['AKIAone:secret']\nmodels: ['{HAIKU}']\n\
         script: [{{contains: foundation-models, status: 429, times: 2}}, {{contains: inference-profiles, status: 503, times: 1}}]"
    );
    let (mut bedrock, plane) = found_by(&yaml, &["us-east-1"]);
    let began = tokio::time::Instant::now();
    assert_eq!(bedrock.refresh(&kept, &[], &*plane).await.asked, 1);
    assert!(began.elapsed() >= std::time::Duration::from_secs(2), "it waited in between");

    // The next process finds it on disk, whatever has become of the control plane.
    let (mut bedrock, plane) = found_by("script: [{contains: foundation, status: 403}]", &["us-east-1"]);
    assert_eq!(bedrock.recall(&kept), 1);
    assert!(bedrock.found.get(Some("one"), "us-east-1").unwrap().on_demand(HAIKU));
    let again = bedrock.refresh(&kept, &[], &*plane).await;
    assert_eq!((again.asked, again.kept, again.warnings.len()), (0, 1, 0));
    let old = Refresh { age: std::time::Duration::ZERO, ..kept.clone() };
    let refused = bedrock.refresh(&old, &[], &*plane).await;
    assert!(refused.warnings[0].contains("it may not list models"), "{refused:?}");
    assert!(refused.warnings[0].ends_with("what was found 0 hours ago is used"), "{refused:?}");
    assert!(bedrock.found.get(Some("one"), "us-east-1").unwrap().on_demand(HAIKU));
    // Another account has no answers here.
    let mut other = Bedrock { accounts: vec![account("two")], ..regions(&["us-east-1"]) };
    assert_eq!(other.recall(&kept), 0);
    let refused = other.refresh(&kept, &[], &*plane).await;
    assert!(refused.warnings[0].ends_with("the bundled list is used"), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_bearer_key_may_ask_what_there_is_too() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = format!("keys: [sk-known]\nmodels: ['{SONNET}']");
    let plane = Arc::new(SimTransport::new(Scenario::from_yaml(&yaml).unwrap()));
    let places = Bedrock { accounts: Vec::new(), ..regions(&["us-east-1", "eu-west-1"]) };
    let built = async |key: &str, refresh: &Refresh| {
        let target = Target::new(&format!("bedrock/{SONNET}")).unwrap().bedrock(places.clone()).key(key);
        let mut builder = Client::builder().target(target).transport(plane.clone());
        let refreshed = builder.refresh(refresh).await;
        let client = builder.build().unwrap();
        let ways = client.access_info(&client.models()[0], "us-east-1").unwrap().ways;
        (refreshed, ways.into_iter().map(|way| way.id).collect::<Vec<_>>())
    };
    let kept = Refresh { folder: Some(folder.path().to_owned()), ..Refresh::default() };
    let (refreshed, ways) = built("sk-known", &kept).await;
    assert_eq!((refreshed.asked, refreshed.warnings, ways), (2, vec![], vec![SONNET.to_owned()]));
    assert_eq!(places.clone().recall(&kept), 2);
    let (refreshed, ways) = built("sk-wrong", &Refresh::default()).await;
    assert_eq!((refreshed.asked, refreshed.warnings.len(), ways), (0, 2, vec![format!("us.{SONNET}")]));
    assert!(refreshed.warnings[0].starts_with("key, us-east-1: "), "{refreshed:?}");
    assert!(!format!("{refreshed:?}").contains("sk-wrong"));
}

#[tokio::test(start_paused = true)]
async fn every_bearer_key_is_asked_and_what_any_has_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = format!("keys: [sk-one, sk-two]\nmodels: ['{SONNET}']");
    let plane = Arc::new(SimTransport::new(Scenario::from_yaml(&yaml).unwrap()));
    let kept = Refresh { folder: Some(folder.path().to_owned()), ..Refresh::default() };
    let asked = async |keys: &[&str]| {
        let mut places = Bedrock { accounts: Vec::new(), ..regions(&["us-east-1"]) };
        let keys: Vec<SecretString> = keys.iter().map(|key| (*key).into()).collect();
        let refreshed = places.refresh(&kept, &keys, &*plane).await;
        (refreshed, places.found.get(None, "us-east-1").is_some_and(|found| found.has(SONNET)))
    };
    let (refreshed, found) = asked(&["sk-wrong", "sk-two"]).await;
    assert_eq!((refreshed.asked, refreshed.warnings.len(), found), (1, 1, true), "{refreshed:?}");
    let warning = &refreshed.warnings[0];
    assert!(warning.starts_with("key 1, us-east-1: ") && warning.ends_with("what the other keys have is used"));
    let (refreshed, found) = asked(&["sk-one", "sk-two"]).await;
    assert_eq!((refreshed.asked, refreshed.kept, found), (2, 0, true), "what lacks a key's answer is not kept");
    let (refreshed, found) = asked(&["sk-one", "sk-two"]).await;
    assert_eq!((refreshed.asked, refreshed.kept, found), (0, 1, true));
}

#[tokio::test(start_paused = true)]
async fn a_check_tells_every_fault_and_counts_what_would_be_asked() {
    let plane = Arc::new(SimTransport::new(Scenario::default()));
    let places = regions(&["us-east-1", "eu-west-1"]);
    let mut builder = Client::builder()
        .target(Target::new(&format!("bedrock/{SONNET}")).unwrap().bedrock(places.clone()))
        .target(Target::new("bedrock/amazon.nova-lite-v1:0").unwrap().bedrock(places))
        .transport(plane.clone());
    let found = builder.validate().await;
    assert!(found.is_valid(), "{found:?}");
    // Sonnet through one profile in each region; Nova Lite directly and through a profile.
    assert_eq!((found.combinations, found.accounts.len(), found.warnings.len()), (6, 1, 1), "{found:?}");
    assert!(found.warnings[0].contains("switched off by its provider on"), "{found:?}");
    assert_eq!(found.accounts[0].status, "credentials AKIAone");
    assert_eq!(found.models[0].regions[1].served_in, ["any region of eu"]);
    assert_eq!(builder.refresh(&Refresh::default()).await.asked, 2, "once for each region");
    let client = builder.build().unwrap();
    assert_eq!(client.validate().await.combinations, 6);
    assert_eq!(client.regions().iter().map(|name| &**name).collect::<Vec<_>>(), ["eu-west-1", "us-east-1"]);
    assert!(client.access_info("bedrock/nobody", "us-east-1").is_none());
    assert!(client.access_info(&client.models()[0], "sa-east-1").is_none());

    let nobody = Arc::new(|_: &str| None);
    let chain = tidegate::call::aws::chain::Environment::new(move |name| nobody(name));
    let none = Account::new(None, Arc::new(tidegate::call::aws::chain::Chain::new(chain).profile("gone")));
    let wrong = Bedrock { accounts: vec![none], ..regions(&["sa-east-1", "xx-north-1"]) };
    let builder = Client::builder()
        .target(Target::new(&format!("bedrock/{SONNET}")).unwrap().bedrock(wrong))
        .target(Target::new("openai/gpt-5-mini").unwrap())
        .transport(plane);
    let found = builder.validate().await;
    assert_eq!(found.errors.len(), 3, "{found:?}");
    assert!(found.errors[0].contains("nothing in the geography of sa-east-1"), "{found:?}");
    assert!(found.errors.iter().any(|error| error.contains("no AWS profile 'gone'")), "{found:?}");
    assert!(
        found.errors.iter().any(|error| error == "openai/gpt-5-mini: it needs a key, and none is given"),
        "{found:?}"
    );
    assert_eq!(found.warnings[1..], ["xx-north-1 is not known as a region of Bedrock's"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_tried_again_is_counted() {
    let yaml = "script: [{contains: row 1, status: 500, times: 1}, {contains: row 2, status: 429, times: 1}]";
    let (builder, _) = client(yaml, &[LARGE], &regions(&["us-west-2"]));
    let client = builder.retry(RetryPolicy::default()).build().unwrap();
    let direct = client.access_info(&client.models()[0], "us-west-2").unwrap();
    assert!(direct.ways.iter().all(|way| way.aside.is_none()));
    ask(&client, 4).await;
    let stats = client.retry_stats();
    assert_eq!((stats.after_backoff, stats.after_rejection, stats.given_up, stats.lesser), (1, 1, 0, 0), "{stats:?}");
    assert_eq!((stats.causes[&Kind::ServerError], stats.causes[&Kind::RateLimited]), (1, 1), "{stats:?}");
}

/// Refuses what some models do not take, as Bedrock words it, and notes which bodies each region got.
struct Picky {
    far: SimTransport,
    seen: std::sync::Mutex<Vec<(String, serde_json::Value)>>,
    /// The regions that refuse, what a body may not hold there, and what is said about it.
    refuses: Vec<(&'static str, &'static str, &'static str)>,
}

impl Transport for Picky {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpReply, Failure>> {
        let region = request.uri().host().unwrap().split('.').nth(1).unwrap().to_owned();
        let text = String::from_utf8_lossy(request.body()).into_owned();
        self.seen.lock().unwrap().push((region.clone(), serde_json::from_str(&text).unwrap()));
        let refused = self.refuses.iter().find(|(at, what, _)| *at == region && text.contains(what));
        let Some((_, _, message)) = refused else { return self.far.send(request) };
        let body = serde_json::json!({"__type": "ValidationException", "message": message}).to_string();
        let mut reply = HttpReply::new(body.into());
        *reply.status_mut() = http::StatusCode::BAD_REQUEST;
        Box::pin(std::future::ready(Ok(reply)))
    }
}

fn picky(refuses: &[(&'static str, &'static str, &'static str)], regions_of: &[&str]) -> (Client, Arc<Picky>) {
    let far = SimTransport::new(Scenario::default());
    let picky = Arc::new(Picky { far, seen: Default::default(), refuses: refuses.to_vec() });
    let (builder, _) = client("", &[LARGE], &regions(regions_of));
    (builder.transport(picky.clone()).build().unwrap(), picky)
}

const NO_TOP_K: (&str, &str, &str) =
    ("us-east-1", "top_k", "Malformed input request: extraneous key [top_k] is not permitted, please reformat");

fn tuned() -> Request {
    let guardrail = serde_json::json!({"guardrailIdentifier": "g", "guardrailVersion": "1"});
    Request::prompt("How high is the tide?").temperature(0.5).param("top_k", 5).param("guardrailConfig", guardrail)
}

#[tokio::test(start_paused = true)]
async fn what_a_model_refuses_is_left_out_where_that_is_allowed_and_remembered() {
    let (client, picky) = picky(&[NO_TOP_K], &["us-east-1"]);
    let strict = client.send(&tuned()).await;
    assert_eq!(strict.result.unwrap_err().kind, Kind::BadRequest, "nobody allowed it");
    let outcome = client.send(&tuned().lossy()).await;
    assert_eq!(outcome.result.unwrap().warnings, [format!("left out: top_k, which {LARGE} does not take")]);
    // One attempt is allowed, and leaving something out costs none.
    assert_eq!(outcome.attempts.len(), 2);
    let again = client.send(&tuned().lossy()).await;
    assert_eq!((again.attempts.len(), again.result.unwrap().warnings.len()), (1, 1), "it is known by now");
    assert!(client.send(&tuned()).await.result.is_err(), "who did not allow it gets all of it or nothing");
    assert_eq!(client.retry_stats().lesser, 1);
    for (_, body) in picky.seen.lock().unwrap().iter() {
        assert_eq!(body["guardrailConfig"]["guardrailIdentifier"], "g");
        assert_eq!(body["inferenceConfig"]["temperature"], 0.5);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_left_out_stays_out_wherever_the_request_goes_next() {
    // The first region refuses top_k, and then fails; the second would take it.
    let failing = ("us-east-1", "inferenceConfig", "This model's version has reached the end of its life.");
    let (client, picky) = picky(&[NO_TOP_K, failing], &["us-east-1", "eu-west-1"]);
    let outcome = client.send(&tuned().lossy()).await;
    assert_eq!(outcome.result.unwrap().warnings.len(), 1);
    let seen = picky.seen.lock().unwrap();
    let asked: Vec<_> = seen.iter().map(|(at, body)| (&**at, body.to_string().contains("top_k"))).collect();
    assert_eq!(asked, [("us-east-1", true), ("us-east-1", false), ("eu-west-1", false)]);
}

#[tokio::test(start_paused = true)]
async fn a_guardrail_a_tool_and_a_look_alike_are_never_left_out() {
    for message in [
        "The guardrail identifier is invalid; temperature is not supported",
        "This model doesn't support tool use.",
        "malfunction in backend: top_k unsupported by function pool",
        "The provided region isn't supported",
        "upstream error",
    ] {
        let (client, picky) = picky(&[("us-east-1", "top_k", message)], &["us-east-1"]);
        let outcome = client.send(&tuned().lossy().param("toolConfig", serde_json::json!({"tools": []}))).await;
        assert_eq!(outcome.result.unwrap_err().kind, Kind::BadRequest, "{message}");
        assert_eq!(picky.seen.lock().unwrap().len(), 1, "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn images_and_cache_points_are_left_out_and_the_text_stays() {
    let images = ("us-east-1", "\"image\"", "This model doesn't support image content blocks.");
    let caching =
        ("us-east-1", "cachePoint", "You invoked an unsupported model or your request did not allow prompt caching.");
    let (client, picky) = picky(&[images, caching], &["us-east-1"]);
    let png = b"\x89PNG\r\n\x1A\n";
    let message = tidegate::Message::user().text("What is this?").image_bytes(&png[..]).unwrap().cache_point();
    let outcome = client.send(&Request::chat(vec![message]).lossy()).await;
    assert_eq!(outcome.result.unwrap().warnings.len(), 2);
    let seen = picky.seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[2].1["messages"][0]["content"], serde_json::json!([{"text": "What is this?"}]));
}

#[tokio::test(start_paused = true)]
async fn anthropics_bodies_are_streamed_and_embeddings_are_made() {
    let answers = async |stream| {
        let transport = SimTransport::new(Scenario::from_yaml("keys: ['AKIAone:secret']").unwrap());
        let target = Target::new("bedrock-invoke/Claude 3 Haiku").unwrap().bedrock(regions(&["us-east-1"]));
        let retry = RetryPolicy { stream, ..RetryPolicy::default() };
        let client = Client::builder().target(target).transport(Arc::new(transport)).retry(retry).build().unwrap();
        let response = client.send(&Request::prompt("How high is the tide?").max_tokens(99)).await.result.unwrap();
        (response.output, response.finish, response.usage, response.model)
    };
    assert_eq!(answers(true).await, answers(false).await);

    for (model, dimensions) in [("amazon.titan-embed-text-v2:0", 256), ("Cohere Embed English", 512)] {
        let transport = SimTransport::new(Scenario::from_yaml("keys: ['AKIAone:secret']").unwrap());
        let target = Target::new(&format!("bedrock/{model}")).unwrap().bedrock(regions(&["us-east-1"]));
        let client = Client::builder().target(target).transport(Arc::new(transport)).build().unwrap();
        let request = Request::embed("The tide is high.").param("dimensions", dimensions);
        let response = client.send(&request).await.result.unwrap();
        let tidegate::Output::Embedding(vector) = response.output else { panic!("{:?}", response.output) };
        assert_eq!((vector.len(), response.usage.unwrap().input_tokens), (dimensions, 5));
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_format_has_no_place_for_is_left_out_where_that_is_allowed() {
    let (builder, _) = client("{}", &[HAIKU], &regions(&["us-west-2"]));
    let client = builder.build().unwrap();
    let tuned = || Request::prompt("row").param("seed", 3).param("presence_penalty", 0.5).temperature(0.5);
    let failure = client.send(&tuned()).await.result.unwrap_err();
    assert_eq!((failure.kind, failure.message.contains("`presence_penalty`, `seed`")), (Kind::Unsupported, true));
    let response = client.send(&tuned().lossy()).await.result.unwrap();
    let left_out = |name: &str| format!("left out: {name}, which {HAIKU} does not take");
    assert_eq!(response.warnings, [left_out("presence_penalty"), left_out("seed")]);
}
