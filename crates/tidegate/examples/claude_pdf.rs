//! Asks Claude about a PDF and goes on with the conversation, thinking included.
//!
//! Against the simulated provider in this process; give `ANTHROPIC_API_KEY` and a file to ask the real one:
//! `ANTHROPIC_API_KEY=… cargo run --example claude_pdf -- bill.pdf`

use std::error::Error;
use std::sync::Arc;

use serde_json::json;
use tidegate::sim::{Scenario, SimTransport};
use tidegate::{Client, Message, Request, Response, Target};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = client()?;
    let asked = match std::env::args().nth(1) {
        Some(path) => Message::user().document_file(path)?,
        None => Message::user().document_bytes("%PDF-1.4 a bill over 12.40", "bill.pdf")?,
    };
    // The document may be kept for the questions that follow.
    let first = asked.cache_point().text("What is the total?");
    let answer = ask(&client, vec![first.clone()]).await?;
    println!("{}", text(&answer));
    for thought in answer.reasoning() {
        println!("  (thought: {thought:?})");
    }

    // What the model thought goes back as it came, in its place.
    let turns = vec![first, answer.message(), Message::user().text("And without VAT?")];
    println!("{}", text(&ask(&client, turns).await?));
    Ok(())
}

/// A client of the real provider if there is a key, else of the simulated one.
fn client() -> tidegate::Result<Client> {
    let target = Target::new("anthropic/claude-sonnet-4-5")?;
    match key() {
        Some(key) => Client::builder().target(target.key(key)).build(),
        None => {
            let simulated = Arc::new(SimTransport::new(Scenario::default()));
            Client::builder().target(target.key("any")).transport(simulated).build()
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "an example is a program, and programs read the environment")]
fn key() -> Option<String> {
    std::env::var("ANTHROPIC_API_KEY").ok()
}

async fn ask(client: &Client, turns: Vec<Message>) -> Result<Response, Box<dyn Error>> {
    let thinking = json!({"type": "enabled", "budget_tokens": 1024});
    let request = Request::chat(turns).max_tokens(2000).param("thinking", thinking);
    Ok(client.send(&request).await.result?)
}

fn text(response: &Response) -> String {
    response.output.clone().into_value().to_string()
}
