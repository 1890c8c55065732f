//! Structured answers beside tools for models that cannot be held to a schema while they have
//! tools: the answer is the call of one more tool, whose arguments are the answer. The model is
//! asked to call it and never forced: newer models refuse a forced call.

use serde_json::{Map, Value, json};

use crate::{llm::ToolSpec, message::ToolCall};

/// The name of the tool.
pub const FINAL_TOOL: &str = "final_answer";

/// Where the answer stands in arguments when it is no object itself.
const FIELD: &str = "answer";
/// Keywords that other parts of a schema point to from its root.
const DEFINITIONS: [&str; 2] = ["$defs", "definitions"];

/// The tool for answers that fit `schema`.
#[must_use]
pub fn spec(schema: &Value) -> ToolSpec {
    ToolSpec {
        name: FINAL_TOOL.to_owned(),
        description: "Gives the final answer and ends the task. Call it alone, once, when \
                      everything else is done."
            .to_owned(),
        input_schema: if is_object(schema) { schema.clone() } else { wrapped(schema) },
    }
}

fn is_object(schema: &Value) -> bool {
    schema.get("type").is_some_and(|kind| kind == "object")
}

/// A schema of an object whose only field is the answer.
fn wrapped(schema: &Value) -> Value {
    let mut inner = schema.clone();
    let mut outer = Map::new();
    if let Value::Object(inner) = &mut inner {
        for keyword in DEFINITIONS {
            outer.extend(inner.remove(keyword).map(|found| (keyword.to_owned(), found)));
        }
    }
    outer.insert("type".to_owned(), json!("object"));
    outer.insert("properties".to_owned(), json!({ FIELD: inner }));
    outer.insert("required".to_owned(), json!([FIELD]));
    outer.insert("additionalProperties".to_owned(), json!(false));
    Value::Object(outer)
}

/// The answer in a call of the tool.
///
/// # Errors
/// What is wrong with the call, for the model.
pub(super) fn answer(call: &ToolCall, schema: &Value) -> Result<Value, String> {
    if call.arguments.is_string() {
        return Err(format!("The arguments of {FINAL_TOOL} are not valid JSON. Call it again."));
    }
    if is_object(schema) {
        return Ok(call.arguments.clone());
    }
    call.arguments
        .get(FIELD)
        .cloned()
        .ok_or_else(|| format!("The arguments of {FINAL_TOOL} lack `{FIELD}`. Call it again."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Schema;

    fn call(arguments: Value) -> ToolCall {
        ToolCall { id: "c".into(), name: FINAL_TOOL.into(), arguments, provider_state: None }
    }

    #[test]
    fn an_object_is_the_arguments_and_anything_else_is_a_field_of_them() {
        let object = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
        assert_eq!(spec(&object).input_schema, object);
        assert_eq!(answer(&call(json!({"n": 1})), &object), Ok(json!({"n": 1})));
        let list = json!({"type": "array", "items": {"$ref": "#/$defs/n"},
            "$defs": {"n": {"type": "integer"}}});
        let wrapped = spec(&list).input_schema;
        let schema = Schema::compile(&wrapped).unwrap();
        assert!(schema.check(&json!({"answer": [1, 2]})).is_ok());
        assert!(schema.check(&json!({"answer": ["x"]})).is_err());
        assert_eq!(answer(&call(json!({"answer": [1]})), &list), Ok(json!([1])));
    }

    #[test]
    fn a_call_without_an_answer_is_told_so() {
        let list = json!({"type": "array"});
        assert!(answer(&call(json!({})), &list).unwrap_err().contains("lack `answer`"));
        assert!(answer(&call(json!("{\"a")), &list).unwrap_err().contains("not valid JSON"));
    }
}
