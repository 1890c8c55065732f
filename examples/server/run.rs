//! `agent-runner run`: an agent in this process, watched until it ends.

use std::{io, process::ExitCode, time::Duration};

use agent_runner::{
    engine::{Engine, EngineError, EngineErrorKind, Frame, NewProject, NewRun, WatchOptions},
    event::Event,
    id::{ProjectId, RunId},
    run::{Run, RunStatus},
};
use futures::StreamExt as _;

use crate::{
    USAGE,
    args::RunArgs,
    assemble,
    config::Config,
    json,
    providers::Providers,
    signal::Signals,
    terminal::{Terminal, Tone},
    view::View,
};

/// Longest time for steps of other runs to end when this one has.
const LEAVE_GRACE: Duration = Duration::from_secs(5);
/// Projects of one page.
const PAGE: usize = 100;
/// Exit code of a run that was canceled: that of a program that Ctrl-C ended.
const CANCELED: u8 = 130;

/// How long sources of tools may take to be there.
const SETTLE: Duration = Duration::from_secs(10);

/// Runs an agent; the exit code tells how it ended.
pub(crate) async fn run(
    config: &Config,
    args: RunArgs,
    terminal: Terminal,
) -> anyhow::Result<ExitCode> {
    let signals = Signals::listen()?;
    let providers = Providers::of(config)?;
    let store = assemble::store(config).await?;
    let (engine, connections) = assemble::engine(config, &store, &providers).await?;
    // Patterns select the tools that there are when a run begins.
    connections.settle(SETTLE).await;
    let json = args.json;
    let run = match create(&engine, args, terminal).await {
        Ok(run) => run,
        Err(error) if error.kind() == EngineErrorKind::Validation => {
            terminal.note(Tone::Bad, &format!("error: {error}"));
            return Ok(ExitCode::from(USAGE));
        }
        Err(error) => return Err(error.into()),
    };
    if !json {
        run.spec.notices.iter().for_each(|notice| terminal.note(Tone::Loud, notice));
        terminal.note(Tone::Quiet, &format!("run {} on {}", run.id, run.spec.agent.model));
    }
    let handle = engine.start();
    let watched = watch(&engine, run.id, json, signals, terminal).await;
    // As a worker like any other this process may have taken other runs as well.
    handle.shutdown(LEAVE_GRACE).await;
    connections.shutdown().await;
    let run = watched?;
    store.close().await?;
    Ok(conclude(&run, json, terminal))
}

async fn create(engine: &Engine, args: RunArgs, terminal: Terminal) -> Result<Run, EngineError> {
    let project_id = match &args.project {
        Some(name) => Some(project(engine, name, terminal).await?),
        None => None,
    };
    let new = NewRun {
        project_id,
        model: args.model.map(|model| model.to_string()),
        tools: args.tools,
        max_steps: args.max_steps,
        timeout: args.timeout,
        ..NewRun::new(args.goal)
    };
    Ok(engine.create_run(new).await?.run)
}

/// The project of that name; made when there is none.
async fn project(
    engine: &Engine,
    name: &str,
    terminal: Terminal,
) -> Result<ProjectId, EngineError> {
    if let Some(id) = find_project(engine, name).await? {
        return Ok(id);
    }
    let new = NewProject { name: name.to_owned(), ..NewProject::default() };
    let made = engine.create_project(new).await?.project;
    terminal.note(Tone::Quiet, &format!("made the project {name}"));
    Ok(made.id)
}

/// The project of that name.
pub(crate) async fn find_project(
    engine: &Engine,
    name: &str,
) -> Result<Option<ProjectId>, EngineError> {
    let mut after = None;
    loop {
        let page = engine.projects(after, PAGE).await?;
        if let Some(found) = page.iter().find(|versioned| versioned.project.name == name) {
            return Ok(Some(found.project.id));
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.project.id),
            Some(_) | None => return Ok(None),
        }
    }
}

/// Shows the run until it ends. A signal cancels it; a second one leaves at once.
async fn watch(
    engine: &Engine,
    id: RunId,
    json: bool,
    signals: Signals,
    terminal: Terminal,
) -> anyhow::Result<Run> {
    let mut signals = Some(signals);
    let mut view = View::new(terminal);
    let mut frames = engine.watch(id, WatchOptions { after: 0, live: !json });
    loop {
        let asked = async {
            match &mut signals {
                Some(signals) => signals.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            frame = frames.next() => match frame {
                Some(Ok(Frame::End { .. })) | None => break,
                Some(Ok(Frame::Event(event))) if json => {
                    unless_closed(terminal.json(&json::event(&whole(engine, event).await?)))?;
                }
                Some(Ok(frame)) => unless_closed(view.frame(&frame))?,
                Some(Err(error)) => return Err(error.into()),
            },
            () = asked => {
                terminal.note(Tone::Loud, "canceling the run; press Ctrl-C again to leave at once");
                if let Some(signals) = signals.take() {
                    signals.leave_at_next();
                }
                match engine.cancel(id, Some("interrupted in the terminal".to_owned())).await {
                    // It ended in the same moment.
                    Err(error) if error.kind() == EngineErrorKind::InvalidTransition => {}
                    Err(error) => return Err(error.into()),
                    Ok(_) => {}
                }
            }
        }
    }
    let run = engine.run(id).await?;
    if !json {
        unless_closed(view.answer(&run))?;
    }
    Ok(run)
}

/// The event with its whole payload.
pub(crate) async fn whole(engine: &Engine, event: Event) -> Result<Event, EngineError> {
    if event.blob.is_none() {
        return Ok(event);
    }
    engine.event(event.run_id, event.seq).await
}

/// A run goes on when nobody reads what it says: its exit code still counts.
fn unless_closed(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn conclude(run: &Run, json: bool, terminal: Terminal) -> ExitCode {
    let (code, tone, line) = match run.status {
        RunStatus::Completed => (0, Tone::Good, format!("COMPLETED{}", tokens(run))),
        RunStatus::Canceled => (CANCELED, Tone::Loud, "CANCELED".to_owned()),
        RunStatus::Failed | RunStatus::Queued | RunStatus::Running => {
            let why = run.error.as_ref().map_or("no reason was given", |error| &error.message);
            (1, Tone::Bad, format!("{}: {}", run.status, crate::terminal::printable(why)))
        }
    };
    if !json {
        terminal.note(tone, &line);
    }
    ExitCode::from(code)
}

fn tokens(run: &Run) -> String {
    run.usage.total().map(|total| format!(", {total} tokens")).unwrap_or_default()
}
