//! What requests to every service need.

use std::collections::BTreeMap;

use agent_runner_core::llm::{CallCx, ErrorKind};
use serde_json::{Map, Number, Value};
use tokio::time::Instant;

use super::Fault;

/// A number as a person would write it: 0.7, not the 0.699999988079071 that widening makes of it.
/// `None` for what JSON cannot hold.
pub(crate) fn shortest(number: f32) -> Option<Value> {
    number.to_string().parse().ok().and_then(Number::from_f64).map(Value::Number)
}

/// The arguments of an earlier tool call as a service takes them back: always an object, because
/// servers parse them for their templates and refuse the whole conversation otherwise.
pub(crate) fn replayed_arguments(arguments: &Value) -> Value {
    match arguments {
        Value::Object(_) => arguments.clone(),
        invalid => {
            Value::Object(Map::from_iter([("invalid_arguments".to_owned(), invalid.clone())]))
        }
    }
}

/// The circumstances of a call that is made of several requests, for the next of them.
pub(crate) fn rest_of(cx: &CallCx, started: Instant) -> CallCx {
    let left = cx.timeout.map(|timeout| timeout.saturating_sub(started.elapsed()));
    CallCx { timeout: left, ..cx.clone() }
}

/// Adds fields to a body as they are; `null` takes a field away that a server does not know. A
/// field that the request sets itself is refused.
pub(crate) fn add_extra(
    body: &mut Map<String, Value>,
    extra: &BTreeMap<String, Value>,
    reserved: &[&str],
) -> Result<(), Fault> {
    for (field, value) in extra {
        if reserved.contains(&field.as_str()) {
            let message = format!("`extra` must not contain `{field}`, which the request sets");
            return Err(Fault::new(ErrorKind::InvalidRequest, message));
        }
        if value.is_null() {
            body.remove(field);
        } else {
            body.insert(field.clone(), value.clone());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_stay_short_and_arguments_become_objects() {
        assert_eq!(shortest(0.7).unwrap().to_string(), "0.7");
        assert_eq!(shortest(f32::NAN), None);
        assert_eq!(replayed_arguments(&json!({"a": 1})), json!({"a": 1}));
        assert_eq!(replayed_arguments(&json!("{\"a")), json!({"invalid_arguments": "{\"a"}));
    }
}
