//! Schemas that strangers wrote.

use std::collections::HashMap;

use agent_runner_core::schema::Schema;
use rmcp::model::JsonObject;
use serde_json::Value;

use super::text;

/// Largest schema, in bytes.
const BYTES_MAX: usize = 64 * 1024;
/// Deepest nesting.
const DEPTH_MAX: usize = 32;
/// Most values in it when every reference is written out: what a check may cost.
const EXPANDED_MAX: usize = 20_000;

/// The schema as models see it, and compiled; or why it cannot be used.
pub(super) fn accept(schema: &JsonObject) -> Result<(Value, Schema), &'static str> {
    let mut schema = Value::Object(schema.clone());
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        return Err("its schema is not one of an object");
    }
    if schema.to_string().len() > BYTES_MAX {
        return Err("its schema is larger than 64 KiB");
    }
    if let Some(top) = schema.as_object_mut() {
        // They name documents elsewhere, which nobody fetches.
        top.remove("$schema");
        top.remove("$id");
    }
    clean(&mut schema, 0)?;
    let mut walk = Walk { root: &schema, open: Vec::new(), known: HashMap::new() };
    walk.expanded(&schema)?;
    let compiled = Schema::compile(&schema).map_err(|_| "its schema is not valid")?;
    Ok((schema, compiled))
}

/// Cleans what is written for readers, and refuses what hides something where it counts.
fn clean(value: &mut Value, depth: usize) -> Result<(), &'static str> {
    if depth > DEPTH_MAX {
        return Err("its schema is nested too deeply");
    }
    match value {
        Value::String(text) if text.chars().any(text::hidden) => {
            Err("its schema has hidden characters")
        }
        Value::Array(items) => items.iter_mut().try_for_each(|item| clean(item, depth + 1)),
        Value::Object(map) => map.iter_mut().try_for_each(|(key, value)| {
            if key.chars().any(text::hidden) {
                return Err("its schema has hidden characters");
            }
            match (key.as_str(), &mut *value) {
                ("description" | "title" | "$comment", Value::String(said)) => {
                    *said = text::clean(said, BYTES_MAX);
                    Ok(())
                }
                ("$ref", Value::String(to)) if !to.starts_with("#/") => {
                    Err("its schema refers to another document, or to itself")
                }
                ("$id" | "$dynamicRef" | "$recursiveRef", Value::String(_)) => {
                    Err("its schema refers to another document, or to itself")
                }
                _ => clean(value, depth + 1),
            }
        }),
        _ => Ok(()),
    }
}

/// Counts the values of a schema with every reference written out.
struct Walk<'a> {
    root: &'a Value,
    /// References on the way to where the walk is.
    open: Vec<&'a str>,
    known: HashMap<&'a str, usize>,
}

impl<'a> Walk<'a> {
    fn expanded(&mut self, value: &'a Value) -> Result<usize, &'static str> {
        let mut sum = 1_usize;
        match value {
            Value::Array(items) => {
                for item in items {
                    sum = sum.saturating_add(self.expanded(item)?);
                }
            }
            Value::Object(map) => {
                for (key, value) in map {
                    let more = match value {
                        Value::String(to) if key == "$ref" => self.referred(to)?,
                        other => self.expanded(other)?,
                    };
                    sum = sum.saturating_add(more);
                }
            }
            _ => {}
        }
        if sum > EXPANDED_MAX {
            return Err("its schema grows too large when its references are followed");
        }
        Ok(sum)
    }

    fn referred(&mut self, to: &'a str) -> Result<usize, &'static str> {
        if let Some(known) = self.known.get(to) {
            return Ok(*known);
        }
        if self.open.contains(&to) {
            return Err("its schema refers to itself");
        }
        let target = to.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
        let target = target.ok_or("its schema refers to what is not there")?;
        self.open.push(to);
        let sum = self.expanded(target)?;
        self.open.pop();
        self.known.insert(to, sum);
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};
    use serde_json::json;

    use super::*;

    /// Anything that is written with the words of schemas.
    fn wild() -> impl Strategy<Value = Value> {
        let words = [
            "type",
            "properties",
            "$ref",
            "$defs",
            "a",
            "b",
            "allOf",
            "anyOf",
            "not",
            "items",
            "enum",
            "pattern",
            "minimum",
            "required",
            "additionalProperties",
            "$id",
            "description",
            "const",
        ];
        let texts = [
            "object",
            "string",
            "integer",
            "#/$defs/a",
            "#/$defs/b",
            "#/properties/a",
            "#",
            "a",
            "(a+)+$",
            "http://example.org/",
            "\u{200b}",
        ];
        let leaf = prop_oneof![
            select(texts.to_vec()).prop_map(|text| json!(text)),
            any::<bool>().prop_map(Value::Bool),
            any::<i32>().prop_map(|number| json!(number)),
        ];
        leaf.prop_recursive(6, 64, 6, move |inner| {
            let map = vec((select(words.to_vec()), inner.clone()), 0..6)
                .prop_map(|pairs| pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect());
            prop_oneof![4 => map.prop_map(Value::Object), 1 => vec(inner, 0..4).prop_map(Value::Array)]
        })
    }

    proptest! {
        #[test]
        fn what_is_accepted_checks_anything_and_hides_nothing(
            properties in wild(), defs in wild(), arguments in wild(),
        ) {
            let schema = json!({"type": "object", "properties": properties, "$defs": defs});
            if let Ok((schema, compiled)) = accept(schema.as_object().unwrap()) {
                let _ = compiled.check(&arguments);
                prop_assert!(!schema.to_string().chars().any(text::hidden), "{schema}");
            }
        }
    }

    fn told(schema: &Value) -> Result<Value, &'static str> {
        accept(schema.as_object().unwrap()).map(|(schema, _)| schema)
    }

    #[test]
    fn a_plain_schema_is_kept_and_cleaned() {
        let schema = json!({
            "$schema": "http://json-schema.org/draft-07/schema#", "$id": "https://example.org/x",
            "type": "object", "properties": {"a": {"$ref": "#/$defs/a"}, "$ref": {"type": "string"}},
            "$defs": {"a": {"type": "string", "description": "a\u{200b}b\u{202e}"}},
        });
        let want = json!({
            "type": "object", "properties": {"a": {"$ref": "#/$defs/a"}, "$ref": {"type": "string"}},
            "$defs": {"a": {"type": "string", "description": "ab"}},
        });
        assert_eq!(told(&schema), Ok(want));
    }

    #[test]
    fn schemas_that_fetch_hide_loop_or_explode_are_refused() {
        let mut deep = json!({"type": "string"});
        for _ in 0..40 {
            deep = json!({"type": "object", "properties": {"x": deep}});
        }
        let mut bomb = json!({"a0": {"type": "string"}});
        for n in 1..40 {
            let to = json!({"$ref": format!("#/$defs/a{}", n - 1)});
            bomb[format!("a{n}")] = json!({"allOf": [to.clone(), to]});
        }
        for (schema, why) in [
            (json!({}), "not one of an object"),
            (json!({"type": "array"}), "not one of an object"),
            (json!({"type": "object", "description": "x".repeat(70_000)}), "larger than 64 KiB"),
            (deep, "nested too deeply"),
            (json!({"type": "object", "$ref": "https://example.org/x.json"}), "another document"),
            (json!({"type": "object", "properties": {"a": {"$ref": "other.json"}}}), "another"),
            (
                json!({"type": "object", "properties": {"a": {"$id": "http://x/", "type": "string"}}}),
                "another",
            ),
            (json!({"type": "object", "$ref": "#"}), "itself"),
            (
                json!({"type": "object", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
                "itself",
            ),
            (json!({"type": "object", "$ref": "#/$defs/none"}), "not there"),
            (json!({"type": "object", "properties": {"a\u{200b}": {"type": "string"}}}), "hidden"),
            (json!({"type": "object", "properties": {"a": {"enum": ["x\u{202e}"]}}}), "hidden"),
            (json!({"type": "object", "$defs": bomb, "$ref": "#/$defs/a39"}), "grows too large"),
            (json!({"type": "object", "properties": 5}), "not valid"),
        ] {
            let problem = told(&schema).unwrap_err();
            assert!(problem.contains(why), "{problem}, not {why}");
        }
    }
}
