//! `tidegate models`: what the catalog knows.

use serde::Serialize;
use tidegate::call::provider::{PROVIDERS, Provider, provider};
use tidegate::call::wire::WireId;
use tidegate::catalog::{self, Model, ModelKind};
use tidegate::suggest::closest;
use tidegate::{Error, Price, Result};

use crate::args::ModelsArgs;

/// One model in the JSON listing.
#[derive(Serialize)]
struct Listed {
    model: String,
    kind: &'static str,
    callable: bool,
    max_input_tokens: Option<u32>,
    max_output_tokens: Option<u32>,
    /// US dollars per million tokens.
    price: Option<Price>,
    sampling: bool,
    retired: Option<&'static str>,
}

/// Writes the listing.
///
/// # Errors
/// [`Error::Usage`] for a provider that nobody knows.
pub(crate) fn listing(args: &ModelsArgs) -> Result<String> {
    let wanted = |model: &&Model| args.provider.as_deref().is_none_or(|name| model.provider == name);
    let models: Vec<&Model> = catalog::models().iter().filter(wanted).collect();
    match &args.provider {
        Some(name) if !providers().contains(&name.as_str()) => Err(unknown(name)),
        _ if args.json => json(&models),
        Some(name) if models.is_empty() => Ok(unlisted(name)),
        _ => Ok(table(&models)),
    }
}

fn is_callable(model: &Model) -> bool {
    let spoken = |row: &Provider| match model.kind {
        ModelKind::Responses => row.speaks(WireId::Responses),
        _ => true,
    };
    provider(model.provider).is_some_and(spoken)
}

fn unlisted(name: &str) -> String {
    format!("The catalog lists no models of {name}; {name}/MODEL takes any that it serves.\n")
}

fn unknown(name: &str) -> Error {
    let known = providers();
    let meant = closest(name, known.iter().copied()).map(|near| format!("did you mean '{near}'?"));
    let meant = meant.unwrap_or_else(|| format!("there are {}", known.join(", ")));
    Error::Usage(format!("--provider: no provider '{name}'; {meant}"))
}

/// Every provider that can be called, then those that are only listed.
fn providers() -> Vec<&'static str> {
    let mut names: Vec<_> = PROVIDERS.iter().map(|row| row.name).collect();
    let listed = catalog::models().iter().map(|model| model.provider).filter(|name| provider(name).is_none());
    names.extend(listed);
    names.dedup();
    names
}

fn json(models: &[&Model]) -> Result<String> {
    let rows: Vec<_> = models.iter().map(|model| listed(model)).collect();
    let text = serde_json::to_string_pretty(&rows).map_err(|error| Error::Usage(error.to_string()))?;
    Ok(text + "\n")
}

fn listed(model: &Model) -> Listed {
    Listed {
        model: format!("{}/{}", model.provider, model.name),
        kind: model.kind.name(),
        callable: is_callable(model),
        max_input_tokens: model.max_input,
        max_output_tokens: model.max_output,
        price: model.price,
        sampling: model.sampling,
        retired: model.retired,
    }
}

const HEAD: [&str; 7] = ["MODEL", "CONTEXT", "MAX OUT", "$/M IN", "$/M OUT", "CACHED", "NOTES"];

fn table(models: &[&Model]) -> String {
    let rows: Vec<[String; 7]> =
        std::iter::once(HEAD.map(str::to_owned)).chain(models.iter().map(|m| row(m))).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    rows.iter().map(|row| line(row, &widths)).collect::<String>() + &footer()
}

fn row(model: &Model) -> [String; 7] {
    let number = |count: Option<u32>| count.map_or("-".to_owned(), |count| count.to_string());
    let price =
        |pick: fn(Price) -> Option<f64>| model.price.and_then(pick).map_or("-".to_owned(), |usd| usd.to_string());
    [
        format!("{}/{}", model.provider, model.name),
        number(model.max_input),
        number(model.max_output),
        price(|price| Some(price.input)),
        price(|price| Some(price.output)),
        price(|price| price.cached_input),
        notes(model).join(", "),
    ]
}

fn notes(model: &Model) -> Vec<String> {
    let mut notes = Vec::new();
    if !is_callable(model) {
        notes.push("not callable yet".to_owned());
    }
    match model.kind {
        ModelKind::Responses => notes.push("responses API only".to_owned()),
        ModelKind::Embedding => notes.push("embeddings".to_owned()),
        _ => {}
    }
    if let Some(long) = model.price.and_then(|price| price.long) {
        notes.push(format!("above {} tokens {} / {}", long.above, long.input, long.output));
    }
    notes.extend(model.retired.map(|day| format!("ends {day}")));
    notes
}

/// Names and notes to the left, numbers to the right.
fn line(row: &[String; 7], widths: &[usize; 7]) -> String {
    let cell = |column: usize| match column {
        0 | 6 => format!("{:<width$}", row[column], width = widths[column]),
        _ => format!("{:>width$}", row[column], width = widths[column]),
    };
    let cells: Vec<String> = (0..row.len()).map(cell).collect();
    format!("{}\n", cells.join("  ").trim_end())
}

fn footer() -> String {
    let callable: Vec<_> = PROVIDERS.iter().map(|row| row.name).collect();
    format!(
        "\nPrices are third-party facts of November 2026 in US dollars per million tokens; --price and tidegate.toml override them.\n\
         This version can call: {}, and any OpenAI-compatible server with --base-url. Models that are not listed work, too.\n",
        callable.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(provider: Option<&str>, json: bool) -> Result<String> {
        listing(&ModelsArgs { provider: provider.map(str::to_owned), json })
    }

    #[test]
    fn the_table_is_aligned_and_says_what_can_be_called() {
        let table = list(None, false).unwrap();
        let lines: Vec<_> = table.lines().take_while(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), catalog::models().len() + 1);
        let notes = lines[0].find("NOTES").unwrap();
        assert!(lines.iter().all(|line| line.len() <= notes || line[..notes].ends_with("  ")));
        assert!(lines.iter().find(|line| line.starts_with("vertex_ai/")).unwrap().contains("not callable yet"));
        assert!(table.contains("This version can call: openai, anthropic, azure, openrouter"));
    }

    #[test]
    fn one_providers_models_are_listed_alone() {
        let table = list(Some("xai"), false).unwrap();
        assert!(
            table.contains("xai/grok-4.7   500000   500000       2        6     0.5  above 200000 tokens 4 / 12"),
            "{table}"
        );
        assert!(!table.contains("openai/"));
        assert!(list(Some("vllm"), false).unwrap().contains("vllm/MODEL"));
        assert_eq!(list(Some("vllm"), true).unwrap(), "[]\n");
        assert!(list(Some("opnai"), true).unwrap_err().to_string().contains("did you mean 'openai'?"));
    }

    #[test]
    fn json_has_every_fact() {
        let listed: serde_json::Value = serde_json::from_str(&list(Some("openai"), true).unwrap()).unwrap();
        let row = listed.as_array().unwrap().iter().find(|row| row["model"] == "openai/gpt-5.5-pro").unwrap();
        assert_eq!((&row["callable"], &row["kind"]), (&true.into(), &"responses".into()));
        assert_eq!((&row["price"]["input"], &row["price"]["long"]["above"]), (&30.0.into(), &272_000.into()));
    }
}
