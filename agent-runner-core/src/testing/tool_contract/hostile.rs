//! Arguments that nobody meant.

use proptest::{
    collection,
    prelude::{BoxedStrategy, Just, Strategy, any, prop_oneof},
    strategy::ValueTree,
    test_runner::TestRunner,
};
use serde_json::{Map, Value, json};

/// Texts that have broken programs before.
const TEXTS: [&str; 16] = [
    "",
    "\u{0}",
    "../../../../etc/passwd",
    "/etc/passwd",
    "C:\\Windows\\win.ini",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::ffff:127.0.0.1]:1/",
    "http://user:password@host/",
    "file:///etc/passwd",
    "\r\nX-Injected: yes",
    "\u{202e}gnp.exe",
    "\u{feff}",
    "${jndi:ldap://x}",
    "'; DROP TABLE runs; --",
    "NaN",
    "9999-99-99T99:99:99Z",
];

/// `count` random arguments: some any JSON, some objects of the names that the schema has, most
/// the valid ones with one value exchanged, as a rule for one of the type that the schema names.
pub(super) fn arguments(schema: &Value, valid: &Value, count: usize) -> Vec<Value> {
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    let valid = valid.as_object().cloned().unwrap_or_default();
    let strategy = strategy(properties, valid);
    let mut runner = TestRunner::default();
    (0..count)
        .filter_map(|_| strategy.new_tree(&mut runner).ok())
        .map(|tree| tree.current())
        .collect()
}

fn strategy(properties: Map<String, Value>, valid: Map<String, Value>) -> BoxedStrategy<Value> {
    if properties.is_empty() {
        return shape();
    }
    let one = proptest::sample::select(properties.into_iter().collect::<Vec<_>>())
        .prop_flat_map(|(name, property)| (Just(name), value_for(&property)));
    let named = collection::vec(one.clone(), 0..6)
        .prop_map(|pairs| Value::Object(pairs.into_iter().collect()));
    let exchanged = one.prop_map(move |(name, value)| {
        let mut arguments = valid.clone();
        arguments.insert(name, value);
        Value::Object(arguments)
    });
    prop_oneof![1 => shape(), 3 => named, 6 => exchanged].boxed()
}

/// A value for a property: of its type three times in four.
fn value_for(property: &Value) -> BoxedStrategy<Value> {
    let types = property["type"].to_string();
    let typed = if types.contains("string") {
        text()
    } else if types.contains("integer") || types.contains("number") {
        number()
    } else if types.contains("boolean") {
        any::<bool>().prop_map(Value::from).boxed()
    } else {
        shape()
    };
    prop_oneof![3 => typed, 1 => shape()].boxed()
}

fn text() -> BoxedStrategy<Value> {
    prop_oneof![
        3 => any::<String>().prop_map(Value::from),
        3 => proptest::sample::select(TEXTS.as_slice()).prop_map(Value::from),
        1 => (0_usize..100_000).prop_map(|length| Value::from("x".repeat(length))),
    ]
    .boxed()
}

fn number() -> BoxedStrategy<Value> {
    prop_oneof![
        (-2_i64..3).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
    ]
    .boxed()
}

fn shape() -> BoxedStrategy<Value> {
    let leaf =
        prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), number(), text(),];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
    .boxed()
}
