//! The providers, as rows of data.
//!
//! A provider is a wire, an address, where its key comes from, and its quirks. Adding one is adding a row to
//! [`PROVIDERS`]; nothing else in the code knows a provider by name. Addresses and variable names are those of the
//! providers' own SDKs and documentation (November 2026).

use crate::call::form::Structure;
use crate::call::wire::WireId;

/// One provider.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Provider {
    /// The name in front of the slash in `provider/model`.
    pub name: &'static str,
    /// The format it speaks.
    pub wire: WireId,
    /// Further formats that it speaks at the same address: bodies that were written for one of them go out as they are.
    pub also: &'static [WireId],
    /// The base URL, as the provider's own SDK means it; `{region}` stands for the region of a request.
    pub base_url: &'static str,
    /// How its paths are put behind the base URL.
    pub paths: Paths,
    /// The variable that its SDK reads another base URL from.
    pub base_url_variable: Option<&'static str>,
    /// Where the key comes from.
    pub key: KeyRule,
    /// How the key is sent.
    pub auth: Auth,
    /// Which of the key's variables hold a token in its place, sent as [`Bearer`](Auth::Bearer).
    pub tokens: &'static [&'static str],
    /// Headers that every request needs, such as a version.
    pub headers: &'static [(&'static str, &'static str)],
    /// How its dialect differs from the wire's plain form.
    pub quirks: Quirks,
    /// The dialects of models that differ from its others, by how their names begin; the first that fits holds.
    pub dialects: &'static [(&'static str, Quirks)],
    /// Whether it makes embeddings, where its formats have them.
    pub embeds: bool,
    /// How it is reached.
    pub reach: Reach,
}

impl Provider {
    /// Returns whether it speaks a format.
    #[must_use]
    pub fn speaks(&self, wire: WireId) -> bool {
        self.wire == wire || self.also.contains(&wire)
    }

    /// Returns the dialect of one of its models.
    #[must_use]
    pub fn quirks_of(&self, model: &str) -> Quirks {
        let own = self.dialects.iter().find(|(begins, _)| model.starts_with(begins));
        own.map_or(self.quirks, |(_, quirks)| *quirks)
    }

    /// Returns whether its base URL stands only for one that the user must give.
    #[must_use]
    pub fn needs_address(&self) -> bool {
        self.reach == Reach::Network && self.base_url.ends_with(".invalid")
    }
}

/// Where a provider's key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRule {
    /// This environment variable must hold it.
    Required(&'static str),
    /// This environment variable may hold one.
    Optional(&'static str),
    /// One of these environment variables must hold it; the first that is set wins.
    OneOf(&'static [&'static str]),
}

impl KeyRule {
    /// Returns the variables' names; the first that is set holds the key.
    #[must_use]
    pub const fn variables(&self) -> &[&'static str] {
        match self {
            KeyRule::Required(name) | KeyRule::Optional(name) => std::slice::from_ref(name),
            KeyRule::OneOf(names) => names,
        }
    }
}

/// How a key is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Auth {
    /// `Authorization: Bearer KEY`.
    Bearer,
    /// The key alone, in a header of this name.
    Header(&'static str),
    /// A signature by an AWS account, or a key as with [`Bearer`](Auth::Bearer).
    Aws,
    /// An access token of a Google account, or a key as with [`Bearer`](Auth::Bearer).
    Google,
}

/// How a format's paths are put behind a base URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Paths {
    /// Right behind it.
    Plain,
    /// Behind `/openai/v1`, or, where an API version is set, behind `/openai/deployments/MODEL` with the version in the
    /// query, as Azure has them.
    Azure,
    /// Behind `/v1/projects/PROJECT/locations/LOCATION/publishers/google`, in place of the format's own version.
    Vertex,
}

/// How a provider is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Over the network.
    Network,
    /// In this process: the simulated provider.
    Simulated,
}

/// How a dialect differs from its wire's plain form: the provider's row, and what the catalog knows of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quirks {
    /// The field that bounds the output.
    pub max_tokens: &'static str,
    /// The field that makes sampling repeatable.
    pub seed: &'static str,
    /// The most output tokens of the model, for a wire that demands a bound.
    pub max_output: Option<u32>,
    /// Whether the model accepts temperature and the other sampling parameters.
    pub sampling: bool,
    /// What it makes of a schema.
    pub structure: Structure,
}

impl Quirks {
    /// The dialect that most servers of OpenAI's wire speak.
    pub const COMMON: Quirks =
        Quirks { max_tokens: "max_tokens", seed: "seed", max_output: None, sampling: true, structure: Structure::Open };
}

const ANTHROPIC_TOKEN: &str = "ANTHROPIC_AUTH_TOKEN";
const AZURE_TOKEN: &str = "AZURE_OPENAI_AD_TOKEN";

const fn hosted(name: &'static str, base_url: &'static str, key: &'static str) -> Provider {
    Provider {
        name,
        wire: WireId::Openai,
        also: &[],
        base_url,
        paths: Paths::Plain,
        base_url_variable: None,
        key: KeyRule::Required(key),
        auth: Auth::Bearer,
        tokens: &[],
        headers: &[],
        quirks: Quirks::COMMON,
        dialects: &[],
        embeds: true,
        reach: Reach::Network,
    }
}

const fn local(name: &'static str, base_url: &'static str, key: &'static str) -> Provider {
    Provider { key: KeyRule::Optional(key), also: BOTH, ..hosted(name, base_url, key) }
}

/// The formats of those who speak Responses beside Chat Completions.
const BOTH: &[WireId] = &[WireId::Openai, WireId::Responses];

/// Under the later version current models behave the same, but older ones lose their sampling parameters.
const ANTHROPIC_HEADERS: &[(&str, &str)] = &[("anthropic-version", "2023-06-01")];

/// Bedrock's hosts, one in each region.
const BEDROCK: &str = "https://bedrock-runtime.{region}.amazonaws.com";

/// Groq has a mode for JSON everywhere, schemas only for few of its models.
const GROQ: Quirks = Quirks { max_tokens: "max_completion_tokens", structure: Structure::Json, ..Quirks::COMMON };

/// Moonshot sets the temperature of its Kimi models itself, by whether they think: another one is a 400.
const KIMI: Quirks = Quirks { sampling: false, structure: Structure::Json, ..Quirks::COMMON };

/// Every provider that has a name.
pub const PROVIDERS: &[Provider] = &[
    Provider {
        base_url_variable: Some("OPENAI_BASE_URL"),
        quirks: Quirks { max_tokens: "max_completion_tokens", structure: Structure::Strict, ..Quirks::COMMON },
        also: BOTH,
        ..hosted("openai", "https://api.openai.com/v1", "OPENAI_API_KEY")
    },
    Provider {
        wire: WireId::Anthropic,
        base_url_variable: Some("ANTHROPIC_BASE_URL"),
        key: KeyRule::OneOf(&["ANTHROPIC_API_KEY", ANTHROPIC_TOKEN]),
        auth: Auth::Header("x-api-key"),
        tokens: &[ANTHROPIC_TOKEN],
        headers: ANTHROPIC_HEADERS,
        quirks: Quirks { structure: Structure::Closed, ..Quirks::COMMON },
        ..hosted("anthropic", "https://api.anthropic.com", "ANTHROPIC_API_KEY")
    },
    // Every resource has an address of its own, so that there is none to know beforehand.
    Provider {
        base_url_variable: Some("AZURE_OPENAI_ENDPOINT"),
        paths: Paths::Azure,
        also: BOTH,
        // As in its SDK, a token goes first here.
        key: KeyRule::OneOf(&[AZURE_TOKEN, "AZURE_OPENAI_API_KEY"]),
        auth: Auth::Header("api-key"),
        tokens: &[AZURE_TOKEN],
        quirks: Quirks { max_tokens: "max_completion_tokens", structure: Structure::Strict, ..Quirks::COMMON },
        ..hosted("azure", "https://azure.invalid", "AZURE_OPENAI_API_KEY")
    },
    Provider {
        also: BOTH,
        quirks: Quirks { structure: Structure::Strict, ..Quirks::COMMON },
        ..hosted("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY")
    },
    Provider {
        also: BOTH,
        quirks: GROQ,
        dialects: &[("openai/gpt-oss", Quirks { structure: Structure::Strict, ..GROQ })],
        embeds: false,
        ..hosted("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY")
    },
    Provider {
        quirks: Quirks { structure: Structure::Json, ..Quirks::COMMON },
        embeds: false,
        ..hosted("deepseek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY")
    },
    hosted("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY"),
    Provider {
        quirks: Quirks { seed: "random_seed", ..Quirks::COMMON },
        ..hosted("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY")
    },
    hosted("fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    Provider {
        quirks: Quirks { structure: Structure::Json, ..Quirks::COMMON },
        dialects: &[("kimi-k3", Quirks { structure: Structure::Open, ..KIMI }), ("kimi-", KIMI)],
        embeds: false,
        ..hosted("moonshot", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY")
    },
    Provider { also: BOTH, ..hosted("xai", "https://api.x.ai/v1", "XAI_API_KEY") },
    Provider {
        wire: WireId::Gemini,
        base_url_variable: Some("GOOGLE_GEMINI_BASE_URL"),
        key: KeyRule::OneOf(&["GOOGLE_API_KEY", "GEMINI_API_KEY"]),
        auth: Auth::Header("x-goog-api-key"),
        ..hosted("gemini", "https://generativelanguage.googleapis.com", "GEMINI_API_KEY")
    },
    Provider {
        wire: WireId::Gemini,
        base_url_variable: Some("GOOGLE_VERTEX_BASE_URL"),
        paths: Paths::Vertex,
        // Without a token an account is asked for one.
        key: KeyRule::Optional("VERTEX_ACCESS_TOKEN"),
        auth: Auth::Google,
        ..hosted("vertex", "https://aiplatform.googleapis.com", "VERTEX_ACCESS_TOKEN")
    },
    Provider {
        wire: WireId::Bedrock,
        base_url_variable: Some("AWS_ENDPOINT_URL_BEDROCK_RUNTIME"),
        // Without a key requests are signed.
        key: KeyRule::Optional("AWS_BEARER_TOKEN_BEDROCK"),
        auth: Auth::Aws,
        quirks: Quirks { structure: Structure::Closed, ..Quirks::COMMON },
        ..hosted("bedrock", BEDROCK, "AWS_BEARER_TOKEN_BEDROCK")
    },
    Provider {
        wire: WireId::BedrockInvoke,
        base_url_variable: Some("AWS_ENDPOINT_URL_BEDROCK_RUNTIME"),
        key: KeyRule::Optional("AWS_BEARER_TOKEN_BEDROCK"),
        auth: Auth::Aws,
        quirks: Quirks { structure: Structure::Closed, ..Quirks::COMMON },
        ..hosted("bedrock-invoke", BEDROCK, "AWS_BEARER_TOKEN_BEDROCK")
    },
    Provider {
        base_url_variable: Some("OLLAMA_HOST"),
        ..local("ollama", "http://127.0.0.1:11434/v1", "OLLAMA_API_KEY")
    },
    local("vllm", "http://127.0.0.1:8000/v1", "VLLM_API_KEY"),
    local("llama.cpp", "http://127.0.0.1:8080/v1", "LLAMA_API_KEY"),
    local("lm-studio", "http://127.0.0.1:1234/v1", "LM_API_KEY"),
    local("sglang", "http://127.0.0.1:30000/v1", "SGLANG_API_KEY"),
    Provider { reach: Reach::Simulated, ..local("sim", "http://sim.invalid/v1", "SIM_API_KEY") },
];

/// What a server without a name of its own is: any OpenAI-compatible one, by its base URL.
pub const COMPATIBLE: Provider = local("compatible", "", "TIDEGATE_API_KEY");

/// The same for a server that is to be spoken to in OpenAI's newer format.
static COMPATIBLE_RESPONSES: Provider = Provider { wire: WireId::Responses, ..COMPATIBLE };

/// The same for a server that speaks Anthropic's format.
static COMPATIBLE_ANTHROPIC: Provider = Provider {
    wire: WireId::Anthropic,
    auth: Auth::Header("x-api-key"),
    headers: ANTHROPIC_HEADERS,
    quirks: Quirks { structure: Structure::Closed, ..Quirks::COMMON },
    also: &[],
    ..COMPATIBLE
};

/// The same for a server that speaks Gemini's format.
static COMPATIBLE_GEMINI: Provider =
    Provider { wire: WireId::Gemini, also: &[], auth: Auth::Header("x-goog-api-key"), ..COMPATIBLE };

/// The same for a server that speaks Bedrock's format.
static COMPATIBLE_BEDROCK: Provider = Provider {
    wire: WireId::Bedrock,
    also: &[],
    auth: Auth::Aws,
    quirks: Quirks { structure: Structure::Closed, ..Quirks::COMMON },
    ..COMPATIBLE
};

/// The same for a server that speaks Bedrock's InvokeModel.
static COMPATIBLE_INVOKE: Provider = Provider {
    wire: WireId::BedrockInvoke,
    also: &[],
    auth: Auth::Aws,
    quirks: Quirks { structure: Structure::Closed, ..Quirks::COMMON },
    ..COMPATIBLE
};

/// Returns what a server without a name of its own is that speaks this format.
#[must_use]
pub fn compatible(wire: WireId) -> &'static Provider {
    match wire {
        WireId::Openai => &COMPATIBLE,
        WireId::Responses => &COMPATIBLE_RESPONSES,
        WireId::Anthropic => &COMPATIBLE_ANTHROPIC,
        WireId::Gemini => &COMPATIBLE_GEMINI,
        WireId::Bedrock => &COMPATIBLE_BEDROCK,
        WireId::BedrockInvoke => &COMPATIBLE_INVOKE,
    }
}

/// Returns the provider of that name.
#[must_use]
pub fn provider(name: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|provider| provider.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_addresses_whole() {
        let mut names: Vec<_> = PROVIDERS.iter().map(|provider| provider.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PROVIDERS.len());
        for provider in PROVIDERS {
            let address: http::Uri = provider.base_url.replace("{region}", "us-east-1").parse().unwrap();
            assert!(address.host().is_some() && !provider.base_url.ends_with('/'), "{}", provider.name);
        }
    }

    #[test]
    fn a_model_may_have_a_dialect_of_its_own() {
        let of = |name: &str, model: &str| {
            let quirks = provider(name).unwrap().quirks_of(model);
            (quirks.structure, quirks.sampling, quirks.max_tokens)
        };
        assert_eq!(of("groq", "openai/gpt-oss-20b"), (Structure::Strict, true, "max_completion_tokens"));
        assert_eq!(of("groq", "qwen/qwen3.8-27b"), (Structure::Json, true, "max_completion_tokens"));
        assert_eq!(of("moonshot", "kimi-k3"), (Structure::Open, false, "max_tokens"));
        assert_eq!(of("moonshot", "kimi-k2.6"), (Structure::Json, false, "max_tokens"));
        assert_eq!(of("moonshot", "moonshot-v1-8k"), (Structure::Json, true, "max_tokens"));
    }

    #[test]
    fn only_hosted_providers_need_a_key() {
        let free: Vec<_> = PROVIDERS.iter().filter(|p| matches!(p.key, KeyRule::Optional(_))).map(|p| p.name).collect();
        assert_eq!(
            free,
            ["vertex", "bedrock", "bedrock-invoke", "ollama", "vllm", "llama.cpp", "lm-studio", "sglang", "sim"]
        );
    }
}
