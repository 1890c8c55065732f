//! Every rule and every scenario has tests of its number, and docs/RELIABILITY.md says where they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::{Path, PathBuf},
};

/// The rules, `i1_…` to `i14_…`.
const RULES: [(u32, &str); 14] = [
    (1, "The status of a run never goes back, whoever reads it where"),
    (2, "An end is set once; what comes after it is refused and appends nothing"),
    (3, "A step never goes back, and the output of one that succeeded never changes"),
    (4, "Events are neither changed nor removed; the database refuses it"),
    (5, "Events of a run are numbered 1..n without gaps, and every reader sees a prefix"),
    (6, "A run that ended has one event that says so, and it is the last"),
    (7, "The row of a run is the fold of its journal, at every commit"),
    (8, "The fence of a run only rises, and so do the fences of its events"),
    (9, "One owner at a time can append; what a former one sends changes nothing"),
    (10, "Nothing is acknowledged or shown before its commit"),
    (11, "A claim never gives a run that is paused, canceled, over, or not due"),
    (12, "A run is listed for claiming exactly when it can be claimed"),
    (13, "One idempotency key is one run; with another request it is refused"),
    (14, "A signal that is delivered twice counts once"),
];

/// The scenarios that one machine with SQLite can show.
const SCENARIOS: [(u32, &str); 37] = [
    (1, "A worker or the server dies, or a call to the store fails, at any moment of a run"),
    (2, "It dies between an effect and its record: the step's policy decides"),
    (3, "The owner is frozen past its lease and wakes when another has ended the run"),
    (4, "The store cannot be reached: the worker stops before its lease ends"),
    (5, "A worker's clock is set by an hour: no lease ends early, nobody owns a run twice"),
    (6, "Sweepers and claimers race for a run whose lease ended: it has one new owner"),
    (7, "A lease ends while the owner's commit is under way: one of the two wins"),
    (8, "A pause comes during a step: the step ends and no other begins"),
    (9, "Pauses and resumes in a storm: the last one counts"),
    (10, "A queued run is canceled: nothing of it is executed"),
    (11, "A cancellation comes during a model's stream: it is closed, the text so far is kept"),
    (12, "A run is canceled that is paused or waits"),
    (13, "A cancellation and a completion race: there is one outcome"),
    (14, "A run is canceled whose owner is dead"),
    (15, "A cancellation reaches children, and not those that were let go"),
    (16, "The server that a client listens to dies: at another it misses nothing"),
    (20, "An event is committed while a watcher begins to listen: it gets it, once"),
    (21, "A client does not read: neither the run nor other clients wait for it"),
    (22, "A client names an event that does not exist"),
    (24, "The answer to a write is lost: it is not written twice"),
    (25, "The disk is full, or fails a write: nothing more is acknowledged, a restart recovers"),
    (26, "The log of the database is torn anywhere: what opens is a prefix"),
    (27, "Two processes share one database file"),
    (29, "Code does something else than its journal says: the run parks with the difference"),
    (30, "A patch lets old and new runs end with one program; journals replay"),
    (31, "A run is forked at every moment of its past; its source may go"),
    (32, "A run is forked while it goes on"),
    (33, "A timer is due while all workers are down: it fires once"),
    (35, "A step fails for now and is tried again, or fails for good"),
    (38, "A run kills its worker each time, or cannot be read: it is parked"),
    (39, "A signal comes before the run waits for it, or in that moment"),
    (40, "A child ends while its parent's worker is dead: the parent wakes once"),
    (43, "An output of megabytes, a journal of many thousand events"),
    (45, "The server is told to stop: it hands its runs over and repeats nothing"),
    (46, "A tool says nothing: its own limit ends it, not a lost lease"),
    (48, "A child ends in the moment in which its parent's worker dies"),
    (52, "A cancellation meets the end of a child"),
];

const DOCUMENT: &str = "docs/RELIABILITY.md";
/// What follows it in the document is made from the tests.
const HEADING: &str = "## Every rule and scenario, and where its tests are\n";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The files of tests, from the root.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The numbers in front of a name: `i1_i2_a_run_only_moves_forward` has `i1` and `i2`.
fn numbers(name: &str) -> Vec<String> {
    let is_number = |word: &&str| {
        let digits = word.strip_prefix(['i', 's']);
        digits
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
    };
    let found: Vec<_> = name.split('_').take_while(is_number).map(str::to_owned).collect();
    // `s3` alone is a service.
    if found.len() == name.split('_').count() { Vec::new() } else { found }
}

/// By number, the files that have tests of it.
fn tests() -> BTreeMap<String, BTreeSet<String>> {
    let mut files = Vec::new();
    sources(&root().join("tests/it"), &mut files);
    for part in ["core", "providers", "tools", "http"] {
        for directory in
            ["src", "tests"].map(|name| root().join(format!("agent-runner-{part}/{name}")))
        {
            if directory.is_dir() {
                sources(&directory, &mut files);
            }
        }
    }
    let mut tests: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let names = text.lines().filter_map(|line| {
            let (_, name) = line.split_once("async fn ").or(line.split_once("fn "))?;
            name.split(['(', '<']).next()
        });
        let place = file.strip_prefix(root()).unwrap().to_str().unwrap();
        for number in names.flat_map(numbers) {
            tests.entry(number).or_default().insert(place.to_owned());
        }
    }
    tests
}

fn table() -> String {
    let tests = tests();
    let mut text = format!(
        "{HEADING}\nWritten by a test (`UPDATE_GOLDEN=1 cargo nextest run --all-features --test it -E \
         'test(scenarios)'`). `i` are rules, `s` scenarios; the names of their tests begin with them. \
         Numbers that are missing belong to what is not there yet: other databases and several \
         machines (17 to 19, 23, 42, 44, 47, 49), schedules (34), limits by key and fairness (36, \
         37), retention (41, 51), a model of power cuts (50).\n\n| | what happens | tests |\n|---|---|---|\n"
    );
    let rules = RULES.iter().map(|(n, what)| (format!("i{n}"), what));
    for (number, what) in rules.chain(SCENARIOS.iter().map(|(n, what)| (format!("s{n}"), what))) {
        let files = tests.get(&number).unwrap_or_else(|| panic!("{number} has no test: {what}"));
        let files: Vec<String> = files.iter().map(|file| format!("`{file}`")).collect();
        writeln!(text, "| {number} | {what} | {} |", files.join(", ")).unwrap();
    }
    text
}

#[test]
fn every_rule_and_scenario_has_tests_of_its_number_and_the_document_says_where() {
    let path = root().join(DOCUMENT);
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, _) = text.split_once(HEADING).unwrap_or((&text, ""));
    let wanted = before.to_owned() + &table();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &wanted).unwrap();
        return;
    }
    assert_eq!(text, wanted, "run with UPDATE_GOLDEN=1 and read the difference");
}

#[test]
fn no_test_has_a_number_that_is_not_in_the_list() {
    let listed = |number: &String| {
        let (list, digits) = number.split_at(1);
        let digits: u32 = digits.parse().unwrap();
        let has = |list: &[(u32, &str)]| list.iter().any(|(n, _)| *n == digits);
        if list == "i" { has(&RULES) } else { has(&SCENARIOS) }
    };
    let strangers: Vec<_> = tests().into_keys().filter(|number| !listed(number)).collect();
    assert_eq!(strangers, Vec::<String>::new());
}
