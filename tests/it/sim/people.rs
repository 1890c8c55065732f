//! People who tell runs things, stop them, and watch them.

use std::{collections::BTreeMap, time::Duration};

use agent_runner_core::{
    directive::Resolution,
    engine::{Engine, Frame, NewFork, NewMessage, WatchOptions},
    id::RunId,
    run::{ParkReason, RunStatus},
    step::StepStatus,
};
use futures::StreamExt as _;
use serde_json::json;

use super::{chance::Chance, world::with_descendants};

/// What was accepted of a run.
#[derive(Debug, Default)]
pub(crate) struct Accepted {
    pub(super) messages: Vec<String>,
    pub(super) canceled: bool,
}

/// Interferes now and then for as long as `time`.
pub(super) async fn interfere(
    engine: &Engine,
    runs: &mut Vec<RunId>,
    chance: &Chance,
    (pause, time): (Duration, Duration),
) -> BTreeMap<RunId, Accepted> {
    let mut accepted: BTreeMap<RunId, Accepted> = BTreeMap::new();
    let end = tokio::time::Instant::now() + time;
    let mut number = 0;
    while tokio::time::Instant::now() < end {
        tokio::time::sleep(chance.time(pause)).await;
        let all = with_descendants(engine, runs).await;
        let id = all[chance.index(all.len())];
        number += 1;
        let so_far = accepted.entry(id).or_default();
        // Refusals are answers; what was accepted is held against the engine.
        match chance.below(12) {
            0 | 1 => drop(engine.pause(id).await),
            2 | 3 => drop(engine.resume(id).await),
            4 => {
                so_far.canceled |= engine.cancel(id, None).await.is_ok();
            }
            5..=7 => {
                let text = format!("message {number}");
                let message = NewMessage {
                    id: Some(format!("m{number}")),
                    text: text.clone(),
                    ..NewMessage::default()
                };
                if let Ok((_, true)) = engine.send_message(id, message.clone()).await {
                    so_far.messages.push(text);
                    // Who did not hear the answer sends it again, and nothing new comes of it.
                    if let Ok((_, new)) = engine.send_message(id, message).await {
                        assert!(!new, "message {number} was taken twice");
                    }
                }
            }
            8 | 9 => drop(engine.signal(id, "go", json!(number), None).await),
            10 => answer(engine, id, chance).await,
            _ if runs.len() < 12 => {
                let code = engine.run(id).await.unwrap().spec.workflow.is_some();
                let fork = NewFork { max_steps: (!code).then_some(200), ..NewFork::default() };
                if let Ok(created) = engine.fork(id, fork).await {
                    runs.push(created.run.id);
                }
            }
            _ => {}
        }
    }
    accepted
}

/// Says what became of a call, if the run asks.
async fn answer(engine: &Engine, id: RunId, chance: &Chance) {
    let run = engine.run(id).await.unwrap();
    if run.park.is_none_or(|park| park.reason != ParkReason::Ask) {
        return;
    }
    for step in engine.steps(id).await.unwrap() {
        if step.status == StepStatus::Started {
            let resolution = match chance.below(2) {
                0 => Resolution::Succeeded { output: json!("a person saw it") },
                _ => Resolution::Failed { message: None },
            };
            let _ = engine.resolve(id, &step.key, resolution).await;
        }
    }
}

/// Gives every run what it waits for until it ends.
pub(super) async fn help_to_the_end(engine: &Engine, runs: &[RunId], chance: &Chance) {
    for round in 0.. {
        let mut open = Vec::new();
        for id in &with_descendants(engine, runs).await {
            let run = engine.run(*id).await.unwrap();
            if run.status.is_terminal() {
                continue;
            }
            if run.pause_requested || run.park.is_some_and(|park| park.reason == ParkReason::Poison)
            {
                let _ = engine.resume(*id).await;
            }
            answer(engine, *id, chance).await;
            let _ = engine.signal(*id, "go", json!(round), None).await;
            open.push(*id);
        }
        if open.is_empty() {
            return;
        }
        assert!(round < 500, "runs hang: {open:?}\n{:#?}", engine.run(open[0]).await);
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
}

/// Watches a run from its first event to its end: each event once, in order.
pub(super) async fn watch(engine: Engine, id: RunId) -> RunStatus {
    let mut frames = engine.watch(id, WatchOptions { after: 0, live: true });
    let mut last = 0;
    while let Some(frame) = frames.next().await {
        match frame.unwrap() {
            Frame::Event(event) => {
                assert_eq!(event.seq, last + 1, "run {id}: an event is missing or comes twice");
                last = event.seq;
            }
            Frame::End { status } => return status,
            Frame::Live(_) => {}
            frame => panic!("{frame:?}"),
        }
    }
    panic!("the watcher of {id} was left alone");
}
