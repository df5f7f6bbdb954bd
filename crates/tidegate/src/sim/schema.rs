//! Makes a JSON value that satisfies a JSON schema: what a model with structured outputs does.
//!
//! The value follows from the schema and a hash. Where a schema asks for something that cannot be made here (a pattern, a
//! negation), that is an error that names it, because a value that quietly violates the schema would test the wrong thing.
//!
//! Two bounds keep every schema finite: below [`SHALLOW`] levels whatever is optional is left out, and past [`DEEPEST`]
//! levels or [`MOST_VALUES`] values the schema is refused.

use serde_json::{Map, Value, json};

use super::dice::{mix, unit};

const SHALLOW: u32 = 5;
const DEEPEST: u32 = 64;
const MOST_VALUES: u32 = 10_000;

/// Keywords that restrict values in ways that are not understood here.
const NOT_UNDERSTOOD: [&str; 8] =
    ["pattern", "not", "if", "contains", "dependentRequired", "dependentSchemas", "patternProperties", "$dynamicRef"];

/// Makes a value that satisfies the schema, another one for another hash.
///
/// # Errors
///
/// Names what cannot be satisfied.
pub(super) fn generate(schema: &Value, hash: u64) -> Result<Value, String> {
    Generator { root: schema, state: hash, made: 0 }.value(schema, 0)
}

struct Generator<'a> {
    root: &'a Value,
    state: u64,
    made: u32,
}

impl Generator<'_> {
    fn value(&mut self, schema: &Value, depth: u32) -> Result<Value, String> {
        self.made += 1;
        if depth > DEEPEST || self.made > MOST_VALUES {
            return Err("it is endless or too large".to_owned());
        }
        let fields = match schema {
            Value::Bool(true) => Map::new(),
            Value::Bool(false) => return Err("`false` allows no value".to_owned()),
            Value::Object(fields) => self.flat(fields, depth)?,
            _ => return Err("a schema must be an object".to_owned()),
        };
        if let Some(keyword) = NOT_UNDERSTOOD.into_iter().find(|keyword| fields.contains_key(*keyword)) {
            return Err(format!("the simulator cannot satisfy `{keyword}`"));
        }
        if let Some(value) = fields.get("const") {
            return Ok(value.clone());
        }
        if let Some(Value::Array(values)) = fields.get("enum") {
            return self.pick(values).cloned().ok_or_else(|| "`enum` allows no value".to_owned());
        }
        match self.kind(&fields)? {
            "null" => Ok(Value::Null),
            "boolean" => Ok(Value::Bool(self.roll() & 1 == 1)),
            "integer" => self.integer(&fields),
            "number" => self.number(&fields),
            "string" => self.string(&fields),
            "array" => self.array(&fields, depth),
            "object" => self.object(&fields, depth),
            other => Err(format!("`{other}` is not a type")),
        }
    }

    fn roll(&mut self) -> u64 {
        self.state = mix(self.state);
        self.state
    }

    fn pick<'v, T>(&mut self, values: &'v [T]) -> Option<&'v T> {
        let roll = self.roll();
        values.get((roll % values.len().max(1) as u64) as usize)
    }

    /// Resolves references and combinations until the schema is one set of keywords.
    fn flat(&mut self, fields: &Map<String, Value>, depth: u32) -> Result<Map<String, Value>, String> {
        let mut flat = fields.clone();
        for _ in 0..DEEPEST {
            let parts = if let Some(reference) = flat.shift_remove("$ref") {
                vec![self.resolve(&reference)?]
            } else if let Some(all) = flat.shift_remove("allOf") {
                list("allOf", all)?
            } else if let Some((name, any)) = one_of(&mut flat) {
                let alternatives = list(name, any)?;
                vec![self.alternative(&alternatives, depth).ok_or_else(|| format!("`{name}` allows no value"))?]
            } else {
                return Ok(flat);
            };
            for part in parts {
                match part {
                    Value::Object(part) => merge(&mut flat, part)?,
                    Value::Bool(true) => {}
                    _ => return Err("`false` allows no value".to_owned()),
                }
            }
        }
        Err("its references never end".to_owned())
    }

    fn resolve(&self, reference: &Value) -> Result<Value, String> {
        let pointer = reference.as_str().and_then(|text| text.strip_prefix('#'));
        let found = pointer.and_then(|pointer| self.root.pointer(pointer));
        found.cloned().ok_or_else(|| format!("{reference} refers to nothing in it"))
    }

    /// Picks an alternative; deep down one without further levels, so that a recursion ends.
    fn alternative(&mut self, alternatives: &[Value], depth: u32) -> Option<Value> {
        let flat = |value: &&Value| {
            let nested = ["object", "array"].map(|kind| value["type"] == kind);
            !nested.contains(&true) && value.get("$ref").is_none() && value.get("properties").is_none()
        };
        if depth >= SHALLOW
            && let Some(value) = alternatives.iter().find(flat)
        {
            return Some(value.clone());
        }
        self.pick(alternatives).cloned()
    }

    /// Returns the type to make; null only one time in four where something else is possible.
    fn kind<'f>(&mut self, fields: &'f Map<String, Value>) -> Result<&'f str, String> {
        match fields.get("type") {
            Some(Value::String(kind)) => Ok(kind),
            Some(Value::Array(kinds)) => {
                let kinds: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
                let solid: Vec<&str> = kinds.iter().copied().filter(|kind| *kind != "null").collect();
                let nullable = solid.len() < kinds.len();
                if nullable && (solid.is_empty() || self.roll().is_multiple_of(4)) {
                    return Ok("null");
                }
                self.pick(&solid).copied().ok_or_else(|| "`type` allows no value".to_owned())
            }
            _ => Ok(implied_kind(fields)),
        }
    }

    fn integer(&mut self, fields: &Map<String, Value>) -> Result<Value, String> {
        let (low, high) = range(fields);
        let step = bound(fields, "multipleOf").unwrap_or(1.0);
        // A whole number that is a multiple of a fraction: whole steps of 1 are enough for those that are common.
        let step = if step.fract() == 0.0 && step > 0.0 { step } else { 1.0 };
        let above = |limit: f64| (limit / step).floor() * step + step;
        let below = |limit: f64| (limit / step).ceil() * step - step;
        let first = match low {
            Some(Bound { at, open: true }) => above(at),
            Some(Bound { at, open: false }) => (at / step).ceil() * step,
            None => high.map_or(0.0, |high| ((high.at / step).floor() - 100.0) * step),
        };
        let last = match high {
            Some(Bound { at, open: true }) => below(at),
            Some(Bound { at, open: false }) => (at / step).floor() * step,
            None => first + 100.0 * step,
        };
        if first > last {
            return Err("no whole number is within its bounds".to_owned());
        }
        let steps = ((last - first) / step).min(1e6);
        let value = first + (unit(self.roll()) * (steps + 1.0)).floor() * step;
        Ok(json!(value as i64))
    }

    fn number(&mut self, fields: &Map<String, Value>) -> Result<Value, String> {
        if fields.contains_key("multipleOf") {
            return self.integer(fields);
        }
        let (low, high) = range(fields);
        let first = low.map_or_else(|| high.map_or(0.0, |high| high.at - 100.0), |low| low.at);
        let last = high.map_or(first + 100.0, |high| high.at);
        let open = low.is_some_and(|low| low.open) || high.is_some_and(|high| high.open);
        if first > last || (first == last && open) {
            return Err("no number is within its bounds".to_owned());
        }
        let exact = first + unit(self.roll()) * (last - first);
        let short = (exact * 100.0).round() / 100.0;
        let fits = |value: f64| value > first && value < last;
        let value = [short, exact, first / 2.0 + last / 2.0].into_iter().find(|value| fits(*value));
        Ok(json!(value.unwrap_or(first)))
    }

    fn string(&mut self, fields: &Map<String, Value>) -> Result<Value, String> {
        let roll = self.roll();
        let text = match fields.get("format").and_then(Value::as_str) {
            Some(format) => formatted(format, roll),
            None => None,
        };
        if let Some(text) = text {
            return Ok(Value::String(text));
        }
        let shortest = count(fields, "minLength").unwrap_or(0);
        let longest = count(fields, "maxLength").unwrap_or(usize::MAX);
        if shortest > longest || shortest > 1_000_000 {
            return Err("no text has its length".to_owned());
        }
        let word = format!("tide-{:06x} ", roll & 0xFF_FFFF);
        let length = shortest.max(word.len() - 1).min(longest);
        Ok(Value::String(word.chars().cycle().take(length).collect()))
    }

    fn array(&mut self, fields: &Map<String, Value>, depth: u32) -> Result<Value, String> {
        let least = count(fields, "minItems").unwrap_or(0);
        let most = count(fields, "maxItems").unwrap_or(usize::MAX);
        if least > most {
            return Err("no list has its length".to_owned());
        }
        let wish = if depth < SHALLOW { 1 + (self.roll() % 3) as usize } else { 0 };
        let wanted = wish.max(least).min(most);
        let first = fields.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let rest = fields.get("items").unwrap_or(&Value::Bool(true));
        let unique = fields.get("uniqueItems") == Some(&Value::Bool(true));
        let mut items: Vec<Value> = Vec::new();
        // Some values may come twice where each may come only once.
        for _ in 0..wanted.saturating_mul(if unique { 20 } else { 1 }) {
            let schema = first.get(items.len()).unwrap_or(rest);
            if items.len() == wanted || (items.len() >= least && *schema == Value::Bool(false)) {
                break;
            }
            let item = self.value(schema, depth + 1)?;
            if !unique || !items.contains(&item) {
                items.push(item);
            }
        }
        if items.len() < least {
            return Err("it allows too few different items".to_owned());
        }
        Ok(Value::Array(items))
    }

    fn object(&mut self, fields: &Map<String, Value>, depth: u32) -> Result<Value, String> {
        let none = Map::new();
        let properties = fields.get("properties").and_then(Value::as_object).unwrap_or(&none);
        let required: Vec<&str> =
            fields.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let mut object = Map::new();
        for (name, schema) in properties {
            let needed = required.contains(&name.as_str());
            if needed || (depth < SHALLOW && *schema != Value::Bool(false)) {
                let value = self.value(schema, depth + 1).map_err(|error| format!("`{name}`: {error}"))?;
                object.insert(name.clone(), value);
            }
        }
        let others = fields.get("additionalProperties").unwrap_or(&Value::Bool(true));
        for name in required {
            if !object.contains_key(name) {
                let value = self.value(others, depth + 1).map_err(|error| format!("`{name}`: {error}"))?;
                object.insert(name.to_owned(), value);
            }
        }
        if count(fields, "minProperties").is_some_and(|least| object.len() < least) {
            return Err("the simulator cannot satisfy `minProperties`".to_owned());
        }
        Ok(Value::Object(object))
    }
}

/// One end of a range of numbers.
#[derive(Debug, Clone, Copy)]
struct Bound {
    at: f64,
    /// Whether the end itself is outside.
    open: bool,
}

/// Returns both ends; of an open and a closed one the stricter.
fn range(fields: &Map<String, Value>) -> (Option<Bound>, Option<Bound>) {
    let end = |closed: &str, open: &str, stricter: fn(f64, f64) -> bool| {
        let closed = bound(fields, closed).map(|at| Bound { at, open: false });
        let open = bound(fields, open).map(|at| Bound { at, open: true });
        match (closed, open) {
            (Some(closed), Some(open)) if stricter(closed.at, open.at) => Some(closed),
            (closed, open) => open.or(closed),
        }
    };
    (end("minimum", "exclusiveMinimum", |a, b| a > b), end("maximum", "exclusiveMaximum", |a, b| a < b))
}

fn bound(fields: &Map<String, Value>, name: &str) -> Option<f64> {
    fields.get(name).and_then(Value::as_f64)
}

fn count(fields: &Map<String, Value>, name: &str) -> Option<usize> {
    fields.get(name).and_then(Value::as_f64).map(|count| count as usize)
}

/// Takes the alternatives of a schema out of it.
fn one_of(fields: &mut Map<String, Value>) -> Option<(&'static str, Value)> {
    ["anyOf", "oneOf"].into_iter().find_map(|name| fields.shift_remove(name).map(|value| (name, value)))
}

fn list(name: &str, value: Value) -> Result<Vec<Value>, String> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(format!("`{name}` must be a list")),
    }
}

/// Adds a schema's keywords to another's, so that a value that satisfies the result satisfies both.
fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) -> Result<(), String> {
    for (name, new) in from {
        let Some(old) = into.get_mut(&name) else {
            into.insert(name, new);
            continue;
        };
        if *old == new {
            continue;
        }
        match (name.as_str(), old, new) {
            ("properties", Value::Object(old), Value::Object(new)) => merge_properties(old, new),
            ("required" | "allOf", Value::Array(old), Value::Array(new)) => old.extend(new),
            ("enum", Value::Array(old), Value::Array(new)) => old.retain(|value| new.contains(value)),
            ("type", old, new) => *old = common_types(old, &new),
            ("minimum" | "exclusiveMinimum" | "minLength" | "minItems", old, new) => {
                if new.as_f64() > old.as_f64() {
                    *old = new;
                }
            }
            ("maximum" | "exclusiveMaximum" | "maxLength" | "maxItems", old, new) => {
                if new.as_f64() < old.as_f64() {
                    *old = new;
                }
            }
            ("additionalProperties", old, new) => *old = both(old.take(), new),
            ("items", old, new) => *old = both(old.take(), new),
            ("title" | "description" | "default" | "examples" | "$defs" | "definitions" | "$schema" | "$id", _, _) => {}
            (name, _, _) => return Err(format!("the simulator cannot join two different `{name}`")),
        }
    }
    Ok(())
}

fn merge_properties(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (name, schema) in from {
        let joined = match into.get_mut(&name) {
            Some(old) => both(old.take(), schema),
            None => schema,
        };
        into.insert(name, joined);
    }
}

fn both(one: Value, other: Value) -> Value {
    json!({"allOf": [one, other]})
}

/// Returns the types that both allow; a whole number is a number.
fn common_types(one: &Value, other: &Value) -> Value {
    fn names(types: &Value) -> Vec<&str> {
        match types {
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect(),
        }
    }
    let (one, other) = (names(one), names(other));
    let allows = |names: &[&str], kind: &str| names.contains(&kind) || (kind == "integer" && names.contains(&"number"));
    let common = one.iter().chain(&other).filter(|kind| allows(&one, kind) && allows(&other, kind));
    common.map(|kind| Value::from(*kind)).collect()
}

/// Returns the type that a schema without one is about.
fn implied_kind(fields: &Map<String, Value>) -> &'static str {
    let has = |names: &[&str]| names.iter().any(|name| fields.contains_key(*name));
    if has(&["properties", "required", "additionalProperties"]) {
        "object"
    } else if has(&["items", "prefixItems", "minItems"]) {
        "array"
    } else if has(&["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]) {
        "number"
    } else {
        "string"
    }
}

/// Returns a text of a known format.
fn formatted(format: &str, roll: u64) -> Option<String> {
    let (day, hour, byte) = (1 + roll % 28, roll % 24, roll % 254 + 1);
    Some(match format {
        "date" => format!("2026-03-{day:02}"),
        "date-time" => format!("2026-03-{day:02}T{hour:02}:30:00Z"),
        "time" => format!("{hour:02}:30:00Z"),
        "duration" => format!("PT{hour}H"),
        "email" => format!("tide{byte}@example.com"),
        "hostname" => format!("tide{byte}.example.com"),
        "uri" => format!("https://example.com/{byte}"),
        "ipv4" => format!("192.0.2.{byte}"),
        "ipv6" => format!("2001:db8::{byte:x}"),
        "uuid" => format!("{:08x}-{:04x}-4000-8000-{:012x}", roll as u32, roll >> 48, roll & 0xFFFF_FFFF_FFFF),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The part of JSON Schema that the generator knows, from the other side.
    fn satisfies(root: &Value, schema: &Value, value: &Value) -> bool {
        let Value::Object(fields) = schema else { return *schema == Value::Bool(true) };
        fields.iter().all(|(keyword, rule)| obeys(root, fields, keyword, rule, value))
    }

    fn obeys(root: &Value, fields: &Map<String, Value>, keyword: &str, rule: &Value, value: &Value) -> bool {
        let number = value.as_f64();
        let limit = rule.as_f64().unwrap_or_default();
        let all = |rules: &Value| rules.as_array().unwrap().iter().filter(|rule| satisfies(root, rule, value)).count();
        let length = value.as_str().map(|text| text.chars().count() as f64);
        match keyword {
            "$ref" => satisfies(root, root.pointer(&rule.as_str().unwrap()[1..]).unwrap(), value),
            "allOf" => all(rule) == rule.as_array().unwrap().len(),
            "anyOf" => all(rule) > 0,
            "oneOf" => all(rule) == 1,
            "const" => rule == value,
            "enum" => rule.as_array().unwrap().contains(value),
            "type" => match rule {
                Value::Array(kinds) => kinds.iter().any(|kind| is(kind, value)),
                kind => is(kind, value),
            },
            "minimum" => number.is_none_or(|number| number >= limit),
            "maximum" => number.is_none_or(|number| number <= limit),
            "exclusiveMinimum" => number.is_none_or(|number| number > limit),
            "exclusiveMaximum" => number.is_none_or(|number| number < limit),
            "multipleOf" => number.is_none_or(|number| number % limit == 0.0),
            "minLength" => length.is_none_or(|length| length >= limit),
            "maxLength" => length.is_none_or(|length| length <= limit),
            "minItems" => value.as_array().is_none_or(|items| items.len() as f64 >= limit),
            "maxItems" => value.as_array().is_none_or(|items| items.len() as f64 <= limit),
            "uniqueItems" => {
                value.as_array().is_none_or(|items| (1..items.len()).all(|i| !items[..i].contains(&items[i])))
            }
            "items" => {
                let prefix = fields.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len);
                value.as_array().is_none_or(|items| items.iter().skip(prefix).all(|item| satisfies(root, rule, item)))
            }
            "prefixItems" => value.as_array().is_none_or(|items| {
                items.iter().zip(rule.as_array().unwrap()).all(|(item, rule)| satisfies(root, rule, item))
            }),
            "required" => {
                let names = rule.as_array().unwrap();
                value
                    .as_object()
                    .is_none_or(|object| names.iter().all(|name| object.contains_key(name.as_str().unwrap())))
            }
            "properties" => value.as_object().is_none_or(|object| {
                object.iter().all(|(name, value)| rule.get(name).is_none_or(|rule| satisfies(root, rule, value)))
            }),
            "additionalProperties" => value.as_object().is_none_or(|object| {
                let known = |name: &String| fields.get("properties").is_some_and(|known| known.get(name).is_some());
                object.iter().all(|(name, value)| known(name) || satisfies(root, rule, value))
            }),
            "format" | "$defs" | "title" | "description" => true,
            other => panic!("the validator does not know {other}"),
        }
    }

    fn is(kind: &Value, value: &Value) -> bool {
        match kind.as_str().unwrap() {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
            "number" => value.is_number(),
            "string" => value.is_string(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("{other} is not a type"),
        }
    }

    fn schemas() -> Vec<Value> {
        vec![
            json!(true),
            json!({}),
            json!({"const": {"a": 1}}),
            json!({"enum": ["red", 3, null]}),
            json!({"type": "integer", "minimum": -5, "exclusiveMaximum": -3}),
            json!({"type": "integer", "multipleOf": 7, "minimum": 50}),
            json!({"type": "integer", "maximum": -1000}),
            json!({"type": "number", "exclusiveMinimum": 0, "maximum": 0.001}),
            json!({"type": "number", "minimum": 3, "maximum": 3}),
            json!({"type": "string", "minLength": 40, "maxLength": 41}),
            json!({"type": "string", "maxLength": 2}),
            json!({"type": ["string", "null"]}),
            json!({"type": ["null"]}),
            json!({"type": "array", "items": {"type": "boolean"}, "minItems": 7, "maxItems": 9}),
            json!({"type": "array", "items": {"enum": [1, 2, 3]}, "minItems": 3, "uniqueItems": true}),
            json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "minItems": 2, "items": false}),
            json!({"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
                "required": ["name", "age"], "additionalProperties": false}),
            json!({"type": "object", "required": ["x"], "additionalProperties": {"type": "number"}}),
            json!({"anyOf": [{"type": "integer"}, {"type": "string", "minLength": 3}], "title": "either"}),
            json!({"oneOf": [{"type": "object", "properties": {"kind": {"const": "a"}}, "required": ["kind"]},
                {"type": "object", "properties": {"kind": {"const": "b"}, "n": {"type": "integer"}}, "required": ["kind", "n"]}]}),
            json!({"allOf": [{"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]},
                {"properties": {"a": {"type": "integer", "minimum": 9}, "b": {"type": "null"}}, "required": ["b"]}]}),
            json!({"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "object", "required": ["left", "right"], "properties": {
                "value": {"type": "integer"}, "left": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]},
                "right": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/tree"}]}}}}}),
            json!({"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}, "required": ["children"]}),
            json!({"type": "object", "required": ["when", "who", "id"], "properties": {"when": {"type": "string", "format": "date-time"},
                "who": {"type": "string", "format": "email"}, "id": {"type": "string", "format": "uuid"}}}),
        ]
    }

    #[test]
    fn values_satisfy_their_schema() {
        for schema in schemas() {
            for hash in 0..200 {
                let value = generate(&schema, mix(hash)).unwrap_or_else(|error| panic!("{schema}: {error}"));
                assert!(satisfies(&schema, &schema, &value), "{schema} -> {value}");
            }
        }
    }

    #[test]
    fn values_follow_from_the_hash() {
        let schema = json!({"type": "integer"});
        let made = |hash| generate(&schema, hash).unwrap();
        assert_eq!(made(5), made(5));
        assert!((0..20).map(|hash| made(mix(hash))).any(|value| value != made(5)));
    }

    #[test]
    fn what_cannot_be_satisfied_is_named() {
        let error = |schema: Value| generate(&schema, 1).unwrap_err();
        assert!(
            error(json!({"type": "object", "properties": {"a": {"pattern": "x"}}}))
                .contains("`a`: the simulator cannot satisfy `pattern`")
        );
        assert!(error(json!({"$ref": "#/$defs/none"})).contains("refers to nothing"));
        assert!(error(json!({"$ref": "#"})).contains("never end"));
        assert!(error(json!({"type": "integer", "minimum": 2, "maximum": 1})).contains("bounds"));
        let endless = json!({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]});
        assert!(error(endless).contains("endless"));
        let wide = json!({"type": "array", "minItems": 1e9, "items": {"type": "integer"}});
        assert!(error(wide).contains("too large"));
        assert!(error(json!(5)).contains("must be an object"));
    }

    proptest::proptest! {
        #[test]
        fn any_schema_is_satisfied_or_refused(keyword in "type|enum|items|minimum|maxLength|required|anyOf|\\$ref|properties|multipleOf",
            text in "[a-z#/]{0,6}", number in proptest::num::f64::ANY, hash: u64) {
            for rule in [json!(text), json!(number), json!([text]), json!([{"type": text}]), json!({(text.clone()): {"minimum": number}})] {
                // Whatever the keyword holds, there is no panic and no endless work.
                let _ = generate(&json!({(keyword.clone()): rule}), hash);
            }
        }
    }
}
