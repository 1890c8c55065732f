//! `agent-runner export` and `agent-runner import`: runs on their way to other databases and back.

#![expect(clippy::disallowed_methods, reason = "files that the operator names")]

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::Path,
    process::ExitCode,
};

use agent_runner::{
    engine::{Engine, EngineErrorKind},
    id::RunId,
    limits,
};
use anyhow::Context as _;
use futures::StreamExt as _;

use crate::{
    args::{ExportArgs, ImportArgs},
    assemble,
    config::Config,
    json,
    run::find_project,
    terminal::{Terminal, Tone},
};

/// Writes a run as a bundle to a file, or to standard output.
pub(crate) async fn export(
    config: &Config,
    args: ExportArgs,
    terminal: Terminal,
) -> anyhow::Result<ExitCode> {
    let store = assemble::store(config).await?;
    let engine = assemble::observer(&store)?;
    let done = match &args.output {
        Some(path) => to_file(&engine, args.id, path, terminal).await,
        None => copy(&engine, args.id, |piece| terminal.bytes(piece)).await.map(drop),
    };
    store.close().await?;
    done.map(|()| ExitCode::SUCCESS)
}

/// The file is there when it is whole.
async fn to_file(
    engine: &Engine,
    id: RunId,
    path: &Path,
    terminal: Terminal,
) -> anyhow::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    let cannot = || format!("cannot write {}", path.display());
    let mut file = File::create(part).with_context(cannot)?;
    let copied = copy(engine, id, |piece| file.write_all(piece)).await;
    let kept = copied.and_then(|bytes| {
        file.sync_all().and_then(|()| fs::rename(part, path)).with_context(cannot)?;
        Ok(bytes)
    });
    match kept {
        Ok(bytes) => {
            terminal.note(Tone::Good, &format!("{}: run {id}, {bytes} bytes", path.display()));
            Ok(())
        }
        Err(error) => {
            // It may not even be there.
            let _ = fs::remove_file(part);
            Err(error)
        }
    }
}

/// Hands the bundle to `write` piece by piece; how many bytes it has.
async fn copy(
    engine: &Engine,
    id: RunId,
    mut write: impl FnMut(&[u8]) -> io::Result<()>,
) -> anyhow::Result<usize> {
    let mut pieces = engine.export(id).await?;
    let mut bytes = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        write(&piece)?;
        bytes += piece.len();
    }
    Ok(bytes)
}

/// Takes the run of a bundle in.
pub(crate) async fn import(
    config: &Config,
    args: ImportArgs,
    terminal: Terminal,
) -> anyhow::Result<ExitCode> {
    let bundle = read(&args.file)?;
    let store = assemble::store(config).await?;
    let engine = assemble::observer(&store)?;
    let done = take_in(&engine, &bundle, args, terminal).await;
    store.close().await?;
    done.map(|()| ExitCode::SUCCESS)
}

/// The file, or standard input for `-`, as far as a bundle may go and one byte more.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let most = u64::try_from(limits::BUNDLE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut bundle = Vec::new();
    let cannot = || format!("cannot read {}", path.display());
    if path.as_os_str() == "-" {
        io::stdin().lock().take(most).read_to_end(&mut bundle).with_context(cannot)?;
    } else {
        let file = File::open(path).with_context(cannot)?;
        file.take(most).read_to_end(&mut bundle).with_context(cannot)?;
    }
    Ok(bundle)
}

async fn take_in(
    engine: &Engine,
    bundle: &[u8],
    args: ImportArgs,
    terminal: Terminal,
) -> anyhow::Result<()> {
    let project = match &args.project {
        Some(name) => match find_project(engine, name).await? {
            Some(id) => Some(id),
            None => anyhow::bail!("there is no project called {name}"),
        },
        None => None,
    };
    let created = match engine.import(bundle, project).await {
        Ok(created) => created,
        Err(error) if error.kind() == EngineErrorKind::Validation => {
            let wrong: Vec<&str> = error.fields().iter().map(|f| f.detail.as_str()).collect();
            anyhow::bail!("{}: {}", args.file.display(), wrong.join("; "));
        }
        Err(error) => return Err(error.into()),
    };
    let run = created.run;
    if args.json {
        terminal.json(&json::run(&run))?;
        return Ok(());
    }
    let known = if created.existing { "  it was imported before" } else { "" };
    terminal.line(&format!("{}  {}{known}", run.id, run.status))?;
    Ok(())
}
