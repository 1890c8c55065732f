//! JSON Schemas in the part of the language that the service holds a reply to.

use serde_json::{Map, Value};

/// Keywords that the service refuses. They become words for the model; whoever wants the reply
/// checks it against the whole schema anyway.
const REFUSED: [&str; 14] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "contains",
    "minContains",
    "maxContains",
    "minProperties",
    "maxProperties",
];
/// Formats of texts that the service knows.
const FORMATS: [&str; 9] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "uuid"];

/// The schema without what the service refuses: objects are closed, and bounds are part of the
/// description.
pub(super) fn accepted(schema: &Value) -> Value {
    let Value::Object(schema) = schema else { return schema.clone() };
    let mut out = Map::new();
    let mut hints = Vec::new();
    for (keyword, value) in schema {
        match (keyword.as_str(), value) {
            ("properties" | "$defs" | "definitions", Value::Object(named)) => {
                let named: Map<String, Value> =
                    named.iter().map(|(name, schema)| (name.clone(), accepted(schema))).collect();
                out.insert(keyword.clone(), named.into());
            }
            ("oneOf", Value::Array(choices)) => {
                out.insert("anyOf".into(), choices.iter().map(accepted).collect());
            }
            ("anyOf" | "allOf" | "prefixItems", Value::Array(choices)) => {
                out.insert(keyword.clone(), choices.iter().map(accepted).collect());
            }
            ("items", schema) => drop(out.insert(keyword.clone(), accepted(schema))),
            ("format", format) if !FORMATS.iter().any(|known| format == known) => {
                hints.push(format!("{keyword}: {format}"));
            }
            ("minItems", Value::Number(count)) if count.as_u64().is_none_or(|count| count > 1) => {
                hints.push(format!("{keyword}: {count}"));
            }
            (refused, value) if REFUSED.contains(&refused) => {
                hints.push(format!("{keyword}: {value}"));
            }
            _ => drop(out.insert(keyword.clone(), value.clone())),
        }
    }
    let is_open = matches!(out.get("additionalProperties"), None | Some(Value::Bool(true)));
    if out.contains_key("properties") && is_open {
        out.insert("additionalProperties".into(), false.into());
    }
    if !hints.is_empty() {
        let hints = hints.join(", ");
        let said = out.get("description").and_then(Value::as_str);
        let description = said.map_or_else(|| hints.clone(), |said| format!("{said} ({hints})"));
        out.insert("description".into(), description.into());
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_service_refuses_becomes_words_and_objects_are_closed() {
        let schema = json!({
            "type": "object",
            "properties": {
                "minimum": {"type": "integer", "format": "uint32", "minimum": 0},
                "list": {"type": "array", "minItems": 2, "items": {"oneOf": [
                    {"type": "object", "properties": {}, "additionalProperties": true},
                    {"type": "string", "format": "date", "description": "A day.", "maxLength": 9},
                ]}},
                "map": {"type": "object", "additionalProperties": {"type": "string"}},
            },
            "required": ["minimum"],
        });
        assert_eq!(
            accepted(&schema),
            json!({
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "minimum": {"type": "integer", "description": "format: \"uint32\", minimum: 0"},
                    "list": {"type": "array", "description": "minItems: 2", "items": {"anyOf": [
                        {"type": "object", "properties": {}, "additionalProperties": false},
                        {"type": "string", "format": "date",
                            "description": "A day. (maxLength: 9)"},
                    ]}},
                    "map": {"type": "object", "additionalProperties": {"type": "string"}},
                },
                "required": ["minimum"],
            })
        );
        assert_eq!(accepted(&json!(true)), json!(true));
    }
}
