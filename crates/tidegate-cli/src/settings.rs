//! What a run is set to: defaults < `tidegate.toml` < `TIDEGATE_*` < flags.
//!
//! [`Settings`] is both the shape of the file and the merged result. Flags (and variables, which the command line parser
//! reads in place of absent flags) become a sparse TOML table that is laid over the file's table, and the sum is read
//! once: there is one set of names, one set of checks, and what `--print-config` shows can be put into a file.
//!
//! Flags win over the file *everywhere*: `--rpm 50` also replaces an `rpm` that the file sets for one endpoint.

mod answers;
mod bedrock;
mod cache;
mod calls;
mod endpoint;
mod file;
mod flags;
mod idle;
mod layers;
mod limits;
mod mask;
mod output;
mod provider;
pub(crate) mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tidegate::call::wire::WireId;
use tidegate::catalog::inventory::Inventories;
use tidegate::{Error, Kind, Params, Price, Result};

use answers::{Checks, Rung, Task};
pub(crate) use calls::PromptCache;
pub(crate) use endpoint::EndpointSettings;
pub(crate) use limits::{Budget, Cooldown, Limits, Pace};
pub(crate) use output::{Output, OutputFormat};
pub(crate) use provider::{Auth, Endpoint, Provider};

use crate::args::{CheckArgs, RunArgs};
use crate::duration;

/// Everything that can be set for a run; each field is a key of `tidegate.toml`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// The models, first preferred: `provider/model` or a bare name that the catalog knows.
    pub(crate) models: Vec<String>,
    /// The address of the server for every model whose provider has none set; as that provider's SDK means it.
    #[serde(deserialize_with = "value::base_url_setting")]
    pub(crate) base_url: Option<String>,
    /// The format to prefer at every provider that speaks it beside another.
    pub(crate) wire: Option<WireId>,
    /// The prompt's template.
    pub(crate) prompt: Option<String>,
    /// A file that holds the prompt's template; relative to the configuration file that names it.
    pub(crate) template: Option<PathBuf>,
    /// The system message's template.
    pub(crate) system: Option<String>,
    /// The column to make embeddings of, in place of a prompt.
    pub(crate) embed: Option<String>,
    /// The columns that hold images: paths from the input's folder, or addresses.
    pub(crate) image_column: Vec<String>,
    /// The columns that hold documents.
    pub(crate) document_column: Vec<String>,
    /// The columns that hold sounds.
    pub(crate) audio_column: Vec<String>,
    /// The columns that hold videos.
    pub(crate) video_column: Vec<String>,
    /// Whether what a model cannot take is left out with a warning; default: false, the row fails.
    pub(crate) lossy: bool,
    /// The column that identifies a row; default: `custom_id`, else `id`, else the row's content.
    pub(crate) id_column: Option<String>,
    /// The input's format; default: by the file's extension.
    pub(crate) format: Option<InputFormat>,
    /// The fields of a result record that are written; default: all.
    pub(crate) fields: Option<Vec<String>>,
    /// A file with the JSON Schema that every answer must satisfy; relative to the configuration file that names it.
    pub(crate) schema: Option<PathBuf>,
    /// Fields of structured answers that become fields of the record.
    pub(crate) lift: Option<Vec<String>>,
    /// The models and parameters of the first, second, … try for an answer.
    pub(crate) ladder: Vec<Rung>,
    /// The causes that lead to the ladder's next rung; default: `rejected` and `truncated`.
    pub(crate) ladder_on: Option<Vec<Kind>>,
    /// The column that names a row's task.
    pub(crate) task_column: Option<String>,
    /// The column that names the one model of a row.
    pub(crate) model_column: Option<String>,
    /// How requests are spread over the models: a policy by name; default: `order`, a fallback list.
    pub(crate) balance: Option<String>,
    /// Whether every model is asked about every row; default: false.
    pub(crate) each_model: bool,
    /// How often each row is asked; default 1.
    #[serde(deserialize_with = "value::count_setting")]
    pub(crate) repeat: u32,
    /// What tokens cost at endpoints that set no price of their own; default: the catalog's price.
    #[serde(deserialize_with = "value::price_setting")]
    pub(crate) price: Option<Price>,
    /// Parameters of every request.
    #[serde(deserialize_with = "value::params_setting")]
    pub(crate) params: Params,
    /// Headers of every request.
    #[serde(deserialize_with = "value::headers_setting")]
    pub(crate) headers: Headers,
    /// Where models of Bedrock are asked, and in whose name.
    pub(crate) bedrock: bedrock::Bedrock,
    /// Limits of each endpoint that sets none of its own.
    pub(crate) limits: Limits,
    /// Limits of the run as a whole.
    pub(crate) total: Limits,
    /// A ready-made choice of limits and pauses; default: `balanced`.
    pub(crate) pace: Pace,
    /// How endpoints start, pause after rejections and come back; default: as the pace has it.
    pub(crate) cooldown: Cooldown,
    /// How long and how often a request is tried.
    pub(crate) retry: Retry,
    /// What may be spent for the output, over all runs.
    pub(crate) budget: Budget,
    /// When the run stops before its input is done.
    pub(crate) stop: Stop,
    /// What answers must pass.
    pub(crate) checks: Checks,
    /// Where answers are kept to be used again.
    pub(crate) cache: cache::Cache,
    /// How rows share calls.
    pub(crate) calls: calls::Calls,
    /// The models of each task, by its name.
    pub(crate) tasks: BTreeMap<String, Task>,
    /// Where and how results are written.
    pub(crate) output: Output,
    /// How the run treats its input, its end and its reader.
    pub(crate) run: Run,
    /// Settings of providers by name, and providers of the user's own.
    pub(crate) providers: BTreeMap<String, Provider>,
    /// Settings of single models, by `provider/model`.
    pub(crate) endpoints: BTreeMap<String, Endpoint>,
    /// Limits that several endpoints share, by the name of the account.
    pub(crate) accounts: BTreeMap<String, Limits>,
    /// The file that was read, if any.
    #[serde(skip)]
    pub(crate) file: Option<PathBuf>,
    /// The keys of those that flags or variables gave.
    #[serde(skip)]
    pub(crate) flags: BTreeSet<String>,
    /// What AWS accounts were found to have.
    #[serde(skip)]
    pub(crate) found: Inventories,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            models: Vec::new(),
            base_url: None,
            wire: None,
            prompt: None,
            template: None,
            system: None,
            embed: None,
            image_column: Vec::new(),
            document_column: Vec::new(),
            audio_column: Vec::new(),
            video_column: Vec::new(),
            lossy: false,
            id_column: None,
            format: None,
            fields: None,
            schema: None,
            lift: None,
            ladder: Vec::new(),
            ladder_on: None,
            task_column: None,
            model_column: None,
            balance: None,
            each_model: false,
            repeat: 1,
            price: None,
            params: Params::default(),
            headers: Headers::new(),
            bedrock: bedrock::Bedrock::default(),
            limits: Limits::default(),
            total: Limits::default(),
            pace: Pace::default(),
            cooldown: Cooldown::default(),
            retry: Retry::default(),
            budget: Budget::default(),
            stop: Stop::default(),
            checks: Checks::default(),
            cache: cache::Cache::default(),
            calls: calls::Calls::default(),
            tasks: BTreeMap::new(),
            output: Output::default(),
            run: Run::default(),
            providers: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            accounts: BTreeMap::new(),
            file: None,
            flags: BTreeSet::new(),
            found: Inventories::default(),
        }
    }
}

/// How long and how often a request is tried.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Retry {
    /// The most attempts for one row, the first included, 429s not; default 5.
    #[serde(deserialize_with = "value::count_setting")]
    pub(crate) max_attempts: u32,
    /// How many 429s one row may have and still be tried again; default: any number.
    pub(crate) max_rate_limit_retries: Option<u32>,
    /// The time of one attempt; default 600 s. Shorter gives up on slow models, longer waits for dead servers.
    #[serde(deserialize_with = "duration::deserialize_positive", serialize_with = "duration::serialize")]
    pub(crate) timeout: Duration,
    /// The time to make a connection; default 10 s.
    #[serde(deserialize_with = "duration::deserialize_positive", serialize_with = "duration::serialize")]
    pub(crate) connect_timeout: Duration,
    /// The share of the rows, beside ten, that may be tried again; default: all. Smaller fails more, and spares the provider.
    #[serde(deserialize_with = "value::share_setting")]
    pub(crate) budget: Option<f64>,
    /// The time for a row with everything; default: none. Shorter leaves slow rows unsent.
    #[serde(with = "duration::optional")]
    pub(crate) deadline: Option<Duration>,
    /// The share of extra calls that copies of slow ones may cost; default: no copies. Larger sends copies sooner.
    #[serde(deserialize_with = "value::share_setting")]
    pub(crate) hedge: Option<f64>,
    /// Whether replies are read as streams, which have no limit of their whole time; default: false.
    pub(crate) stream: bool,
    /// How long nothing may come of a stream before its first piece; default 300 s.
    #[serde(deserialize_with = "duration::deserialize_positive", serialize_with = "duration::serialize")]
    pub(crate) first_delta_timeout: Duration,
    /// How long nothing may come of a stream after its first piece; default 60 s.
    #[serde(deserialize_with = "duration::deserialize_positive", serialize_with = "duration::serialize")]
    pub(crate) idle_timeout: Duration,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            max_attempts: 5,
            timeout: Duration::from_secs(600),
            connect_timeout: Duration::from_secs(10),
            budget: None,
            deadline: None,
            hedge: None,
            max_rate_limit_retries: None,
            stream: false,
            first_delta_timeout: Duration::from_secs(300),
            idle_timeout: Duration::from_secs(60),
        }
    }
}

/// When a run stops before its input is done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Stop {
    /// The time after which nothing more is sent; default: no bound.
    #[serde(with = "duration::optional", skip_serializing_if = "Option::is_none")]
    pub(crate) max_time: Option<Duration>,
    /// The moment after which nothing more is sent: a time of day here, or RFC 3339; default: none.
    #[serde(deserialize_with = "value::moment_setting")]
    pub(crate) at: Option<String>,
    /// What happens to calls in flight then.
    pub(crate) at_deadline: AtDeadline,
    /// What a failed row means for the run; default: `fallback` if there is one, else `continue`.
    pub(crate) on_failure: Option<OnFailure>,
    /// The text in the place of answers that are not to be had.
    pub(crate) fallback: Option<String>,
    /// The share of failed rows above which the run stops; default: none.
    #[serde(deserialize_with = "value::share_setting")]
    pub(crate) max_failure_rate: Option<f64>,
    /// The finished rows from which that share counts; default 100.
    #[serde(deserialize_with = "value::optional_count_setting")]
    pub(crate) min_sample: Option<u32>,
    /// The causes of which one failed row stops the run.
    pub(crate) on: Vec<Kind>,
}

/// How the run treats its input, its end and its reader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Run {
    /// Whether rows with the same id are kept apart instead of stopping the intake; default: false.
    pub(crate) allow_duplicate_ids: bool,
    /// Whether a row that cannot be read is recorded as failed instead of stopping the intake; default: false.
    pub(crate) skip_bad_rows: bool,
    /// The largest row in bytes; default 32 MiB. Larger needs memory: every row in flight may be as large.
    #[serde(deserialize_with = "value::count_setting")]
    pub(crate) max_row_bytes: u32,
    /// How long a stopped run waits for what is in flight; default 25 s; 0 does not wait.
    #[serde(with = "duration")]
    pub(crate) drain_timeout: Duration,
    /// How long context caches of Gemini's last; default: none are made.
    #[serde(with = "duration::optional")]
    pub(crate) context_cache: Option<Duration>,
    /// Whether context caches are deleted at the end; default: false, they end by themselves.
    pub(crate) delete_context_cache: bool,
    /// When HTTP/2 is spoken; default: where the server offers it.
    pub(crate) http2: Http2,
    /// The scenario of simulated models (`sim/…`).
    pub(crate) scenario: Option<PathBuf>,
    /// Whether nothing but errors is shown; default: false.
    pub(crate) quiet: bool,
    /// Whether the run is shown on the whole terminal; default: false.
    pub(crate) tui: bool,
    /// How much is logged: 0 warnings, 1 requests, 2 everything; default 0.
    pub(crate) verbose: u8,
    /// Whether progress is written as JSON lines; default: false.
    pub(crate) json_events: bool,
    /// The address at which metrics are read; default: none.
    #[serde(deserialize_with = "value::socket_setting")]
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// The OpenTelemetry collector that traces and metrics are sent to; default: the one that OpenTelemetry's variables name.
    #[serde(deserialize_with = "value::base_url_setting")]
    pub(crate) otlp: Option<String>,
    /// A file for the log; default: the standard error.
    pub(crate) log_file: Option<PathBuf>,
    /// The log's format; default: text.
    pub(crate) log_format: LogFormat,
}

impl Default for Run {
    fn default() -> Run {
        Run {
            allow_duplicate_ids: false,
            skip_bad_rows: false,
            max_row_bytes: 32 << 20,
            drain_timeout: Duration::from_secs(25),
            context_cache: None,
            delete_context_cache: false,
            http2: Http2::default(),
            scenario: None,
            quiet: false,
            tui: false,
            verbose: 0,
            json_events: false,
            metrics_listen: None,
            otlp: None,
            log_file: None,
            log_format: LogFormat::default(),
        }
    }
}

/// Headers by name, in lower case.
pub(crate) type Headers = BTreeMap<String, HeaderText>;

/// The value of a header, which may be a secret and is never shown by `Debug`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct HeaderText(String);

impl HeaderText {
    /// Returns the value as it is sent.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for HeaderText {
    fn from(text: String) -> HeaderText {
        HeaderText(text)
    }
}

impl fmt::Debug for HeaderText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// What an input file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum InputFormat {
    /// A JSON object a line: columns, messages, or lines of a batch file.
    Jsonl,
    /// Comma-separated values with a header.
    Csv,
    /// Tab-separated values with a header.
    Tsv,
    /// A prompt a line.
    Text,
    /// The file itself is the row: an image, a PDF.
    Files,
    /// A Parquet file.
    Parquet,
    /// An Arrow IPC file or stream; Feather 2.
    Arrow,
}

/// What a failed row means for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnFailure {
    /// Nothing, unless the first rows all fail alike.
    Continue,
    /// The first one stops it.
    Stop,
    /// A text takes the answer's place; the row stays failed.
    Fallback,
}

/// What happens to calls in flight when the time is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AtDeadline {
    /// They are waited for.
    #[default]
    Drain,
    /// They are given up.
    Cancel,
}

/// When HTTP/2 is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Http2 {
    /// Where an https server offers it.
    #[default]
    Auto,
    /// Not at all.
    Never,
    /// Always, over http too.
    Always,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// JSON lines.
    Json,
}

/// Merges defaults, the configuration file and the flags.
///
/// # Errors
/// [`Error::Config`] for a file that cannot be read or holds a mistake, with its line; [`Error::Usage`] for a flag.
pub(crate) fn load(args: &RunArgs) -> Result<Settings> {
    merge(file::find(args.config.config.as_deref(), args.config.no_config), flags::table(args)?)
}

/// Does the same for a check, whose flags are some of a run's; with the errors of [`load`].
pub(crate) fn load_for_check(args: &CheckArgs) -> Result<Settings> {
    merge(file::find(args.config.as_deref(), args.no_config), flags::check_table(args)?)
}

fn merge(file: Option<PathBuf>, flags: toml::Table) -> Result<Settings> {
    let mut table = file.as_deref().map(file::read).transpose()?.unwrap_or_default();
    layers::give_way(&mut table, &flags);
    let given = layers::keys(&flags);
    layers::lay_over(&mut table, flags);
    // As a text, which is read already: reading tables too would compile every setting's reader twice.
    let settings: Settings = toml::from_str(&table.to_string()).map_err(|error| usage(error.message()))?;
    Ok(Settings { file, flags: given, ..settings })
}

impl Settings {
    /// Writes the settings as TOML with secrets masked: what `--print-config` prints. There is no other way to show them:
    /// addresses and headers may hold secrets, so that no type that holds these is `Debug`.
    ///
    /// # Errors
    /// [`Error::Usage`] when a value has no form in TOML.
    pub(crate) fn masked_toml(&self) -> Result<String> {
        let mut table = toml::Table::try_from(self).map_err(|error| usage(&error.to_string()))?;
        mask::mask(&mut table);
        mask::prune(&mut table);
        let text = toml::to_string_pretty(&table).map_err(|error| usage(&error.to_string()))?;
        let file = self.file.as_ref().map_or("no file".to_owned(), |file| file.display().to_string());
        Ok(format!("# From {file}, TIDEGATE_ variables and flags\n{text}"))
    }
}

fn usage(message: &str) -> Error {
    Error::Usage(message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::run_args;

    /// Loads a file's text under flags.
    fn load_text(text: &str, flags: &[&str]) -> Result<Settings> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tidegate.toml");
        std::fs::write(&path, text).unwrap();
        let flags: Vec<_> = ["in.jsonl", "-c", path.to_str().unwrap()].iter().chain(flags).copied().collect();
        load(&run_args(&flags).unwrap())
    }

    #[test]
    fn without_file_and_flags_there_are_the_defaults() {
        let settings = load(&run_args(&["in.jsonl", "--no-config"]).unwrap()).unwrap();
        assert!(settings == Settings::default());
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file =
            "models = ['a']\nrepeat = 3\neach_model = true\n[limits]\nrpm = 100\ntpm = 5000\n[retry]\ntimeout = '2m'\n";
        let settings = load_text(file, &["-m", "b", "--rpm", "7", "--each-model=false"]).unwrap();
        assert_eq!((settings.models, settings.repeat, settings.each_model), (vec!["b".to_owned()], 3, false));
        assert_eq!(settings.limits, Limits { rpm: Some(7.0), tpm: Some(5000.0), ..Limits::default() });
        assert_eq!((settings.retry.timeout.as_secs(), settings.retry.max_attempts), (120, 5));
    }

    #[test]
    fn a_missing_file_that_was_named_is_an_error() {
        let error = load(&run_args(&["in.jsonl", "-c", "/nowhere/t.toml"]).unwrap()).err().unwrap();
        assert!(error.to_string().starts_with("/nowhere/t.toml: cannot be read"), "{error}");
    }

    #[test]
    fn what_is_shown_has_no_secret_and_can_be_loaded_again() {
        let file = "models = ['openai/x']\n[headers]\nx-title = 'seen'\n[params.extra]\nreasoning = { effort = 'low' }\n\
                    [providers.openai]\nkey_command = 'pass show openai'\nheaders.authorization = 'Bearer secret1'\n\
                    [endpoints.'openai/x'.price]\ninput = 1\noutput = 2\nlong = { above = 9, input = 2, output = 4 }\n";
        let shown =
            load_text(file, &["--header", "x-api-key: secret2", "--timeout", "250ms"]).unwrap().masked_toml().unwrap();
        assert!(!shown.contains("secret") && shown.contains("x-title = \"seen\""), "{shown}");
        let again = load_text(&shown, &[]).unwrap();
        assert!(again.masked_toml().unwrap().lines().skip(1).eq(shown.lines().skip(1)), "{shown}");
        assert_eq!(again.retry.timeout, Duration::from_millis(250));
    }

    #[test]
    fn an_endpoint_has_the_most_specific_of_everything() {
        let file = "models = ['openai/gpt-5-mini', 'lab/big', 'xai/grok-4.3']\nlimits = { rpm = 1, tpm = 2 }\nheaders = { a = '1', b = '1' }\n\
                    [providers.lab]\nwire = 'openai'\nbase_url = 'http://lab/v1/'\nlimits.rpm = 5\nheaders.b = '2'\n\
                    [endpoints.'lab/big']\nprice = { input = 1, output = 2 }\nlimits.concurrency = 9\n";
        let endpoints = load_text(file, &[]).unwrap().resolve().unwrap();
        let [first, lab, third] = endpoints.as_slice() else { panic!("three models") };
        assert_eq!(first.price, tidegate::catalog::find("openai", "gpt-5-mini").unwrap().price);
        assert_eq!(lab.limits, Limits { rpm: Some(5.0), tpm: Some(2.0), concurrency: Some(9), ..Limits::default() });
        assert_eq!((lab.base_url.as_str(), lab.price), ("http://lab/v1", Some(Price::new(1.0, 2.0))));
        assert_eq!(lab.headers.values().map(HeaderText::as_str).collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(third.base_url, "https://api.x.ai/v1");
        assert_eq!(lab.model.provider.wire, WireId::Openai);
        let own = "models = ['lab/x']\n[providers.lab]\nwire = 'anthropic'\nbase_url = 'http://lab'\n";
        let own = load_text(own, &[]).unwrap().resolve().unwrap();
        assert_eq!((own[0].model.provider.wire, own[0].base_url.as_str()), (WireId::Anthropic, "http://lab"));

        let flagged =
            load_text(file, &["--rpm", "50", "--price", "3,4", "--header", "b: 3"]).unwrap().resolve().unwrap();
        assert!(flagged.iter().all(|e| e.limits.rpm == Some(50.0) && e.price == Some(Price::new(3.0, 4.0))));
        assert!(flagged.iter().all(|e| e.headers["b"].as_str() == "3"));
    }

    #[test]
    fn models_are_needed_and_must_be_known() {
        let refusal = |flags| load_text("", flags).unwrap().resolve().err().unwrap().to_string();
        assert!(refusal(&[]).starts_with("no model: name one with -m"));
        assert!(refusal(&["-m", "gpt-5", "-m", "openai/gpt-5"]).starts_with("openai/gpt-5 is named twice"));
        assert!(refusal(&["-m", "opnai/x"]).contains("did you mean 'openai'?"));
    }
}
