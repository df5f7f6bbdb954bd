//! Where telemetry goes and what of it: the flag, and the variables that OpenTelemetry has for all programs.
//!
//! Those variables are often there for other programs, so a wrong one is told and left out; it never stops a run.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};

/// Looks up a variable; a seam for tests, which cannot set variables safely.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What is sent, and where.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Config {
    /// Where traces go, if they do.
    pub(super) traces: Option<Place>,
    /// Where metrics go, if they do.
    pub(super) metrics: Option<Place>,
    /// The share of rows that are traced, more than 0 and at most 1.
    pub(super) share: f64,
    /// Who sends, as attributes.
    pub(super) resource: Vec<(String, String)>,
    /// How long the collector may take to reply.
    pub(super) timeout: Duration,
    /// How often metrics are sent.
    pub(super) every: Duration,
}

/// The address of one signal, with the headers of its requests, which may be secrets.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place {
    pub(super) url: Uri,
    pub(super) headers: HeaderMap,
    /// Whether messages are packed.
    pub(super) gzip: bool,
}

/// Reads the settings; nothing if nobody asks for telemetry. The warnings say which variables were left out.
pub(super) fn read(flag: Option<&str>, lookup: Lookup) -> (Option<Config>, Vec<String>) {
    let mut reader = Reader { flag, lookup, warnings: Vec::new() };
    let config = reader.config();
    (config, reader.warnings)
}

struct Reader<'a> {
    flag: Option<&'a str>,
    lookup: Lookup<'a>,
    warnings: Vec<String>,
}

impl Reader<'_> {
    fn config(&mut self) -> Option<Config> {
        if self.variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return None;
        }
        let share = self.share();
        let (traces, metrics) = (self.place("TRACES").filter(|_| share > 0.0), self.place("METRICS"));
        if traces.is_none() && metrics.is_none() {
            return None;
        }
        Some(Config {
            traces,
            metrics,
            share,
            resource: self.resource(),
            timeout: self.milliseconds("OTEL_EXPORTER_OTLP_TIMEOUT", 10_000),
            every: self.milliseconds("OTEL_METRIC_EXPORT_INTERVAL", 60_000),
        })
    }

    fn variable(&self, name: &str) -> Option<String> {
        (self.lookup)(name).map(|value| value.trim().to_owned())
    }

    /// Returns a variable of one signal, or else that of all.
    fn of_signal(&self, signal: &str, setting: &str) -> Option<(String, String)> {
        let names = [format!("OTEL_EXPORTER_OTLP_{signal}_{setting}"), format!("OTEL_EXPORTER_OTLP_{setting}")];
        names.into_iter().find_map(|name| self.variable(&name).map(|value| (name, value)))
    }

    fn place(&mut self, signal: &str) -> Option<Place> {
        if self.variable(&format!("OTEL_{signal}_EXPORTER")).is_some_and(|value| value == "none") {
            return None;
        }
        let url = self.url(signal)?;
        let spoken = self.of_signal(signal, "PROTOCOL").filter(|(_, protocol)| protocol != "http/protobuf");
        // A collector that was named on the command line is meant for this program.
        if let (Some((name, protocol)), None) = (spoken, self.flag) {
            let what = signal.to_lowercase();
            self.warnings.push(format!("{name}={protocol} is not spoken here, only http/protobuf: no {what} are sent"));
            return None;
        }
        Some(Place { url, headers: self.headers(signal), gzip: self.gzip(signal) })
    }

    fn url(&mut self, signal: &str) -> Option<Uri> {
        let path = format!("v1/{}", signal.to_lowercase());
        if let Some(base) = self.flag {
            return address(&below(base, &path));
        }
        let own = format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT");
        let (name, url) = match self.variable(&own) {
            Some(url) => (own, url),
            None => {
                ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), below(&self.variable("OTEL_EXPORTER_OTLP_ENDPOINT")?, &path))
            }
        };
        let url = address(&url);
        if url.is_none() {
            self.warn(&format!("{name} is not an address such as http://127.0.0.1:4318"));
        }
        url
    }

    fn gzip(&mut self, signal: &str) -> bool {
        match self.of_signal(signal, "COMPRESSION") {
            Some((name, packing)) if !["gzip", "none"].contains(&&*packing) => {
                self.warn(&format!("{name} is neither gzip nor none"));
                false
            }
            packing => packing.is_some_and(|(_, packing)| packing == "gzip"),
        }
    }

    /// Reads `name=value,name=value`, percent-encoded.
    fn headers(&mut self, signal: &str) -> HeaderMap {
        let Some((name, text)) = self.of_signal(signal, "HEADERS") else { return HeaderMap::new() };
        let header = |(name, value): (String, String)| {
            Some((HeaderName::try_from(name).ok()?, HeaderValue::from_str(&value).ok()?))
        };
        let found: Vec<_> = pairs(&text).map(|pair| pair.and_then(header)).collect();
        if found.iter().any(Option::is_none) {
            self.warn(&format!("{name} has a header that cannot be sent; write name=value,name=value"));
        }
        found.into_iter().flatten().collect()
    }

    fn resource(&mut self) -> Vec<(String, String)> {
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut all = vec![
            own("service.name", "tidegate"),
            own("service.version", env!("CARGO_PKG_VERSION")),
            own("service.instance.id", &format!("{:032x}", fastrand::u128(..))),
            own("telemetry.sdk.name", "tidegate"),
            own("telemetry.sdk.language", "rust"),
            own("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
        ];
        let text = self.variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        let mut told: Vec<_> = pairs(&text).collect();
        if told.iter().any(Option::is_none) {
            self.warn("OTEL_RESOURCE_ATTRIBUTES has an attribute that is not name=value");
        }
        told.push(self.variable("OTEL_SERVICE_NAME").map(|name| own("service.name", &name)));
        for (name, value) in told.into_iter().flatten() {
            all.retain(|(known, _)| *known != name);
            all.push((name, value));
        }
        all
    }

    /// Returns the share of rows that are traced. Each is the root of a trace, so that what a parent was decides nothing.
    fn share(&mut self) -> f64 {
        let Some(sampler) = self.variable("OTEL_TRACES_SAMPLER") else { return 1.0 };
        let argument = self.variable("OTEL_TRACES_SAMPLER_ARG");
        match sampler.trim_start_matches("parentbased_") {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => match argument.map_or(Ok(1.0), |share| share.parse::<f64>()) {
                Ok(share) if (0.0..=1.0).contains(&share) => share,
                _ => {
                    self.warn("OTEL_TRACES_SAMPLER_ARG is not a share from 0 to 1: all rows are traced");
                    1.0
                }
            },
            _ => {
                self.warn("OTEL_TRACES_SAMPLER is none of always_on, always_off and traceidratio: all rows are traced");
                1.0
            }
        }
    }

    fn milliseconds(&mut self, name: &str, usual: u64) -> Duration {
        let told = self.variable(name).map(|text| text.parse::<u64>().ok().filter(|time| *time > 0));
        if told == Some(None) {
            self.warn(&format!("{name} is not a number of milliseconds"));
        }
        Duration::from_millis(told.flatten().unwrap_or(usual))
    }

    fn warn(&mut self, warning: &str) {
        if !self.warnings.iter().any(|known| known == warning) {
            self.warnings.push(warning.to_owned());
        }
    }
}

fn below(base: &str, path: &str) -> String {
    format!("{}/{path}", base.trim_end_matches('/'))
}

fn address(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let spoken = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty());
    spoken.then_some(uri)
}

/// Parts a list of `name=value`; nothing in the place of what is none.
fn pairs(text: &str) -> impl Iterator<Item = Option<(String, String)>> {
    text.split(',').filter(|pair| !pair.trim().is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let (name, value) = (decoded(name.trim())?, decoded(value.trim())?);
        (!name.is_empty()).then_some((name, value))
    })
}

/// Returns a text without its percent-encoding.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (byte, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(flag: Option<&str>, variables: &[(&str, &str)]) -> (Option<Config>, Vec<String>) {
        let find =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        read(flag, &find)
    }

    fn url(place: Option<&Place>) -> String {
        place.map(|place| place.url.to_string()).unwrap_or_default()
    }

    #[test]
    fn nothing_is_sent_unless_a_collector_is_named() {
        assert_eq!(with(None, &[("OTEL_SERVICE_NAME", "me"), ("OTEL_TRACES_SAMPLER", "always_on")]), (None, vec![]));
        let off = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318"), ("OTEL_SDK_DISABLED", "true")];
        assert_eq!(with(None, &off), (None, vec![]));
    }

    #[test]
    fn the_flag_counts_before_the_variables() {
        let both = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
        let (config, warnings) = with(Some("http://b:4318/otlp/"), &both);
        let config = config.unwrap();
        assert_eq!(url(config.traces.as_ref()), "http://b:4318/otlp/v1/traces");
        assert_eq!((url(config.metrics.as_ref()), warnings), ("http://b:4318/otlp/v1/metrics".to_owned(), vec![]));
    }

    #[test]
    fn each_signal_may_have_a_place_of_its_own() {
        let (config, _) = with(
            None,
            &[
                ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m:9090/api/v1/otlp/v1/metrics"),
                ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20abc, x-team = tides"),
                ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
                ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.name=other"),
                ("OTEL_SERVICE_NAME", "labels"),
            ],
        );
        let config = config.unwrap();
        let metrics = config.metrics.unwrap();
        assert_eq!((config.traces, metrics.url.to_string()), (None, "http://m:9090/api/v1/otlp/v1/metrics".to_owned()));
        assert_eq!(
            (&metrics.headers["authorization"], &metrics.headers["x-team"]),
            (&"Basic abc".parse().unwrap(), &"tides".parse().unwrap())
        );
        assert_eq!(config.every, Duration::from_millis(500));
        let named = |name: &str| {
            config
                .resource
                .iter()
                .filter(|(known, _)| known == name)
                .map(|(_, value)| value.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!((named("service.name"), named("deployment.environment.name")), (vec!["labels"], vec!["test"]));
    }

    #[test]
    fn samplers_are_shares() {
        let share = |sampler, argument| {
            let at = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a");
            let (config, warnings) =
                with(None, &[at, ("OTEL_TRACES_SAMPLER", sampler), ("OTEL_TRACES_SAMPLER_ARG", argument)]);
            let config = config.unwrap();
            (config.traces.map(|_| config.share), warnings.len())
        };
        assert_eq!(share("parentbased_traceidratio", "0.25"), (Some(0.25), 0));
        assert_eq!(share("always_off", ""), (None, 0));
        assert_eq!(share("traceidratio", "2"), (Some(1.0), 1));
        assert_eq!(share("jaeger_remote", ""), (Some(1.0), 1));
    }

    #[test]
    fn what_is_wrong_is_told_without_its_value() {
        let wrong = [("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"), ("OTEL_EXPORTER_OTLP_HEADERS", "secret")];
        let (config, warnings) = with(None, &wrong);
        assert!(
            config.is_none() && warnings.len() == 1 && warnings[0].contains("OTEL_EXPORTER_OTLP_ENDPOINT"),
            "{warnings:?}"
        );
        let (config, warnings) = with(Some("http://b"), &wrong);
        assert!(config.is_some() && warnings.len() == 1 && !warnings[0].contains("secret"), "{warnings:?}");
        let grpc = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
        let (config, warnings) = with(None, &grpc);
        assert!(config.is_none() && warnings.len() == 2 && warnings[0].contains("grpc"), "{warnings:?}");
    }
}
