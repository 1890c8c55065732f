//! Ways out of the project's directory, each of them closed.

use std::{os::unix::fs::symlink, process::Command};

use super::*;

async fn kinds(world: &World, path: &str) -> [FileErrorKind; 3] {
    let errors = [
        world.read(path).await.unwrap_err(),
        world.write(path, "overwritten").await.unwrap_err(),
        world.list(path, ListOptions::default()).await.unwrap_err(),
    ];
    let private = world.temp.path().to_str().unwrap();
    for error in &errors {
        assert!(!error.to_string().contains(private), "{error}");
    }
    errors.map(|error| error.kind())
}

#[tokio::test]
async fn no_path_leads_out() {
    let world = World::new();
    let before = contents(&world.outside());
    let absolute = world.outside().join("secret");
    for path in [
        "..",
        "../outside/secret",
        "a/../../outside/secret",
        "/etc/passwd",
        absolute.to_str().unwrap(),
        "~/x",
        "\\x",
        ".git/config",
        ".GIT/config",
        "a/.Git",
        "git~1/config",
        ".g\u{200d}it/config",
    ] {
        assert_eq!(kinds(&world, path).await, [FileErrorKind::Denied; 3], "{path}");
    }
    let (name, long) = ("n".repeat(256), ["abc"; 1_050].join("/"));
    assert!(long.len() >= 4_199);
    for path in ["", "a\0b", "a//b", "./a", name.as_str(), long.as_str()] {
        assert_eq!(kinds(&world, path).await, [FileErrorKind::Invalid; 3], "{path:?}");
    }
    assert_eq!(contents(&world.outside()), before);
    assert_eq!(contents(&world.project()), BTreeMap::new());
}

#[tokio::test]
async fn a_project_whose_id_begins_alike_is_out_of_reach() {
    let world = World::new();
    let sibling = format!("{}-evil", world.id);
    let dir = world.temp.path().join("data/projects").join(&sibling);
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("secret"), "SECRET").unwrap();
    assert_eq!(kinds(&world, &format!("../{sibling}/secret")).await, [FileErrorKind::Denied; 3]);
    assert_eq!(fs::read_to_string(dir.join("secret")).unwrap(), "SECRET");
}

#[tokio::test]
async fn a_symbolic_link_is_never_followed() {
    let world = World::new();
    let project = world.project();
    fs::create_dir(project.join("inside")).unwrap();
    fs::write(project.join("inside/file"), "inside").unwrap();
    symlink(world.outside().join("secret"), project.join("to_file")).unwrap();
    symlink(world.outside(), project.join("to_dir")).unwrap();
    symlink("../../../outside", project.join("relative")).unwrap();
    symlink("inside", project.join("within")).unwrap();
    symlink("inside/file", project.join("within_file")).unwrap();
    symlink("loop", project.join("loop")).unwrap();
    symlink("/proc/self/root", project.join("root")).unwrap();
    symlink("/proc/self/cwd", project.join("cwd")).unwrap();
    let (before, here) = (contents(&world.outside()), contents(&project));
    for path in [
        "to_file",
        "to_dir",
        "to_dir/secret",
        "to_dir/new",
        "to_dir/new/deep",
        "relative/secret",
        "within",
        "within/file",
        "within_file",
        "loop",
        "loop/x",
        "root/etc/passwd",
        "root",
        "cwd/Cargo.toml",
    ] {
        assert_eq!(kinds(&world, path).await, [FileErrorKind::Denied; 3], "{path}");
    }
    assert_eq!(contents(&world.outside()), before);
    assert_eq!(contents(&project), here);
}

#[tokio::test]
async fn writing_to_a_dangling_link_creates_nothing() {
    let world = World::new();
    symlink(world.outside().join("made"), world.project().join("dangling")).unwrap();
    let error = world.write("dangling", "x").await.unwrap_err();
    assert_eq!(error.kind(), FileErrorKind::Denied, "{error}");
    let error = world.write("dangling/deep/file", "x").await.unwrap_err();
    assert_eq!(error.kind(), FileErrorKind::Denied, "{error}");
    assert!(!world.outside().join("made").exists());
}

#[tokio::test]
async fn a_listing_shows_links_and_hides_what_no_path_can_name() {
    use std::os::unix::ffi::OsStrExt;
    let world = World::new();
    let project = world.project();
    symlink(world.outside(), project.join("link")).unwrap();
    fs::create_dir_all(project.join(".git/objects")).unwrap();
    fs::write(project.join("back\\slash"), "").unwrap();
    fs::write(project.join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
    fs::write(project.join("line\nbreak"), "").unwrap();
    let listing = world.list(".", ListOptions::default().recursive()).await.unwrap();
    assert_eq!(
        listing.entries,
        [Entry { path: "link".to_owned(), kind: EntryKind::Symlink, size: None }]
    );
    assert_eq!(listing.hidden, 4);
}

#[tokio::test]
async fn a_pipe_is_refused_at_once() {
    let world = World::new();
    let made = Command::new("mkfifo").arg(world.project().join("pipe")).status().unwrap();
    assert!(made.success());
    let began = Instant::now();
    assert_eq!(world.read("pipe").await.unwrap_err().kind(), FileErrorKind::Denied);
    assert_eq!(world.write("pipe", "x").await.unwrap_err().kind(), FileErrorKind::Denied);
    assert_eq!(world.read("pipe/x").await.unwrap_err().kind(), FileErrorKind::Denied);
    assert!(began.elapsed() < Duration::from_secs(1));
    let listing = world.list(".", ListOptions::default()).await.unwrap();
    assert_eq!(listing.entries[0].kind, EntryKind::Special);
}

#[tokio::test]
async fn a_socket_is_refused() {
    let world = World::new();
    let _socket = std::os::unix::net::UnixListener::bind(world.project().join("s")).unwrap();
    assert_eq!(world.read("s").await.unwrap_err().kind(), FileErrorKind::Denied);
    assert_eq!(world.write("s", "x").await.unwrap_err().kind(), FileErrorKind::Denied);
}

#[tokio::test]
async fn a_hard_link_is_not_read_and_its_other_name_not_written() {
    let world = World::new();
    let (secret, hard) = (world.outside().join("secret"), world.project().join("hard"));
    fs::hard_link(&secret, &hard).unwrap();
    assert_eq!(world.read("hard").await.unwrap_err().kind(), FileErrorKind::Denied);
    let written = world.write("hard", "mine").await.unwrap();
    assert!(!written.created);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "SECRET");
    assert_eq!(fs::read_to_string(&hard).unwrap(), "mine");
    assert_eq!(world.read("hard").await.unwrap(), b"mine");
}

#[tokio::test]
async fn a_project_directory_that_is_a_link_is_refused() {
    let world = World::new();
    fs::remove_dir(world.project()).unwrap();
    symlink(world.outside(), world.project()).unwrap();
    let before = contents(&world.outside());
    assert_eq!(world.read("secret").await.unwrap_err().kind(), FileErrorKind::Internal);
    assert_eq!(world.write("new", "x").await.unwrap_err().kind(), FileErrorKind::Internal);
    assert_eq!(contents(&world.outside()), before);
}
