//! Compares two runs, typically a run and its fork.

use std::{collections::BTreeMap, collections::BTreeSet, ops::ControlFlow};

use serde_json::{Value, json};

use super::{Engine, EngineError, journal};
use crate::{
    event::Event,
    id::{RunId, StepKey},
    limits,
    machine::{Parting, Story},
    run::Run,
    step::Step,
    store::EventQuery,
};

/// How two runs differ. What says `left` is of the first one.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RunDiff {
    /// The first run, its output shortened when it is long.
    pub left: Run,
    /// The second run.
    pub right: Run,
    /// The events at which their journals part; `None` when both tell the same. Who did it, when,
    /// and ids that are never the same twice do not count.
    pub parting: Option<PartingEvents>,
    /// What was asked for differently; at most [`limits::DIFF_ITEMS_MAX`].
    pub spec: Vec<FieldDiff>,
    /// Steps that only one has or that came to something else, by key; at most
    /// [`limits::DIFF_ITEMS_MAX`].
    pub steps: Vec<StepDiff>,
    /// How many more fields and steps differ.
    pub left_out: usize,
}

/// The events at which two journals part; `None` in the one that had ended before.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PartingEvents {
    /// In the first.
    pub left: Option<Event>,
    /// In the second.
    pub right: Option<Event>,
}

/// A part of what was asked for that differs.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FieldDiff {
    /// Its place as a JSON Pointer, such as `/agent/model`.
    pub pointer: String,
    /// What it was in the first; `None` for nothing.
    pub left: Option<Value>,
    /// What it was in the second; `None` for nothing.
    pub right: Option<Value>,
}

/// A step that differs.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StepDiff {
    /// The step as the first run has it, if it does.
    pub left: Option<Step>,
    /// The step as the second run has it, if it does.
    pub right: Option<Step>,
}

impl Engine {
    /// How two runs differ. Both journals are read to their ends as they are now; a long value is
    /// shortened.
    ///
    /// # Errors
    /// `NotFound` for either; `Internal` for a journal that cannot be read.
    pub async fn diff(&self, left: RunId, right: RunId) -> Result<RunDiff, EngineError> {
        let (mut left, mut right) = (self.run(left).await?, self.run(right).await?);
        let stories = (self.story(left.id).await?, self.story(right.id).await?);
        let parting = match stories.0.parting(&stories.1) {
            Some(parting) => Some(self.parting_events(&left, &right, parting).await?),
            None => None,
        };
        let (mut spec, mut steps) = (Vec::new(), Vec::new());
        fields("", Some(&asked_for(&left)), Some(&asked_for(&right)), &mut spec);
        let mut all: BTreeMap<StepKey, StepDiff> = BTreeMap::new();
        let lefts = self.steps(left.id).await?.into_iter();
        all.extend(
            lefts.map(|step| (step.key.clone(), StepDiff { left: Some(step), right: None })),
        );
        for step in self.steps(right.id).await? {
            let diff = all.entry(step.key.clone());
            diff.or_insert(StepDiff { left: None, right: None }).right = Some(step);
        }
        for (key, diff) in all {
            let same = match (&diff.left, &diff.right) {
                (Some(left), Some(right)) => {
                    (left.kind, &left.name, left.status, &left.error)
                        == (right.kind, &right.name, right.status, &right.error)
                        && stories.0.same_result(&stories.1, &key)
                }
                (None, _) | (_, None) => false,
            };
            if !same {
                steps.push(diff);
            }
        }
        for run in [&mut left, &mut right] {
            run.output = run.output.as_ref().map(shortened);
        }
        let left_out = cut(&mut spec) + cut(&mut steps);
        Ok(RunDiff { left, right, parting, spec, steps, left_out })
    }

    async fn story(&self, id: RunId) -> Result<Story, EngineError> {
        let mut story = Story::default();
        journal::walk(&*self.inner.store, id, 0, |event, body| {
            story.take(event.seq, &body);
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        Ok(story)
    }

    async fn parting_events(
        &self,
        left: &Run,
        right: &Run,
        parting: Parting,
    ) -> Result<PartingEvents, EngineError> {
        let mut events = [None, None];
        for (event, (run, seq)) in
            events.iter_mut().zip([(left.id, parting.left), (right.id, parting.right)])
        {
            if let Some(seq) = seq {
                let query = EventQuery { limit: 1, ..EventQuery::after(seq.saturating_sub(1)) };
                *event = self.events(run, &query).await?.into_iter().next();
            }
        }
        let [left, right] = events;
        Ok(PartingEvents { left, right })
    }
}

/// Keeps the first; how many were left out.
fn cut<T>(items: &mut Vec<T>) -> usize {
    let more = items.len().saturating_sub(limits::DIFF_ITEMS_MAX);
    items.truncate(limits::DIFF_ITEMS_MAX);
    more
}

/// All that a caller said about a run.
fn asked_for(run: &Run) -> Value {
    // Our own types with text keys: it cannot fail.
    let mut all = serde_json::to_value(&run.spec).unwrap_or_default();
    if let Some(fields) = all.as_object_mut() {
        for (name, value) in [
            ("project_id", json!(run.project_id)),
            ("name", json!(run.name)),
            ("priority", json!(run.priority)),
            ("tags", json!(run.tags)),
            ("metadata", json!(run.metadata)),
        ] {
            fields.insert(name.to_owned(), value);
        }
    }
    all
}

/// The places at which two values differ, as deep as both are objects.
fn fields(pointer: &str, left: Option<&Value>, right: Option<&Value>, found: &mut Vec<FieldDiff>) {
    let said = |value: &&Value| !value.is_null();
    match (left.filter(said), right.filter(said)) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            for key in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
                let place = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                fields(&place, a.get(key), b.get(key), found);
            }
        }
        (left, right) if left != right => {
            let (left, right) = (left.map(shortened), right.map(shortened));
            found.push(FieldDiff { pointer: pointer.to_owned(), left, right });
        }
        _ => {}
    }
}

/// A value that is small enough to stand in a list: a long one is the beginning of its text.
fn shortened(value: &Value) -> Value {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if text.len() <= limits::DIFF_VALUE_BYTES_MAX {
        return value.clone();
    }
    let end = text.floor_char_boundary(limits::DIFF_VALUE_BYTES_MAX);
    let begins = text.get(..end).unwrap_or_default();
    Value::String(format!("{begins}… ({} bytes)", text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(left: &Value, right: &Value) -> Vec<(String, Option<Value>, Option<Value>)> {
        let mut found = Vec::new();
        fields("", Some(left), Some(right), &mut found);
        found.into_iter().map(|field| (field.pointer, field.left, field.right)).collect()
    }

    #[test]
    fn fields_differ_where_they_do_and_nowhere_else() {
        let left = json!({"a": 1, "b": {"c": [1], "d/e": "x", "same": {}}, "null": null, "old": 2});
        let right = json!({"a": 1, "b": {"c": [2], "d/e": {}, "same": {}}, "new": null});
        assert_eq!(found(&left, &left), []);
        assert_eq!(
            found(&left, &right),
            [
                ("/b/c".to_owned(), Some(json!([1])), Some(json!([2]))),
                ("/b/d~1e".to_owned(), Some(json!("x")), Some(json!({}))),
                ("/old".to_owned(), Some(json!(2)), None),
            ]
        );
    }

    #[test]
    fn a_long_value_is_shortened_between_characters() {
        let max = limits::DIFF_VALUE_BYTES_MAX;
        assert_eq!(shortened(&json!("a".repeat(max))), json!("a".repeat(max)));
        let long = "é".repeat(max);
        let short = shortened(&json!(long));
        assert!(short.as_str().unwrap().ends_with(&format!("é… ({} bytes)", 2 * max)));
        assert!(short.as_str().unwrap().len() < max + 40);
    }
}
