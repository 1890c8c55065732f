//! Many runs without living through them: one that was lived through is copied in the database.

use std::{path::Path, time::Duration};

use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

/// Runs of one transaction.
const CHUNK: usize = 20_000;

/// The id of copy `n`: the moment of the run that is copied, and the number.
const ID: &str = "unhex(hex(substr($1, 1, 6)) || '7000' || printf('8%015X', copy.n))";

async fn open(database: &Path) -> SqliteConnection {
    sqlx::sqlite::SqliteConnectOptions::new()
        .filename(database)
        .busy_timeout(Duration::from_secs(10))
        .disable_statement_logging()
        .connect()
        .await
        .unwrap()
}

/// The columns of a table, with the run's id as that of the copy, without those that number rows.
async fn columns(connection: &mut SqliteConnection, table: &str) -> (String, String) {
    let sql = "SELECT name FROM pragma_table_info($1)";
    let names: Vec<String> =
        sqlx::query_scalar(sql).bind(table).fetch_all(connection).await.unwrap();
    let names: Vec<String> =
        names.into_iter().filter(|name| !["gid", "ord"].contains(&name.as_str())).collect();
    let copied: Vec<String> = names
        .iter()
        .map(|name| match (table, name.as_str()) {
            ("run", "id") | (_, "run_id" | "root_id") => ID.to_owned(),
            _ => format!("source.{name}"),
        })
        .collect();
    (names.join(", "), copied.join(", "))
}

/// Copies a run so often that there are `from..until` of it, with all that belongs to it.
pub(crate) async fn copies(database: &Path, run: &str, from: usize, until: usize) {
    let mut connection = open(database).await;
    let id = uuid::Uuid::parse_str(run).unwrap().into_bytes().to_vec();
    sqlx::raw_sql("PRAGMA synchronous = OFF").execute(&mut connection).await.unwrap();
    for first in (from..until).step_by(CHUNK) {
        let last = until.min(first + CHUNK) - 1;
        let mut transaction = connection.begin().await.unwrap();
        for (table, key, order) in [
            ("run", "id", "copy.n"),
            ("request", "run_id", "copy.n"),
            ("event", "run_id", "copy.n, source.seq"),
            ("step", "run_id", "copy.n, source.ord"),
            ("ready", "run_id", "copy.n"),
        ] {
            let (names, copied) = columns(&mut transaction, table).await;
            let sql = format!(
                "WITH RECURSIVE copy (n) AS (SELECT $2 UNION ALL SELECT n + 1 FROM copy WHERE n < $3)
                INSERT INTO {table} ({names}) SELECT {copied}
                FROM copy CROSS JOIN {table} AS source ON source.{key} = $1 ORDER BY {order}"
            );
            sqlx::query(sqlx::AssertSqlSafe(sql))
                .bind(&id)
                .bind(first as i64)
                .bind(last as i64)
                .execute(&mut *transaction)
                .await
                .unwrap();
        }
        transaction.commit().await.unwrap();
    }
    sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Removes what makes long journals short.
pub(crate) async fn forget_snapshots(database: &Path) {
    let mut connection = open(database).await;
    sqlx::raw_sql("DELETE FROM snapshot").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}
