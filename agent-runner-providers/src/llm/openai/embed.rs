//! Vectors from `/embeddings`.

use agent_runner_core::llm::{CallCx, EmbedRequest, Embedder, Embeddings, ProviderError, Usage};
use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{OpenAiProvider, error};
use crate::llm::{Fault, json, outgoing::rest_of, vectors};

/// Largest answer read, in bytes: 256 vectors of 4,096 numbers of 20 digits are a third of it.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

#[derive(Debug, Deserialize)]
struct Answer {
    data: Vec<Entry>,
    usage: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    index: Option<usize>,
    embedding: Numbers,
}

/// Some servers send base64 of little-endian floats although numbers were asked for.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Numbers {
    Plain(Vec<f32>),
    Packed(String),
}

impl Numbers {
    fn unpacked(self) -> Option<Vec<f32>> {
        let packed = match self {
            Self::Plain(numbers) => return Some(numbers),
            Self::Packed(text) => BASE64_STANDARD.decode(text).ok()?,
        };
        let (numbers, rest) = packed.as_chunks::<4>();
        rest.is_empty().then(|| numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }
}

#[async_trait]
impl Embedder for OpenAiProvider {
    fn id(&self) -> &str {
        self.http.id()
    }

    async fn embed(
        &self,
        request: &EmbedRequest,
        cx: &CallCx,
    ) -> Result<Embeddings, ProviderError> {
        let started = Instant::now();
        let mut vectors = Vec::with_capacity(request.texts.len());
        let mut usage = Usage::default();
        for texts in vectors::batches(&request.texts) {
            let mut body =
                json!({"model": request.model, "input": texts, "encoding_format": "float"});
            if let (Some(dimensions), Some(body)) = (request.dimensions, body.as_object_mut()) {
                body.insert("dimensions".to_owned(), dimensions.into());
            }
            let cx = rest_of(cx, started);
            let mut answer = self.http.send(Method::POST, "embeddings", Some(body), &cx).await?;
            if !answer.is_success() {
                let refusal = answer.refusal().await;
                let fault = error::refused(&refusal, Some(&request.model));
                return Err(refusal.into_error(fault));
            }
            let text = answer.document(ANSWER_BYTES_MAX).await?;
            let (batch, used) = read(&text, texts.len()).map_err(|fault| answer.fault(fault))?;
            vectors::check(request, texts, &vectors, &batch)
                .map_err(|fault| answer.fault(fault))?;
            vectors.extend(batch);
            usage = usage.plus(used);
        }
        Ok(Embeddings { vectors, usage })
    }
}

/// The vectors of an answer in the order of the texts.
fn read(text: &str, expected: usize) -> Result<(Vec<Vec<f32>>, Usage), Fault> {
    let strange = || Fault::malformed("the service sent no vectors", text);
    let Ok(answer) = json::parse::<Answer>(text) else {
        let document = json::parse::<Value>(text).ok();
        let reported = document.and_then(|document| error::reported(&document, None));
        return Err(reported.unwrap_or_else(strange));
    };
    let mut vectors: Vec<Option<Vec<f32>>> = vec![None; expected];
    for (place, entry) in answer.data.into_iter().enumerate() {
        let slot = vectors.get_mut(entry.index.unwrap_or(place)).filter(|slot| slot.is_none());
        *slot.ok_or_else(strange)? = Some(entry.embedding.unpacked().ok_or_else(strange)?);
    }
    let vectors: Option<Vec<Vec<f32>>> = vectors.into_iter().collect();
    let used = answer.usage.as_ref().and_then(|usage| usage.get("prompt_tokens")?.as_u64());
    Ok((vectors.ok_or_else(strange)?, Usage { input: used, ..Usage::default() }))
}

#[cfg(test)]
mod tests {
    use agent_runner_core::llm::ErrorKind;

    use super::*;

    #[test]
    fn vectors_are_in_the_order_of_the_texts_and_may_be_packed() {
        let packed = BASE64_STANDARD.encode([1.5_f32, -2.0].map(f32::to_le_bytes).concat());
        let document = json!({
            "data": [
                {"index": 1, "embedding": [0.5, 1]},
                {"index": 0, "embedding": packed},
            ],
            "usage": {"prompt_tokens": 7},
        });
        let (vectors, usage) = read(&document.to_string(), 2).unwrap();
        assert_eq!(vectors, [vec![1.5, -2.0], vec![0.5, 1.0]]);
        assert_eq!(usage.input, Some(7));
        let plain = r#"{"data":[{"embedding":[1]},{"embedding":[2]}]}"#;
        assert_eq!(read(plain, 2).unwrap().0, [vec![1.0], vec![2.0]]);
    }

    #[test]
    fn an_answer_without_a_vector_for_each_text_is_none() {
        let bad = [
            r#"{"data":[{"index":0,"embedding":[1]}]}"#,
            r#"{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}"#,
            r#"{"data":[{"index":0,"embedding":[1]},{"index":7,"embedding":[1]}]}"#,
            r#"{"data":[{"embedding":[1]},{"embedding":"AAA="}]}"#,
            r#"{"data":[{"embedding":[1]},{"embedding":"!"}]}"#,
            r#"{"data":[{"embedding":[1]},{"embedding":["x"]}]}"#,
            "<html>",
        ];
        for text in bad {
            assert_eq!(read(text, 2).unwrap_err().kind, ErrorKind::MalformedResponse, "{text}");
        }
        let error = r#"{"error":{"message":"no credits","code":402}}"#;
        assert_eq!(read(error, 2).unwrap_err().kind, ErrorKind::QuotaExhausted);
    }
}
