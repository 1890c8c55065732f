//! How much a model shall think, as its generation takes it.

use agent_runner_core::llm::ReasoningEffort;
use serde_json::{Value, json};

use super::turns::Conversation;
use crate::llm::anthropic::models::{Efforts, Generation, Thinking};

/// Smallest budget that the API takes.
const BUDGET_MIN: u64 = 1024;

/// What to send.
#[derive(Debug, Default)]
pub(super) struct Reasoning {
    pub(super) thinking: Option<Value>,
    pub(super) effort: Option<&'static str>,
    /// What was done otherwise than asked.
    pub(super) notice: Option<String>,
}

/// What to send for an effort, or for none.
pub(super) fn of(
    effort: Option<ReasoningEffort>,
    generation: Generation,
    max_tokens: u64,
    conversation: &Conversation,
) -> Reasoning {
    // The texts between tool calls are thoughts since 5.5, and come empty unless asked for.
    let adaptive = || match generation.silent {
        true => json!({"type": "adaptive", "display": "summarized"}),
        false => json!({"type": "adaptive"}),
    };
    let level = effort.and_then(|effort| level(effort, generation.efforts));
    let asked = match effort {
        None => {
            let thinks = matches!(
                generation.thinking,
                Thinking::ByDefault | Thinking::BetweenTools | Thinking::Always
            );
            return Reasoning { thinking: thinks.then(adaptive), ..Reasoning::default() };
        }
        Some(ReasoningEffort::Off) => {
            let (thinking, notice) = match generation.thinking {
                Thinking::Never | Thinking::Budget | Thinking::OnRequest | Thinking::Unknown => {
                    (None, None)
                }
                Thinking::ByDefault => (Some(json!({"type": "disabled"})), None),
                Thinking::BetweenTools => (Some(json!({"type": "between_tools"})), None),
                Thinking::Always => {
                    (None, Some("this model thinks in any case, as little as it can".to_owned()))
                }
            };
            return Reasoning { thinking, effort: level, notice };
        }
        Some(effort) => effort,
    };
    let (thinking, notice) = match generation.thinking {
        Thinking::Never => (None, Some("this model does not reason".to_owned())),
        Thinking::Budget if conversation.is_thoughtless() => {
            let notice = "no reasoning was asked for: the last tool calls are another model's";
            (None, Some(notice.to_owned()))
        }
        Thinking::Budget => match budget(asked, max_tokens) {
            Some(tokens) => (Some(json!({"type": "enabled", "budget_tokens": tokens})), None),
            None => {
                let notice = "no reasoning was asked for: the reply may be too short for it";
                (None, Some(notice.to_owned()))
            }
        },
        _ => (Some(adaptive()), None),
    };
    Reasoning { thinking, effort: level, notice }
}

const fn level(effort: ReasoningEffort, efforts: Efforts) -> Option<&'static str> {
    Some(match (effort, efforts) {
        (_, Efforts::Never) => return None,
        (ReasoningEffort::Off | ReasoningEffort::Low, _) => "low",
        (ReasoningEffort::Medium, _) => "medium",
        (ReasoningEffort::High, _) | (ReasoningEffort::Max, Efforts::ToHigh) => "high",
        (ReasoningEffort::Max, Efforts::ToMax) => "max",
    })
}

/// The tokens to think with. They count against the reply's, of which at least half are left for
/// the answer where that is possible.
fn budget(effort: ReasoningEffort, max_tokens: u64) -> Option<u64> {
    let wish = match effort {
        ReasoningEffort::Off | ReasoningEffort::Low => 2_048,
        ReasoningEffort::Medium => 8_192,
        ReasoningEffort::High => 16_384,
        ReasoningEffort::Max => 32_768,
    };
    (max_tokens > BUDGET_MIN).then(|| wish.min(max_tokens / 2).max(BUDGET_MIN))
}
