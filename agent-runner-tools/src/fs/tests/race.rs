//! Somebody exchanges things while the tool looks at them (FS-7 of the security requirements).

use std::{
    os::unix::fs::symlink,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use super::*;

/// Fewest calls and exchanges for each kind of race.
const ROUNDS: usize = 400;
/// Most calls, however slow the exchanges are.
const CALLS_MAX: usize = 50_000;

/// Exchanges `project/<name>` and `project/<name>.evil` over and over until it is dropped.
struct Swapper {
    stop: Arc<AtomicBool>,
    swaps: Arc<AtomicUsize>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Swapper {
    fn start(project: PathBuf, name: &'static str) -> Self {
        let (stop, swaps) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (seen, count) = (Arc::clone(&stop), Arc::clone(&swaps));
        let thread = thread::spawn(move || {
            let at = |suffix: &str| project.join(format!("{name}{suffix}"));
            while !seen.load(Ordering::Relaxed) {
                // A write may have made something of that name in between; then it is moved away.
                let _ = fs::rename(at(""), at(".good"));
                let _ = fs::rename(at(".evil"), at(""));
                thread::yield_now();
                let _ = fs::rename(at(""), at(".evil"));
                let _ = fs::rename(at(".good"), at(""));
                thread::yield_now();
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { stop, swaps, thread: Some(thread) }
    }

    fn swaps(&self) -> usize {
        self.swaps.load(Ordering::Relaxed)
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(thread::JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))));
    }
}

#[derive(Debug, Clone, Copy)]
enum Verb {
    Read,
    Write,
    List,
    Append,
    Move,
    Copy,
    Delete,
    Search,
}

/// Runs one kind of race. Whatever a call answers, nothing of the outside is in it, and nothing
/// outside changes.
async fn race(name: &'static str, prepare: fn(&World), path: &'static str, verb: Verb) {
    let world = World::new();
    prepare(&world);
    let before = contents(&world.outside());
    let swapper = Swapper::start(world.project(), name);
    let mut calls = 0;
    while calls < ROUNDS || (swapper.swaps() < ROUNDS && calls < CALLS_MAX) {
        calls += 1;
        // A refusal is as good an answer as any; only an escape is not.
        match verb {
            Verb::Read => {
                if let Ok(bytes) = world.read(path).await {
                    assert_eq!(bytes, b"inside", "{path}: an escape");
                }
            }
            Verb::Write => drop(world.write(path, "inside").await),
            Verb::Append => {
                let tool = FilesAppend::new(world.workspace.clone());
                drop(world.call(tool, json!({"path": path, "text": ""})).await);
            }
            Verb::Move => {
                let tool = FilesMove::new(world.workspace.clone());
                let (there, back) = (
                    json!({"from": path, "to": "m", "overwrite": true}),
                    json!({"from": "m", "to": path, "overwrite": true}),
                );
                drop(world.call(tool.clone(), there).await);
                drop(world.call(tool, back).await);
            }
            Verb::Copy => {
                let tool = FilesCopy::new(world.workspace.clone());
                let copied =
                    world.call(tool, json!({"from": path, "to": "copy", "overwrite": true})).await;
                if copied.is_ok() {
                    assert_eq!(fs::read(world.project().join("copy")).unwrap(), b"inside");
                }
            }
            Verb::Delete => {
                let tool = FilesDelete::new(world.workspace.clone());
                drop(world.call(tool, json!({"path": path, "recursive": true})).await);
                let _ = world.write(&format!("{path}/f"), "inside").await;
            }
            Verb::Search => {
                let tool = FilesSearch::new(world.workspace.clone());
                if let Ok(found) = world.call(tool, json!({"pattern": ".", "path": path})).await {
                    assert!(!found.to_string().contains("SECRET"), "{found}");
                }
            }
            Verb::List => {
                let options = ListOptions::default().recursive();
                if let Ok(list) = world.list(path, options).await {
                    let escaped = list.entries.iter().any(|e| e.path.contains("secret"));
                    assert!(!escaped, "{list:?}");
                }
            }
        }
    }
    let swaps = swapper.swaps();
    drop(swapper);
    assert_eq!(contents(&world.outside()), before, "{path}: an escape by {verb:?}");
    assert!(swaps >= ROUNDS, "only {swaps} exchanges in {calls} calls");
}

fn file_and_link(world: &World) {
    fs::write(world.project().join("f"), "inside").unwrap();
    symlink(world.outside().join("secret"), world.project().join("f.evil")).unwrap();
}

fn file_and_hard_link(world: &World) {
    fs::write(world.project().join("f"), "inside").unwrap();
    fs::hard_link(world.outside().join("secret"), world.project().join("f.evil")).unwrap();
}

fn directory_and_link(world: &World) {
    fs::create_dir_all(world.project().join("d/sub")).unwrap();
    fs::write(world.project().join("d/f"), "inside").unwrap();
    fs::create_dir(world.outside().join("sub")).unwrap();
    fs::write(world.outside().join("f"), "SECRET").unwrap();
    symlink(world.outside(), world.project().join("d.evil")).unwrap();
}

fn nothing_and_link(world: &World) {
    symlink(world.outside(), world.project().join("d.evil")).unwrap();
}

#[tokio::test]
async fn reading_a_file_that_becomes_a_link_never_escapes() {
    race("f", file_and_link, "f", Verb::Read).await;
}

#[tokio::test]
async fn reading_a_file_that_becomes_a_hard_link_never_escapes() {
    race("f", file_and_hard_link, "f", Verb::Read).await;
}

#[tokio::test]
async fn writing_a_file_that_becomes_a_link_never_escapes() {
    race("f", file_and_link, "f", Verb::Write).await;
}

#[tokio::test]
async fn writing_a_file_that_becomes_a_hard_link_never_escapes() {
    race("f", file_and_hard_link, "f", Verb::Write).await;
}

#[tokio::test]
async fn reading_below_a_directory_that_becomes_a_link_never_escapes() {
    race("d", directory_and_link, "d/f", Verb::Read).await;
}

#[tokio::test]
async fn writing_below_a_directory_that_becomes_a_link_never_escapes() {
    race("d", directory_and_link, "d/sub/new", Verb::Write).await;
}

#[tokio::test]
async fn making_directories_where_a_link_appears_never_escapes() {
    race("d", nothing_and_link, "d/a/b/new", Verb::Write).await;
}

#[tokio::test]
async fn listing_a_directory_that_becomes_a_link_never_escapes() {
    race("d", directory_and_link, "d", Verb::List).await;
}

#[tokio::test]
async fn adding_to_a_file_that_becomes_a_link_never_escapes() {
    race("f", file_and_link, "f", Verb::Append).await;
}

#[tokio::test]
async fn adding_to_a_file_that_becomes_a_hard_link_never_escapes() {
    race("f", file_and_hard_link, "f", Verb::Append).await;
}

#[tokio::test]
async fn moving_below_a_directory_that_becomes_a_link_never_escapes() {
    race("d", directory_and_link, "d/f", Verb::Move).await;
}

#[tokio::test]
async fn copying_a_file_that_becomes_a_link_never_escapes() {
    race("f", file_and_link, "f", Verb::Copy).await;
}

#[tokio::test]
async fn deleting_a_directory_that_becomes_a_link_never_escapes() {
    race("d", directory_and_link, "d/sub", Verb::Delete).await;
}

#[tokio::test]
async fn searching_a_directory_that_becomes_a_link_never_escapes() {
    race("d", directory_and_link, "d", Verb::Search).await;
}
