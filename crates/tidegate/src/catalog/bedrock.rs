//! Bedrock's models: what people call them, and how each may be reached from a region.
//!
//! A model is served under its plain id (*direct*), through a profile of one geography (*regional*, `us.…`, `eu.…`), or
//! through a profile that may send data anywhere (*global*). Data never leaves the geography of the region that was asked
//! unless the user says that it may: [`routes`] is where this is decided, and nowhere else.
//!
//! The table is bundled and grows old. Nothing depends on a model being in it: an id that is not listed is tried as it is,
//! and then through the profile of its geography, should the reply demand one.

use std::fmt;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::inventory::Inventory;
use crate::error::{Error, Result};
use crate::suggest::closest;

/// One model, as the table knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BedrockModel {
    /// What people call it, such as `Claude 3.5 Sonnet`.
    pub name: &'static str,
    /// Its id, such as `anthropic.claude-3-5-sonnet-20240620-v1:0`.
    pub id: &'static str,
    /// Whether some region serves the plain id.
    pub on_demand: bool,
    profiles: &'static str,
    aliases: &'static str,
}

impl BedrockModel {
    /// Returns the geographies that have an inference profile, `global` among them.
    pub fn profiles(&self) -> impl Iterator<Item = &'static str> {
        self.profiles.split_whitespace()
    }

    /// Returns its other names.
    pub fn aliases(&self) -> impl Iterator<Item = &'static str> {
        self.aliases.split('|').filter(|alias| !alias.is_empty())
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        [self.name, self.id].into_iter().chain(self.aliases())
    }
}

/// The regions that have Bedrock; others are asked all the same.
pub const REGIONS: &[&str] = &[
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "ca-central-1",
    "ca-west-1",
    "mx-central-1",
    "sa-east-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-7",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "af-south-1",
];

/// The geographies of profiles, as ids begin with them.
const GEOGRAPHIES: [&str; 9] = ["us", "us-gov", "eu", "apac", "jp", "au", "in", "ca", "global"];

static TABLE: &str = include_str!("bedrock.csv");

static MODELS: LazyLock<Vec<BedrockModel>> = LazyLock::new(|| lines().filter_map(parse).collect());

fn lines() -> impl Iterator<Item = &'static str> {
    TABLE.lines().filter(|line| !line.starts_with('#')).skip(1)
}

fn parse(line: &'static str) -> Option<BedrockModel> {
    let [name, id, on_demand, profiles, aliases] = line.split(',').collect::<Vec<_>>().try_into().ok()?;
    Some(BedrockModel { name, id, on_demand: on_demand == "yes", profiles, aliases })
}

/// Returns every model in the table.
#[must_use]
pub fn models() -> &'static [BedrockModel] {
    &MODELS
}

/// How a name that is not exactly that of a model may be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Names {
    /// As the one model whose name it begins, or whose words it has; other writings of a name are the name.
    #[default]
    Lenient,
    /// Only names, aliases and ids, letter for letter.
    Strict,
}

/// Returns the id that a name stands for; an id, also one that is not listed, and an ARN stand for themselves.
///
/// ```
/// use tidegate::catalog::bedrock::{Names, id_of};
/// assert_eq!(id_of("claude 3.5 sonnet", Names::Lenient)?, "anthropic.claude-3-5-sonnet-20240620-v1:0");
/// assert_eq!(id_of("eu.amazon.nova-pro-v1:0", Names::Strict)?, "eu.amazon.nova-pro-v1:0");
/// # Ok::<(), tidegate::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Usage`] where no model, or more than one, is meant; with what is near.
pub fn id_of(name: &str, names: Names) -> Result<String> {
    let exact = models().iter().find(|model| model.names().any(|known| known == name));
    if let Some(model) = exact {
        return Ok(model.id.to_owned());
    }
    if is_id(name) {
        return Ok(name.to_owned());
    }
    let wanted = normalised(name);
    let same = models().iter().find(|model| model.names().any(|known| normalised(known) == wanted));
    let near = same.or_else(|| part_of_one(&wanted)).filter(|_| names == Names::Lenient);
    near.map(|model| model.id.to_owned()).ok_or_else(|| unknown(name, &wanted))
}

/// Ids are `vendor.model` or `geography.vendor.model` in lower case; a name may have a dot too, but only in a number.
fn is_id(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:".contains(&byte);
    let vendor = name.split_once('.').map(|(vendor, _)| vendor);
    let named =
        vendor.is_some_and(|vendor| !vendor.is_empty() && !vendor.ends_with(|last: char| last.is_ascii_digit()));
    name.starts_with("arn:") || (named && name.bytes().all(plain))
}

/// Brings `Claude-3_5 Sonnet` and `claude 3.5 sonnet` to the same words.
pub(super) fn normalised(name: &str) -> String {
    let spaced: String = name.to_lowercase().chars().map(|c| if "-_.".contains(c) { ' ' } else { c }).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the one model that has all these words, in this order.
fn part_of_one(wanted: &str) -> Option<&'static BedrockModel> {
    let has = |known: &str| format!(" {} ", normalised(known)).contains(&format!(" {wanted} "));
    let mut fitting = models().iter().filter(|model| !wanted.is_empty() && model.names().any(has));
    fitting.next().filter(|_| fitting.next().is_none())
}

fn unknown(name: &str, wanted: &str) -> Error {
    let has = |model: &&BedrockModel| normalised(model.name).contains(wanted) && !wanted.is_empty();
    let mut near: Vec<&str> = models().iter().filter(has).map(|model| model.name).take(3).collect();
    near.extend(closest(wanted, models().iter().flat_map(|model| model.names())).filter(|_| near.is_empty()));
    let advice = match near.as_slice() {
        [] => "'tidegate models --provider bedrock' lists those that are known; any id works".to_owned(),
        near => format!("did you mean '{}'?", near.join("', '")),
    };
    Error::Usage(format!("bedrock: no model '{name}' is known; {advice}"))
}

/// How a model is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// By its plain id, in the region that is asked.
    Direct,
    /// Through a profile of the region's geography.
    Regional,
    /// Through a profile that may send data anywhere.
    Global,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::Direct => "direct",
            Access::Regional => "regional",
            Access::Global => "global",
        })
    }
}

/// One way to reach a model from a region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// What kind of way it is.
    pub access: Access,
    /// The id that is asked: the model's, or the profile's.
    pub id: String,
}

/// What the user allows and prefers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Preference {
    /// The kind of way that comes first; default: direct, then regional, then global.
    pub first: Option<Access>,
    /// Whether data may leave the region's geography.
    pub allow_global: bool,
}

/// Returns the ways to reach a model from a region, the preferred first; none if there is none that is allowed.
///
/// # Errors
///
/// [`Error::Usage`] where the id itself is a profile that would take data out of the region's geography.
pub fn routes(id: &str, region: &str, preference: Preference) -> Result<Vec<Reach>> {
    routes_in(None, id, region, preference)
}

/// Returns the ways as [`routes`], by what an account was found to have in the region.
pub(super) fn routes_in(
    found: Option<&Inventory>,
    id: &str,
    region: &str,
    preference: Preference,
) -> Result<Vec<Reach>> {
    if let Some(profile) = geography_of_profile(id) {
        if !preference.allow_global && !own_geographies(region).contains(&profile) {
            return Err(Error::Usage(format!(
                "bedrock/{id} may take data out of the geography of {region}; add --allow-global if it may"
            )));
        }
        let access = if profile == "global" { Access::Global } else { Access::Regional };
        return Ok(vec![Reach { access, id: id.to_owned() }]);
    }
    if id.starts_with("arn:") {
        return Ok(vec![Reach { access: Access::Direct, id: id.to_owned() }]);
    }
    let mut ways = match found.filter(|found| found.knows(id)) {
        Some(found) => ways_found(found, id, region, preference.allow_global),
        None => ways(id, region, preference.allow_global),
    };
    ways.sort_by_key(|way| (Some(way.access) != preference.first, way.access));
    Ok(ways)
}

fn ways(id: &str, region: &str, allow_global: bool) -> Vec<Reach> {
    let listed = models().iter().find(|model| model.id == id);
    let has = |geography: &str| listed.is_none_or(|model| model.profiles().any(|known| known == geography));
    let through = |access, geography: &str| Reach { access, id: format!("{geography}.{id}") };
    let mut ways = Vec::new();
    if listed.is_none_or(|model| model.on_demand) {
        ways.push(Reach { access: Access::Direct, id: id.to_owned() });
    }
    let own = own_geographies(region);
    // Of a model that is not listed nobody knows whether it has the narrower profile.
    let regional = own.iter().rev().find(|_| listed.is_none()).or_else(|| own.iter().find(|name| has(name)));
    ways.extend(regional.map(|geography| through(Access::Regional, geography)));
    if allow_global && listed.is_some_and(|model| model.profiles().any(|known| known == "global")) {
        ways.push(through(Access::Global, "global"));
    }
    ways
}

fn ways_found(found: &Inventory, id: &str, region: &str, allow_global: bool) -> Vec<Reach> {
    let through = |access, geography: &str| Reach { access, id: format!("{geography}.{id}") };
    let direct = found.on_demand(id).then(|| Reach { access: Access::Direct, id: id.to_owned() });
    let regional = own_geographies(region).iter().map(|geography| through(Access::Regional, geography));
    let global = allow_global.then(|| through(Access::Global, "global"));
    let through = regional.chain(global).filter(|way| found.has(&way.id));
    direct.into_iter().chain(through).collect()
}

/// Says where requests on a way may be served, for people to read.
#[must_use]
pub fn served_in(way: &Reach, region: &str) -> String {
    match geography_of_profile(&way.id) {
        None => region.to_owned(),
        Some("global") => "any region".to_owned(),
        Some(geography) => format!("any region of {geography}"),
    }
}

/// Returns the geography of the profile that an id, or an ARN of a profile, names.
pub(crate) fn geography_of_profile(id: &str) -> Option<&'static str> {
    let name = id.rsplit('/').next().unwrap_or(id);
    let (first, rest) = name.split_once('.')?;
    GEOGRAPHIES.into_iter().find(|geography| *geography == first && rest.contains('.'))
}

/// Returns the geographies whose profiles keep data where the region is, the narrowest first.
pub(crate) fn own_geographies(region: &str) -> &'static [&'static str] {
    match region {
        "ap-northeast-1" | "ap-northeast-3" => &["jp", "apac"],
        "ap-southeast-2" | "ap-southeast-4" => &["au", "apac"],
        "ap-south-1" | "ap-south-2" => &["in", "apac"],
        _ if region.starts_with("us-gov-") => &["us-gov"],
        _ if region.starts_with("us-") => &["us"],
        _ if region.starts_with("eu-") => &["eu"],
        _ if region.starts_with("ap-") => &["apac"],
        _ if region.starts_with("ca-") => &["ca"],
        _ => &[],
    }
}

/// Puts a region into an address: for `{region}`, and with the ending that China's regions have.
#[must_use]
pub fn address(base_url: &str, region: &str) -> String {
    let address = base_url.replace("{region}", region);
    match address.strip_suffix(".amazonaws.com") {
        Some(start) if region.starts_with("cn-") => format!("{start}.amazonaws.com.cn"),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(id: &str, region: &str, preference: Preference) -> Vec<String> {
        routes(id, region, preference).unwrap().into_iter().map(|way| way.id).collect()
    }

    #[test]
    fn every_line_parses_and_names_are_unique() {
        assert_eq!(models().len(), lines().count());
        let of = |model: &'static BedrockModel| model.names().map(|name| (normalised(name), model.id));
        let names: std::collections::BTreeSet<_> = models().iter().flat_map(of).collect();
        let unique: std::collections::BTreeSet<_> = names.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), unique.len());
        assert!(models().iter().flat_map(BedrockModel::profiles).all(|name| GEOGRAPHIES.contains(&name)));
    }

    #[test]
    fn names_are_found_however_they_are_written() {
        let lenient = |name| id_of(name, Names::Lenient).unwrap();
        let sonnet = "anthropic.claude-3-5-sonnet-20240620-v1:0";
        for name in ["Claude 3.5 Sonnet", "claude-3-5-sonnet", "CLAUDE_3.5  sonnet", "claude 3.5 sonnet v1", sonnet] {
            assert_eq!(lenient(name), sonnet, "{name}");
        }
        assert_eq!(lenient("nova pro"), "amazon.nova-pro-v1:0");
        assert_eq!(lenient("3.7 sonnet"), "anthropic.claude-3-7-sonnet-20250219-v1:0");
        assert_eq!(lenient("vendor.new-model-v9:0"), "vendor.new-model-v9:0");
        assert_eq!(lenient("arn:aws:bedrock:us-east-1:1:prompt/X"), "arn:aws:bedrock:us-east-1:1:prompt/X");
    }

    #[test]
    fn what_is_not_clear_is_asked_back() {
        let refusal = |name, names| id_of(name, names).unwrap_err().to_string();
        assert!(refusal("Claude 3.5 Sonet", Names::Lenient).contains("did you mean 'Claude 3.5 Sonnet'?"));
        assert!(refusal("haiku", Names::Lenient).contains("'Claude 3 Haiku', 'Claude 3.5 Haiku', 'Claude Haiku 4.5'"));
        assert!(refusal("claude 3.5 sonnet", Names::Strict).contains("did you mean 'Claude 3.5 Sonnet'"));
        assert!(refusal("", Names::Lenient).contains("any id works"));
        assert_eq!(id_of("Claude 3.5 Sonnet", Names::Strict).unwrap(), "anthropic.claude-3-5-sonnet-20240620-v1:0");
    }

    #[test]
    fn data_stays_in_its_geography_unless_it_may_leave() {
        let may = Preference { allow_global: true, ..Preference::default() };
        let sonnet = "anthropic.claude-sonnet-4-5-20250929-v1:0";
        let own = Preference::default();
        assert_eq!(reached(sonnet, "us-east-1", own), [format!("us.{sonnet}")]);
        assert_eq!(reached(sonnet, "ap-northeast-1", own), [format!("jp.{sonnet}")]);
        assert_eq!(reached(sonnet, "sa-east-1", own), [""; 0]);
        assert_eq!(reached(sonnet, "sa-east-1", may), [format!("global.{sonnet}")]);
        assert_eq!(reached(sonnet, "us-gov-west-1", own), [format!("us-gov.{sonnet}")]);
        for id in ["global.x.y", "eu.x.y", "arn:aws:bedrock:us-east-1:1:inference-profile/eu.x.y"] {
            let message = routes(id, "us-east-1", own).unwrap_err().to_string();
            assert!(message.contains("--allow-global"), "{message}");
            assert_eq!(reached(id, "us-east-1", may), [id]);
        }
        assert_eq!(reached("us.x.y", "us-west-2", own), ["us.x.y"]);
    }

    #[test]
    fn ways_come_in_the_preferred_order() {
        let prefer = |first| Preference { first: Some(first), allow_global: true };
        let nova = "amazon.nova-lite-v1:0";
        assert_eq!(reached(nova, "eu-west-1", Preference::default()), [nova, "eu.amazon.nova-lite-v1:0"]);
        assert_eq!(reached(nova, "eu-west-1", prefer(Access::Regional)), ["eu.amazon.nova-lite-v1:0", nova]);
        let nova = "amazon.nova-2-lite-v1:0";
        assert_eq!(
            reached(nova, "us-east-1", prefer(Access::Global)),
            [format!("global.{nova}"), format!("us.{nova}")]
        );
        assert_eq!(reached("new.model", "ap-south-1", Preference::default()), ["new.model", "apac.new.model"]);
    }

    #[test]
    fn an_address_holds_its_region() {
        let url = "https://bedrock-runtime.{region}.amazonaws.com";
        assert_eq!(address(url, "eu-west-1"), "https://bedrock-runtime.eu-west-1.amazonaws.com");
        assert_eq!(address(url, "cn-north-1"), "https://bedrock-runtime.cn-north-1.amazonaws.com.cn");
        assert_eq!(address("http://127.0.0.1:1", "eu-west-1"), "http://127.0.0.1:1");
    }
}
