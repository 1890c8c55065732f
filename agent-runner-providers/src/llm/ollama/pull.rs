//! Getting models from `/api/pull`, with its progress.

use std::collections::VecDeque;

use agent_runner_core::llm::{BoxStream, CallCx, ErrorKind, ProviderError};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{OllamaProvider, error};
use crate::{
    http::{Body, LineDecoder},
    llm::{Fault, json::parse},
};

/// Longest line of progress in bytes; real ones have some hundred.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// The status of the last line.
const SUCCESS: &str = "success";

/// How far a model has come in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct PullProgress {
    /// What is being done, in the server's words; `success` at the end.
    #[serde(default)]
    pub status: String,
    /// The layer that is being loaded.
    pub digest: Option<String>,
    /// The layer's bytes.
    pub total: Option<u64>,
    /// Those of them that are there. The server leaves a zero out.
    pub completed: Option<u64>,
}

impl OllamaProvider {
    /// Makes the server get a model, and tells how far it is. A good stream ends after the status
    /// `success`; any other end is an error. Dropping the stream stops the server's work, which
    /// goes on from there the next time.
    ///
    /// # Errors
    /// Any [`ErrorKind`], before the stream or as its last item.
    pub async fn pull(
        &self,
        model: &str,
        cx: &CallCx,
    ) -> Result<BoxStream<'static, Result<PullProgress, ProviderError>>, ProviderError> {
        let body = json!({"model": model, "stream": true});
        let answer = self.http.send(Method::POST, "api/pull", Some(body), cx).await?;
        if !answer.is_success() {
            let refusal = answer.refusal().await;
            let fault = error::refused(&refusal, None);
            return Err(refusal.into_error(fault));
        }
        let pulling = Pulling {
            body: answer,
            lines: LineDecoder::new(LINE_BYTES_MAX),
            ready: VecDeque::new(),
            failed: None,
            ended: false,
        };
        Ok(Box::pin(futures::stream::unfold(Some(pulling), |pulling| async move {
            let mut pulling = pulling?;
            loop {
                if let Some(progress) = pulling.ready.pop_front() {
                    let more = progress.status != SUCCESS;
                    return Some((Ok(progress), more.then_some(pulling)));
                }
                if let Some(error) = pulling.failed.take() {
                    return Some((Err(error), None));
                }
                pulling.advance().await;
            }
        })))
    }
}

struct Pulling {
    body: Body,
    lines: LineDecoder,
    ready: VecDeque<PullProgress>,
    failed: Option<ProviderError>,
    ended: bool,
}

impl Pulling {
    /// Reads one piece of the body. What a piece says before its error is told first.
    async fn advance(&mut self) {
        let ready = &mut self.ready;
        let mut each = |line: &str| {
            ready.push_back(progress(line)?);
            Ok(())
        };
        let pushed = match self.body.next().await {
            Err(error) => {
                self.failed = Some(error);
                return;
            }
            Ok(Some(bytes)) => self.lines.push(&bytes, &mut each),
            Ok(None) => {
                self.ended = true;
                self.lines.finish(&mut each)
            }
        };
        let told = pushed.and_then(|()| match self.ready.back() {
            Some(last) if last.status == SUCCESS => Ok(()),
            _ if self.ended => Err(Fault::new(
                ErrorKind::StreamTruncated,
                "the server stopped before the model was complete",
            )),
            _ => Ok(()),
        });
        self.failed = told.err().map(|fault| self.body.fault(fault));
    }
}

fn progress(line: &str) -> Result<PullProgress, Fault> {
    let strange = || Fault::malformed("the server sent a strange line of progress", line);
    let document: Value = parse(line).map_err(|_| strange())?;
    match error::reported(&document) {
        Some(fault) => Err(fault),
        None => serde_json::from_value(document).map_err(|_| strange()),
    }
}
