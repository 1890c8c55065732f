//! The file tools against real directories, and against what attackers put there.

mod contract;
mod escape;
mod race;
mod runs;
mod verbs;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use agent_runner_core::{
    id::ProjectId,
    testing::tool_contract::cx,
    tool::{Tool, ToolError, ToolErrorKind, Typed, TypedTool},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;

/// A workspace in a temporary directory, with a place outside of it.
struct World {
    temp: TempDir,
    workspace: Workspace,
    id: ProjectId,
}

impl World {
    fn new() -> Self {
        Self::with_limits(FsLimits::default())
    }

    fn with_limits(limits: FsLimits) -> Self {
        let temp = TempDir::new().unwrap();
        let workspace = Workspace::open(&temp.path().join("data/projects"), limits).unwrap();
        let world = Self { temp, workspace, id: cx("1").project_id };
        fs::create_dir(world.outside()).unwrap();
        fs::write(world.outside().join("secret"), "SECRET").unwrap();
        fs::create_dir_all(world.project()).unwrap();
        world
    }

    fn outside(&self) -> PathBuf {
        self.temp.path().join("outside")
    }

    fn project(&self) -> PathBuf {
        self.temp.path().join("data/projects").join(self.id.to_string())
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ProjectDir, &CancellationToken) -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, FileError> {
        self.workspace.run(self.id, &CancellationToken::new(), work).await
    }

    async fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let path = RelPath::parse(path)?;
        self.run(move |project, stop| project.read(&path, stop)).await
    }

    async fn write(&self, path: &str, content: impl Into<Vec<u8>>) -> Result<Written, FileError> {
        let (path, content) = (RelPath::parse(path)?, content.into());
        self.run(move |project, stop| project.write(&path, &content, stop)).await
    }

    async fn list(&self, under: &str, options: ListOptions) -> Result<Listing, FileError> {
        let under = if under == "." { None } else { Some(RelPath::parse(under)?) };
        self.run(move |project, stop| project.list(under.as_ref(), &options, stop)).await
    }

    async fn call(&self, tool: impl TypedTool, arguments: Value) -> Result<Value, ToolError> {
        Typed::new(tool).call(arguments, &cx("1")).await.map(|output| output.value)
    }
}

/// Every name below a directory, with the content of files and the target of links.
fn contents(dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_symlink() {
            found.insert(name, format!("-> {}", fs::read_link(&path).unwrap().display()));
        } else if path.is_dir() {
            found.insert(name.clone(), "directory".to_owned());
            for (below, content) in contents(&path) {
                found.insert(format!("{name}/{below}"), content);
            }
        } else {
            found.insert(name, String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned());
        }
    }
    found
}

fn paths(listing: &Listing) -> Vec<&str> {
    listing.entries.iter().map(|entry| entry.path.as_str()).collect()
}

#[tokio::test]
async fn what_is_written_is_read_back_and_listed() {
    let world = World::new();
    let written = world
        .call(
            FilesWrite::new(world.workspace.clone()),
            json!({"path": "a/b/c.txt", "text": "hello"}),
        )
        .await
        .unwrap();
    assert_eq!(
        written,
        json!({
            "path": "a/b/c.txt", "bytes": 5, "created": true,
            "sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        })
    );
    let read =
        world.call(FilesRead::new(world.workspace.clone()), json!({"path": "a/b/c.txt"})).await;
    assert_eq!(read.unwrap(), "hello");
    let again = world.write("a/b/c.txt", "other").await.unwrap();
    assert!(!again.created);
    let listed =
        world.call(FilesList::new(world.workspace.clone()), json!({"recursive": true})).await;
    assert_eq!(
        listed.unwrap(),
        json!({
            "entries": [
                {"path": "a", "kind": "directory"},
                {"path": "a/b", "kind": "directory"},
                {"path": "a/b/c.txt", "kind": "file", "size": 5},
            ],
            "truncated": false, "hidden": 0,
        })
    );
}

#[tokio::test]
async fn a_write_leaves_nothing_but_the_file() {
    let world = World::new();
    for round in 0..3 {
        world.write("a", format!("round {round}")).await.unwrap();
    }
    let want = BTreeMap::from([("a".to_owned(), "round 2".to_owned())]);
    assert_eq!(contents(&world.project()), want);
}

#[tokio::test]
async fn two_projects_do_not_see_each_other() {
    let world = World::new();
    world.write("mine", "mine").await.unwrap();
    let other: ProjectId = "00000000-0000-7000-8000-000000000077".parse().unwrap();
    let stop = CancellationToken::new();
    let path = RelPath::parse("mine").unwrap();
    let read =
        world.workspace.run(other, &stop, move |project, stop| project.read(&path, stop)).await;
    assert_eq!(read.unwrap_err().kind(), FileErrorKind::NotFound);
}

#[tokio::test]
async fn lines_are_counted_from_one_and_keep_their_ends() {
    let world = World::new();
    world.write("f", "one\r\ntwo\nthree").await.unwrap();
    world.write("empty", "").await.unwrap();
    let read =
        async |arguments| world.call(FilesRead::new(world.workspace.clone()), arguments).await;
    for (arguments, want) in [
        (json!({"path": "f"}), "one\r\ntwo\nthree"),
        (json!({"path": "f", "offset_line": 2}), "two\nthree"),
        (json!({"path": "f", "limit_lines": 1}), "one\r\n"),
        (json!({"path": "f", "offset_line": 2, "limit_lines": 1}), "two\n"),
        (json!({"path": "f", "offset_line": 3, "limit_lines": 99}), "three"),
        (json!({"path": "empty", "offset_line": 1}), ""),
    ] {
        assert_eq!(read(arguments.clone()).await.unwrap(), want, "{arguments}");
    }
    for offset in [0_u64, 4, u64::MAX] {
        let error = read(json!({"path": "f", "offset_line": offset})).await.unwrap_err();
        assert_eq!(error.kind(), ToolErrorKind::InvalidArgs);
        assert!(error.for_model().contains("lines 1 to 3"), "{error}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_text_is_refused_with_its_name() {
    let world = World::new();
    for content in [&b"\xff\xfe\x00"[..], b"with\0nul"] {
        world.write("bin.dat", content).await.unwrap();
        let arguments = json!({"path": "bin.dat"});
        let error =
            world.call(FilesRead::new(world.workspace.clone()), arguments).await.unwrap_err();
        assert_eq!(error.kind(), ToolErrorKind::InvalidArgs);
        assert!(error.for_model().contains("`bin.dat` is not a text"), "{error}");
    }
}

#[tokio::test]
async fn sizes_above_the_limit_are_refused_and_leave_nothing() {
    let mut limits = FsLimits::default();
    (limits.read_bytes_max, limits.write_bytes_max) = (600_000, 10);
    let world = World::with_limits(limits);
    let error = world.write("new/f", "elevenbytes").await.unwrap_err();
    assert_eq!(error.kind(), FileErrorKind::TooLarge);
    assert_eq!(contents(&world.project()), BTreeMap::new());
    fs::write(world.project().join("exact"), vec![b'x'; 600_000]).unwrap();
    assert_eq!(world.read("exact").await.unwrap().len(), 600_000);
    fs::write(world.project().join("large"), vec![b'x'; 600_001]).unwrap();
    assert_eq!(world.read("large").await.unwrap_err().kind(), FileErrorKind::TooLarge);
}

#[tokio::test]
async fn what_is_in_the_way_is_a_conflict() {
    let world = World::new();
    world.write("dir/file", "x").await.unwrap();
    for error in [
        world.write("dir", "x").await.unwrap_err(),
        world.write("dir/file/below", "x").await.unwrap_err(),
        world.read("dir").await.unwrap_err(),
        world.read("dir/file/below").await.unwrap_err(),
        world.list("dir/file", ListOptions::default()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), FileErrorKind::Conflict, "{error}");
    }
    for error in [
        world.read("nothing").await.unwrap_err(),
        world.read("no/thing").await.unwrap_err(),
        world.list("nothing", ListOptions::default()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), FileErrorKind::NotFound, "{error}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_replaced_file_keeps_its_permissions_but_not_set_user_id() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    let script = world.project().join("run.sh");
    fs::write(&script, "old").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o4755)).unwrap();
    world.write("run.sh", "new").await.unwrap();
    assert_eq!(fs::metadata(&script).unwrap().permissions().mode() & 0o7777, 0o755);
}

#[tokio::test]
async fn a_listing_is_sorted_and_ends_at_its_limit() {
    let world = World::new();
    for path in ["b/2", "b/1", "a", "b-", "c"] {
        world.write(path, "x").await.unwrap();
    }
    let all = world.list(".", ListOptions::default().recursive()).await.unwrap();
    assert_eq!(paths(&all), ["a", "b", "b/1", "b/2", "b-", "c"]);
    assert!(!all.truncated);
    let flat = world.list(".", ListOptions::default()).await.unwrap();
    assert_eq!(paths(&flat), ["a", "b", "b-", "c"]);
    let below = world.list("b", ListOptions::default()).await.unwrap();
    assert_eq!(paths(&below), ["b/1", "b/2"]);
    for limit in 0..6 {
        let some = world.list(".", ListOptions::default().recursive().limit(limit)).await.unwrap();
        assert_eq!(paths(&some), paths(&all)[..limit]);
        assert!(some.truncated, "{limit} of 6 entries");
    }
    let six = world.list(".", ListOptions::default().recursive().limit(6)).await.unwrap();
    assert!(!six.truncated);
}

#[tokio::test]
async fn a_listing_ends_at_its_budget_and_at_its_depth() {
    let mut limits = FsLimits::default();
    (limits.walk_entries_max, limits.depth_max, limits.list_entries_max) = (5, 3, 4);
    let world = World::with_limits(limits);
    fs::create_dir_all(world.project().join("1/2/3/4/5")).unwrap();
    let deep = world.list(".", ListOptions::default().recursive()).await.unwrap();
    assert_eq!(paths(&deep), ["1", "1/2", "1/2/3", "1/2/3/4"]);
    assert!(deep.truncated);
    assert_eq!(world.read("1/2/3/4/5").await.unwrap_err().kind(), FileErrorKind::Invalid);
    for name in 0..9 {
        world.write(&format!("many/{name}"), "x").await.unwrap();
    }
    let many = world.list("many", ListOptions::default().limit(100)).await.unwrap();
    assert_eq!(many.entries.len(), 4);
    assert!(many.truncated);
}

#[tokio::test]
async fn work_that_takes_too_long_is_told_to_stop() {
    let limits = FsLimits { call: Duration::from_millis(30), ..FsLimits::default() };
    let world = World::with_limits(limits);
    let (told, stopped) = std::sync::mpsc::channel();
    let error = world
        .run(move |_, stop| {
            while !stop.is_cancelled() {
                std::thread::yield_now();
            }
            told.send(()).unwrap();
            Err::<(), _>(FileError::cancelled())
        })
        .await
        .unwrap_err();
    assert_eq!(error.kind(), FileErrorKind::Timeout);
    assert!(ToolError::from(error).effect_possible());
    tokio::task::spawn_blocking(move || stopped.recv_timeout(Duration::from_secs(5)).unwrap())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_cancelled_call_writes_nothing() {
    let world = World::new();
    let cancel = CancellationToken::new();
    let path = RelPath::parse("f").unwrap();
    let error = world
        .workspace
        .run(world.id, &cancel.clone(), move |project, stop| {
            cancel.cancel();
            project.write(&path, b"content", stop)
        })
        .await
        .unwrap_err();
    assert_eq!(error.kind(), FileErrorKind::Cancelled);
    assert_eq!(contents(&world.project()), BTreeMap::new());
}

#[tokio::test]
async fn a_dropped_call_is_told_to_stop() {
    let world = World::new();
    let (told, stopped) = std::sync::mpsc::channel();
    let call = world.run(move |_, stop| {
        while !stop.is_cancelled() {
            std::thread::yield_now();
        }
        told.send(()).unwrap();
        Ok(())
    });
    let dropped = tokio::time::timeout(Duration::from_millis(20), call).await;
    assert!(dropped.is_err());
    let wait = move || stopped.recv_timeout(Duration::from_secs(5));
    tokio::task::spawn_blocking(wait).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_defect_is_an_error_and_not_a_panic() {
    let world = World::new();
    let error =
        world.run(|_, _| -> Result<(), FileError> { panic!("a defect") }).await.unwrap_err();
    assert_eq!(error.kind(), FileErrorKind::Internal);
}

#[test]
fn debug_output_holds_no_path_of_the_host() {
    let world = World::new();
    let shown = format!("{:?} {:?}", world.workspace, FilesRead::new(world.workspace.clone()));
    assert!(!shown.contains(world.temp.path().to_str().unwrap()), "{shown}");
}

#[test]
fn every_kind_has_its_own_code() {
    let mut codes: Vec<_> = FileErrorKind::ALL.iter().map(|kind| kind.as_str()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), FileErrorKind::ALL.len());
}

#[test]
fn a_workspace_that_cannot_be_opened_is_an_error() {
    let temp = TempDir::new().unwrap();
    let file = temp.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(Workspace::open(&file, FsLimits::default()).is_err());
    assert!(Workspace::open(&file.join("below"), FsLimits::default()).is_err());
}
