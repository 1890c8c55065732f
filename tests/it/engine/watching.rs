use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use agent_runner_core::{
    engine::{Engine, EngineError, EngineErrorKind, Frame, LiveKind, NewRun, WatchOptions},
    id::RunId,
    limits,
    llm::BoxStream,
    run::RunStatus,
    step::EffectPolicy,
    testing::{Fault, FaultyStore, Gate, LedgerTool, StoreCall, Turn, Weather},
};
use futures::{StreamExt as _, future::join_all};
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

type Frames = BoxStream<'static, Result<Frame, EngineError>>;

/// A run whose model waits at the gate.
fn held(gate: &Gate) -> World {
    World::new([Turn::Held("first ".into(), gate.clone(), Box::new(Turn::text("second")))])
}

async fn tell(engine: &Engine, id: RunId) -> u64 {
    engine.signal(id, "news", json!("x"), None).await.unwrap().0.seq
}

/// Reads on until an event; the numbers of those before it and its own.
async fn until(frames: &mut Frames, last: u64) -> Vec<u64> {
    let mut seqs = Vec::new();
    while seqs.last() != Some(&last) {
        match frames.next().await.unwrap().unwrap() {
            Frame::Event(event) => seqs.push(event.seq),
            other => panic!("{other:?}"),
        }
    }
    seqs
}

on_every_store!(s21_those_who_watch_a_run_together_read_it_together);
async fn s21_those_who_watch_a_run_together_read_it_together() {
    let gate = Gate::new();
    let mut world = held(&gate);
    let store = FaultyStore::new(world.store().await).counting(&[StoreCall::Events]);
    let store = Arc::new(store);
    world.replace_store(Arc::clone(&store) as _);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    gate.wait_for_arrival().await;
    let first = tell(&engine, id).await;
    let mut watchers: Vec<Frames> =
        (0..100).map(|_| engine.watch(id, WatchOptions::default())).collect();
    for seqs in join_all(watchers.iter_mut().map(|frames| until(frames, first))).await {
        assert_eq!(seqs, (1..=first).collect::<Vec<_>>());
    }
    let before = store.calls();
    let (mut known, told) = (first, 10);
    for _ in 0..told {
        let last = tell(&engine, id).await;
        for seqs in join_all(watchers.iter_mut().map(|frames| until(frames, last))).await {
            assert_eq!(seqs, (known + 1..=last).collect::<Vec<_>>(), "each once and in order");
        }
        known = last;
    }
    // The run's driver reads too, and hints may come twice.
    let calls = store.calls() - before;
    assert!(calls < told * 10, "{calls} readings of {told} events by 100 watchers");
    gate.open();
    for mut frames in watchers {
        let rest: Vec<_> = frames.by_ref().map(|frame| frame.unwrap()).collect().await;
        assert_eq!(rest.last(), Some(&Frame::End { status: RunStatus::Completed }));
    }
}

on_every_store!(s21_a_watcher_that_falls_far_behind_misses_nothing);
async fn s21_a_watcher_that_falls_far_behind_misses_nothing() {
    let gate = Gate::new();
    let world = held(&gate);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    gate.wait_for_arrival().await;
    let (mut slow, mut fast) =
        (engine.watch(id, WatchOptions::default()), engine.watch(id, WatchOptions::default()));
    let mut known = 0;
    // The first comes from the store, the second by the way that both share.
    for _ in 0..2 {
        let last = tell(&engine, id).await;
        for frames in [&mut slow, &mut fast] {
            assert_eq!(until(frames, last).await, (known + 1..=last).collect::<Vec<_>>());
        }
        known = last;
    }
    let mut last = known;
    for _ in 0..limits::TAIL_EVENTS + 100 {
        last = tell(&engine, id).await;
    }
    for frames in [&mut fast, &mut slow] {
        let seqs = until(frames, last).await;
        assert_eq!(seqs, (known + 1..=last).collect::<Vec<_>>(), "each once and in order");
    }
    gate.open();
    for frames in [slow, fast] {
        let rest: Vec<_> = frames.map(Result::unwrap).collect().await;
        assert_eq!(rest.last(), Some(&Frame::End { status: RunStatus::Completed }));
    }
}

on_every_store!(a_watcher_is_told_that_the_store_does_not_answer);
async fn a_watcher_is_told_that_the_store_does_not_answer() {
    let gate = Gate::new();
    let mut world = held(&gate);
    let broken = Arc::new(AtomicBool::new(false));
    let sees = Arc::clone(&broken);
    let store =
        FaultyStore::new(world.store().await).counting(&[StoreCall::Events]).under(move |_| {
            Weather {
                fault: sees.load(Ordering::SeqCst).then_some(Fault::BeforeCommit),
                ..Weather::default()
            }
        });
    world.replace_store(Arc::new(store));
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    gate.wait_for_arrival().await;
    let first = tell(&engine, id).await;
    let mut frames = engine.watch(id, WatchOptions::default());
    until(&mut frames, first).await;
    let second = tell(&engine, id).await;
    until(&mut frames, second).await;
    broken.store(true, Ordering::SeqCst);
    assert_eq!(frames.next().await.unwrap().unwrap_err().kind(), EngineErrorKind::StoreUnavailable);
    assert!(frames.next().await.is_none());
    broken.store(false, Ordering::SeqCst);
    let mut again = engine.watch(id, WatchOptions { after: second, live: false });
    gate.open();
    let last = until(&mut again, engine.run(id).await.unwrap().last_seq.max(second + 1)).await;
    assert_eq!(last.first(), Some(&(second + 1)), "whoever comes back misses nothing");
}
