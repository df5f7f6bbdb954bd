//! The tools that a request offers, as a server reads them: which one the model must call, and with what.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use super::{GenerateRequest, json_schema};

/// A tool that must be called.
#[derive(Debug)]
pub(crate) struct MustCall {
    pub(crate) name: String,
    /// What its arguments must satisfy.
    pub(crate) parameters: Option<Box<RawValue>>,
}

/// How tools are to be used.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolConfig<'a> {
    #[serde(borrow, default, alias = "function_calling_config")]
    function_calling_config: Option<CallingConfig<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CallingConfig<'a> {
    #[serde(borrow, default)]
    mode: Cow<'a, str>,
    #[serde(borrow, default, alias = "allowed_function_names")]
    allowed_function_names: Vec<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tool<'a> {
    #[serde(borrow, default, alias = "function_declarations")]
    function_declarations: Vec<Declaration<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Declaration<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    parameters: Option<&'a RawValue>,
    #[serde(borrow, default, alias = "parameters_json_schema")]
    parameters_json_schema: Option<&'a RawValue>,
}

impl GenerateRequest<'_> {
    /// Returns the tool that must be called, if one must.
    ///
    /// # Errors
    ///
    /// What is wrong with the tools.
    pub(crate) fn forced_tool(&self) -> Result<Option<MustCall>, serde_json::Error> {
        let config = self.tool_config.as_ref().and_then(|config| config.function_calling_config.as_ref());
        let (Some(tools), Some(config)) = (self.tools, config.filter(|config| config.mode == "ANY")) else {
            return Ok(None);
        };
        let tools: Vec<Tool<'_>> = serde_json::from_str(tools.get())?;
        let allowed = |name: &Cow<'_, str>| {
            config.allowed_function_names.is_empty() || config.allowed_function_names.contains(name)
        };
        let mut declared = tools.into_iter().flat_map(|tool| tool.function_declarations);
        let Some(tool) = declared.find(|tool| allowed(&tool.name)) else { return Ok(None) };
        let parameters = match (tool.parameters_json_schema, tool.parameters) {
            (Some(schema), _) => Some(to_raw_value(schema)?),
            (None, Some(openapi)) => Some(json_schema(openapi)?),
            (None, None) => None,
        };
        Ok(Some(MustCall { name: tool.name.into_owned(), parameters }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forced(tools: &str, config: &str) -> Option<(String, Option<String>)> {
        let body = format!(r#"{{"contents":[],"tools":{tools},"toolConfig":{{"functionCallingConfig":{config}}}}}"#);
        let request: GenerateRequest<'_> = serde_json::from_str(&body).unwrap();
        let tool = request.forced_tool().unwrap()?;
        Some((tool.name, tool.parameters.map(|schema| schema.get().to_owned())))
    }

    #[test]
    fn a_tool_is_called_where_one_must_be() {
        let tools = r#"[{"googleSearch":{}},{"functionDeclarations":[{"name":"a","parameters":{"type":"OBJECT"}},
            {"name":"b","parametersJsonSchema":{"type":"object"}},{"name":"c"}]}]"#;
        let a = Some(("a".to_owned(), Some(r#"{"type":"object"}"#.to_owned())));
        assert_eq!(forced(tools, r#"{"mode":"ANY"}"#), a);
        let b = Some(("b".to_owned(), Some(r#"{"type":"object"}"#.to_owned())));
        assert_eq!(forced(tools, r#"{"mode":"ANY","allowedFunctionNames":["b"]}"#), b);
        assert_eq!(forced(tools, r#"{"mode":"ANY","allowedFunctionNames":["c"]}"#), Some(("c".to_owned(), None)));
        for none in [r#"{"mode":"AUTO"}"#, r#"{"mode":"ANY","allowedFunctionNames":["d"]}"#, "{}"] {
            assert_eq!(forced(tools, none), None, "{none}");
        }
    }
}
