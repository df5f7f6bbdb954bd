//! The command line, as plain data; what it means is decided in [`settings`](crate::settings).
//!
//! Every flag that is a setting can also be given as a variable, `TIDEGATE_` and the flag's name in capitals. The names
//! are made from the flags, so that none can be forgotten; what asks for one action (`--dry-run`) has no variable.

mod answer;
mod bedrock;
mod cache;
mod export;
mod limit;
mod look;
mod meant;
mod prompt;
mod thrift;
pub(crate) mod variables;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{BoolishValueParser, PossibleValuesParser};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use tidegate::call::wire::WireId;
use tidegate::{Balance, Kind, Price};

pub(crate) use self::answer::AnswerArgs;
pub(crate) use self::bedrock::BedrockArgs;
pub(crate) use self::cache::CacheArgs;
pub(crate) use self::export::{ExportArgs, ExportOnly};
pub(crate) use self::limit::LimitArgs;
pub(crate) use self::look::{ReportArgs, ShowArgs};
pub(crate) use self::prompt::PromptArgs;
pub(crate) use self::thrift::ThriftArgs;
pub(crate) use self::variables::unknown as unknown_variables;
use crate::duration;
use crate::init::InitArgs;
use crate::moment;
use crate::reference::{CompletionsArgs, ManArgs};
use crate::settings::value;
use crate::settings::{AtDeadline, Http2, InputFormat, LogFormat, OnFailure, OutputFormat};
use crate::sim_server::SimArgs;

/// Sends very many LLM requests as fast as the providers' limits allow, and loses none.
#[derive(Parser)]
#[command(name = "tidegate", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  tidegate run prompts.jsonl -m openai/gpt-5-mini -p 'Summarise: {{ text }}' -o out.jsonl
  tidegate run prompts.jsonl -m sim/echo -p 'Summarise: {{ text }}'
  tidegate models --provider openai";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Sends every row of the input to a model and writes the results; the same command resumes
    Run(Box<RunArgs>),
    /// Serves a simulated provider over HTTP, to test pipelines against
    Sim(Box<SimArgs>),
    /// Lists the models that the catalog knows, their sizes and prices
    Models(ModelsArgs),
    /// Writes the results of a run into another file, in any format and order; a run may go on meanwhile
    Export(Box<ExportArgs>),
    /// Prints the summary of a run again
    Report(ReportArgs),
    /// Prints one row's request, attempts and answer
    Show(ShowArgs),
    /// Says which models would be asked where and in whose name, and what is wrong; sends no prompt
    Check(Box<CheckArgs>),
    /// Writes a tidegate.toml that explains itself, and a template, to begin with
    Init(InitArgs),
    /// Prints the completions for a shell
    Completions(CompletionsArgs),
    /// Writes the manual pages
    Man(ManArgs),
}

#[derive(Args)]
#[command(after_help = RUN_EXAMPLES)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) prompt: PromptArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) answer: AnswerArgs,
    #[command(flatten)]
    pub(crate) cache: CacheArgs,
    #[command(flatten)]
    pub(crate) thrift: ThriftArgs,
    #[command(flatten)]
    pub(crate) bedrock: BedrockArgs,
    #[command(flatten)]
    pub(crate) limit: LimitArgs,
    #[command(flatten)]
    pub(crate) stop: StopArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) resume: ResumeArgs,
    #[command(flatten)]
    pub(crate) trial: TrialArgs,
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

const RUN_EXAMPLES: &str = "\
Examples:
  Ask a model about every row of a table:
    tidegate run reviews.csv -m openai/gpt-5-mini -p 'Sentiment of: {{ text }}' -o out.csv
  See what it would send and cost, then try 20 rows:
    tidegate run reviews.csv -m gpt-5-mini -t prompt.txt --dry-run
    tidegate run reviews.csv -m gpt-5-mini -t prompt.txt -o out.jsonl --rows 20
  A batch file, on any OpenAI-compatible server:
    tidegate run batch.jsonl --base-url http://127.0.0.1:8000/v1 -m my-model -o out.jsonl
  Two models, the second where the first cannot answer:
    tidegate run rows.jsonl -m openai/gpt-5-mini -m groq/openai/gpt-oss-120b -t prompt.txt -o out.jsonl

Every setting is also a key of tidegate.toml and a variable, --total-rpm is TIDEGATE_TOTAL_RPM.
Flags win over variables, variables over the file. Keys come from each provider's own variable (OPENAI_API_KEY).
Exit codes: 0 all rows succeeded, 1 some failed, 2 usage or input, 3 stopped by a limit, 4 storage, 5 output in use, 130 interrupted.";

#[derive(Args)]
#[command(next_help_heading = "Input")]
pub(crate) struct InputArgs {
    /// Files or globs, plain, .gz or .zst; - is the standard input; an image or a PDF is a row of its own
    #[arg(value_name = "INPUT", help_heading = "Arguments", required_unless_present = "print_config")]
    pub(crate) inputs: Vec<PathBuf>,
    /// Format of the input [default: by extension]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub(crate) format: Option<InputFormat>,
    /// Column that identifies a row [default: custom_id, else id, else the row's content]
    #[arg(long, value_name = "NAME")]
    pub(crate) id_column: Option<String>,
    /// Keep rows with the same id apart instead of stopping
    #[arg(long)]
    pub(crate) allow_duplicate_ids: Option<bool>,
    /// Record rows that cannot be read as failed instead of stopping
    #[arg(long)]
    pub(crate) skip_bad_rows: Option<bool>,
    /// Largest row, in bytes [default: 33554432]
    #[arg(long, value_name = "BYTES", value_parser = value::count)]
    pub(crate) max_row_bytes: Option<u32>,
}

#[derive(Args)]
#[command(next_help_heading = "Models")]
pub(crate) struct ModelArgs {
    /// provider/model, or a name that the catalog knows; repeated: an ordered fallback
    #[arg(short, long, value_name = "MODEL", value_delimiter = ',')]
    pub(crate) model: Vec<String>,
    /// Address of any OpenAI-compatible server, with /v1
    #[arg(long, value_name = "URL", value_parser = value::base_url)]
    pub(crate) base_url: Option<String>,
    /// Format to prefer where a provider speaks it beside another [values: openai, responses]
    #[arg(long, value_name = "WIRE", value_parser = value::wire)]
    pub(crate) wire: Option<WireId>,
    /// How requests are spread over the models [default: order, a fallback list]
    #[arg(long, value_name = "POLICY", value_parser = policies(), conflicts_with = "each_model")]
    pub(crate) balance: Option<String>,
    /// Ask every model about every row
    #[arg(long)]
    pub(crate) each_model: Option<bool>,
    /// Ask about each row K times [default: 1]
    #[arg(long, value_name = "K", value_parser = value::count)]
    pub(crate) repeat: Option<u32>,
    /// Price in US dollars per million tokens [default: the catalog's]
    #[arg(long, value_name = "IN,OUT", value_parser = value::price)]
    pub(crate) price: Option<Price>,
    /// Header of every request; may be repeated, or one a line in the variable
    #[arg(long, value_name = "NAME: VALUE", value_delimiter = '\n')]
    pub(crate) header: Vec<String>,
    /// When to speak HTTP/2 [default: auto, where an https server offers it]
    #[arg(long, value_name = "WHEN", value_enum)]
    pub(crate) http2: Option<Http2>,
    /// Scenario of simulated models (sim/NAME), as YAML
    #[arg(long, value_name = "FILE")]
    pub(crate) scenario: Option<PathBuf>,
}

#[derive(Args)]
#[command(next_help_heading = "Budget, deadline and stopping")]
pub(crate) struct StopArgs {
    /// Most US dollars to spend for this output, over all runs
    #[arg(long, value_name = "USD", value_parser = value::rate)]
    pub(crate) budget_usd: Option<f64>,
    /// Most tokens to use for this output, over all runs
    #[arg(long, value_name = "N", value_parser = value::tokens)]
    pub(crate) budget_tokens: Option<i64>,
    /// Time after which nothing more is sent: 90s, 30m, 2h
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive, allow_hyphen_values = true)]
    pub(crate) max_time: Option<Duration>,
    /// Moment after which nothing more is sent: 06:00 here, or 2026-12-24T18:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = moment::check)]
    pub(crate) stop_at: Option<String>,
    /// What happens to calls in flight then [default: drain, within --drain-timeout]
    #[arg(long, value_name = "HOW", value_enum)]
    pub(crate) at_deadline: Option<AtDeadline>,
    /// What a failed row means for the run [default: continue]
    #[arg(long, value_name = "POLICY", value_enum)]
    pub(crate) on_failure: Option<OnFailure>,
    /// Text in the place of answers that are not to be had; such rows stay failed
    #[arg(long, value_name = "TEXT")]
    pub(crate) fallback: Option<String>,
    /// Share of failed rows above which the run stops, such as 0.1
    #[arg(long, value_name = "SHARE", value_parser = value::share)]
    pub(crate) max_failure_rate: Option<f64>,
    /// Finished rows from which that share counts [default: 100]
    #[arg(long, value_name = "N", value_parser = value::count)]
    pub(crate) min_sample: Option<u32>,
    /// Causes of which one failed row stops the run, such as auth,content_filter
    #[arg(long, value_name = "CAUSE,…", value_delimiter = ',', value_parser = value::kind)]
    pub(crate) stop_on: Option<Vec<Kind>>,
}

#[derive(Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Result file; its journal is OUT.tidegate/ [default: the standard output, without resume]
    #[arg(short, long, value_name = "OUT")]
    pub(crate) out: Option<PathBuf>,
    /// Directory of the journal [default: OUT.tidegate]
    #[arg(long, value_name = "DIR")]
    pub(crate) journal: Option<PathBuf>,
    /// Format of the results [default: by extension; batch for batch files]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub(crate) output_format: Option<OutputFormat>,
    /// Fields of a record to write, separated by commas [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) fields: Option<Vec<String>>,
    /// Name of the answer's field or column [default: output]
    #[arg(long, value_name = "NAME")]
    pub(crate) output_column: Option<String>,
    /// Put the output in the order of the input when the run ends
    #[arg(long)]
    pub(crate) ordered: Option<bool>,
    /// File for the summary as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) summary: Option<PathBuf>,
}

#[derive(Args)]
#[command(next_help_heading = "Resuming")]
pub(crate) struct ResumeArgs {
    /// Ask again about rows that were answered under another prompt or other parameters
    #[arg(long, conflicts_with = "keep_changed")]
    pub(crate) redo_changed: bool,
    /// Keep rows that were answered under another prompt or other parameters
    #[arg(long)]
    pub(crate) keep_changed: bool,
    /// Drop the records of rows that are gone from the input
    #[arg(long, conflicts_with_all = ["rows", "sample"])]
    pub(crate) prune: bool,
    /// Ask again about rows that failed, for these causes [default: those that may pass]
    #[arg(long, value_name = "CAUSE,…", num_args = 0.., require_equals = true, value_delimiter = ',', value_parser = value::kind)]
    pub(crate) retry_failed: Option<Vec<Kind>>,
}

#[derive(Args)]
#[command(next_help_heading = "Before it runs")]
pub(crate) struct TrialArgs {
    /// Read and check the whole input; send nothing
    #[arg(long)]
    pub(crate) check_input: bool,
    /// Render everything, show price, duplicates and the first three requests; send nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print the result of --dry-run or --check-input as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Only the first N rows
    #[arg(long, value_name = "N", value_parser = value::count, conflicts_with = "sample")]
    pub(crate) rows: Option<u32>,
    /// Only N rows from all over the input
    #[arg(long, value_name = "N", value_parser = value::count)]
    pub(crate) sample: Option<u32>,
}

#[derive(Args)]
#[command(next_help_heading = "While it runs")]
pub(crate) struct WatchArgs {
    /// Show nothing but errors
    #[arg(long)]
    pub(crate) quiet: Option<bool>,
    /// Show the run on the whole terminal, with keys to steer it
    #[arg(long, conflicts_with_all = ["quiet", "json_events"])]
    pub(crate) tui: Option<bool>,
    /// Log requests; twice: everything
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Write progress as JSON lines
    #[arg(long)]
    pub(crate) json_events: Option<bool>,
    /// Address for Prometheus' /metrics and for /metrics.json, such as 127.0.0.1:9464
    #[arg(long, value_name = "ADDRESS", value_parser = value::socket)]
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// OpenTelemetry collector, such as http://127.0.0.1:4318 [default: OTEL_EXPORTER_OTLP_ENDPOINT]
    #[arg(long, value_name = "URL", value_parser = value::base_url)]
    pub(crate) otlp: Option<String>,
    /// File for the log [default: the standard error]
    #[arg(long, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
    /// Format of the log [default: text]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub(crate) log_format: Option<LogFormat>,
    /// Time that a stopped run waits for what is in flight [default: 25s]
    #[arg(long, value_name = "TIME", value_parser = duration::parse, allow_hyphen_values = true)]
    pub(crate) drain_timeout: Option<Duration>,
}

#[derive(Args)]
#[command(next_help_heading = "Configuration")]
pub(crate) struct ConfigArgs {
    /// Configuration file [default: ./tidegate.toml if it is there]
    #[arg(short, long, value_name = "FILE", conflicts_with = "no_config")]
    pub(crate) config: Option<PathBuf>,
    /// Read no configuration file
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub(crate) no_config: bool,
    /// Print the effective configuration, secrets masked; send nothing
    #[arg(long)]
    pub(crate) print_config: bool,
}

/// The arguments of `tidegate models`.
#[derive(Args)]
#[command(after_help = "Examples:\n  tidegate models\n  tidegate models --provider openai --json")]
pub(crate) struct ModelsArgs {
    /// Only models of this provider
    #[arg(long, value_name = "NAME")]
    pub(crate) provider: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The arguments of `tidegate check`.
#[derive(Args)]
#[command(after_help = CHECK_EXAMPLES)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) bedrock: BedrockArgs,
    /// Configuration file [default: ./tidegate.toml if it is there]
    #[arg(short, long, value_name = "FILE", conflicts_with = "no_config")]
    pub(crate) config: Option<PathBuf>,
    /// Read no configuration file
    #[arg(long)]
    pub(crate) no_config: bool,
    /// Ask the AWS control plane which of Bedrock's models there are; answers are kept for a day
    #[arg(long)]
    pub(crate) live: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const CHECK_EXAMPLES: &str = "\
Examples:
  tidegate check -m openai/gpt-5-mini
  tidegate check -m 'bedrock/Claude 3.5 Sonnet' --regions us-east-1,eu-west-1 --aws-profile dev --live

Exit codes: 0 a run could begin, 2 it could not.";

/// Flags of `run` that ask for one action and so have no variable.
const ACTIONS: [&str; 11] = [
    "live",
    "check_input",
    "dry_run",
    "json",
    "rows",
    "sample",
    "redo_changed",
    "keep_changed",
    "prune",
    "retry_failed",
    "print_config",
];

/// Flags of `run` that can also say no (`--each-model=false`), against a file that says yes.
const SWITCHES: [&str; 14] = [
    "dedupe",
    "delete_context_cache",
    "allow_duplicate_ids",
    "skip_bad_rows",
    "lossy",
    "ordered",
    "each_model",
    "stream",
    "quiet",
    "json_events",
    "tui",
    "allow_global",
    "regions_first",
    "strict_names",
];

/// Flags of which a run has only one: one on the command line hides the variables of the others.
const EITHER: [&[&str]; 3] = [&["prompt", "template", "embed"], &["balance", "each_model"], &["config", "no_config"]];

/// Reads the command line; a wrong one, `--help` and `--version` end the process.
pub(crate) fn parse() -> Cli {
    read(std::env::args_os().collect()).unwrap_or_else(|error| meant::with_suggestion(error).exit())
}

/// Reads words twice: without variables, which names every mistake in the words themselves, and with them.
fn read(words: Vec<OsString>) -> Result<Cli, clap::Error> {
    let given = command().try_get_matches_from(&words)?;
    let name = if given.subcommand_name() == Some("check") { "check" } else { "run" };
    let given = given.subcommand_matches(name);
    let with_variables = |settings: clap::Command| settings.mut_args(|arg| variables::read_too(arg, given));
    let matches = command().mut_subcommand(name, with_variables).try_get_matches_from(words);
    Cli::from_arg_matches(&matches.map_err(|error| variables::blamed(&error))?)
}

/// Returns the definition of the whole command line.
pub(crate) fn command() -> clap::Command {
    let settings = |command: clap::Command| command.mut_args(|arg| with_negative_numbers(with_no(arg)));
    let command = Cli::command().mut_subcommand("run", settings).mut_subcommand("check", settings);
    command.mut_subcommands(with_short_help)
}

/// Help is one line a flag, after `-h` and `--help` alike.
fn with_short_help(command: clap::Command) -> clap::Command {
    let help = Arg::new("help").short('h').long("help").action(ArgAction::HelpShort).help("Print help");
    command.disable_help_flag(true).arg(help)
}

fn policies() -> PossibleValuesParser {
    PossibleValuesParser::new(Balance::ALL.map(Balance::name))
}

fn with_no(arg: Arg) -> Arg {
    if !SWITCHES.contains(&arg.get_id().as_str()) {
        return arg;
    }
    let arg = arg.num_args(0..=1).require_equals(true).default_missing_value("true").value_name("BOOL");
    arg.value_parser(BoolishValueParser::new()).hide_possible_values(true)
}

/// `--rpm -5` is a wrong value and not an unknown flag.
fn with_negative_numbers(arg: Arg) -> Arg {
    let takes_value = arg.get_action().takes_values() && arg.get_long().is_some();
    if takes_value { arg.allow_negative_numbers(true) } else { arg }
}

fn rivals(id: &str) -> impl Iterator<Item = &'static str> {
    let group = EITHER.into_iter().find(|group| group.contains(&id)).unwrap_or_default();
    group.iter().copied().filter(move |rival| *rival != id)
}

fn is_given(given: &ArgMatches, id: &str) -> bool {
    given.value_source(id) == Some(ValueSource::CommandLine)
}

#[cfg(test)]
pub(crate) fn run_args(flags: &[&str]) -> Result<RunArgs, String> {
    let words = ["tidegate", "run"].iter().chain(flags).map(OsString::from).collect();
    match read(words).map_err(|error| error.to_string())?.command {
        Command::Run(args) => Ok(*args),
        _ => Err("not a run".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(flags: &[&str]) -> String {
        run_args(flags).err().unwrap_or_default()
    }

    #[test]
    fn the_definition_is_sound_and_every_name_is_a_flag() {
        command().debug_assert();
        let run = command();
        let commands = ["run", "check"].map(|name| run.find_subcommand(name).unwrap());
        for id in ACTIONS.into_iter().chain(SWITCHES).chain(EITHER.into_iter().flatten().copied()) {
            assert!(commands.iter().any(|run| run.get_arguments().any(|arg| arg.get_id() == id)), "{id}");
        }
    }

    #[test]
    fn senseless_values_are_refused_with_the_flags_name() {
        let cases: [(&[&str], &str); 19] = [
            (&["--rpm", "0"], "'--rpm <N>': must be more than 0"),
            (&["--rpm", "-5"], "'--rpm <N>': must be more than 0"),
            (&["--tpm", "NaN"], "'--tpm <N>': must be a number"),
            (&["--concurrency", "0"], "'--concurrency <N>': must be more than 0"),
            (&["--timeout", "-5s"], "'--timeout <TIME>': must be more than 0"),
            (&["--deadline", "0"], "'--deadline <TIME>': must be more than 0"),
            (&["--hedge=2%"], "not a number"),
            (&["--timeout", "0"], "'--timeout <TIME>': must be more than 0"),
            (&["--drain-timeout", "-1"], "'--drain-timeout <TIME>': must not be negative"),
            (&["--connect-timeout", "soon"], "not a duration; write 600"),
            (&["--price", "5"], "'--price <IN,OUT>': write IN,OUT"),
            (&["--param", "effort=high"], "the value is not JSON"),
            (&["--base-url", "localhost"], "not an address"),
            (&["--budget-usd", "0"], "'--budget-usd <USD>': must be more than 0"),
            (&["--budget-tokens", "1.5"], "'--budget-tokens <N>': not a whole number"),
            (&["--max-failure-rate", "10"], "'--max-failure-rate <SHARE>': must be a share from 0 to 1"),
            (&["--stop-at", "6 am"], "'--stop-at <WHEN>': write 06:00"),
            (&["--stop-on", "auht"], "no such cause"),
            (&["--retry-failed=429"], "no such cause; there are rate_limited"),
        ];
        for (flags, expected) in cases {
            let flags: Vec<_> = ["in.jsonl"].iter().chain(flags).copied().collect();
            assert!(refusal(&flags).contains(expected), "{flags:?}: {}", refusal(&flags));
        }
    }

    #[test]
    fn what_excludes_each_other_is_refused() {
        let cases: [&[&str]; 6] = [
            &["-p", "x", "-t", "f"],
            &["-p", "x", "--embed", "c"],
            &["-c", "f", "--no-config"],
            &["--rows", "1", "--sample", "1"],
            &["--redo-changed", "--keep-changed"],
            &["--balance", "cost", "--each-model"],
        ];
        for flags in cases {
            let flags: Vec<_> = ["in.jsonl"].iter().chain(flags).copied().collect();
            assert!(refusal(&flags).contains("cannot be used with"), "{flags:?}: {}", refusal(&flags));
        }
        assert!(refusal(&[]).contains("<INPUT>"));
        assert!(run_args(&["--print-config"]).is_ok());
    }

    #[test]
    fn causes_after_retry_failed_are_optional() {
        let read = |flag| run_args(&["in.jsonl", flag]).ok().and_then(|args| args.resume.retry_failed);
        assert_eq!(read("--quiet"), None);
        assert_eq!(read("--retry-failed"), Some(vec![]));
        assert_eq!(read("--retry-failed=auth,timeout"), Some(vec![Kind::Auth, Kind::Timeout]));
        assert_eq!(run_args(&["--retry-failed", "in.jsonl"]).ok().map(|args| args.input.inputs.len()), Some(1));
    }

    #[test]
    fn a_switch_can_say_no() {
        let read = |flag| run_args(&["in.jsonl", flag]).ok().and_then(|args| args.model.each_model);
        assert_eq!([read("--each-model"), read("--each-model=no"), read("--quiet")], [Some(true), Some(false), None]);
    }

    #[test]
    fn one_flag_hides_its_rivals_variables() {
        assert_eq!(rivals("template").collect::<Vec<_>>(), ["prompt", "embed"]);
        assert_eq!(rivals("rpm").count(), 0);
        let given = command().try_get_matches_from(["tidegate", "run", "in.jsonl", "-t", "f"]).unwrap();
        let given = given.subcommand_matches("run").unwrap();
        assert!(is_given(given, "template") && !is_given(given, "prompt") && !is_given(given, "no_config"));
    }

    #[test]
    fn every_line_of_help_is_one_line() {
        let run = command();
        for arg in run.find_subcommand("run").unwrap().get_arguments() {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(!help.contains('\n') && help.len() < 100, "{}", arg.get_id());
        }
    }
}
