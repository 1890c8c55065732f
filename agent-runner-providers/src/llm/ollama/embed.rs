//! Vectors from `/api/embed`.

use agent_runner_core::llm::{CallCx, EmbedRequest, Embedder, Embeddings, ProviderError, Usage};
use async_trait::async_trait;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{OllamaProvider, error, wire::Vectors};
use crate::llm::{Fault, json, outgoing::rest_of, vectors};

/// Largest answer read, in bytes: 256 vectors of 4,096 numbers of 20 digits are a third of it.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

#[async_trait]
impl Embedder for OllamaProvider {
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
            // The server would cut a long text in silence.
            let mut body = json!({"model": request.model, "input": texts, "truncate": false});
            if let (Some(dimensions), Some(body)) = (request.dimensions, body.as_object_mut()) {
                body.insert("dimensions".to_owned(), dimensions.into());
            }
            let cx = rest_of(cx, started);
            let mut answer = self.http.send(Method::POST, "api/embed", Some(body), &cx).await?;
            if !answer.is_success() {
                let refusal = answer.refusal().await;
                let fault = error::refused(&refusal, Some(&request.model));
                return Err(refusal.into_error(fault));
            }
            let text = answer.document(ANSWER_BYTES_MAX).await?;
            let batch = read(&text).map_err(|fault| answer.fault(fault))?;
            let input = Some(batch.prompt_eval_count.unwrap_or(0));
            usage = usage.plus(Usage { input, ..Usage::default() });
            vectors::check(request, texts, &vectors, &batch.embeddings)
                .map_err(|fault| answer.fault(fault))?;
            vectors.extend(batch.embeddings);
        }
        Ok(Embeddings { vectors, usage })
    }
}

fn read(text: &str) -> Result<Vectors, Fault> {
    json::parse::<Vectors>(text).map_err(|_| {
        let document = json::parse::<Value>(text).ok();
        let reported = document.and_then(|document| error::reported(&document));
        reported.unwrap_or_else(|| Fault::malformed("the server sent no vectors", text))
    })
}
