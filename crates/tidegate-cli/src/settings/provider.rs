//! What can be set for one provider, and for one of its models.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tidegate::Price;
use tidegate::call::form::Structure;
use tidegate::call::wire::WireId;

use super::{Headers, Limits, value};

/// Settings of one provider; at most one of the key sources.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Provider {
    /// The format that it speaks; needed for a provider of the user's own. Of a built-in one, another that it speaks.
    pub(crate) wire: Option<WireId>,
    /// How its key is sent; default: as its keys are.
    pub(crate) auth: Option<Auth>,
    /// The version that Azure's older addresses need.
    pub(crate) api_version: Option<String>,
    /// Its address.
    #[serde(deserialize_with = "value::base_url_setting")]
    pub(crate) base_url: Option<String>,
    /// The variable that holds its key.
    pub(crate) key_env: Option<String>,
    /// The file that holds its key; relative to the configuration file.
    pub(crate) key_file: Option<PathBuf>,
    /// The shell command that prints its key.
    pub(crate) key_command: Option<String>,
    /// What it makes of schemas.
    pub(crate) structure: Option<Structure>,
    /// Headers of every request to it.
    #[serde(deserialize_with = "value::headers_setting")]
    pub(crate) headers: Headers,
    /// Limits of each of its models.
    pub(crate) limits: Limits,
    /// The account of its models that name none of their own.
    pub(crate) account: Option<String>,
}

/// How a key is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Auth {
    /// As `Authorization: Bearer KEY`: tokens of Azure's Entra.
    Bearer,
}

/// Settings of one model at one provider.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Endpoint {
    /// Its limits.
    pub(crate) limits: Limits,
    /// Its share of the requests under `balance = "weighted"`, more than 0.
    #[serde(deserialize_with = "value::rate_setting")]
    pub(crate) weight: Option<f64>,
    /// The account whose limits it shares.
    pub(crate) account: Option<String>,
    /// What its tokens cost.
    #[serde(deserialize_with = "value::price_setting")]
    pub(crate) price: Option<Price>,
    /// Headers of every request to it.
    #[serde(deserialize_with = "value::headers_setting")]
    pub(crate) headers: Headers,
}
