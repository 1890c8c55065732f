//! A function of this program as a durable run: the worker is dropped in the middle, as a crash would do
//! it, and another engine on the same file goes on without charging a second time.
#![expect(clippy::print_stdout, reason = "an example talks to the terminal")]

use std::{sync::Arc, time::Duration};

use agent_runner::{
    code::{CallError, Ctx, StepCx, StepFailure},
    engine::{Engine, NewRun},
    providers::{SqliteOptions, SqliteStore},
    step::EffectPolicy::{AtMostOnce, Idempotent, Pure},
};

async fn price(item: String, _: StepCx) -> Result<u64, StepFailure> {
    Ok(100 * item.len() as u64)
}

async fn charge(cents: u64, cx: StepCx) -> Result<String, StepFailure> {
    println!("charging {cents} cents, key {:.8}", cx.idempotency_key);
    Ok(format!("receipt over {cents} cents"))
}

async fn ship(receipt: String, _: StepCx) -> Result<String, StepFailure> {
    println!("shipping for a {receipt}");
    Ok("on its way".to_owned())
}

/// Three steps, and a signal from the warehouse between the second and the third.
async fn order(ctx: Ctx, item: String) -> Result<String, CallError> {
    let cents = ctx.step("price", Pure, item, price).await?;
    let receipt = ctx.step("charge", Idempotent, cents, charge).await?;
    let shelf: u64 = ctx.wait_for("packed", "packed").await?;
    println!("packed from shelf {shelf}");
    ctx.step("ship", AtMostOnce, receipt, ship).await
}

fn engine(store: &SqliteStore) -> anyhow::Result<Engine> {
    Ok(Engine::builder(Arc::new(store.clone())).workflow("order", 1, order).build()?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let file = std::env::temp_dir().join(format!("agent-runner-code-{}", std::process::id()));
    let store = SqliteStore::open(SqliteOptions::new(file.join("runs.db"))).await?;

    let first = engine(&store)?;
    let working = first.start();
    let run = first.create_run(NewRun::workflow("order", "a lamp")).await?.run;
    while first.run(run.id).await?.park.is_none() {
        first.join(run.id, Duration::from_millis(50)).await?;
    }
    drop(working);
    println!("the first worker is gone");

    let second = engine(&store)?;
    let working = second.start();
    second.signal(run.id, "packed", 7.into(), None).await?;
    let run = second.join(run.id, Duration::from_secs(30)).await?;
    println!("the run is {}: {}", run.status, run.output.unwrap_or_default());
    working.shutdown(Duration::from_secs(5)).await;
    Ok(store.close().await?)
}
