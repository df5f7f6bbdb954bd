//! What the settings say about Bedrock.

use std::num::NonZeroUsize;

use serde::{Deserialize, Deserializer, Serialize};
use tidegate::RegionOrder;
use tidegate::catalog::bedrock::{Access, Names, Preference};

/// Where models of Bedrock are asked, and in whose name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Bedrock {
    /// The regions, the preferred first; default: `AWS_REGION`, or the profile's.
    pub(crate) regions: Vec<String>,
    /// Profiles of the shared AWS files, each an account of its own; default: as AWS's own tools find one.
    pub(crate) profiles: Vec<String>,
    /// Roles to assume, each an account of its own.
    pub(crate) roles: Vec<String>,
    /// Whether data may leave the geography of a region; default: false.
    pub(crate) allow_global: bool,
    /// The share of requests that goes through global profiles, 0 to 1; default: they are the last resort.
    #[serde(deserialize_with = "share")]
    pub(crate) global_fraction: Option<f64>,
    /// Which way to a model comes first; default: direct, then regional, then global.
    pub(crate) access: Option<Access>,
    /// How regions follow each other; default: fixed.
    pub(crate) region_order: RegionOrder,
    /// How many of the regions each request gets; default: all.
    pub(crate) regions_per_request: Option<NonZeroUsize>,
    /// Whether every model is tried in one region before the next region; default: false.
    pub(crate) regions_first: bool,
    /// Whether only names, aliases and ids are taken letter for letter; default: false.
    pub(crate) strict_names: bool,
}

impl Bedrock {
    pub(crate) fn names(&self) -> Names {
        if self.strict_names { Names::Strict } else { Names::Lenient }
    }

    pub(crate) fn preference(&self) -> Preference {
        Preference { first: self.access, allow_global: self.allow_global }
    }
}

fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let share = f64::deserialize(deserializer)?;
    match (0.0..=1.0).contains(&share) {
        true => Ok(Some(share)),
        false => Err(serde::de::Error::custom("must be a number from 0 to 1")),
    }
}
