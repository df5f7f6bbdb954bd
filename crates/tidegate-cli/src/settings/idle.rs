//! Settings that concern nothing of the run: mostly a name that was mistyped, or a flag whose other half is missing.

use tidegate::call::provider::Auth;
use tidegate::call::wire::WireId;
use tidegate::suggest::closest;
use tidegate::{Error, Result};

use super::answers::Checks;
use super::bedrock::Bedrock;
use super::{AtDeadline, EndpointSettings, Settings};

/// A setting by its flag and its key, whether it was set, whether anything in the run heeds it, and what that would be.
type Heeded = (&'static str, &'static str, bool, bool, &'static str);

impl Settings {
    /// Refuses a setting that can have no effect, because nothing in the run heeds it.
    ///
    /// # Errors
    /// [`Error::Usage`] names the first one, as a flag and as a key, and what it belongs to.
    pub(crate) fn refuse_idle(&self, endpoints: &[EndpointSettings]) -> Result<()> {
        let idle = self.heeded(endpoints).into_iter().find(|(.., set, heeded, _)| *set && !heeded);
        idle.map_or(Ok(()), |(flag, key, .., partner)| {
            Err(Error::Usage(format!("{flag} (`{key}`) counts only with {partner}, and there is none; leave it out")))
        })
    }

    fn heeded(&self, endpoints: &[EndpointSettings]) -> Vec<Heeded> {
        let (bedrock, cache, stop, checks, run) = (&self.bedrock, &self.cache, &self.stop, &self.checks, &self.run);
        let (usual, usual_checks) = (Bedrock::default(), Checks::default());
        let on = |fits: fn(&EndpointSettings) -> bool| endpoints.iter().any(fits);
        let on_bedrock = on(|endpoint| endpoint.model.provider.auth == Auth::Aws);
        let on_gemini = on(|endpoint| endpoint.model.provider.speaks(WireId::Gemini));
        let simulated = on(|endpoint| endpoint.model.provider.name == "sim");
        let has_check = checks.command.is_some() || !checks.expressions.is_empty() || !checks.regexes.is_empty();
        let judged = has_check || self.schema.is_some() || !self.ladder.is_empty();
        let ends = stop.max_time.is_some() || stop.at.is_some();
        let (writes, params) = (self.embed.is_none(), &self.params);
        let at = |flag, key, set| (flag, key, set, on_bedrock, "a model at Bedrock");
        let of_answers = |flag, key, set| (flag, key, set, writes, "a model that writes, not --embed:");
        vec![
            at("--regions", "bedrock.regions", !bedrock.regions.is_empty()),
            at("--aws-profile", "bedrock.profiles", !bedrock.profiles.is_empty()),
            at("--assume-role", "bedrock.roles", !bedrock.roles.is_empty()),
            at("--allow-global", "bedrock.allow_global", bedrock.allow_global),
            at("--global-fraction", "bedrock.global_fraction", bedrock.global_fraction.is_some()),
            at("--access", "bedrock.access", bedrock.access.is_some()),
            at("--region-order", "bedrock.region_order", bedrock.region_order != usual.region_order),
            at("--regions-per-request", "bedrock.regions_per_request", bedrock.regions_per_request.is_some()),
            at("--regions-first", "bedrock.regions_first", bedrock.regions_first),
            at("--strict-names", "bedrock.strict_names", bedrock.strict_names),
            of_answers("--temperature", "params.temperature", params.temperature.is_some()),
            of_answers("--max-tokens", "params.max_tokens", params.max_tokens.is_some()),
            of_answers("--seed", "params.seed", params.seed.is_some()),
            of_answers("--stop", "params.stop", !params.stop.is_empty()),
            (
                "--journal",
                "output.journal",
                self.output.journal.is_some(),
                self.output.path.is_some(),
                "an output, -o OUT",
            ),
            ("--cache-ttl", "cache.ttl", cache.ttl.is_some(), cache.path.is_some(), "--cache PATH"),
            ("--cache-size", "cache.size", cache.size.is_some(), cache.path.is_some(), "--cache PATH"),
            ("--context-cache", "run.context_cache", run.context_cache.is_some(), on_gemini, "a model of Gemini's"),
            (
                "--delete-context-cache",
                "run.delete_context_cache",
                run.delete_context_cache,
                run.context_cache.is_some(),
                "--context-cache TIME",
            ),
            ("--scenario", "run.scenario", run.scenario.is_some(), simulated, "a model of the simulator, sim/…"),
            (
                "--at-deadline",
                "stop.at_deadline",
                stop.at_deadline != AtDeadline::default(),
                ends,
                "--max-time or --stop-at",
            ),
            (
                "--min-sample",
                "stop.min_sample",
                stop.min_sample.is_some(),
                stop.max_failure_rate.is_some(),
                "--max-failure-rate",
            ),
            (
                "--check-timeout",
                "checks.timeout",
                checks.timeout != usual_checks.timeout,
                checks.command.is_some(),
                "--check-command",
            ),
            ("--check-delay", "checks.delay", !checks.delay.is_zero(), judged, "a check, a schema or a ladder"),
            (
                "--max-check-retries",
                "checks.max_retries",
                checks.max_retries.is_some(),
                judged,
                "a check, a schema or a ladder",
            ),
            ("--ladder-on", "ladder_on", self.ladder_on.is_some(), !self.ladder.is_empty(), "--ladder"),
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
