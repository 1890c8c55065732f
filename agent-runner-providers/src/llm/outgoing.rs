//! What requests to every service need.

use serde_json::{Map, Number, Value};

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
