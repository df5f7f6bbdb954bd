//! The `tidegate` command.

mod args;
mod duration;
mod format;
mod keys;
mod logging;
mod models;
mod progress;
mod settings;
mod summary;

use std::io::Write;

use args::Command;

fn main() -> anyhow::Result<()> {
    let text = match args::parse().command {
        Command::Run(args) => settings::load(&args)?.masked_toml()?,
        Command::Models(args) => models::listing(&args)?,
        Command::Report(args) => anyhow::bail!("{} has no summary", args.out.display()),
    };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
