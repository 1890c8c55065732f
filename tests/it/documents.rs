//! What the documents say and the code does are the same.

mod events;
mod machines;
mod shape;

fn read(path: &str) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    std::fs::read_to_string(format!("{root}/{path}")).unwrap_or_default()
}

/// Compares a document with what the code says; writes it with `UPDATE_GOLDEN=1`.
fn is_written(path: &str, text: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(format!("{}/{path}", env!("CARGO_MANIFEST_DIR")), text).unwrap();
    }
    assert_eq!(read(path), text, "{path}: run with UPDATE_GOLDEN=1 and read the difference");
}

#[tokio::test]
async fn the_state_machines_are_documented_as_they_are() {
    is_written("docs/STATE_MACHINES.md", &machines::document().await);
}

#[test]
fn the_events_are_documented_as_they_are() {
    is_written("docs/EVENTS.md", &events::document());
}

#[test]
fn at_most_two_tasks_are_active() {
    let text = read("TASKS.md");
    let now = text.split("\n## Now").nth(1).expect("a section Now").split("\n## ").next().unwrap();
    let active = now.lines().filter(|line| line.starts_with("### ")).count();
    assert!(active <= 2, "{active} tasks are active");
    for task in now.split("\n### ").skip(1) {
        assert!(task.contains("**DoD:**"), "a task without its definition of done");
        assert!(
            task.contains("**Validation commands:**"),
            "a task without its validation commands"
        );
    }
}
