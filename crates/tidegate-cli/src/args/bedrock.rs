//! The flags of Bedrock.

use clap::Args;

/// Where models of Bedrock are asked, and in whose name.
#[derive(Args)]
#[command(next_help_heading = "AWS Bedrock")]
pub(crate) struct BedrockArgs {
    /// Regions, each an endpoint of its own [default: AWS_REGION, or the profile's]
    #[arg(long, value_name = "REGION,…", value_delimiter = ',')]
    pub(crate) regions: Vec<String>,
    /// Profiles of the AWS files, each an account [default: as AWS's own tools find one]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) aws_profile: Vec<String>,
    /// Roles to assume; each is an account of its own
    #[arg(long, value_name = "ARN,…", value_delimiter = ',')]
    pub(crate) assume_role: Vec<String>,
    /// Let data leave the geography of a region, through global inference profiles
    #[arg(long)]
    pub(crate) allow_global: Option<bool>,
    /// Share of requests through global profiles, 0 to 1 [default: they are the last resort]
    #[arg(long, value_name = "SHARE")]
    pub(crate) global_fraction: Option<f64>,
    /// Which way to a model comes first: direct, regional or global [default: direct]
    #[arg(long, value_name = "WAY", value_parser = ["direct", "regional", "global"])]
    pub(crate) access: Option<String>,
    /// How regions follow each other: fixed, rotate to take turns, or shuffle [default: fixed]
    #[arg(long, value_name = "ORDER", value_parser = ["fixed", "rotate", "shuffle"])]
    pub(crate) region_order: Option<String>,
    /// Give each request only so many of the regions, in turn [default: all]
    #[arg(long, value_name = "N")]
    pub(crate) regions_per_request: Option<std::num::NonZeroUsize>,
    /// Try every model in one region before the next region
    #[arg(long)]
    pub(crate) regions_first: Option<bool>,
    /// Take no name for a model's that is not letter for letter one
    #[arg(long)]
    pub(crate) strict_names: Option<bool>,
}
