//! What the disk can do: SQLite alone, `synchronous=FULL`, one writer.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use sqlx::{
    Connection as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tokio::sync::{mpsc, oneshot};

use crate::machine::spread;

/// Bytes of an event, as runs of the workload write them on average.
const EVENT: usize = 420;
const WRITERS: usize = 32;

async fn open(directory: &Path, name: &str) -> SqliteConnection {
    let options = SqliteConnectOptions::new()
        .filename(directory.join(name))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let table = "CREATE TABLE event (id INTEGER PRIMARY KEY, payload TEXT NOT NULL)";
    sqlx::query(table).execute(&mut connection).await.unwrap();
    connection
}

/// The middle time of a commit of one event.
pub(crate) async fn commit(directory: &Path) -> Duration {
    let mut connection = open(directory, "commit.db").await;
    let payload = "x".repeat(EVENT);
    let mut times = Vec::new();
    for _ in 0..400 {
        let began = Instant::now();
        sqlx::query("INSERT INTO event (payload) VALUES ($1)")
            .bind(&payload)
            .execute(&mut connection)
            .await
            .unwrap();
        times.push(began.elapsed());
    }
    connection.close().await.unwrap();
    spread(times).0
}

/// Events per second when 32 writers each hand over one and wait until it is durable, and one loop
/// commits whatever waits.
pub(crate) async fn group_commit(directory: &Path) -> f64 {
    let mut connection = open(directory, "group.db").await;
    let (sender, mut queue) = mpsc::channel::<(String, oneshot::Sender<()>)>(1_024);
    let writer = tokio::spawn(async move {
        let mut group = Vec::new();
        while queue.recv_many(&mut group, 1_024).await > 0 {
            let (rows, waiting): (Vec<_>, Vec<_>) = group.drain(..).unzip();
            let sql = "INSERT INTO event (payload) SELECT value FROM json_each($1)";
            let rows = serde_json::to_string(&rows).unwrap();
            sqlx::query(sql).bind(rows).execute(&mut connection).await.unwrap();
            for waiting in waiting {
                waiting.send(()).unwrap();
            }
        }
        connection.close().await.unwrap();
    });
    const EACH: usize = 1_000;
    let began = Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let sender = sender.clone();
            tokio::spawn(async move {
                for _ in 0..EACH {
                    let (done, durable) = oneshot::channel();
                    sender.send(("x".repeat(EVENT), done)).await.unwrap();
                    durable.await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let rate = (WRITERS * EACH) as f64 / began.elapsed().as_secs_f64();
    drop(sender);
    writer.await.unwrap();
    rate
}
