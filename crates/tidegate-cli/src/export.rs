//! `tidegate export`: what a journal holds, in another file.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use tidegate::run::export::{Export, Exported, Only};
use tidegate::run::input::InputOptions;
use tidegate::run::output::Format;
use tidegate::run::packing::Packing;

use crate::args::{ExportArgs, ExportOnly};
use crate::format;
use crate::run::{input_format, named_format};
use crate::store;

/// Runs the command.
pub(crate) fn export(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let exported = match job(args)?.run() {
        // Whoever closes a pipe early has seen enough.
        Err(tidegate::Error::Storage { cause: Some(cause), .. })
            if args.out.is_none() && cause.kind() == std::io::ErrorKind::BrokenPipe =>
        {
            return Ok(ExitCode::SUCCESS);
        }
        other => other?,
    };
    tell(&exported, args.out.as_deref())?;
    Ok(ExitCode::SUCCESS)
}

fn job(args: &ExportArgs) -> anyhow::Result<Export> {
    let name = args.out.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    let join = InputOptions {
        paths: args.join.iter().map(|path| path.display().to_string()).collect(),
        format: args.format.map(input_format),
        ..InputOptions::default()
    };
    let mut asked = Vec::new();
    if args.ordered {
        asked = tidegate::run::export::last_input_of(&args.from);
    }
    let names = join.paths.iter().chain(&asked).map(String::as_str).chain([name.as_str()]);
    let store = store::needed(names)?;
    let join = InputOptions { store: store.clone(), ..join };
    Ok(Export {
        from: args.from.clone(),
        to: args.out.clone(),
        format: match args.output_format {
            Some(format) => named_format(format),
            None => Format::wanted_by(&name)?.unwrap_or_default(),
        },
        packing: Packing::split(&name).1,
        fields: args.fields.clone(),
        output_column: args.output_column.clone(),
        lift: args.lift.clone(),
        only: match args.only {
            None => Only::All,
            Some(ExportOnly::Ok) => Only::Ok,
            Some(ExportOnly::Failed) => Only::Failed,
        },
        ordered: args.ordered,
        store,
        join: (!join.paths.is_empty()).then_some(join),
    })
}

/// Says what was written, on the standard error.
fn tell(exported: &Exported, to: Option<&Path>) -> std::io::Result<()> {
    let mut stderr = std::io::stderr();
    for warning in &exported.warnings {
        writeln!(stderr, "warning: {warning}")?;
    }
    let Some(to) = to else { return Ok(()) };
    let missing = match exported.unanswered {
        0 => String::new(),
        rows => format!(", {} of them without an answer", format::count(rows)),
    };
    writeln!(stderr, "{}: {}{missing}", to.display(), format::counted(exported.rows, "row", "rows"))
}
