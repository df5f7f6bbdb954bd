//! Gemini's context caches and Vertex AI, against the simulated provider.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::json;
use tidegate::call::google::GoogleAccount;
use tidegate::call::transport::{HttpReply, HttpRequest, Transport};
use tidegate::sim::{Scenario, SimTransport};
use tidegate::{Client, ContextCacheOptions, Failure, Kind, Request, Target, Vertex};

/// A simulated provider that notes the paths it is asked for.
struct Noted {
    sim: SimTransport,
    paths: std::sync::Mutex<Vec<String>>,
}

impl Noted {
    fn new(scenario: &str) -> Arc<Noted> {
        Arc::new(Noted { sim: SimTransport::new(Scenario::from_yaml(scenario).unwrap()), paths: Default::default() })
    }

    fn asked(&self, what: &str) -> Vec<String> {
        self.paths.lock().unwrap().iter().filter(|path| path.contains(what)).cloned().collect()
    }
}

impl Transport for Noted {
    fn send(&self, request: HttpRequest) -> futures_util::future::BoxFuture<'_, Result<HttpReply, Failure>> {
        self.paths.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
        self.sim.send(request)
    }
}

fn client(noted: &Arc<Noted>, target: Target) -> Client {
    Client::builder().target(target).transport(noted.clone()).build().unwrap()
}

fn asked(number: usize) -> Request {
    Request::prompt(format!("row {number}")).system("Be brief. ".repeat(500)).max_tokens(20)
}

#[tokio::test(start_paused = true)]
async fn all_requests_of_a_run_share_a_context_cache() {
    let noted = Noted::new("latency: {fixed: {ms: 20}}");
    let options = ContextCacheOptions::new(Duration::from_secs(600));
    let target = || Target::new("gemini/gemini-2.5-flash").unwrap().key("k").context_cache(options.delete_at_end());
    let first = client(&noted, target());
    let outcomes: Vec<_> = first.run((0..40).map(asked)).collect().await;
    let cached = outcomes.iter().filter(|(outcome, ())| outcome.usage().unwrap().cached_tokens > 1024).count();
    assert_eq!((outcomes.len(), cached), (40, 39));
    assert_eq!(noted.asked("POST").iter().filter(|path| path.ends_with("/v1beta/cachedContents")).count(), 1);

    let second = client(&noted, target());
    second.send(&asked(40)).await;
    assert!(second.send(&asked(41)).await.usage().unwrap().cached_tokens > 1024);
    assert_eq!(noted.asked("PATCH").len(), 1);

    first.close().await;
    assert_eq!(noted.asked("DELETE").len(), 1);
    let gone = second.send(&asked(42)).await;
    assert!(gone.result.is_ok());
    assert_eq!((gone.attempts.len(), gone.attempts[0].failure.as_ref().unwrap().kind), (2, Kind::ServerError));
}

#[tokio::test(start_paused = true)]
async fn a_short_prefix_goes_uncached() {
    let noted = Noted::new("");
    let options = ContextCacheOptions::new(Duration::from_secs(600));
    let client = client(&noted, Target::new("gemini/gemini-2.5-flash").unwrap().key("k").context_cache(options));
    for number in 0..3 {
        let outcome = client.send(&Request::prompt(format!("row {number}")).system("Be brief.")).await;
        assert_eq!(outcome.usage().unwrap().cached_tokens, 0);
    }
    assert_eq!(noted.asked("cachedContents").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn vertex_is_asked_with_an_accounts_token() {
    let noted = Noted::new("keys: [ya29.token]");
    let user = json!({"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r",
        "token_uri": "http://accounts.test/token"});
    let accounts = [
        GoogleAccount::from_json(&user.to_string()).unwrap(),
        GoogleAccount::metadata(Some("http://metadata.test")),
        service_account(),
    ];
    for account in accounts {
        let vertex = Vertex::new("p", "europe-west1", Some(account));
        let client = client(&noted, Target::new("vertex/gemini-2.5-flash").unwrap().vertex(vertex));
        for _ in 0..2 {
            assert_eq!(
                client.send(&Request::prompt("hi")).await.result.map(|response| response.model).unwrap(),
                "gemini-2.5-flash"
            );
        }
    }
    assert_eq!(noted.asked("token").len(), 3);
    let path = "https://europe-west1-aiplatform.googleapis.com/v1/projects/p/locations/europe-west1/publishers/google/\
                models/gemini-2.5-flash:generateContent";
    assert_eq!(noted.asked(path).len(), 6);
}

fn service_account() -> GoogleAccount {
    let key = include_str!("../src/call/google/test-key.pem");
    let text = json!({"type": "service_account", "client_email": "a@b", "private_key": key,
        "token_uri": "http://accounts.test/token"});
    GoogleAccount::from_json(&text.to_string()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn vertex_has_context_caches_too() {
    let noted = Noted::new("");
    let vertex = Vertex::new("p", "l", None);
    let options = ContextCacheOptions::new(Duration::from_secs(600)).delete_at_end();
    let target = Target::new("vertex/gemini-2.5-flash").unwrap().key("t").vertex(vertex).context_cache(options);
    let client = client(&noted, target);
    client.send(&asked(0)).await;
    assert!(client.send(&asked(1)).await.usage().unwrap().cached_tokens > 1024);
    client.close().await;
    let deleted = noted.asked("DELETE");
    assert_eq!(deleted, ["DELETE https://l-aiplatform.googleapis.com/v1/projects/p/locations/l/cachedContents/1"]);
}

#[tokio::test(start_paused = true)]
async fn credentials_that_are_refused_put_the_key_aside() {
    let noted = Noted::new("keys: [other]");
    let vertex = Vertex::new("p", "l", None);
    let client = client(&noted, Target::new("vertex/gemini-2.5-flash").unwrap().key("stale").vertex(vertex));
    let outcome = client.send(&Request::prompt("hi")).await;
    assert_eq!(outcome.result.unwrap_err().kind, Kind::Auth);
    assert!(client.exhausted().is_some());
}
