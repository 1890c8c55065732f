//! What the documents say and the code does are the same.

use std::fmt::Write as _;

use agent_runner_core::{
    event::EventBody,
    run::{RunStatus, RunTransition},
    step::{StepStatus, StepTransition},
};

fn read(path: &str) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    std::fs::read_to_string(format!("{root}/{path}")).unwrap_or_default()
}

/// A table of every status and every transition.
fn table(
    title: &str,
    statuses: &[String],
    transitions: &[String],
    apply: impl Fn(usize, usize) -> Option<String>,
) -> String {
    let mut text = format!("## {title}\n\n| from | {} |\n|---|", transitions.join(" | "));
    text.push_str(&"---|".repeat(transitions.len()));
    text.push('\n');
    for (from, name) in statuses.iter().enumerate() {
        write!(text, "| {name} |").unwrap();
        for transition in 0..transitions.len() {
            let to = apply(from, transition).unwrap_or_else(|| "-".to_owned());
            write!(text, " {to} |").unwrap();
        }
        text.push('\n');
    }
    text
}

fn names<T: std::fmt::Debug>(all: &[T]) -> Vec<String> {
    all.iter().map(|one| format!("{one:?}")).collect()
}

fn state_machines() -> String {
    let runs = table(
        "Runs",
        &RunStatus::ALL.map(|status| status.to_string()),
        &names(&RunTransition::ALL),
        |from, to| RunStatus::ALL[from].apply(RunTransition::ALL[to]).ok().map(|to| to.to_string()),
    );
    let steps = table(
        "Steps",
        &StepStatus::ALL.map(|status| status.to_string()),
        &names(&StepTransition::ALL),
        |from, to| {
            StepStatus::ALL[from].apply(StepTransition::ALL[to]).ok().map(|to| to.to_string())
        },
    );
    format!(
        "# State machines\n\nGenerated from the code by a test (`UPDATE_GOLDEN=1 make test` writes it). \
         A column is a transition, a cell the status it leads to; `-` is a typed error that writes \
         nothing. The database refuses the same with triggers.\n\n{runs}\n{steps}\n\
         A pause is no status: it is a flag beside it, shown as `phase`. A retry keeps a step STARTED.\n"
    )
}

#[test]
fn the_state_machines_are_documented_as_they_are() {
    let path = "docs/STATE_MACHINES.md";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(format!("{}/{path}", env!("CARGO_MANIFEST_DIR")), state_machines()).unwrap();
    }
    assert_eq!(read(path), state_machines(), "run with UPDATE_GOLDEN=1 and read the difference");
}

#[test]
fn every_type_of_event_is_documented() {
    let text = read("docs/EVENTS.md");
    for kind in EventBody::KINDS {
        assert!(text.contains(&format!("`{kind}`")), "docs/EVENTS.md does not speak of {kind}");
    }
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
