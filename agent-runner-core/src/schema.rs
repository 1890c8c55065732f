//! JSON Schema (2020-12) checks of what models say. Offline: references are never fetched.

use std::fmt;

use serde_json::Value;

/// A value that is not a usable JSON Schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SchemaError(String);

/// A compiled JSON Schema.
pub struct Schema {
    validator: jsonschema::Validator,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema").finish_non_exhaustive()
    }
}

/// Violations reported at once; more would only drown a model.
const VIOLATIONS_MAX: usize = 8;

impl Schema {
    /// Compiles a schema. `pattern` uses a linear-time engine, so a schema cannot stall a run.
    ///
    /// # Errors
    /// What is wrong with the schema, and where.
    pub fn compile(schema: &Value) -> Result<Self, SchemaError> {
        jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .with_pattern_options(jsonschema::PatternOptions::regex())
            .build(schema)
            .map(|validator| Self { validator })
            .map_err(|error| SchemaError(format!("{error} (at {})", error.instance_path())))
    }

    /// Checks a value.
    ///
    /// # Errors
    /// One sentence per violation, each with the JSON Pointer (RFC 6901) of its place.
    pub fn check(&self, value: &Value) -> Result<(), Vec<String>> {
        let violations: Vec<String> = self
            .validator
            .iter_errors(value)
            .take(VIOLATIONS_MAX)
            .map(|error| {
                let place = error.instance_path().to_string();
                let place = if place.is_empty() { "/".to_owned() } else { place };
                let text: String = error.to_string().chars().take(300).collect();
                format!("{place}: {text}")
            })
            .collect();
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_violation_names_its_place() {
        let schema = Schema::compile(&json!({
            "type": "object", "required": ["a"], "additionalProperties": false,
            "properties": {"a": {"type": "integer", "minimum": 1}},
        }))
        .unwrap();
        assert_eq!(schema.check(&json!({"a": 1})), Ok(()));
        let violations = schema.check(&json!({"a": 0, "b": 2})).unwrap_err();
        assert!(violations.iter().any(|v| v.starts_with("/a: ")), "{violations:?}");
        assert!(violations.iter().any(|v| v.contains("'b'")), "{violations:?}");
    }

    #[test]
    fn a_bad_schema_and_a_remote_reference_are_errors() {
        assert!(Schema::compile(&json!({"type": 5})).is_err());
        assert!(Schema::compile(&json!({"$ref": "https://example.org/x.json"})).is_err());
    }
}
