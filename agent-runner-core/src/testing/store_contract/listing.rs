//! Lists of runs and events: filters, directions, pages.

use super::{
    StoreHarness,
    fixture::{ALL, Fixture, by_control, by_owner, seconds},
};
use crate::{
    event::NewEvent,
    id::{RunId, StepKey},
    run::{Run, RunStatus},
    store::{Batch, EventQuery, Order, RunQuery},
};

async fn ids<H: StoreHarness>(f: &Fixture<H>, query: RunQuery) -> Vec<RunId> {
    let runs = f.store.runs(&query).await.unwrap();
    runs.into_iter().map(|run| run.id).collect()
}

async fn numbers<H: StoreHarness>(f: &Fixture<H>, run: RunId, query: EventQuery) -> Vec<u64> {
    let events = f.store.events(run, &query).await.unwrap();
    events.into_iter().map(|event| event.seq).collect()
}

/// A list without conditions shows every run, newest first.
pub async fn a_list_shows_the_newest_first<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    assert_eq!(ids(&f, RunQuery::default()).await, []);
    let mut want = Vec::new();
    for _ in 0..3 {
        want.push(f.queued().await.id);
    }
    let ascending = RunQuery { order: Order::Ascending, ..RunQuery::default() };
    assert_eq!(ids(&f, ascending).await, want);
    want.reverse();
    assert_eq!(ids(&f, RunQuery::default()).await, want);
}

/// Each status, and several at once.
pub async fn runs_are_listed_by_status<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let mut runs = Vec::new();
    for status in [RunStatus::Completed, RunStatus::Failed, RunStatus::Canceled] {
        runs.push((status, f.ended(status).await.id));
    }
    runs.push((RunStatus::Running, f.running().await.id));
    runs.push((RunStatus::Queued, f.queued().await.id));
    let with = |statuses: &[RunStatus]| RunQuery {
        statuses: statuses.to_vec(),
        order: Order::Ascending,
        ..RunQuery::default()
    };
    for (status, id) in &runs {
        assert_eq!(ids(&f, with(&[*status])).await, [*id]);
    }
    let two = with(&[RunStatus::Queued, RunStatus::Failed, RunStatus::Queued]);
    assert_eq!(ids(&f, two).await, [runs[1].1, runs[4].1]);
}

/// Each condition alone, and two that exclude each other.
pub async fn every_condition_of_a_list_must_hold<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let plain = f.queued().await;
    let mut special = f.new_run();
    special.project_id = f.other_project();
    special.spec.agent.name = "researcher".to_owned();
    special.tags = vec!["night".to_owned(), "a,b".to_owned()];
    special.parent_id = Some(plain.id);
    special.created_at = seconds(f.now(), 10);
    let special = f.create(special).await;
    let all = RunQuery::default;
    let conditions = [
        RunQuery { project_id: Some(special.project_id), ..all() },
        RunQuery { agent: Some("researcher".to_owned()), ..all() },
        RunQuery { tag: Some("night".to_owned()), ..all() },
        RunQuery { tag: Some("a,b".to_owned()), ..all() },
        RunQuery { parent_id: Some(plain.id), ..all() },
        RunQuery { created_after: Some(special.created_at), ..all() },
    ];
    for condition in conditions {
        assert_eq!(ids(&f, condition.clone()).await, [special.id], "{condition:?}");
        let project_id = Some(f.other_project());
        assert_eq!(ids(&f, RunQuery { project_id, ..condition }).await, []);
    }
    for nothing in [
        RunQuery { agent: Some("Researcher".to_owned()), ..all() },
        RunQuery { agent: Some("research".to_owned()), ..all() },
        RunQuery { tag: Some("nigh".to_owned()), ..all() },
        RunQuery { tag: Some("b".to_owned()), ..all() },
        RunQuery { tag: Some("%".to_owned()), ..all() },
        RunQuery { parent_id: Some(special.id), ..all() },
        RunQuery { created_after: Some(seconds(special.created_at, 1)), ..all() },
    ] {
        assert_eq!(ids(&f, nothing.clone()).await, [], "{nothing:?}");
    }
}

/// Text is looked for as it stands, in goal and name, and only ASCII letters ignore case.
pub async fn text_is_found_in_goal_and_name<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let mut goal = f.new_run();
    goal.spec.goal = "Write 100% of the Straße_report".to_owned();
    goal.spec.agent.instructions = "hidden".to_owned();
    let goal = f.create(goal).await;
    let mut name = f.new_run();
    name.name = Some("Nightly Éclair \\ report".to_owned());
    let name = f.create(name).await;
    let both = [name.id, goal.id];
    for (text, want) in [
        ("REPORT", &both[..]),
        ("", &both[..]),
        ("write", &both[1..]),
        ("nightly", &both[..1]),
        ("100%", &both[1..]),
        ("0% o", &both[1..]),
        ("straße_r", &both[1..]),
        ("éclair", &[]),
        ("Éclair", &both[..1]),
        ("STRASSE", &[]),
        ("\\", &both[..1]),
        ("%", &both[1..]),
        ("w%e", &[]),
        ("ni_htly", &[]),
        ("hidden", &[]),
    ] {
        let query = RunQuery { text: Some(text.to_owned()), ..RunQuery::default() };
        assert_eq!(ids(&f, query).await, want, "`{text}`");
    }
}

/// Pages in both directions show every run once, also with a condition.
pub async fn pages_of_runs_skip_and_repeat_nothing<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let mut all = Vec::new();
    for n in 0..23 {
        let tags = if n % 3 == 0 { vec!["third".to_owned()] } else { Vec::new() };
        all.push((n % 3 == 0, f.create(Run { tags, ..f.new_run() }).await.id));
    }
    for order in [Order::Ascending, Order::Descending] {
        for tag in [None, Some("third".to_owned())] {
            let mut want: Vec<_> = all.iter().filter(|run| tag.is_none() || run.0).collect();
            if order == Order::Descending {
                want.reverse();
            }
            let want: Vec<_> = want.into_iter().map(|run| run.1).collect();
            let mut query = RunQuery { order, tag, limit: 4, ..RunQuery::default() };
            let mut paged = Vec::new();
            loop {
                let page = ids(&f, query.clone()).await;
                assert!(page.len() <= 4);
                let Some(last) = page.last() else { break };
                query.after = Some(*last);
                paged.extend(page);
                assert!(paged.len() <= want.len(), "a page repeats what came before");
            }
            assert_eq!(paged, want, "{order:?}");
        }
    }
}

/// A page is no longer than asked, and the place to go on from need not exist.
pub async fn a_page_of_runs_starts_beyond_any_id<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let first = f.queued().await.id;
    let nobody = f.run_id();
    let last = f.queued().await.id;
    let from = |order, limit| RunQuery { after: Some(nobody), order, limit, ..RunQuery::default() };
    assert_eq!(ids(&f, from(Order::Ascending, 9)).await, [last]);
    assert_eq!(ids(&f, from(Order::Descending, 9)).await, [first]);
    assert_eq!(ids(&f, from(Order::Descending, 0)).await, []);
}

async fn journal<H: StoreHarness>(f: &Fixture<H>) -> RunId {
    let run = f.queued().await;
    let events = (2..=12_u64)
        .map(|n| NewEvent {
            kind: if n % 2 == 0 { "test.even" } else { "test.odd" }.to_owned(),
            step: (n % 3 == 0).then(|| StepKey::new(format!("turn.{}", n % 2))),
            ..f.event(n)
        })
        .collect();
    f.append(Batch { events, ..by_control(&run) }).await;
    run.id
}

/// Forwards from any number, backwards from any number or from the end.
pub async fn events_are_read_in_both_directions<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = journal(&f).await;
    let (up, down) = (Order::Ascending, Order::Descending);
    let beyond = u64::try_from(i64::MAX).unwrap();
    for (after, order, limit, want) in [
        (0, up, 3, &[1, 2, 3][..]),
        (9, up, ALL, &[10, 11, 12]),
        (12, up, ALL, &[]),
        (beyond, up, ALL, &[]),
        (u64::MAX, up, ALL, &[]),
        (0, up, 0, &[]),
        (0, down, 3, &[12, 11, 10]),
        (4, down, ALL, &[3, 2, 1]),
        (1, down, ALL, &[]),
        (beyond, down, 1, &[12]),
        (u64::MAX, down, 1, &[12]),
        (0, down, 0, &[]),
    ] {
        let query = EventQuery { order, limit, ..EventQuery::after(after) };
        assert_eq!(numbers(&f, run, query).await, want, "{after} {order:?} {limit}");
    }
}

/// By type, by step, by both, with directions and pages.
pub async fn events_are_filtered_by_type_and_step<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = journal(&f).await;
    let kinds = |kinds: &[&str]| kinds.iter().map(|kind| (*kind).to_owned()).collect();
    let odd = EventQuery { kinds: kinds(&["test.odd"]), ..EventQuery::after(0) };
    assert_eq!(numbers(&f, run, odd.clone()).await, [3, 5, 7, 9, 11]);
    let both = EventQuery { kinds: kinds(&["test.odd", "test.noted"]), ..EventQuery::after(0) };
    assert_eq!(numbers(&f, run, both).await, [1, 3, 5, 7, 9, 11]);
    let step = Some(StepKey::new("turn.1"));
    let of_step = EventQuery { step: step.clone(), ..EventQuery::after(0) };
    assert_eq!(numbers(&f, run, of_step).await, [3, 9]);
    let one = EventQuery { step: Some(StepKey::new("turn.0")), ..odd.clone() };
    assert_eq!(numbers(&f, run, one).await, [0; 0]);
    let last = EventQuery { step, order: Order::Descending, limit: 1, ..odd.clone() };
    assert_eq!(numbers(&f, run, last).await, [9]);
    let page = EventQuery { after: 5, limit: 2, ..odd };
    assert_eq!(numbers(&f, run, page).await, [7, 9]);
    let none = EventQuery { kinds: kinds(&["test.%"]), ..EventQuery::after(0) };
    assert_eq!(numbers(&f, run, none).await, [0; 0]);
}

/// The events of one run never appear in another's journal.
pub async fn journals_do_not_mix<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let (one, two) = (f.running().await, f.running().await);
    for n in 0..10 {
        for run in [&one, &two] {
            f.append(Batch { events: vec![f.event(n)], ..by_owner(run) }).await;
        }
    }
    for run in [one, two] {
        let events = f.events(run.id).await;
        assert!(events.iter().map(|event| event.seq).eq(1..=12));
        assert!(events.iter().all(|event| event.run_id == run.id));
    }
}
