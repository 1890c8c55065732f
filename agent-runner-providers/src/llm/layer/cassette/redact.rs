//! Keeps secrets out of cassettes.

use agent_runner_core::llm::LlmEvent;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};

use super::{Interaction, line};
use crate::llm::layer::canonical::RequestKey;

/// What stands in place of a secret.
const REDACTED: &str = "[redacted]";

/// Texts that must not be written down.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Redactor {
    /// The longest first, so that of one that contains another nothing is left.
    secrets: Vec<SecretString>,
}

impl Redactor {
    /// For these secrets; an empty one is none.
    pub(in super::super) fn new(secrets: &[SecretString]) -> Self {
        let mut secrets: Vec<SecretString> = secrets
            .iter()
            .filter(|secret| !secret.expose_secret().is_empty())
            .flat_map(|secret| [secret.clone(), SecretString::from(escaped(secret))])
            .collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose_secret().len()));
        Self { secrets }
    }

    /// The text without secrets.
    fn text(&self, text: &str) -> String {
        self.secrets
            .iter()
            .fold(text.to_owned(), |text, secret| text.replace(secret.expose_secret(), REDACTED))
    }

    /// Every string and key inside without secrets.
    pub(in super::super) fn value(&self, value: &mut Value) {
        if self.secrets.is_empty() {
            return;
        }
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(map) => {
                let fields = std::mem::take(map).into_iter();
                *map = fields
                    .map(|(key, mut value)| {
                        self.value(&mut value);
                        (self.text(&key), value)
                    })
                    .collect::<Map<_, _>>();
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn finds(&self, text: &str) -> bool {
        self.secrets.iter().any(|secret| text.contains(secret.expose_secret()))
    }

    /// The interaction without secrets, under the key of what is left of its request; `None` when
    /// it contains one in a way that cannot be taken out, such as across the parts of a message.
    pub(in super::super) fn interaction(
        &self,
        mut interaction: Interaction,
    ) -> Option<Interaction> {
        if self.secrets.is_empty() {
            return Some(interaction);
        }
        self.join_torn(&mut interaction);
        let mut value = serde_json::to_value(&interaction).ok()?;
        self.value(&mut value);
        let mut interaction: Interaction = serde_json::from_value(value.clone()).ok()?;
        interaction.key = RequestKey::of_normal(&interaction.request);
        let dirty = self.finds(&line(&interaction)) || self.finds_across_parts(&value);
        (!dirty).then_some(interaction)
    }

    /// Whether a secret runs across the texts of neighbouring parts.
    fn finds_across_parts(&self, value: &Value) -> bool {
        match value {
            Value::Array(items) => {
                let texts = items.iter().filter_map(|item| item.get("text")?.as_str());
                self.finds(&texts.collect::<String>())
                    || items.iter().any(|item| self.finds_across_parts(item))
            }
            Value::Object(map) => map.values().any(|value| self.finds_across_parts(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
    }

    /// Joins the pieces of a reply where a secret runs across them, so that it can be found.
    fn join_torn(&self, interaction: &mut Interaction) {
        let kinds: [fn(&mut LlmEvent) -> Option<&mut String>; 3] = [text, reasoning, tool_call];
        for piece_of in kinds {
            let mut pieces: Vec<String> = Vec::new();
            for recorded in &mut interaction.events {
                pieces.extend(piece_of(&mut recorded.event).map(|piece| piece.clone()));
            }
            let whole = self.text(&pieces.concat());
            let parts: String = pieces.iter().map(|piece| self.text(piece)).collect();
            if whole == parts {
                continue;
            }
            let mut whole = Some(whole);
            interaction.events.retain_mut(|recorded| match piece_of(&mut recorded.event) {
                None => true,
                Some(piece) => match whole.take() {
                    Some(whole) => {
                        *piece = whole;
                        true
                    }
                    None => false,
                },
            });
        }
    }
}

const fn text(event: &mut LlmEvent) -> Option<&mut String> {
    match event {
        LlmEvent::TextDelta { text } => Some(text),
        _ => None,
    }
}

const fn reasoning(event: &mut LlmEvent) -> Option<&mut String> {
    match event {
        LlmEvent::ReasoningDelta { text } => Some(text),
        _ => None,
    }
}

const fn tool_call(event: &mut LlmEvent) -> Option<&mut String> {
    match event {
        LlmEvent::ToolCallDelta { json, .. } => Some(json),
        _ => None,
    }
}

/// The secret as it stands inside JSON.
fn escaped(secret: &SecretString) -> String {
    let json = Value::from(secret.expose_secret()).to_string();
    json.trim_matches('"').to_owned()
}
