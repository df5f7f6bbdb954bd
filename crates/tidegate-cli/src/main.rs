//! The `tidegate` command.

mod args;
mod aws;
mod cache;
mod check;
mod duration;
mod export;
mod format;
mod google;
mod init;
mod inspect;
mod keys;
mod logging;
mod metrics;
mod models;
mod moment;
mod otlp;
mod progress;
mod reference;
mod report;
mod run;
mod settings;
mod show;
mod signals;
mod sim_server;
mod store;
mod summary;
mod width;

use std::io::Write;
use std::process::ExitCode;

use args::Command;
use tidegate::{Error, ErrorKind};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let done = match args::parse().command {
        Command::Run(args) => run::run(*args),
        Command::Sim(args) => sim(*args).map(|()| ExitCode::SUCCESS),
        Command::Models(args) => models::listing(&args).map_err(Into::into).and_then(|text| print(&text)),
        Command::Export(args) => export::export(&args),
        Command::Report(args) => report::report(&args).and_then(|text| print(&text)),
        Command::Show(args) => show::show(&args).and_then(|text| print(&text)),
        Command::Check(args) => check(&args),
        Command::Init(args) => init::init(&args.dir).map_err(Into::into).and_then(|text| print(&text)),
        Command::Completions(args) => print(&reference::completions(args.shell)),
        Command::Man(args) => reference::man(&args.dir).map_err(Into::into).and_then(|text| print(&text)),
    };
    done.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
        exit_code(&error)
    })
}

/// Returns the exit code of an error: what scripts branch on.
fn exit_code(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref::<Error>().map(Error::kind) {
        Some(ErrorKind::Storage) => ExitCode::from(4),
        Some(ErrorKind::InUse) => ExitCode::from(5),
        Some(ErrorKind::Usage) | None => ExitCode::from(2),
    }
}

/// Prints to the standard output. Whoever closes a pipe early has seen enough.
fn print(text: &str) -> anyhow::Result<ExitCode> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn check(args: &args::CheckArgs) -> anyhow::Result<ExitCode> {
    let report = check::check(args)?;
    print(&if args.json { check::json(&report)? } else { check::describe(&report) })?;
    Ok(if report.is_valid() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

fn sim(args: sim_server::SimArgs) -> anyhow::Result<()> {
    runtime()?.block_on(sim_server::serve(args.resolve()?))
}

/// One thread carries all connections; the reader and the journal have threads of their own.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
