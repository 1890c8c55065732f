//! `agent-runner runs`: looks at runs and controls them directly on the database.

use std::process::ExitCode;

use agent_runner::{
    engine::{Engine, Frame, WatchOptions},
    event::{Event, EventBody},
    run::Run,
    store::RunQuery,
    time::{Clock as _, SystemClock},
};
use futures::StreamExt as _;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    args::{ListArgs, OneRun, RunsAction, TailArgs},
    assemble,
    config::Config,
    json,
    run::{find_project, whole},
    terminal::{Terminal, Tone, printable, short},
};

/// Characters of a goal in a table.
const GOAL_CHARS: usize = 60;

/// Does what was asked.
pub(crate) async fn runs(
    config: &Config,
    action: RunsAction,
    terminal: Terminal,
) -> anyhow::Result<ExitCode> {
    let store = assemble::store(config).await?;
    let engine = assemble::observer(&store)?;
    let done = act(&engine, action, terminal).await;
    store.close().await?;
    done.map(|()| ExitCode::SUCCESS)
}

async fn act(engine: &Engine, action: RunsAction, terminal: Terminal) -> anyhow::Result<()> {
    match action {
        RunsAction::List(args) => list(engine, args, terminal).await,
        RunsAction::Show(args) => show(engine, args, terminal).await,
        RunsAction::Tail(args) => tail(engine, args, terminal).await,
        RunsAction::Cancel(args) => {
            let run = engine.cancel(args.id, args.reason).await?;
            say(&run, args.json, terminal)
        }
        RunsAction::Pause(args) => say(&engine.pause(args.id).await?, args.json, terminal),
        RunsAction::Resume(args) => say(&engine.resume(args.id).await?, args.json, terminal),
        RunsAction::Delete(args) => {
            engine.delete_run(args.id).await?;
            match args.json {
                true => terminal.json(&json!({"id": args.id, "deleted": true}))?,
                false => terminal.line(&format!("deleted {}", args.id))?,
            }
            Ok(())
        }
    }
}

/// Says where a run stands now.
fn say(run: &Run, json: bool, terminal: Terminal) -> anyhow::Result<()> {
    if json {
        terminal.json(&json::run(run))?;
    } else {
        terminal.line(&format!("{}  {}  {}", run.id, run.status, run.phase().as_str()))?;
    }
    Ok(())
}

async fn list(engine: &Engine, args: ListArgs, terminal: Terminal) -> anyhow::Result<()> {
    let project_id = match &args.project {
        Some(name) => match find_project(engine, name).await? {
            Some(id) => Some(id),
            None => anyhow::bail!("there is no project called {name}"),
        },
        None => None,
    };
    let query = RunQuery {
        statuses: args.status,
        project_id,
        text: args.search,
        limit: args.limit.into(),
        ..RunQuery::default()
    };
    let runs = engine.runs(&query).await?;
    if args.json {
        let items: Vec<Value> = runs.iter().map(json::run).collect();
        terminal.json(&json!({"items": items}))?;
        return Ok(());
    }
    let now = SystemClock.now();
    let rows: Vec<[String; 6]> = runs
        .iter()
        .map(|run| {
            [
                run.id.to_string(),
                run.status.to_string(),
                run.phase().as_str().to_owned(),
                short(&run.spec.agent.model.to_string(), 30),
                age(run.created_at, now),
                short(&run.spec.goal, GOAL_CHARS),
            ]
        })
        .collect();
    terminal.table(["ID", "STATUS", "PHASE", "MODEL", "AGE", "GOAL"], &rows)?;
    if runs.is_empty() {
        terminal.note(Tone::Quiet, "no runs; start one with: agent-runner run \"<goal>\"");
    }
    Ok(())
}

async fn show(engine: &Engine, args: OneRun, terminal: Terminal) -> anyhow::Result<()> {
    let run = engine.run(args.id).await?;
    let steps = engine.steps(args.id).await?;
    if args.json {
        let mut shown = json::run(&run);
        if let Some(fields) = shown.as_object_mut() {
            fields.insert("steps".to_owned(), steps.iter().map(json::step).collect());
        }
        terminal.json(&shown)?;
        return Ok(());
    }
    facts(&run, terminal)?;
    let rows: Vec<[String; 5]> = steps
        .iter()
        .map(|step| {
            [
                step.key.to_string(),
                short(&step.name, 40),
                step.status.as_str().to_owned(),
                step.attempts.to_string(),
                step.error
                    .as_ref()
                    .map(|error| short(&error.message, GOAL_CHARS))
                    .unwrap_or_default(),
            ]
        })
        .collect();
    if !rows.is_empty() {
        terminal.line("")?;
        terminal.table(["STEP", "NAME", "STATUS", "ATTEMPTS", "ERROR"], &rows)?;
    }
    if let Some(output) = &run.output {
        let text = match output {
            Value::String(text) => text.clone(),
            other => serde_json::to_string_pretty(other)?,
        };
        terminal.line(&format!("\n{}", printable(&text).trim_end()))?;
    }
    Ok(())
}

fn facts(run: &Run, terminal: Terminal) -> std::io::Result<()> {
    let at = |moment: Option<Timestamp>| moment.map(|at| at.to_string());
    let facts = [
        ("id", Some(run.id.to_string())),
        ("goal", Some(printable(&run.spec.goal))),
        ("status", Some(format!("{} ({})", run.status, run.phase().as_str()))),
        ("error", run.error.as_ref().map(|error| printable(&error.message))),
        ("model", Some(run.spec.agent.model.to_string())),
        ("notice", run.spec.notices.first().map(|notice| printable(notice))),
        ("waits for", run.park.as_ref().map(|park| park.reason.as_str().to_owned())),
        ("imported", run.spec.imported_from.as_ref().map(|from| format!("was {}", from.run))),
        ("project", Some(run.project_id.to_string())),
        ("tokens", run.usage.total().map(|total| total.to_string())),
        ("events", Some(run.last_seq.to_string())),
        ("created", at(Some(run.created_at))),
        ("started", at(run.started_at)),
        ("finished", at(run.finished_at)),
    ];
    for (name, value) in facts {
        if let Some(value) = value {
            terminal.line(&format!("{name:<10} {value}"))?;
        }
    }
    Ok(())
}

async fn tail(engine: &Engine, args: TailArgs, terminal: Terminal) -> anyhow::Result<()> {
    let mut frames = engine.watch(args.id, WatchOptions { after: args.after, live: false });
    while let Some(frame) = frames.next().await {
        match frame? {
            Frame::Event(event) if args.json => {
                terminal.json(&json::event(&whole(engine, event).await?))?;
            }
            Frame::Event(event) => terminal.line(&event_line(&event))?,
            Frame::Reset { last_seq } => terminal.note(
                Tone::Loud,
                &format!("the run has only {last_seq} events; all of them follow"),
            ),
            Frame::Live(_) | Frame::End { .. } => {}
        }
    }
    Ok(())
}

fn event_line(event: &Event) -> String {
    let sentence = match EventBody::from_event(event) {
        Ok(Some(body)) => printable(&body.sentence()),
        Ok(None) | Err(_) => String::new(),
    };
    let time = event.at.strftime("%H:%M:%S%.3fZ");
    format!("{:>5}  {time}  {:<22} {sentence}", event.seq, event.kind).trim_end().to_owned()
}

/// How long ago something was, in one unit.
fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_one_unit() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let ago = |seconds: i64| age(Timestamp::from_second(1_000_000 - seconds).unwrap(), now);
        let shown: Vec<String> = [0, 59, 60, 3_599, 3_600, 86_400].map(ago).into();
        assert_eq!(shown, ["0s", "59s", "1m", "59m", "1h", "1d"]);
        assert_eq!(ago(-5), "0s");
    }
}
