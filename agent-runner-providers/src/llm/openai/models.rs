//! The list of models, in which each service tells what it knows in fields of its own.

use agent_runner_core::llm::{Capabilities, ModelInfo};
use serde_json::Value;

/// A model and what the service says that it can do. `None` for an entry without a name.
pub(super) fn info(model: &Value) -> Option<ModelInfo> {
    let count = |paths: &[&str]| {
        let counts = paths.iter().filter_map(|path| model.pointer(path)?.as_u64());
        counts.into_iter().find(|count| *count > 0)
    };
    // OpenRouter lists what a request may contain and what a prompt may consist of.
    let lists = |path: &str, word: &str| {
        let list = model.pointer(path)?.as_array()?;
        Some(list.iter().any(|item| item == word))
    };
    let says = |path: &str| model.pointer(path)?.as_bool();
    let capabilities = Capabilities {
        tools: lists("/supported_parameters", "tools")
            .or_else(|| says("/capabilities/function_calling")),
        json_schema: lists("/supported_parameters", "structured_outputs"),
        schema_with_tools: None,
        vision: lists("/architecture/input_modalities", "image")
            .or_else(|| says("/capabilities/vision")),
        reasoning: lists("/supported_parameters", "reasoning"),
        context_window: count(&[
            // vLLM, OpenRouter, llama.cpp, Groq, Mistral.
            "/max_model_len",
            "/context_length",
            "/meta/n_ctx",
            "/context_window",
            "/max_context_length",
        ]),
        max_output: count(&["/top_provider/max_completion_tokens", "/max_completion_tokens"]),
    };
    Some(ModelInfo { id: model.get("id")?.as_str()?.to_owned(), capabilities })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_each_service_tells_of_a_model_is_read() {
        let told = |model: Value| info(&model).unwrap().capabilities;
        let router = told(json!({
            "id": "vendor/m",
            "context_length": 200_000,
            "architecture": {"input_modalities": ["text", "image"]},
            "supported_parameters": ["tools", "reasoning", "temperature"],
            "top_provider": {"max_completion_tokens": 64_000, "context_length": 1},
        }));
        assert_eq!(
            router,
            Capabilities {
                tools: Some(true),
                json_schema: Some(false),
                schema_with_tools: None,
                vision: Some(true),
                reasoning: Some(true),
                context_window: Some(200_000),
                max_output: Some(64_000),
            }
        );
        let mistral = told(json!({"id": "m", "max_context_length": 32_768,
            "capabilities": {"function_calling": true, "vision": false}}));
        assert_eq!((mistral.tools, mistral.vision), (Some(true), Some(false)));
        assert_eq!(mistral.context_window, Some(32_768));
        let groq = told(json!({"id": "m", "context_window": 8192, "max_completion_tokens": 4096}));
        assert_eq!((groq.context_window, groq.max_output), (Some(8192), Some(4096)));
        assert_eq!(told(json!({"id": "m", "context_length": 0})), Capabilities::default());
        assert_eq!(info(&json!({"object": "model"})), None);
    }
}
