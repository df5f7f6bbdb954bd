//! Fills columns of a CSV file: an answer, the model that gave it, and its tokens; the same again sends nothing.
//!
//! Against the simulated provider in this process, which refuses one call in ten:
//! `cargo run -p tidegate --example csv_column_fill`

#![expect(clippy::print_stdout, reason = "an example")]

use std::error::Error;
use std::fs;

use tidegate::run::job::{Control, Job};
use tidegate::run::output::Format;
use tidegate::sim::{Faults, Scenario};
use tidegate::{Client, Target};

const FEEDBACK: &str = "customer,feedback
17,\"Great boat, bad tea.\"
18,The tide came late.
19,\"Would sail again, and again.\"
";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let (feedback, filled) = (folder.path().join("feedback.csv"), folder.path().join("filled.csv"));
    fs::write(&feedback, FEEDBACK)?;

    let faults = Faults { status_429: 0.1, ..Faults::default() };
    let client =
        Client::builder().target(Target::new("sim/echo")?).scenario(Scenario { faults, ..Scenario::fixed(20.0) });
    let client = client.build()?;

    let mut job = Job { out: Some(filled.clone()), output_column: Some("sentiment".to_owned()), ..Job::default() };
    job.input.paths = vec![feedback.display().to_string()];
    job.prompt.template = Some(("What is the sentiment of: {{ feedback }}".to_owned(), "prompt".to_owned()));
    job.format = Some(Format::Csv);
    // The name of the answer's column is the job's to choose; those of the others are fixed.
    let fields = ["customer", "feedback", "output", "model", "input_tokens", "output_tokens"];
    job.fields = fields.map(str::to_owned).to_vec();
    let summary = job.run(&client, &Control::default()).await?;
    let table = fs::read_to_string(&filled)?;
    println!("{table}{} rows filled, {} failed", summary.succeeded, summary.failed);

    assert_eq!((summary.succeeded, summary.failed), (3, 0));
    assert_eq!(table.lines().next(), Some("customer,feedback,sentiment,model,input_tokens,output_tokens"));
    assert!(table.lines().skip(1).all(|line| line.contains(",sim/echo,")), "{table}");

    // Whatever was answered is not asked again, also after a crash.
    let again = job.run(&client, &Control::default()).await?;
    assert_eq!((again.done_before, again.succeeded), (3, 0));
    Ok(())
}
