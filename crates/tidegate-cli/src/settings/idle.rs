//! Settings that concern nothing of the run: mostly a name that was mistyped, or a flag whose other half is missing.

use tidegate::call::provider::Auth;
use tidegate::call::wire::WireId;
use tidegate::suggest::closest;
use tidegate::{Error, Result};

use super::{EndpointSettings, Settings};
use crate::args::{RunArgs, variables};

/// A setting by its flag and its key; whether anything in the run heeds it, and what that would be.
type Heeded = (&'static str, &'static str, (bool, &'static str));

impl Settings {
    /// Refuses a flag that can have no effect, because nothing in the run heeds it. In the file or in a variable the same
    /// setting may be meant for other runs.
    ///
    /// # Errors
    /// [`Error::Usage`] names the first one, as a flag and as a key, and what it belongs to.
    pub(crate) fn refuse_idle(&self, endpoints: &[EndpointSettings]) -> Result<()> {
        let is_flag = |flag: &str, key: &str| self.flags.contains(key) && !variables::stands_for(flag);
        let idle = self.heeded(endpoints).into_iter().find(|(flag, key, (heeded, _))| !heeded && is_flag(flag, key));
        idle.map_or(Ok(()), |(flag, key, (_, partner))| {
            Err(Error::Usage(format!("{flag} (`{key}`) counts only with {partner}, and there is none; leave it out")))
        })
    }

    /// Does the same for flags that are no settings: about an output's earlier rows, or a look at the input.
    ///
    /// # Errors
    /// [`Error::Usage`] names the first one, and what it belongs to.
    pub(crate) fn refuse_idle_flags(&self, args: &RunArgs) -> Result<()> {
        let (resume, trial) = (&args.resume, &args.trial);
        let (has_output, looks) = (self.output.path.is_some(), trial.dry_run || trial.check_input);
        let (output, look) = ("an output, -o OUT", "--dry-run or --check-input; for a run there is --summary FILE");
        let flags = [
            ("--redo-changed", resume.redo_changed && !has_output, output),
            ("--keep-changed", resume.keep_changed && !has_output, output),
            ("--prune", resume.prune && !has_output, output),
            ("--retry-failed", resume.retry_failed.is_some() && !has_output, output),
            ("--json", trial.json && !looks, look),
        ];
        match flags.into_iter().find(|(_, idle, _)| *idle) {
            Some((flag, _, with)) => Err(Error::Usage(format!("{flag} counts only with {with}"))),
            None => Ok(()),
        }
    }

    fn heeded(&self, endpoints: &[EndpointSettings]) -> Vec<Heeded> {
        let (stop, checks) = (&self.stop, &self.checks);
        let on = |fits: fn(&EndpointSettings) -> bool| endpoints.iter().any(fits);
        let has_check = checks.command.is_some() || !checks.expressions.is_empty() || !checks.regexes.is_empty();
        let bedrock = (on(|endpoint| endpoint.model.provider.auth == Auth::Aws), "a model at Bedrock");
        let gemini = (on(|endpoint| endpoint.model.provider.speaks(WireId::Gemini)), "a model of Gemini's");
        let simulated = (on(|endpoint| endpoint.model.provider.name == "sim"), "a model of the simulator, sim/…");
        let writes = (self.embed.is_none(), "a model that writes, not --embed:");
        let output = (self.output.path.is_some(), "an output, -o OUT");
        let cache = (self.cache.path.is_some(), "--cache PATH");
        let judged = (has_check || self.schema.is_some() || !self.ladder.is_empty(), "a check, a schema or a ladder");
        let ends = (stop.max_time.is_some() || stop.at.is_some(), "--max-time or --stop-at");
        vec![
            ("--regions", "bedrock.regions", bedrock),
            ("--aws-profile", "bedrock.profiles", bedrock),
            ("--assume-role", "bedrock.roles", bedrock),
            ("--allow-global", "bedrock.allow_global", bedrock),
            ("--global-fraction", "bedrock.global_fraction", bedrock),
            ("--access", "bedrock.access", bedrock),
            ("--region-order", "bedrock.region_order", bedrock),
            ("--regions-per-request", "bedrock.regions_per_request", bedrock),
            ("--regions-first", "bedrock.regions_first", bedrock),
            ("--strict-names", "bedrock.strict_names", bedrock),
            ("--temperature", "params.temperature", writes),
            ("--max-tokens", "params.max_tokens", writes),
            ("--seed", "params.seed", writes),
            ("--stop", "params.stop", writes),
            ("--journal", "output.journal", output),
            ("--cache-ttl", "cache.ttl", cache),
            ("--cache-size", "cache.size", cache),
            ("--context-cache", "run.context_cache", gemini),
            (
                "--delete-context-cache",
                "run.delete_context_cache",
                (self.run.context_cache.is_some(), "--context-cache TIME"),
            ),
            ("--scenario", "run.scenario", simulated),
            ("--at-deadline", "stop.at_deadline", ends),
            ("--min-sample", "stop.min_sample", (stop.max_failure_rate.is_some(), "--max-failure-rate")),
            ("--check-timeout", "checks.timeout", (checks.command.is_some(), "--check-command")),
            ("--check-delay", "checks.delay", judged),
            ("--max-check-retries", "checks.max_retries", judged),
            ("--ladder-on", "ladder_on", (!self.ladder.is_empty(), "--ladder")),
        ]
    }

    /// Returns a warning about each table that no model of the run has, although one has nearly its name, and about each account
    /// that nothing belongs to.
    pub(crate) fn idle(&self, endpoints: &[EndpointSettings]) -> Vec<String> {
        let models: Vec<String> = endpoints.iter().map(|endpoint| endpoint.model.to_string()).collect();
        let unused = self.endpoints.keys().filter(|name| !models.contains(name));
        let near = unused.filter_map(|name| Some((name, closest(name, models.iter().map(String::as_str))?)));
        let tables = near.map(|(name, meant)| {
            format!("[endpoints.\"{name}\"] counts for no model of this run; did you mean [endpoints.\"{meant}\"]?")
        });
        let of_providers = self.providers.values().filter_map(|table| table.account.as_ref());
        let named: Vec<&String> =
            of_providers.chain(self.endpoints.values().filter_map(|table| table.account.as_ref())).collect();
        let lonely = self.accounts.keys().filter(|name| !named.contains(name));
        let accounts = lonely.map(|name| {
            format!("[accounts.{name}] limits nothing: no table of a provider or an endpoint has account = \"{name}\"")
        });
        tables.chain(accounts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::layers;
    use super::*;

    #[test]
    fn a_mistyped_table_and_an_account_of_nobody_are_told() {
        let text = "models = ['sim/echo']\n[endpoints.'sim/ecko']\nweight = 3\n[endpoints.'openai/gpt-5']\naccount = 'a'\n\
                    [accounts.a]\nrpm = 1\n[accounts.b]\nrpm = 1\n";
        let settings: Settings = toml::from_str(text).unwrap();
        let said = settings.idle(&settings.resolve().unwrap());
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("did you mean [endpoints.\"sim/echo\"]?"), "{said:?}");
        assert!(said[1].starts_with("[accounts.b] limits nothing"), "{said:?}");
    }

    #[test]
    fn what_nothing_heeds_is_refused_and_named_as_flag_and_key() {
        let refused = |text: &str| {
            let settings: Settings = toml::from_str(text).unwrap();
            assert!(settings.refuse_idle(&settings.resolve().unwrap()).is_ok(), "a file may be for other runs: {text}");
            let settings = Settings { flags: layers::keys(&toml::from_str(text).unwrap()), ..settings };
            settings.refuse_idle(&settings.resolve().unwrap()).map_err(|error| error.to_string())
        };
        let sim = "models = ['sim/echo']\n";
        let said = refused(&format!("{sim}[bedrock]\nregions = ['us-east-1']")).unwrap_err();
        assert_eq!(
            said,
            "--regions (`bedrock.regions`) counts only with a model at Bedrock, and there is none; leave it out"
        );
        for (setting, with) in [
            ("[cache]\nttl = '1h'", "[cache]\nttl = '1h'\npath = 'answers'"),
            ("[stop]\nmin_sample = 5", "[stop]\nmin_sample = 5\nmax_failure_rate = 0.5"),
            ("[stop]\nat_deadline = 'cancel'", "[stop]\nat_deadline = 'cancel'\nmax_time = '1h'"),
            ("[checks]\ndelay = '1s'", "[checks]\ndelay = '1s'\nregexes = ['a']"),
            ("[checks]\nmax_retries = 1", "schema = 'a.json'\n[checks]\nmax_retries = 1"),
            ("[checks]\ntimeout = '1s'", "[checks]\ntimeout = '1s'\ncommand = 'cat'"),
            ("embed = 'text'\n[params]\nseed = 1", "[params]\nseed = 1"),
            ("[run]\ndelete_context_cache = true", "[run]"),
        ] {
            assert!(refused(&format!("{sim}{setting}")).is_err(), "{setting}");
            assert_eq!(refused(&format!("{sim}{with}")), Ok(()), "{with}");
        }
        assert!(refused("models = ['openai/gpt-5-mini']\n[run]\nscenario = 'a.toml'").is_err());
        assert!(refused("models = ['openai/gpt-5-mini']\n[run]\ncontext_cache = '1h'").is_err());
        assert_eq!(refused("models = ['gemini/gemini-2.5-flash']\n[run]\ncontext_cache = '1h'"), Ok(()));
        assert_eq!(refused("models = ['bedrock/amazon.nova-lite-v1:0']\n[bedrock]\nregions = ['us-east-1']"), Ok(()));
    }
}
