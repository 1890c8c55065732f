//! Models that follow a script instead of thinking: offline, deterministic, free of charge. For
//! tests, for trying the engine without a model, and for provoking what models do rarely.

mod play;
mod script;
mod turn;

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use agent_runner_core::llm::{
    BoxStream, CallCx, Capabilities, ErrorKind, LlmEvent, LlmProvider, LlmRequest, ModelInfo,
    ProviderError, SendState,
};
use async_trait::async_trait;

use self::{play::Patience, script::Script, turn::Scene};

/// The scripts of `demo`, `echo` and `slow`.
const BUILTIN: &str = include_str!("scripted/builtin.yaml");

/// Plays scripts, one per model.
///
/// A reply depends on the request alone (and on the attempt, where a script says so): the turn is
/// chosen by the number of replies that the conversation already has. The language is described in
/// `docs/SCRIPTED_MODELS.md`.
#[derive(Debug, Clone)]
pub struct ScriptedProvider {
    id: Cow<'static, str>,
    scripts: BTreeMap<String, Script>,
}

impl ScriptedProvider {
    /// A provider with the id `scripted` and the models of a YAML document.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] that names the place in the script.
    pub fn from_yaml(yaml: &str) -> Result<Self, ProviderError> {
        Self { id: Cow::Borrowed("scripted"), scripts: BTreeMap::new() }.with_yaml(yaml)
    }

    /// A provider with the id `scripted` and the built-in models: `demo` plans, calls the tools it
    /// is offered and answers; `echo` answers with the goal at once; `slow` is silent for as long
    /// as the goal says (`30s`), then answers.
    ///
    /// # Errors
    /// None in practice: a test reads the built-in script.
    pub fn demo() -> Result<Self, ProviderError> {
        Self::from_yaml(BUILTIN)
    }

    /// With the models of another YAML document.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] that names the place in the script, or the model that there is
    /// already.
    pub fn with_yaml(mut self, yaml: &str) -> Result<Self, ProviderError> {
        let wrong = |text: String| ProviderError::new(ErrorKind::InvalidRequest, "scripted", text);
        for (name, script) in script::parse(yaml).map_err(wrong)? {
            if self.scripts.contains_key(&name) {
                return Err(wrong(format!("models.{name}: there is a model of that name already")));
            }
            self.scripts.insert(name, script);
        }
        Ok(self)
    }

    /// With another id, so that a program can have several of them.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<Cow<'static, str>>) -> Self {
        self.id = id.into();
        self
    }

    fn error(&self, kind: ErrorKind, context: impl Into<String>) -> ProviderError {
        ProviderError::new(kind, self.id.clone(), context).with_sent(SendState::NotSent)
    }

    fn script(&self, model: &str) -> Result<&Script, ProviderError> {
        self.scripts.get(model).ok_or_else(|| {
            let names: Vec<&str> = self.scripts.keys().map(String::as_str).collect();
            let context = format!("there is no script `{model}`; there are {}", names.join(", "));
            self.error(ErrorKind::ModelNotFound, context)
        })
    }
}

impl Script {
    const fn capabilities(&self) -> Capabilities {
        Capabilities {
            tools: Some(self.native_tools),
            json_schema: Some(true),
            schema_with_tools: Some(self.native_tools),
            vision: Some(false),
            reasoning: Some(true),
            context_window: None,
            max_output: None,
        }
    }
}

#[async_trait]
impl LlmProvider for ScriptedProvider {
    fn id(&self) -> &str {
        &self.id
    }

    fn capabilities(&self, model: &str) -> Capabilities {
        self.scripts.get(model).map(Script::capabilities).unwrap_or_default()
    }

    async fn models(&self, _cx: &CallCx) -> Result<Vec<ModelInfo>, ProviderError> {
        let info = |(id, script): (&String, &Script)| ModelInfo {
            id: id.clone(),
            capabilities: script.capabilities(),
        };
        Ok(self.scripts.iter().map(info).collect())
    }

    async fn stream(
        &self,
        request: &LlmRequest,
        cx: &CallCx,
    ) -> Result<BoxStream<'static, Result<LlmEvent, ProviderError>>, ProviderError> {
        let script = self.script(&request.model)?;
        if !script.native_tools && !request.tools.is_empty() {
            let context = format!("`{}` takes no tools; its script says so", request.model);
            return Err(self.error(ErrorKind::UnsupportedFeature, context));
        }
        let patience = Patience::of(self.id.clone(), cx);
        patience.wait(Duration::ZERO).await?;
        let scene = Scene::of(request, script);
        let turn = scene.choose(script).ok_or_else(|| {
            let context = format!(
                "the script `{}` has no further turn; let its last one call no tool, or say `repeat: true`",
                request.model
            );
            self.error(ErrorKind::InvalidRequest, context)
        })?;
        let failure = turn
            .error
            .as_ref()
            .filter(|failure| failure.attempts.is_none_or(|attempts| cx.attempt <= attempts));
        let interruption = match failure {
            None => None,
            Some(failure) => {
                let error = play::error(self.id.clone(), failure);
                let Some(pieces) = failure.after_chunks else {
                    patience.wait(script.delay(turn)).await?;
                    return Err(error);
                };
                Some((pieces, error))
            }
        };
        let steps = play::steps(request, (script, &scene, turn), interruption);
        Ok(play::play(steps, patience))
    }
}
