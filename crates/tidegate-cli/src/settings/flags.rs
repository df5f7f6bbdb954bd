//! Flags as a sparse table: a key for every flag that was given, none for the others.

use std::path::Path;

use clap::ValueEnum;
use tidegate::{Error, Kind, Result};
use toml::{Table, Value};

use super::value;
use crate::args::{
    AnswerArgs, BedrockArgs, CacheArgs, CheckArgs, InputArgs, LimitArgs, ModelArgs, OutputArgs, PromptArgs, RunArgs,
    StopArgs, ThriftArgs, WatchArgs,
};
use crate::duration;

/// Makes the table of the flags that are settings.
pub(super) fn table(args: &RunArgs) -> Result<Table> {
    let mut table = Table::new();
    input(&mut table, &args.input);
    prompt(&mut table, &args.prompt)?;
    model(&mut table, &args.model)?;
    answers(&mut table, &args.answer)?;
    cache(&mut table, &args.cache)?;
    thrift(&mut table, &args.thrift);
    bedrock(&mut table, &args.bedrock);
    limit(&mut table, &args.limit);
    stop(&mut table, &args.stop);
    output(&mut table, &args.output)?;
    watch(&mut table, &args.watch)?;
    Ok(table)
}

/// Makes the table of the flags of a check that are settings.
pub(super) fn check_table(args: &CheckArgs) -> Result<Table> {
    let mut table = Table::new();
    model(&mut table, &args.model)?;
    bedrock(&mut table, &args.bedrock);
    Ok(table)
}

fn input(table: &mut Table, args: &InputArgs) {
    set(table, "format", args.format.and_then(name));
    set(table, "id_column", args.id_column.clone());
    set(table, "run.allow_duplicate_ids", args.allow_duplicate_ids);
    set(table, "run.skip_bad_rows", args.skip_bad_rows);
    set(table, "run.max_row_bytes", args.max_row_bytes);
}

fn prompt(table: &mut Table, args: &PromptArgs) -> Result<()> {
    set(table, "prompt", args.prompt.clone());
    set(table, "template", path(args.template.as_deref())?);
    set(table, "system", args.system.clone());
    set(table, "embed", args.embed.clone());
    set(table, "image_column", given(&args.image_column));
    set(table, "document_column", given(&args.document_column));
    set(table, "audio_column", given(&args.audio_column));
    set(table, "video_column", given(&args.video_column));
    set(table, "lossy", args.lossy);
    set(table, "run.context_cache", args.context_cache.map(duration::show));
    set(table, "run.delete_context_cache", args.delete_context_cache);
    set(table, "params.temperature", args.temperature);
    set(table, "params.max_tokens", args.max_tokens);
    set(table, "params.stop", given(&args.stop));
    set(table, "params.seed", args.seed);
    set(table, "params.extra", given(&args.param).map(Table::from_iter));
    Ok(())
}

fn model(table: &mut Table, args: &ModelArgs) -> Result<()> {
    set(table, "models", given(&args.model));
    set(table, "base_url", args.base_url.clone());
    set(table, "wire", args.wire.map(|wire| wire.id()));
    set(table, "balance", args.balance.clone());
    set(table, "each_model", args.each_model);
    set(table, "repeat", args.repeat);
    set(table, "price.input", args.price.map(|price| price.input));
    set(table, "price.output", args.price.map(|price| price.output));
    let headers = args.header.iter().map(|line| header(line)).collect::<Result<Vec<_>>>()?;
    set(table, "headers", given(&headers).map(Table::from_iter));
    set(table, "run.http2", args.http2.and_then(name));
    set(table, "run.scenario", path(args.scenario.as_deref())?);
    Ok(())
}

fn answers(table: &mut Table, args: &AnswerArgs) -> Result<()> {
    set(table, "schema", path(args.schema.as_deref())?);
    set(table, "lift", args.lift.clone());
    set(table, "checks.expressions", given(&args.check));
    set(table, "checks.regexes", given(&args.check_regex));
    set(table, "checks.command", args.check_command.clone());
    set(table, "checks.timeout", args.check_timeout.map(duration::show));
    set(table, "checks.delay", args.check_delay.map(duration::show));
    set(table, "checks.max_retries", args.max_check_retries);
    set(table, "ladder", args.ladder.clone());
    let kinds = |kinds: &Vec<Kind>| kinds.iter().map(|kind| kind.name().to_owned()).collect::<Vec<_>>();
    set(table, "ladder_on", args.ladder_on.as_ref().map(kinds));
    set(table, "task_column", args.task_column.clone());
    set(table, "model_column", args.model_column.clone());
    Ok(())
}

fn cache(table: &mut Table, args: &CacheArgs) -> Result<()> {
    set(table, "cache.path", path(args.cache.as_deref())?);
    set(table, "cache.ttl", args.cache_ttl.map(duration::show));
    set(table, "cache.size", args.cache_size);
    Ok(())
}

fn thrift(table: &mut Table, args: &ThriftArgs) {
    set(table, "calls.dedupe", args.dedupe);
    set(table, "calls.pack", args.pack);
    set(table, "calls.prompt_cache", args.prompt_cache.and_then(name));
}

fn bedrock(table: &mut Table, args: &BedrockArgs) {
    set(table, "bedrock.regions", given(&args.regions));
    set(table, "bedrock.profiles", given(&args.aws_profile));
    set(table, "bedrock.roles", given(&args.assume_role));
    set(table, "bedrock.allow_global", args.allow_global);
    set(table, "bedrock.global_fraction", args.global_fraction);
    set(table, "bedrock.access", args.access.clone());
    set(table, "bedrock.region_order", args.region_order.clone());
    set(
        table,
        "bedrock.regions_per_request",
        args.regions_per_request.and_then(|count| i64::try_from(count.get()).ok()),
    );
    set(table, "bedrock.regions_first", args.regions_first);
    set(table, "bedrock.strict_names", args.strict_names);
}

fn limit(table: &mut Table, args: &LimitArgs) {
    set(table, "pace", args.pace.and_then(name));
    set(table, "limits.rpm", args.rpm);
    set(table, "limits.tpm", args.tpm);
    set(table, "limits.rps", args.rps);
    set(table, "limits.rpd", args.rpd);
    set(table, "limits.itpm", args.itpm);
    set(table, "limits.otpm", args.otpm);
    set(table, "limits.spacing", args.spacing.map(duration::show));
    set(table, "limits.concurrency", args.concurrency);
    set(table, "total.rpm", args.total_rpm);
    set(table, "total.tpm", args.total_tpm);
    set(table, "total.concurrency", args.total_concurrency);
    set(table, "retry.timeout", args.timeout.map(duration::show));
    set(table, "retry.connect_timeout", args.connect_timeout.map(duration::show));
    set(table, "retry.stream", args.stream);
    set(table, "retry.max_attempts", args.max_attempts);
    set(table, "retry.budget", args.retry_budget);
    set(table, "retry.deadline", args.deadline.map(duration::show));
    set(table, "retry.hedge", args.hedge);
}

fn stop(table: &mut Table, args: &StopArgs) {
    set(table, "budget.usd", args.budget_usd);
    set(table, "budget.tokens", args.budget_tokens);
    set(table, "stop.max_time", args.max_time.map(duration::show));
    set(table, "stop.at", args.stop_at.clone());
    set(table, "stop.at_deadline", args.at_deadline.and_then(name));
    set(table, "stop.on_failure", args.on_failure.and_then(name));
    set(table, "stop.fallback", args.fallback.clone());
    set(table, "stop.max_failure_rate", args.max_failure_rate);
    set(table, "stop.min_sample", args.min_sample);
    let names = |kinds: &Vec<Kind>| kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>();
    set(table, "stop.on", args.stop_on.as_ref().map(names));
}

fn output(table: &mut Table, args: &OutputArgs) -> Result<()> {
    set(table, "output.path", path(args.out.as_deref())?);
    set(table, "output.format", args.output_format.and_then(name));
    set(table, "output.column", args.output_column.clone());
    set(table, "output.journal", path(args.journal.as_deref())?);
    set(table, "output.ordered", args.ordered);
    set(table, "output.summary", path(args.summary.as_deref())?);
    set(table, "fields", args.fields.clone());
    Ok(())
}

fn watch(table: &mut Table, args: &WatchArgs) -> Result<()> {
    set(table, "run.quiet", args.quiet);
    set(table, "run.tui", args.tui);
    set(table, "run.verbose", (args.verbose > 0).then_some(args.verbose));
    set(table, "run.json_events", args.json_events);
    set(table, "run.metrics_listen", args.metrics_listen.map(|address| address.to_string()));
    set(table, "run.otlp", args.otlp.clone());
    set(table, "run.log_file", path(args.log_file.as_deref())?);
    set(table, "run.log_format", args.log_format.and_then(name));
    set(table, "run.drain_timeout", args.drain_timeout.map(duration::show));
    Ok(())
}

/// Sets `key`, or `section.key`, if there is a value.
fn set(table: &mut Table, key: &str, value: Option<impl Into<Value>>) {
    let Some(value) = value else { return };
    let (section, key) = key.split_once('.').map_or((None, key), |(section, key)| (Some(section), key));
    let table = match section {
        Some(section) => table.entry(section).or_insert_with(|| Value::Table(Table::new())).as_table_mut(),
        None => Some(table),
    };
    table.and_then(|table| table.insert(key.to_owned(), value.into()));
}

/// A list, unless the flag was not given at all.
fn given<T: Clone>(values: &[T]) -> Option<Vec<T>> {
    (!values.is_empty()).then(|| values.to_vec())
}

fn name(choice: impl ValueEnum) -> Option<String> {
    choice.to_possible_value().map(|value| value.get_name().to_owned())
}

fn path(path: Option<&Path>) -> Result<Option<&str>> {
    let text = |path: &Path| Error::Usage(format!("{}: settings can hold only paths in UTF-8", path.display()));
    path.map(|path| path.to_str().ok_or_else(|| text(path))).transpose()
}

fn header(line: &str) -> Result<(String, Value)> {
    let parts = line.split_once(':').ok_or_else(|| "write 'Name: value'".to_owned());
    let header = parts.and_then(|(name, text)| value::header(name, text));
    header.map(|(name, text)| (name, text.into())).map_err(|reason| Error::Usage(format!("--header: {reason}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::run_args;

    fn of(flags: &[&str]) -> Result<Table> {
        let flags: Vec<_> = ["in.jsonl"].iter().chain(flags).copied().collect();
        table(&run_args(&flags).unwrap())
    }

    #[test]
    fn only_flags_that_were_given_have_a_key() {
        assert_eq!(of(&[]).unwrap(), Table::new());
    }

    #[test]
    fn every_flag_finds_its_place() {
        let flags = "-m a -m b,c -p x --stop y --param top_p=0.5 --param o={\"k\":[1]} --seed -3 --price 1,2.5 --rpm 5 --total-rpm 7 \
                     --timeout 250ms -o out --output-format batch --fields id,output --http2 never -vv --each-model=false \
                     --skip-bad-rows --drain-timeout 0 --header X-A:b:c --budget-usd 2.5 --budget-tokens 5000000000 --max-time 2h \
                     --stop-at 06:00 --at-deadline cancel --on-failure fallback --fallback n/a --max-failure-rate 0.1 \
                     --min-sample 20 --stop-on auth,content-filter";
        let expected = "models = ['a', 'b', 'c']\nprompt = 'x'\nfields = ['id', 'output']\neach_model = false\n\
                        params = { stop = ['y'], seed = -3, extra = { top_p = 0.5, o = { k = [1] } } }\n\
                        price = { input = 1.0, output = 2.5 }\nlimits.rpm = 5.0\ntotal.rpm = 7.0\nheaders.x-a = 'b:c'\n\
                        retry.timeout = '250ms'\noutput = { path = 'out', format = 'batch' }\n\
                        budget = { usd = 2.5, tokens = 5000000000 }\n\
                        stop = { max_time = '7200s', at = '06:00', at_deadline = 'cancel', on_failure = 'fallback', fallback = 'n/a', \
                        max_failure_rate = 0.1, min_sample = 20, on = ['auth', 'content_filter'] }\n\
                        run = { http2 = 'never', verbose = 2, skip_bad_rows = true, drain_timeout = '0s' }";
        assert_eq!(of(&flags.split_whitespace().collect::<Vec<_>>()).unwrap(), expected.parse().unwrap());
    }

    #[test]
    fn a_wrong_header_is_refused_without_its_value() {
        for line in ["Authorization Bearer sk-1", "Author ization: sk-1", "a: sk-1\u{7f}"] {
            let message = of(&["--header", line]).unwrap_err().to_string();
            assert!(message.starts_with("--header: ") && !message.contains("sk-1"), "{message}");
        }
    }
}
