//! Spending in the file: over restarts, between handles, with more than an integer holds.

use agent_runner_core::{
    budget::{Account, Day, Spend},
    run::Run,
    store::{Booking, Reserve, Reserved, SpendLine, SpendQuery, Spent, Store as _},
};
use agent_runner_providers::SqliteStore;

use super::support::{Disk, by_owner, claimed, connect};

fn tokens(tokens: u64) -> Spend {
    Spend { requests: 1, tokens, ..Spend::default() }
}

fn lines(run: &Run) -> Vec<SpendLine> {
    vec![SpendLine { account: Account::Project(run.project_id), day: Day(1) }]
}

async fn reserve(store: &SqliteStore, run: &Run, id: &str, amount: u64) {
    let wish = Reserve {
        run: run.id,
        worker: run.owner.unwrap(),
        epoch: run.epoch,
        id: id.to_owned(),
        amount: tokens(amount),
        lines: lines(run),
        limits: Vec::new(),
    };
    assert_eq!(store.reserve(wish).await.unwrap(), Reserved::Granted);
}

async fn book(store: &SqliteStore, run: &Run, id: &str, amount: u64) {
    let mut batch = by_owner(run);
    batch.bookings = vec![Booking { id: id.to_owned(), amount: tokens(amount), lines: lines(run) }];
    store.append(batch).await.unwrap();
}

async fn spent(store: &SqliteStore) -> Spent {
    store.spent(&SpendQuery { account: None, day: Some(Day(1)) }).await.unwrap()
}

#[tokio::test]
async fn bookings_and_reservations_outlive_the_program() {
    let disk = Disk::open().await;
    let run = claimed(&disk.store).await;
    book(&disk.store, &run, "a", 5).await;
    reserve(&disk.store, &run, "b", 7).await;
    disk.store.close().await.unwrap();

    let store = disk.neighbour().await;
    assert_eq!(spent(&store).await, Spent { booked: tokens(5), reserved: tokens(7) });
    book(&store, &run, "b", 6).await;
    store.close().await.unwrap();

    let store = disk.neighbour().await;
    let booked = tokens(5).plus(tokens(6));
    assert_eq!(spent(&store).await, Spent { booked, reserved: Spend::default() });
}

#[tokio::test]
async fn what_one_handle_reserved_another_settles() {
    let disk = Disk::open().await;
    let run = claimed(&disk.store).await;
    let other = disk.neighbour().await;
    for n in 0..3 {
        book(&disk.store, &run, "no reservation", 1).await;
        reserve(&other, &run, "a", 7).await;
        assert_eq!(spent(&disk.store).await.reserved, tokens(7), "{n}");
        book(&disk.store, &run, "a", 1).await;
        assert_eq!(spent(&other).await.reserved, Spend::default(), "{n}");
    }
    assert_eq!(spent(&other).await.booked.tokens, 6);
}

#[tokio::test]
async fn a_sum_beyond_an_integer_is_an_answer() {
    let disk = Disk::open().await;
    let run = claimed(&disk.store).await;
    let mut conn = connect(&disk.path()).await;
    sqlx::raw_sql(
        "WITH RECURSIVE n(n) AS (VALUES (0) UNION ALL SELECT n + 1 FROM n WHERE n < 9999)
         INSERT INTO spend SELECT 'project:' || n, 1, m, m, m, m, m
         FROM n, (SELECT 1125899906842624 AS m)",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    assert_eq!(spent(&disk.store).await.booked.tokens, i64::MAX.unsigned_abs());
    reserve(&disk.store, &run, "a", 7).await;
    book(&disk.store, &run, "a", 7).await;
}
