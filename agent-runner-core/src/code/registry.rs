//! The workflows that a program has.

use std::{collections::BTreeMap, fmt, marker::PhantomData, sync::Arc};

use futures::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::Ctx;

/// The code of a workflow.
pub(crate) trait Code: Send + Sync + 'static {
    /// Whether that can be its input; what is wrong with it.
    fn check(&self, input: &Value) -> Result<(), String>;

    /// Begins it. Nothing happens until the future is polled.
    fn begin(&self, ctx: Ctx, input: Value) -> BoxFuture<'static, Result<Value, String>>;
}

/// An `async fn` as code.
pub(crate) struct FnCode<F, I> {
    function: F,
    input: PhantomData<fn(I)>,
}

impl<F, I> FnCode<F, I> {
    pub(crate) const fn new(function: F) -> Self {
        Self { function, input: PhantomData }
    }
}

impl<F, Fut, I, O, E> Code for FnCode<F, I>
where
    F: Fn(Ctx, I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, E>> + Send + 'static,
    I: DeserializeOwned + 'static,
    O: Serialize,
    E: fmt::Display,
{
    fn check(&self, input: &Value) -> Result<(), String> {
        serde_json::from_value::<I>(input.clone()).map(drop).map_err(|error| error.to_string())
    }

    fn begin(&self, ctx: Ctx, input: Value) -> BoxFuture<'static, Result<Value, String>> {
        let input = match serde_json::from_value(input) {
            Ok(input) => input,
            Err(error) => {
                let said = format!("the workflow cannot read its input: {error}");
                return Box::pin(std::future::ready(Err(said)));
            }
        };
        let code = (self.function)(ctx, input);
        Box::pin(async move {
            match code.await {
                Ok(output) => serde_json::to_value(output)
                    .map_err(|error| format!("the workflow's output is no JSON: {error}")),
                Err(error) => Err(format!("{error:#}")),
            }
        })
    }
}

/// All workflows, by name and version.
#[derive(Default, Clone)]
pub(crate) struct CodeRegistry(BTreeMap<String, BTreeMap<u32, Arc<dyn Code>>>);

impl fmt::Debug for CodeRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.known())
    }
}

impl CodeRegistry {
    /// Adds one; whether it is the first of its name and version.
    pub(crate) fn add(&mut self, name: String, version: u32, code: Arc<dyn Code>) -> bool {
        self.0.entry(name).or_default().insert(version, code).is_none()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn get(&self, name: &str, version: u32) -> Option<&Arc<dyn Code>> {
        self.0.get(name)?.get(&version)
    }

    /// The newest version of a workflow.
    pub(crate) fn newest(&self, name: &str) -> Option<u32> {
        self.0.get(name)?.keys().next_back().copied()
    }

    /// All of them, for people.
    pub(crate) fn known(&self) -> String {
        let all = self.0.iter().flat_map(|(name, versions)| {
            versions.keys().map(move |version| format!("`{name}` version {version}"))
        });
        let all: Vec<String> = all.collect();
        if all.is_empty() { "none".to_owned() } else { all.join(", ") }
    }
}
