//! How a type looks in JSON, learnt from its own deserialiser.

use std::{collections::BTreeSet, fmt};

use serde::{
    Deserializer,
    de::{DeserializeOwned, Visitor},
    forward_to_deserialize_any,
};
use serde_json::{Map, Value};

/// What a type asked its deserialiser for first.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Anything,
    Plain(&'static str),
    Fields(&'static [&'static str]),
    Variants(&'static [&'static str]),
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Asked {}

impl serde::de::Error for Asked {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Anything
    }
}

/// Gives nothing, and tells what it was asked for.
struct Probe;

macro_rules! plain {
    ($($method:ident $name:literal)*) => {
        $(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Asked> {
            Err(Asked::Plain($name))
        })*
    };
}

impl<'de> Deserializer<'de> for Probe {
    type Error = Asked;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Asked> {
        Err(Asked::Anything)
    }

    plain! {
        deserialize_bool "boolean"
        deserialize_u8 "integer"
        deserialize_u16 "integer"
        deserialize_u32 "integer"
        deserialize_u64 "integer"
        deserialize_i8 "integer"
        deserialize_i16 "integer"
        deserialize_i32 "integer"
        deserialize_i64 "integer"
        deserialize_f32 "number"
        deserialize_f64 "number"
        deserialize_str "string"
        deserialize_string "string"
        deserialize_seq "array"
        deserialize_map "object"
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Asked> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Asked> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Asked> {
        Err(Asked::Fields(fields))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Asked> {
        Err(Asked::Variants(variants))
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

fn list<S: AsRef<str>>(names: &[S]) -> String {
    names.iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

fn fails<T: DeserializeOwned>(value: Map<String, Value>) -> Option<String> {
    serde_json::from_value::<T>(Value::Object(value)).err().map(|error| error.to_string())
}

/// The words between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The tag of a type that has its variants in one object, and the variants.
pub(super) fn tagged<T: DeserializeOwned>() -> Option<(String, Vec<String>)> {
    let missing = fails::<T>(Map::new())?;
    let tag = (*quoted(missing.strip_prefix("missing field ")?).first()?).to_owned();
    let unknown = fails::<T>(Map::from_iter([(tag.clone(), "\u{0}".into())]))?;
    let (_, known) = unknown.split_once("expected")?;
    Some((tag, quoted(known).into_iter().map(str::to_owned).collect()))
}

/// The fields without which a variant is none.
fn needed<T: DeserializeOwned>(tag: &str, variant: &str) -> Vec<String> {
    let mut given = Map::from_iter([(tag.to_owned(), variant.into())]);
    let mut needed = BTreeSet::new();
    while let Some(error) = fails::<T>(given.clone()) {
        let Some(rest) = error.strip_prefix("missing field ") else { break };
        let field = quoted(rest)[0].to_owned();
        given.insert(field.clone(), Value::Null);
        if !needed.insert(field) {
            break;
        }
    }
    needed.into_iter().collect()
}

/// The variants of a type whose JSON is a name.
pub(super) fn variants<T: DeserializeOwned>() -> &'static [&'static str] {
    match T::deserialize(Probe).err() {
        Some(Asked::Variants(variants)) => variants,
        other => panic!("not a list of names: {other:?}"),
    }
}

/// A sentence on how the type looks in JSON; empty for one that may be any JSON.
pub(super) fn of<T: DeserializeOwned>() -> String {
    let asked = T::deserialize(Probe).err().expect("a probe gives nothing");
    match asked {
        Asked::Plain(name) => name.to_owned(),
        Asked::Fields(fields) => format!("object: {}", list(fields)),
        Asked::Variants(variants) => format!("one of {}", list(variants)),
        Asked::Anything => match tagged::<T>() {
            Some((tag, variants)) => {
                let variants = variants.iter().map(|variant| {
                    let needed = needed::<T>(&tag, variant);
                    let with = if needed.is_empty() { String::new() } else { " with ".to_owned() };
                    format!("`{variant}`{with}{}", list(&needed))
                });
                format!("object: `{tag}`, one of {}", variants.collect::<Vec<_>>().join("; "))
            }
            None => String::new(),
        },
    }
}

#[test]
fn shapes_are_what_serde_writes() {
    #[derive(serde::Deserialize)]
    struct Fields {
        #[serde(rename = "a")]
        _a: u8,
        #[serde(rename = "b")]
        _b: String,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Plain {
        OneThing,
        Other,
    }
    #[derive(serde::Deserialize)]
    #[serde(tag = "kind", rename_all = "snake_case")]
    enum Tagged {
        Alone,
        Filled {
            #[serde(rename = "z")]
            _z: u8,
        },
    }
    let _ = (Plain::OneThing, Plain::Other, Tagged::Alone, Tagged::Filled { _z: 1 });
    assert_eq!(of::<u64>(), "integer");
    assert_eq!(of::<Option<Box<String>>>(), "string");
    assert_eq!(of::<Vec<u8>>(), "array");
    assert_eq!(of::<Value>(), "");
    assert_eq!(of::<Fields>(), "object: `a`, `b`");
    assert_eq!(of::<Plain>(), "one of `one_thing`, `other`");
    assert_eq!(of::<Tagged>(), "object: `kind`, one of `alone`; `filled` with `z`");
}
