//! JSON bodies: bounded, strict, and with the place of what is wrong.

use std::{fmt, marker::PhantomData, sync::Arc};

use agent_runner_core::limits;
use axum::{
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::Value;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Duration, Instant},
};

use super::nearest;
use crate::{
    api::Api,
    options::ApiOptions,
    problem::{Code, Problem},
};

/// Longest silence before the first byte of a body, and the slack of the pace below.
const BODY_GRACE: Duration = Duration::from_secs(10);
/// Slowest pace of a body (HTTP-1: 1 KiB/s).
const BODY_BYTES_PER_SECOND: u64 = 1024;

/// The media type of lines of JSON.
const NDJSON: &str = "application/x-ndjson";

/// A JSON body that must be there.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T, pub(crate) Value);

/// A JSON array of bodies, each good or bad by itself.
#[derive(Debug)]
pub(crate) struct Bodies<T>(pub(crate) Vec<Result<Body<T>, Problem>>);

/// A JSON body that may be missing; nothing and `{}` are the same.
#[derive(Debug)]
pub(crate) struct OptionalBody<T>(pub(crate) T);

/// A bundle of a run, as lines of JSON that nobody has looked at yet. Few are in memory at once.
#[derive(Debug)]
pub(crate) struct Bundle {
    pub(crate) bytes: Bytes,
    _place: OwnedSemaphorePermit,
}

impl FromRequest<Api> for Bundle {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let Ok(place) = Arc::clone(api.imports()).try_acquire_owned() else {
            let busy = Problem::new(Code::Overloaded, "other runs are being imported; try again");
            return Err(busy.retry_after(1));
        };
        let most = limits::BUNDLE_BYTES_MAX;
        let bytes = collect_up_to(most, &parts.headers, body, api.options()).await?;
        if !matches!(essence(&parts.headers).as_str(), NDJSON | "application/ndjson") {
            return Err(undeclared(&parts.headers, "a bundle", NDJSON));
        }
        Ok(Self { bytes, _place: place })
    }
}

impl<T: DeserializeOwned> FromRequest<Api> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = collect(&parts.headers, body, api.options()).await?;
        check_content_type(&parts.headers)?;
        let value = parse(&bytes)?;
        // Kept beside the typed body: its hash tells two requests with one idempotency key apart.
        Ok(Self(decode(value.clone())?, value))
    }
}

impl<T: DeserializeOwned> FromRequest<Api> for Bodies<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = collect(&parts.headers, body, api.options()).await?;
        check_content_type(&parts.headers)?;
        let max = limits::BATCH_MAX;
        match parse(&bytes)? {
            Value::Array(all) if (1..=max).contains(&all.len()) => Ok(Self(
                all.into_iter().map(|value| Ok(Body(decode(value.clone())?, value))).collect(),
            )),
            _ => Err(Problem::field("", format!("must be an array of 1 to {max} bodies"))),
        }
    }
}

impl<T: DeserializeOwned> FromRequest<Api> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = collect(&parts.headers, body, api.options()).await?;
        if bytes.is_empty() {
            return decode(Value::Object(serde_json::Map::new())).map(Self);
        }
        check_content_type(&parts.headers)?;
        decode(parse(&bytes)?).map(Self)
    }
}

/// Reads a body of bounded size from a client that sends at a decent pace.
pub(crate) async fn collect(
    headers: &HeaderMap,
    body: axum::body::Body,
    options: &ApiOptions,
) -> Result<Bytes, Problem> {
    collect_up_to(options.body_bytes_max, headers, body, options).await
}

/// The same with another bound.
pub(crate) async fn collect_up_to(
    max: usize,
    headers: &HeaderMap,
    body: axum::body::Body,
    options: &ApiOptions,
) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(Code::TooLarge, format!("a request body must not be larger than {max} bytes"))
    };
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if declared.and_then(|text| text.parse::<usize>().ok()).is_some_and(|length| length > max) {
        return Err(too_large());
    }
    let start = Instant::now();
    let mut received = BytesMut::new();
    let mut stream = body.into_data_stream();
    loop {
        let paced = u64::try_from(received.len()).unwrap_or(u64::MAX) / BODY_BYTES_PER_SECOND;
        let allowed = BODY_GRACE.saturating_add(Duration::from_secs(paced));
        let deadline = start + allowed.min(options.request_timeout);
        match tokio::time::timeout_at(deadline, stream.next()).await {
            Ok(Some(Ok(chunk))) if received.len() + chunk.len() > max => return Err(too_large()),
            Ok(Some(Ok(chunk))) => received.extend_from_slice(&chunk),
            Ok(Some(Err(_))) => {
                return Err(Problem::new(Code::BadRequest, "the request body broke off"));
            }
            Ok(None) => return Ok(received.freeze()),
            Err(_) => {
                return Err(Problem::new(
                    Code::RequestTimeout,
                    "the request body comes too slowly; send at least 1 KiB/s",
                ));
            }
        }
    }
}

/// The media type that is declared, without parameters; empty for none.
fn essence(headers: &HeaderMap) -> String {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = given.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    essence.to_ascii_lowercase()
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let essence = essence(headers);
    if essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
    {
        return Ok(());
    }
    Err(undeclared(headers, "JSON", "application/json"))
}

fn undeclared(headers: &HeaderMap, what: &str, wanted: &str) -> Problem {
    let given = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?"));
    let found = given.map_or_else(|| "has no Content-Type".to_owned(), |g| format!("is `{g}`"));
    Problem::new(
        Code::UnsupportedMediaType,
        format!("the body {found}; send {what} with `Content-Type: {wanted}`"),
    )
}

fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(bytes)
        .map_err(|error| Problem::new(Code::BadRequest, format!("the body is not JSON: {error}")))
}

/// Deserializes a struct from an object only; serde would take a list of its fields as well.
pub(crate) fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    struct Object<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_map(Object(PhantomData))
}

/// A struct that is read from an object only.
struct Strict<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Strict<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        object(deserializer).map(Self)
    }
}

fn decode<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map(|Strict(body)| body).map_err(|error| {
        let mut pointer = String::new();
        for segment in error.path() {
            use serde_path_to_error::Segment;
            match segment {
                Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
                Segment::Map { key } => {
                    pointer.push('/');
                    pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
                }
                Segment::Enum { .. } | Segment::Unknown => {}
            }
        }
        let message = error.inner().to_string();
        let (pointer, detail) = name_field(pointer, &message);
        Problem::field(pointer, detail)
    })
}

/// Completes the place of a missing or unknown field from serde's words, which are its only
/// record, and proposes the name that was probably meant.
fn name_field(mut pointer: String, message: &str) -> (String, String) {
    let quoted = |text: &str| text.split('`').nth(1).map(str::to_owned);
    if message.starts_with("missing field") {
        if let Some(name) = quoted(message) {
            pointer.push('/');
            pointer.push_str(&name);
        }
        return (pointer, "is required".to_owned());
    }
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let name = quoted(message).unwrap_or_default();
        let escaped = name.replace('~', "~0").replace('/', "~1");
        if !pointer.ends_with(&format!("/{escaped}")) {
            pointer.push('/');
            pointer.push_str(&escaped);
        }
        let listed = rest.split_once(", expected ").map_or("", |(_, known)| known);
        let known: Vec<&str> = listed.split('`').skip(1).step_by(2).collect();
        let detail = match nearest(&name, known.iter().copied()) {
            Some(meant) => format!("unknown field `{name}`; did you mean `{meant}`?"),
            None if known.is_empty() => format!("unknown field `{name}`; none is known here"),
            None => format!("unknown field `{name}`; known are: {}", known.join(", ")),
        };
        return (pointer, detail);
    }
    (pointer, message.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[serde(default, rename = "max_steps")]
        _max_steps: Option<u32>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[serde(rename = "goal")]
        _goal: String,
        #[serde(default, rename = "options", deserialize_with = "object")]
        _options: Inner,
        #[serde(default, rename = "tags")]
        _tags: Vec<String>,
        #[serde(default, rename = "metadata")]
        _metadata: BTreeMap<String, Value>,
    }

    #[test]
    fn the_place_of_what_is_wrong_is_a_json_pointer() {
        for (body, pointer, word) in [
            (json!({}), "/goal", "required"),
            (json!({"goal": 1}), "/goal", "string"),
            (json!({"goal": "g", "tags": ["a", 2]}), "/tags/1", "string"),
            (json!({"goal": "g", "options": {"max_step": 1}}), "/options/max_step", "`max_steps`?"),
            (json!({"goal": "g", "options": {"max_steps": -1}}), "/options/max_steps", "u32"),
            (json!({"goal": "g", "a/b~c": 1}), "/a~1b~0c", "unknown field `a/b~c`"),
            (json!({"goal": "g", "options": [1]}), "/options", "expected an object"),
            (json!(["g"]), "", "expected an object"),
            (json!("text"), "", "expected an object"),
        ] {
            let problem = decode::<Outer>(body.clone()).map(drop).unwrap_err();
            let rendered = problem.body("", "");
            assert_eq!(rendered.status, 422);
            let field = &rendered.errors[0];
            assert_eq!(field.pointer, pointer, "{body}");
            assert!(field.detail.contains(word), "{body}: {}", field.detail);
        }
    }
}
