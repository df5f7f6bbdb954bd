//! The `tidegate` command.

mod sim_server;

use clap::Parser;

/// Sends very many LLM requests as fast as the providers' limits allow, and loses none.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version)]
enum Command {
    Sim(sim_server::SimArgs),
}

fn main() -> anyhow::Result<()> {
    let Command::Sim(args) = Command::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(sim_server::serve(args.resolve()?))
}
