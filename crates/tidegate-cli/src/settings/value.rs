//! Checks of single values, shared by flags and configuration so that both refuse the same with the same words.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use http::{HeaderName, HeaderValue, Uri};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use tidegate::call::wire::WireId;
use tidegate::{Kind, Params, Price};

use super::Headers;
use crate::moment;

const MORE_THAN_ZERO: &str = "must be more than 0";

/// Reads a number per second, minute or day.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    check_rate(text.parse().map_err(|_| "not a number".to_owned())?)
}

fn check_rate(rate: f64) -> Result<f64, String> {
    match rate {
        rate if rate > 0.0 && rate <= 1e12 => Ok(rate),
        rate if rate <= 0.0 => Err(MORE_THAN_ZERO.to_owned()),
        _ => Err("must be a number of at most 1e12".to_owned()),
    }
}

/// Reads a share from 0 to 1.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    check_share(text.parse().map_err(|_| "not a number; write a share from 0 to 1, such as 0.02".to_owned())?)
}

fn check_share(share: f64) -> Result<f64, String> {
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("must be a share from 0 to 1, such as 0.02".to_owned()) }
}

/// Reads a count of at least 1.
pub(crate) fn count(text: &str) -> Result<u32, String> {
    check_count(text.parse().map_err(|_| "not a whole number".to_owned())?)
}

fn check_count(count: i64) -> Result<u32, String> {
    const FITTING: RangeInclusive<i64> = 1..=u32::MAX as i64;
    match u32::try_from(count) {
        Ok(small) if FITTING.contains(&count) => Ok(small),
        _ if count < 1 => Err(MORE_THAN_ZERO.to_owned()),
        _ => Err(format!("must be at most {}", u32::MAX)),
    }
}

/// Reads a number of tokens; as TOML knows no other whole numbers, up to its largest.
pub(crate) fn tokens(text: &str) -> Result<i64, String> {
    match text.parse() {
        Ok(tokens) if tokens > 0 => Ok(tokens),
        Ok(_) => Err(MORE_THAN_ZERO.to_owned()),
        Err(_) => Err("not a whole number".to_owned()),
    }
}

/// Reads a temperature.
pub(crate) fn temperature(text: &str) -> Result<f64, String> {
    check_temperature(text.parse().map_err(|_| "not a number".to_owned())?)
}

fn check_temperature(temperature: f64) -> Result<f64, String> {
    if temperature.is_finite() && temperature >= 0.0 { Ok(temperature) } else { Err("must be 0 or more".to_owned()) }
}

/// Reads `IN,OUT`, US dollars per million tokens.
pub(crate) fn price(text: &str) -> Result<Price, String> {
    let parse = |number: &str| number.trim().parse().map_err(|_| "not two numbers".to_owned());
    let (input, output) = text.split_once(',').ok_or("write IN,OUT, such as 0.25,2")?;
    check_price(Price::new(parse(input)?, parse(output)?))
}

fn check_price(price: Price) -> Result<Price, String> {
    let long = price.long.map(|long| [long.input, long.output]).unwrap_or_default();
    let mut prices =
        [Some(price.input), Some(price.output), price.cached_input, price.cache_write].into_iter().flatten();
    // A thousand times the dearest model there is: what is above is a price per token of another size, or a slip.
    match prices.all(|price| (0.0..=1e6).contains(&price)) && long.iter().all(|price| (0.0..=1e6).contains(price)) {
        true => Ok(price),
        false => Err("prices must be 0 or more, in US dollars per million tokens".to_owned()),
    }
}

/// Reads `key=json`.
pub(crate) fn param(text: &str) -> Result<(String, toml::Value), String> {
    let (key, json) = text.split_once('=').ok_or("write key=json, such as top_p=0.9")?;
    let quoted = || format!("the value is not JSON; a text needs quotes: '{key}=\"{json}\"'");
    let value: serde_json::Value = serde_json::from_str(json).map_err(|_| quoted())?;
    let value = toml::Value::try_from(value).map_err(|_| "null cannot be sent; leave the field out".to_owned())?;
    if key.trim().is_empty() { Err("the key is missing".to_owned()) } else { Ok((key.trim().to_owned(), value)) }
}

/// Reads the rungs of a ladder, `model=a/b,temperature=0;…`, as the list that the configuration file has.
pub(crate) fn ladder(text: &str) -> Result<toml::Value, String> {
    text.split(';').map(rung).collect::<Result<Vec<_>, _>>().map(toml::Value::Array)
}

fn rung(text: &str) -> Result<toml::Value, String> {
    let (mut rung, mut params, mut extra) = (toml::Table::new(), toml::Table::new(), toml::Table::new());
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (key, value) =
            part.split_once('=').ok_or("write model=provider/model,temperature=0; rungs have ; between")?;
        let (key, value) = (key.trim(), value.trim());
        // A text needs no quotes here.
        let json = serde_json::from_str(value).unwrap_or_else(|_| serde_json::Value::from(value));
        let json = toml::Value::try_from(json).map_err(|_| "null cannot be sent; leave the field out".to_owned())?;
        match key {
            "model" => drop(rung.insert(key.to_owned(), value.into())),
            "temperature" | "max_tokens" | "seed" => {
                let number =
                    if key == "temperature" { temperature(value).is_ok() } else { value.parse::<i64>().is_ok() };
                if !number {
                    return Err(format!("{key}={value}: not a number that {key} can be"));
                }
                params.insert(key.to_owned(), json);
            }
            _ => drop(extra.insert(key.to_owned(), json)),
        }
    }
    if !extra.is_empty() {
        params.insert("extra".to_owned(), extra.into());
    }
    if !params.is_empty() {
        rung.insert("params".to_owned(), params.into());
    }
    Ok(rung.into())
}

/// Reads the name of a format that some provider speaks beside another.
pub(crate) fn wire(text: &str) -> Result<WireId, String> {
    let beside = [WireId::Openai, WireId::Responses];
    beside.into_iter().find(|wire| wire.id() == text).ok_or_else(|| "write openai or responses".to_owned())
}

/// Reads a base URL, and cuts the slash at its end.
pub(crate) fn base_url(text: &str) -> Result<String, String> {
    const HOW: &str = "not an address; write http://host:port/v1 or https://…";
    // Bedrock's hosts stand for one in each region.
    let address: Uri = text.trim().replace("{region}", "region").parse().map_err(|_| HOW.to_owned())?;
    let spoken = matches!(address.scheme_str(), Some("http" | "https"));
    if spoken && address.host().is_some_and(|host| !host.is_empty()) {
        Ok(text.trim().trim_end_matches('/').to_owned())
    } else {
        Err(HOW.to_owned())
    }
}

/// Reads an address to listen at.
pub(crate) fn socket(text: &str) -> Result<SocketAddr, String> {
    text.trim().parse().map_err(|_| "not an address to listen at; write IP:PORT, such as 127.0.0.1:9464".to_owned())
}

/// Reads milliseconds.
pub(crate) fn milliseconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(ms) if (0.0..=1e9).contains(&ms) => Ok(ms),
        _ => Err("not a number of milliseconds; write 0 or more, such as 250".to_owned()),
    }
}

/// Reads the name of a cause of failure.
pub(crate) fn kind(text: &str) -> Result<Kind, String> {
    let names = || Kind::ALL.map(Kind::name).join(", ");
    Kind::from_name(&text.trim().replace('-', "_")).ok_or_else(|| format!("no such cause; there are {}", names()))
}

/// Checks a header, without ever repeating its value, which may be a secret. Names are the same in upper and lower case.
pub(crate) fn header(name: &str, value: &str) -> Result<(String, String), String> {
    let name = name.trim();
    let known = HeaderName::try_from(name).map_err(|_| format!("'{name}' cannot be the name of a header"))?;
    HeaderValue::try_from(value.trim()).map_err(|_| format!("the value of '{name}' cannot be sent in a header"))?;
    Ok((known.as_str().to_owned(), value.trim().to_owned()))
}

pub(super) fn rate_setting<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    check_rate(f64::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
}

pub(super) fn share_setting<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    check_share(f64::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
}

pub(super) fn factor_setting<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    match f64::deserialize(deserializer)? {
        factor if (1.0..=100.0).contains(&factor) => Ok(Some(factor)),
        _ => Err(D::Error::custom("must be a number from 1 to 100")),
    }
}

pub(super) fn count_setting<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    check_count(i64::deserialize(deserializer)?).map_err(D::Error::custom)
}

pub(super) fn optional_count_setting<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    count_setting(deserializer).map(Some)
}

pub(super) fn tokens_setting<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    tokens(&i64::deserialize(deserializer)?.to_string()).map(Some).map_err(D::Error::custom)
}

pub(super) fn moment_setting<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    moment::check(&String::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
}

pub(super) fn price_setting<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Price>, D::Error> {
    check_price(Price::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
}

pub(super) fn base_url_setting<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    base_url(&String::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
}

pub(super) fn socket_setting<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    socket(&String::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
}

pub(super) fn params_setting<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Params, D::Error> {
    let params = Params::deserialize(deserializer)?;
    params.temperature.map(check_temperature).transpose().map_err(|reason| within::<D>("temperature", &reason))?;
    match params.max_tokens {
        Some(0) => Err(within::<D>("max_tokens", MORE_THAN_ZERO)),
        _ => Ok(params),
    }
}

pub(super) fn headers_setting<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Headers, D::Error> {
    let written = Headers::deserialize(deserializer)?;
    let checked =
        written.iter().map(|(name, value)| header(name, value.as_str()).map(|(name, text)| (name, text.into())));
    checked.collect::<Result<_, _>>().map_err(D::Error::custom)
}

fn within<'de, D: Deserializer<'de>>(field: &str, reason: &str) -> D::Error {
    D::Error::custom(format!("{field} {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senseless_numbers_are_refused() {
        for text in ["0", "-5", "-0"] {
            assert_eq!(rate(text).unwrap_err(), MORE_THAN_ZERO, "{text}");
            assert_eq!(count(text).unwrap_err(), MORE_THAN_ZERO, "{text}");
        }
        for text in ["NaN", "inf", "1e13", "many", ""] {
            assert!(
                rate(text).is_err() && count(text).is_err() && temperature(text).is_err() || text == "1e13",
                "{text}"
            );
        }
        assert_eq!(rate("0.5"), Ok(0.5));
        assert!(count("5000000000").is_err() && count("2.5").is_err() && temperature("-1").is_err());
    }

    #[test]
    fn prices_are_two_numbers() {
        assert_eq!(price("0.25, 2"), Ok(Price::new(0.25, 2.0)));
        for text in ["1", "1,", "1,x", "-1,2", "NaN,1", "1,2,3"] {
            assert!(price(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_param_is_json_or_says_how() {
        assert_eq!(param("top_p=0.9"), Ok(("top_p".into(), toml::Value::Float(0.9))));
        assert_eq!(param("a=[1,\"x\"]").unwrap().1.as_array().map(Vec::len), Some(2));
        assert!(param("effort=high").unwrap_err().contains("'effort=\"high\"'"));
        for text in ["x", "=1", "x=null", "x={\"a\":null}", "x="] {
            assert!(param(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_needs_a_scheme_and_a_host() {
        assert_eq!(base_url("http://127.0.0.1:8000/v1/"), Ok("http://127.0.0.1:8000/v1".into()));
        assert!(base_url("https://bedrock.{region}.example").is_ok());
        for text in ["localhost:8000", "ftp://x", "http://", "", "not an address"] {
            assert!(base_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_bad_header_does_not_repeat_its_value() {
        assert_eq!(header("X-Title", " mine "), Ok(("x-title".into(), "mine".into())));
        assert!(!header("authorization", "sec\nret").unwrap_err().contains("ret"));
        assert!(header("a b", "c").is_err());
    }

    #[test]
    fn causes_have_names() {
        assert_eq!(kind("rate-limited"), Ok(Kind::RateLimited));
        assert!(kind("429").unwrap_err().contains("rate_limited, day_quota"));
    }
}
