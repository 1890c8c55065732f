//! The description of the service, made from the routes themselves.

use utoipa::openapi::{InfoBuilder, Tag};

/// The groups of routes, in the order of the documentation.
const TAGS: [(&str, &str); 15] = [
    ("runs", "Start, read, wait for and delete runs."),
    ("control", "Ask something of a run: end, pause, go on, read a message."),
    ("events", "The journal of a run, by page and as it happens."),
    ("steps", "The steps of a run."),
    ("projects", "Named workspaces."),
    ("providers", "Models and who offers them."),
    ("files", "The files of a project."),
    ("artifacts", "What runs made, by name and version."),
    ("approvals", "What waits for a person's word."),
    ("git", "Git repositories of a project."),
    ("tools", "What agents can do."),
    ("web", "The web, behind a guard."),
    ("workers", "Who executes runs."),
    ("health", "Probes for operators."),
    ("docs", "This description."),
];

/// The `OpenAPI` 3.1 document as pretty JSON with a final newline.
pub(crate) fn document() -> String {
    let mut openapi = crate::routes::openapi();
    openapi.info = InfoBuilder::new()
        .title("agent-runner")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Runs LLM agents durably. Every error is application/problem+json (RFC 9457).",
        ))
        .build();
    for item in openapi.paths.paths.values_mut() {
        let operations =
            [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            // The names of handlers are unique within their group only.
            let group = operation.tags.iter().flatten().next().cloned().unwrap_or_default();
            let name = operation.operation_id.take().unwrap_or_default();
            operation.operation_id = Some(format!("{group}_{name}"));
        }
    }
    let tags = TAGS.map(|(name, description)| {
        let mut tag = Tag::new(name);
        tag.description = Some(description.to_owned());
        tag
    });
    openapi.tags = Some(tags.into_iter().collect());
    // It is made of strings and maps with string keys: it cannot fail.
    let mut text = openapi.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}
