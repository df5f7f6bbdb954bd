//! Azure OpenAI, at both of its addresses: today's `/openai/v1`, and the older one with an API version and the deployment
//! in the path.
//!
//! Against the simulated provider in this process, which words its errors as Azure does:
//! `cargo run -p tidegate --example azure`

#![expect(clippy::print_stdout, reason = "an example")]

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tidegate::call::provider::Auth;
use tidegate::call::transport::{HttpReply, HttpRequest, Transport};
use tidegate::sim::{Scenario, SimTransport};
use tidegate::{Client, Failure, Kind, Request, Target};

/// The resource's own address; the model is the name of a deployment in it.
const RESOURCE: &str = "https://my-resource.openai.azure.com";
const SCENARIO: &str = "keys: [a-key, an-entra-token]
script: [{contains: how to, fault: content_filter}]";

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn Error>> {
    let network = Arc::new(Network { far: SimTransport::new(Scenario::from_yaml(SCENARIO)?), seen: Mutex::default() });
    let deployment = || Ok::<_, tidegate::Error>(Target::new("azure/my-gpt-5-mini")?.base_url(RESOURCE));
    for (name, target) in [
        ("today's address", deployment()?.key("a-key")),
        ("an API version", deployment()?.key("a-key").api_version("2024-10-21")),
        // A token of Entra's goes where others send a key.
        ("an Entra token", deployment()?.key("an-entra-token").auth(Auth::Bearer)),
    ] {
        let client = Client::builder().target(target).transport(network.clone()).build()?;
        let outcome = client.send(&Request::prompt("When is low tide?").max_tokens(50)).await;
        println!("{name}: {} -> {}", network.last(), outcome.text().map_err(Clone::clone)?);

        // What Azure's filter stops is told apart from what is wrong.
        let refused = client.send(&Request::prompt("Tell me how to sink a boat.")).await.result;
        assert_eq!(refused.err().map(|failure| failure.kind), Some(Kind::ContentFilter));
    }
    let seen = network.seen.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(seen[0], "/openai/v1/chat/completions");
    assert_eq!(seen[2], "/openai/deployments/my-gpt-5-mini/chat/completions?api-version=2024-10-21");
    Ok(())
}

/// Notes where requests go.
struct Network {
    far: SimTransport,
    seen: Mutex<Vec<String>>,
}

impl Network {
    fn last(&self) -> String {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).last().cloned().unwrap_or_default()
    }
}

impl Transport for Network {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpReply, Failure>> {
        let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(path);
        self.far.send(request)
    }
}
