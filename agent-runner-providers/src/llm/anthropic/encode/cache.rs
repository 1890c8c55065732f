//! Where the service shall remember a conversation's beginning.

use serde_json::{Value, json};

use super::turns::{Conversation, Speaker, Turn, is};
use crate::llm::anthropic::CacheLifetime;

/// Marks the ends of what stays the same: the tools and instructions, the turn before the last
/// reply, and the last turn, which is the one before the last reply of the next request. These are
/// three of the four marks that the API takes.
pub(super) fn mark(lifetime: CacheLifetime, tools: &mut [Value], conversation: &mut Conversation) {
    let mark = match lifetime {
        CacheLifetime::Off => return,
        CacheLifetime::FiveMinutes => json!({"type": "ephemeral"}),
        CacheLifetime::OneHour => json!({"type": "ephemeral", "ttl": "1h"}),
    };
    // Tools come before the instructions, so that one mark covers both.
    if let Some(block) = conversation.system.last_mut().or(tools.last_mut()) {
        set(block, &mark);
    }
    let mut turns = conversation.turns.iter_mut().rev();
    let last = turns.next();
    let before = turns.find(|turn| turn.speaker == Speaker::User);
    for turn in last.into_iter().chain(before) {
        mark_turn(turn, &mark);
    }
}

fn mark_turn(turn: &mut Turn, mark: &Value) {
    let takes =
        |block: &&mut Value| is(block, "text") || is(block, "tool_use") || is(block, "tool_result");
    if let Some(block) = turn.blocks.iter_mut().rev().find(takes) {
        set(block, mark);
    }
}

fn set(block: &mut Value, mark: &Value) {
    if let Value::Object(block) = block {
        block.insert("cache_control".into(), mark.clone());
    }
}
