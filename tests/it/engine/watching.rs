use agent_runner_core::{
    engine::{EngineErrorKind, Frame, LiveKind, NewRun, WatchOptions},
    id::RunId,
    run::RunStatus,
    step::EffectPolicy,
    testing::{Gate, LedgerTool, Turn},
};
use futures::StreamExt as _;
use serde_json::json;

use super::fixture::*;

on_every_store!(s20_a_watcher_gets_every_event_once_and_in_order_from_wherever_it_begins);
async fn s20_a_watcher_gets_every_event_once_and_in_order_from_wherever_it_begins() {
    let world = World::new([Turn::tool("ledger", json!({})), Turn::text("done")])
        .with_tool(LedgerTool::new("ledger", EffectPolicy::Idempotent));
    let engine = world.engine().await;
    let id = create(&engine, NewRun::new("x")).await;
    let early = engine.watch(id, WatchOptions::default());
    let _handle = engine.start();
    let early: Vec<_> = early.map(|frame| frame.unwrap()).collect().await;
    let last = engine.run(id).await.unwrap().last_seq;
    for after in 0..=last {
        let frames: Vec<_> = engine
            .watch(id, WatchOptions { after, live: false })
            .map(|frame| frame.unwrap())
            .collect()
            .await;
        let seqs: Vec<u64> = frames
            .iter()
            .filter_map(|f| if let Frame::Event(e) = f { Some(e.seq) } else { None })
            .collect();
        assert_eq!(seqs, (after + 1..=last).collect::<Vec<_>>());
        assert_eq!(frames.last(), Some(&Frame::End { status: RunStatus::Completed }));
        if after == 0 {
            assert_eq!(frames, early);
        }
    }
}

on_every_store!(live_text_comes_without_numbers_and_a_late_watcher_gets_the_text_so_far);
async fn live_text_comes_without_numbers_and_a_late_watcher_gets_the_text_so_far() {
    let gate = Gate::new();
    let world =
        World::new([Turn::Held("first ".into(), gate.clone(), Box::new(Turn::text("second")))]);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    gate.wait_for_arrival().await;
    let mut late = engine.watch(id, WatchOptions { after: 0, live: true });
    let mut text = String::new();
    let mut opened = false;
    while let Some(frame) = late.next().await {
        match frame.unwrap() {
            Frame::Live(live) => {
                assert_eq!(live.kind, LiveKind::Text);
                assert_eq!(live.offset, text.len(), "no piece is missing and none comes twice");
                text.push_str(&live.text);
                if !opened {
                    assert_eq!(text, "first ");
                    gate.open();
                    opened = true;
                }
            }
            Frame::Event(_) => {}
            Frame::End { status } => assert_eq!(status, RunStatus::Completed),
            Frame::Reset { .. } => panic!("no reset"),
        }
    }
    assert!("first second".starts_with(&text) && opened);
    assert!(!kinds(&engine, id).await.iter().any(|kind| kind.contains("delta")));
}

on_every_store!(s22_a_watcher_that_knows_another_history_is_told_to_begin_anew);
async fn s22_a_watcher_that_knows_another_history_is_told_to_begin_anew() {
    let world = World::new([Turn::text("x")]);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    let last_seq = ended(&engine, id).await.last_seq;
    let mut frames = engine.watch(id, WatchOptions { after: 1_000, live: false });
    assert_eq!(frames.next().await.unwrap().unwrap(), Frame::Reset { last_seq });
    assert!(matches!(frames.next().await.unwrap().unwrap(), Frame::Event(e) if e.seq == 1));
}

on_every_store!(watching_a_run_that_does_not_exist_is_an_error);
async fn watching_a_run_that_does_not_exist_is_an_error() {
    let world = World::new([Turn::text("x")]);
    let engine = world.engine().await;
    let id = RunId::from_uuid(engine.ids().next());
    let mut frames = engine.watch(id, WatchOptions::default());
    assert_eq!(frames.next().await.unwrap().unwrap_err().kind(), EngineErrorKind::NotFound);
    assert!(frames.next().await.is_none());
}
