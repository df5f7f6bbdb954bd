//! What stands beside the conversation: in Converse's body, and in headers where InvokeModel has the vendor's own body.
//!
//! Both are asked for it by Converse's fields. OpenAI's `metadata` and `service_tier` mean two of them.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use crate::failure::{Failure, Kind};

/// Converse's fields that InvokeModel has as headers: the field, and within it what each header tells.
const FIELDS: [(&str, &[(&str, &str)]); 5] = [
    (
        "guardrailConfig",
        &[
            ("guardrailIdentifier", "x-amzn-bedrock-guardrailidentifier"),
            ("guardrailVersion", "x-amzn-bedrock-guardrailversion"),
            ("trace", "x-amzn-bedrock-trace"),
        ],
    ),
    ("performanceConfig", &[("latency", "x-amzn-bedrock-performanceconfig-latency")]),
    ("serviceTier", &[("type", "x-amzn-bedrock-service-tier")]),
    ("requestMetadata", &[("", "x-amzn-bedrock-request-metadata")]),
    ("projectIdentifier", &[("", "x-amzn-bedrock-projectidentifier")]),
];

/// The most pairs of metadata, and the most characters of a name or a value.
const METADATA: (usize, usize) = (16, 256);

/// Brings what OpenAI's requests say of this kind to Converse's fields.
///
/// # Errors
///
/// [`Kind::Unsupported`] says what Bedrock does not take of metadata.
pub(super) fn translate(fields: &mut Map<String, Value>) -> Result<(), Failure> {
    // `auto` and `standard_only` are other providers' words for what happens anyhow.
    let tier = fields.shift_remove("service_tier").filter(|tier| tier.is_string());
    if let Some(tier) = tier.filter(|tier| tier != "auto" && tier != "standard_only") {
        fields.entry("serviceTier").or_insert_with(|| json!({"type": tier}));
    }
    let metadata = fields.shift_remove("metadata").filter(|pairs| pairs.as_object().is_some_and(|own| !own.is_empty()));
    if let Some(metadata) = metadata {
        fields.entry("requestMetadata").or_insert(metadata);
    }
    fields.get("requestMetadata").map_or(Ok(()), check_metadata)
}

/// Metadata is refused with every row that has it, so it is checked beforehand.
fn check_metadata(metadata: &Value) -> Result<(), Failure> {
    let (pairs, length) = METADATA;
    let wrong = |what: String| Err(Failure::new(Kind::Unsupported, format!("Bedrock takes no metadata {what}")));
    let Value::Object(given) = metadata else { return wrong("that is not an object".to_owned()) };
    if given.len() > pairs {
        return wrong(format!("of more than {pairs} pairs"));
    }
    let plain = |text: &str| {
        let taken = |c: char| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || ":_@$#=/+,-.".contains(c);
        text.chars().all(taken) && text.len() <= length
    };
    for (name, value) in given {
        if name.is_empty() || !plain(name) {
            return wrong(format!(
                "with a name such as `{name}`: letters, digits, spaces and :_@$#=/+,-. are taken, at most {length}"
            ));
        }
        match value {
            Value::String(text) if plain(text) => {}
            Value::String(_) => {
                return wrong(format!(
                    "with a value such as that of `{name}`: letters, digits, spaces and :_@$#=/+,-. are taken, at most {length}"
                ));
            }
            _ => return wrong(format!("whose value is no text, such as that of `{name}`")),
        }
    }
    Ok(())
}

/// Takes out of a vendor's body what InvokeModel is told in headers.
///
/// # Errors
///
/// [`Kind::Unsupported`] and [`Kind::BadRequest`] name what no header can tell.
pub(super) fn taken_out(fields: &mut Map<String, Value>) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (field, places) in FIELDS {
        let Some(value) = fields.shift_remove(field).filter(|value| !value.is_null()) else { continue };
        if let [("", name)] = places {
            headers.insert(HeaderName::from_static(name), header(field, &value)?);
            continue;
        }
        let Value::Object(inner) = value else {
            return Err(Failure::new(Kind::BadRequest, format!("`{field}` is not an object")));
        };
        for (part, value) in inner {
            let place = places.iter().find(|(known, _)| *known == part);
            let &(_, name) = place.ok_or_else(|| {
                Failure::new(Kind::Unsupported, format!("InvokeModel has no header for `{field}.{part}`"))
            })?;
            // Only this one is written in another way in headers.
            let value = match (&*part, value.as_str()) {
                ("trace", Some(text)) => text.to_ascii_uppercase().into(),
                _ => value,
            };
            headers.insert(HeaderName::from_static(name), header(field, &value)?);
        }
    }
    Ok(headers)
}

fn header(field: &str, value: &Value) -> Result<HeaderValue, Failure> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    HeaderValue::try_from(text)
        .map_err(|_| Failure::new(Kind::BadRequest, format!("`{field}` holds a character that no header can")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_converse_has_in_its_body_travels_as_headers() {
        let mut body = fields(json!({
            "guardrailConfig": {"guardrailIdentifier": "g1", "guardrailVersion": "DRAFT", "trace": "enabled_full"},
            "performanceConfig": {"latency": "optimized"}, "max_tokens": 5, "metadata": {"team": "tides"},
            "service_tier": "flex",
        }));
        translate(&mut body).unwrap();
        let headers = taken_out(&mut body).unwrap();
        assert_eq!(Value::from(body), json!({"max_tokens": 5}));
        let told: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        let expected = [
            ("x-amzn-bedrock-guardrailidentifier", "g1"),
            ("x-amzn-bedrock-guardrailversion", "DRAFT"),
            ("x-amzn-bedrock-trace", "ENABLED_FULL"),
            ("x-amzn-bedrock-performanceconfig-latency", "optimized"),
            ("x-amzn-bedrock-service-tier", "flex"),
            ("x-amzn-bedrock-request-metadata", r#"{"team":"tides"}"#),
        ];
        assert_eq!(told.len(), expected.len());
        expected.iter().for_each(|pair| assert!(told.contains(pair), "{pair:?} in {told:?}"));
    }

    #[test]
    fn what_no_header_can_tell_is_named() {
        let refused = |value| taken_out(&mut fields(value)).unwrap_err();
        let mode = refused(json!({"guardrailConfig": {"streamProcessingMode": "sync"}}));
        assert_eq!(mode.kind, Kind::Unsupported);
        assert!(mode.message.contains("`guardrailConfig.streamProcessingMode`"), "{mode}");
        assert_eq!(refused(json!({"guardrailConfig": "g"})).kind, Kind::BadRequest);
        assert!(refused(json!({"projectIdentifier": "a\nb"})).message.contains("`projectIdentifier`"));
    }

    #[test]
    fn metadata_keeps_to_awss_limits() {
        let told = |metadata: Value| {
            let mut fields = fields(json!({"metadata": metadata}));
            translate(&mut fields).map(|()| fields.into()).map_err(|failure| failure.message)
        };
        assert_eq!(told(json!({"run id": "a/b-1.c"})), Ok(json!({"requestMetadata": {"run id": "a/b-1.c"}})));
        assert_eq!((told(Value::Null), told(json!({}))), (Ok(json!({})), Ok(json!({}))));
        let many: Map<String, Value> = (0..17).map(|i| (format!("k{i}"), "v".into())).collect();
        for (wrong, why) in [
            (Value::from(many), "more than 16 pairs"),
            (json!({"a": "x".repeat(257)}), "that of `a`"),
            (json!({"a": "naïve"}), "that of `a`"),
            (json!({"a": 1}), "no text"),
            (json!({"a?": "b"}), "such as `a?`"),
            (json!({"": "b"}), "such as ``"),
        ] {
            assert!(told(wrong).unwrap_err().contains(why), "{why}");
        }
    }

    #[test]
    fn what_others_call_a_tier_of_service_is_none_here() {
        for tier in [json!("auto"), json!("standard_only"), Value::Null] {
            let mut fields = fields(json!({"service_tier": tier}));
            translate(&mut fields).unwrap();
            assert!(fields.is_empty());
        }
    }
}
