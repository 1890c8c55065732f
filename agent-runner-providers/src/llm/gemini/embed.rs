//! Texts as vectors, with `batchEmbedContents`.

use agent_runner_core::llm::{
    CallCx, Capabilities, EmbedPurpose, EmbedRequest, Embedder, Embeddings, ErrorKind,
    ProviderError, Usage,
};
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    GeminiProvider, Question, plain, resource, rest,
    usage::usage,
    wire::{Count, Embedded, Model},
};

/// Most texts that the service takes at once.
const TEXTS_MAX: usize = 100;
/// Most bytes of text sent at once, unless one text alone has more.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a text that fits every model: a token has a byte at least, and none takes fewer tokens
/// than twice this.
const SHORT_BYTES: usize = 1024;

#[async_trait]
impl Embedder for GeminiProvider {
    fn id(&self) -> &str {
        self.http.id()
    }

    async fn embed(
        &self,
        request: &EmbedRequest,
        cx: &CallCx,
    ) -> Result<Embeddings, ProviderError> {
        let started = Instant::now();
        self.refuse_long(request, cx).await?;
        let path = format!("{}:batchEmbedContents", resource(&request.model));
        let mut embeddings = Embeddings { vectors: Vec::new(), usage: Usage::default() };
        for texts in batches(&request.texts) {
            let body = body(request, texts);
            let question = Question {
                path: &path,
                body: Some(body),
                model: Some(&request.model),
                what: "the list of vectors",
            };
            let embedded: Embedded = self.ask(question, &rest(cx, started)).await?;
            let vectors = embedded.embeddings.unwrap_or_default();
            if vectors.len() != texts.len() {
                let (vectors, texts) = (vectors.len(), texts.len());
                let message = format!("the service sent {vectors} vectors for {texts} texts");
                return Err(self.told(ErrorKind::MalformedResponse, message));
            }
            embeddings.vectors.extend(vectors.into_iter().map(|it| it.values.unwrap_or_default()));
            if let Some(reported) = &embedded.usage_metadata {
                embeddings.usage = embeddings.usage.plus(usage(reported));
            }
        }
        match flaw(&embeddings.vectors, request.dimensions) {
            Some(flaw) => Err(self.told(ErrorKind::MalformedResponse, flaw)),
            None => Ok(embeddings),
        }
    }
}

impl GeminiProvider {
    /// Refuses texts of which the model would drop the end without a word.
    async fn refuse_long(&self, request: &EmbedRequest, cx: &CallCx) -> Result<(), ProviderError> {
        if request.texts.iter().all(|text| text.len() <= SHORT_BYTES) {
            return Ok(());
        }
        let started = Instant::now();
        let Some(limit) = self.text_limit(&request.model, cx).await? else { return Ok(()) };
        for (at, text) in (1..).zip(&request.texts) {
            // What has no more bytes than tokens are allowed need not be counted.
            if u64::try_from(text.len()).is_ok_and(|bytes| bytes <= limit) {
                continue;
            }
            let tokens = self.tokens(&request.model, text, &rest(cx, started)).await?;
            if tokens.is_some_and(|tokens| tokens > limit) {
                let model = plain(&request.model);
                let message =
                    format!("text {at} is longer than the {limit} tokens that `{model}` takes");
                return Err(self.told(ErrorKind::ContextLength, message));
            }
        }
        Ok(())
    }

    /// The most tokens of a text, asked once. `None` when the service does not say.
    async fn text_limit(&self, model: &str, cx: &CallCx) -> Result<Option<u64>, ProviderError> {
        if let Some(known) = self.known.get(plain(model)) {
            return Ok(known.context_window);
        }
        let path = resource(model);
        let what = "the description of the model";
        let question = Question { path: &path, body: None, model: Some(model), what };
        let said: Model = self.ask(question, cx).await?;
        let context_window = said.input_token_limit;
        self.known.keep(plain(model), Capabilities { context_window, ..Capabilities::default() });
        Ok(context_window)
    }

    async fn tokens(
        &self,
        model: &str,
        text: &str,
        cx: &CallCx,
    ) -> Result<Option<u64>, ProviderError> {
        let path = format!("{}:countTokens", resource(model));
        let body = json!({"contents": [{"parts": [{"text": text}]}]});
        let what = "the count of tokens";
        let question = Question { path: &path, body: Some(body), model: Some(model), what };
        let counted: Count = self.ask(question, cx).await?;
        Ok(counted.total_tokens)
    }
}

/// An entry for each text: several texts in one entry would become a single vector.
fn body(request: &EmbedRequest, texts: &[String]) -> Value {
    let task = match request.purpose {
        EmbedPurpose::Document => "RETRIEVAL_DOCUMENT",
        EmbedPurpose::Query => "RETRIEVAL_QUERY",
    };
    let entries: Vec<Value> = texts
        .iter()
        .map(|text| {
            let mut entry = json!({
                "model": format!("models/{}", plain(&request.model)),
                "content": {"parts": [{"text": text}]},
                "taskType": task,
            });
            if let (Some(dimensions), Some(entry)) = (request.dimensions, entry.as_object_mut()) {
                entry.insert("outputDimensionality".into(), dimensions.into());
            }
            entry
        })
        .collect();
    json!({"requests": entries})
}

/// The texts in their order, in as few pieces as the service takes.
fn batches(texts: &[String]) -> Vec<&[String]> {
    let mut batches = Vec::new();
    let mut rest = texts;
    while !rest.is_empty() {
        let mut bytes = 0_usize;
        let fitting = rest.iter().take(TEXTS_MAX).take_while(|text| {
            bytes = bytes.saturating_add(text.len());
            bytes <= BYTES_MAX
        });
        let count = fitting.count().max(1);
        let (batch, tail) = rest.split_at(count);
        batches.push(batch);
        rest = tail;
    }
    batches
}

/// What is wrong with vectors, if something is.
fn flaw(vectors: &[Vec<f32>], dimensions: Option<u32>) -> Option<String> {
    let asked = dimensions.and_then(|dimensions| usize::try_from(dimensions).ok());
    let length = asked.or_else(|| vectors.first().map(Vec::len))?;
    if let Some(other) = vectors.iter().map(Vec::len).find(|other| *other != length || length == 0)
    {
        return Some(format!("the service sent a vector of {other} numbers in place of {length}"));
    }
    let finite = vectors.iter().flatten().all(|number| number.is_finite());
    (!finite).then(|| "the service sent a vector with a number that is none".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_sent_in_as_few_requests_as_the_service_takes() {
        let sizes = |texts: &[String]| batches(texts).iter().map(|it| it.len()).collect::<Vec<_>>();
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&vec![String::new(); 250]), [100, 100, 50]);
        let large = "x".repeat(BYTES_MAX / 2);
        let huge = "x".repeat(BYTES_MAX + 1);
        let texts = [large.clone(), large.clone(), large, huge, String::new()];
        assert_eq!(sizes(&texts), [2, 1, 1, 1]);
    }

    #[test]
    fn vectors_of_another_length_or_without_a_number_are_flawed() {
        let good = [vec![1.0, 2.0], vec![3.0, 4.0]];
        assert_eq!(flaw(&good, None), None);
        assert_eq!(flaw(&good, Some(2)), None);
        assert_eq!(flaw(&[], Some(2)), None);
        for (vectors, dimensions) in [
            (vec![vec![1.0], vec![1.0, 2.0]], None),
            (vec![vec![1.0]], Some(2)),
            (vec![vec![]], None),
            (vec![vec![f32::NAN]], None),
            (vec![vec![f32::INFINITY]], None),
        ] {
            assert!(flaw(&vectors, dimensions).is_some(), "{vectors:?}");
        }
    }
}
