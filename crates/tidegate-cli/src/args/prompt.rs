//! The flags of `tidegate run` about what is asked.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::duration;
use crate::settings::value;

#[derive(Args)]
#[command(next_help_heading = "Prompt")]
pub(crate) struct PromptArgs {
    /// Template over the row's columns, such as 'Summarise: {{ text }}'
    #[arg(short, long, value_name = "TEMPLATE", conflicts_with_all = ["template", "embed"])]
    pub(crate) prompt: Option<String>,
    /// File that holds the template
    #[arg(short, long, value_name = "FILE", conflicts_with = "embed")]
    pub(crate) template: Option<PathBuf>,
    /// Template of the system message
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) system: Option<String>,
    /// Make embeddings of this column
    #[arg(long, value_name = "COLUMN")]
    pub(crate) embed: Option<String>,
    /// Column that holds images: paths from the input's folder, or addresses; may be repeated
    #[arg(long, value_name = "COLUMN")]
    pub(crate) image_column: Vec<String>,
    /// Column that holds documents, such as PDFs; may be repeated
    #[arg(long, value_name = "COLUMN")]
    pub(crate) document_column: Vec<String>,
    /// Column that holds sounds; may be repeated
    #[arg(long, value_name = "COLUMN")]
    pub(crate) audio_column: Vec<String>,
    /// Column that holds videos; may be repeated
    #[arg(long, value_name = "COLUMN")]
    pub(crate) video_column: Vec<String>,
    /// Keep the system message and tools in a context cache of Gemini's that lasts so long, such as 1h
    #[arg(long, value_name = "TTL", value_parser = duration::parse_positive, allow_hyphen_values = true)]
    pub(crate) context_cache: Option<Duration>,
    /// Delete context caches at the end instead of keeping them for the next run
    #[arg(long)]
    pub(crate) delete_context_cache: Option<bool>,
    /// Leave out what a model cannot take, such as a video, with a warning in the record, instead of failing the row
    #[arg(long)]
    pub(crate) lossy: Option<bool>,
    /// Randomness, 0 or more [default: the model's]
    #[arg(long, value_name = "N", value_parser = value::temperature)]
    pub(crate) temperature: Option<f64>,
    /// Most output tokens of an answer [default: the model's]
    #[arg(long, value_name = "N", value_parser = value::count)]
    pub(crate) max_tokens: Option<u32>,
    /// Text at which an answer ends; may be repeated
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) stop: Vec<String>,
    /// Number that makes answers repeatable where the provider can
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<i64>,
    /// Any other field of the request's body, as JSON; may be repeated
    #[arg(long, value_name = "KEY=JSON", value_parser = value::param)]
    pub(crate) param: Vec<(String, toml::Value)>,
}
