//! Which recorded request is most like one that was not recorded.

use serde_json::Value;

use super::Interaction;

/// How a request differs from the nearest of the recorded ones, for people: where, and not what,
/// for prompts belong into no error.
pub(in super::super) fn difference(
    recorded: &[Interaction],
    normal_of: impl Fn(&Interaction) -> Value,
) -> String {
    let likeness = |interaction: &Interaction, asked: &Value| {
        let same_model = interaction.request.get("model") == asked.get("model");
        (same_model, same_messages(&interaction.request, asked))
    };
    let nearest = recorded
        .iter()
        .enumerate()
        .map(|(n, interaction)| (n, interaction, normal_of(interaction)))
        // The first of several that are equally near.
        .rev()
        .max_by_key(|(_, interaction, asked)| likeness(interaction, asked));
    let Some((n, interaction, asked)) = nearest else {
        return "nothing was recorded".to_owned();
    };
    format!(
        "the nearest one is number {} of {} ({}, key {}), which differs in {}",
        n + 1,
        recorded.len(),
        interaction.model(),
        interaction.key.as_str().get(..12).unwrap_or_default(),
        place(&interaction.request, &asked),
    )
}

/// How many messages are the same from the beginning on.
fn same_messages(a: &Value, b: &Value) -> usize {
    let messages = |it: &Value| it.get("messages").and_then(Value::as_array).cloned();
    let (a, b) = (messages(a).unwrap_or_default(), messages(b).unwrap_or_default());
    a.iter().zip(&b).take_while(|(a, b)| a == b).count()
}

/// The first place where they differ.
fn place(recorded: &Value, asked: &Value) -> String {
    let count = |it: &Value| it.get("messages").and_then(Value::as_array).map_or(0, Vec::len);
    let same = same_messages(recorded, asked);
    let (ours, theirs) = (count(asked), count(recorded));
    if recorded.get("model") != asked.get("model") {
        return "`model`".to_owned();
    }
    if same < ours.min(theirs) {
        return format!("`messages[{same}]`");
    }
    if ours != theirs {
        return format!("the number of messages: {theirs} were recorded, {ours} are asked");
    }
    let fields = ["tools", "output_schema", "max_output_tokens", "temperature", "reasoning"];
    let field = fields.into_iter().find(|name| recorded.get(*name) != asked.get(*name));
    format!("`{}`", field.unwrap_or("extra"))
}
