//! A real server is killed with SIGKILL at random moments, again and again, with runs in flight.
//! An outside ledger knows every side effect that happened.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{
    events::follow_to_the_end,
    ledger::Ledger,
    model::Model,
    server::{Site, all, client, create, get, join},
};

/// Kills unless `AGENT_RUNNER_KILLS` says otherwise.
const KILLS: u64 = 200;
/// Side effects of each run.
pub(crate) const EFFECTS: usize = 5;
/// Runs accepted per life of the server.
const RUNS_PER_LIFE: usize = 3;

/// A small generator (Lehmer, Park and Miller 1988), so that a seed repeats the moments.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0 * 48_271 % 2_147_483_647;
        self.0 % bound
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// Runs whose journals are replayed at the end.
const REPLAYED: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_no_accepted_run_is_lost_and_no_completed_step_runs_twice() {
    let kills = number("AGENT_RUNNER_KILLS", KILLS);
    let seed = number("AGENT_RUNNER_SEED", 20_261_122);
    println!("{kills} kills, AGENT_RUNNER_SEED={seed}");
    let mut random = Random(seed);
    let directory = tempfile::tempdir().unwrap();
    let (ledger, model) = (Ledger::start().await, Model::start().await);
    let mut site = Site::new(directory.path());
    site.set("AGENT_RUNNER_HTTP_ALLOW", &ledger.host());
    site.set("OPENAI_BASE_URL", &model.base_url());
    site.set("OPENAI_API_KEY", "none");
    site.set("AGENT_RUNNER_DEFAULT_MODEL", "openai/fake");
    let client = client();
    let mut accepted: Vec<String> = Vec::new();
    let mut followers = Vec::new();
    for life in 0..kills {
        // The policy of a step is the one that was declared when it began.
        let policy = if random.below(2) == 0 { "idempotent" } else { "at_most_once" };
        site.set("AGENT_RUNNER_HTTP_POST_POLICY", policy);
        let mut server = site.spawn();
        if random.below(10) > 0 {
            server.wait_ready().await;
            for n in 0..RUNS_PER_LIFE {
                let goal = format!("effects={EFFECTS} id={life}.{n} url={}", ledger.url());
                let body = json!({"goal": goal, "tools": ["http.post"]});
                if let Some(id) = create(&client, &site, &body).await {
                    if followers.len() < 20 {
                        followers.push((
                            id.clone(),
                            tokio::spawn(follow_to_the_end(
                                site.clone(),
                                client.clone(),
                                id.clone(),
                            )),
                        ));
                    }
                    accepted.push(id);
                }
            }
        }
        // Not a wait for something: the moment of the kill is what the test varies.
        tokio::time::sleep(Duration::from_micros(random.below(150_000))).await;
        server.kill().await;
    }
    let server = site.start().await;
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for id in &accepted {
        let run = join(&client, &site, id).await;
        assert_eq!(run["status"], "COMPLETED", "{run:#}");
        check_run(&client, &site, &run, &ledger, &mut outcomes).await;
    }
    for (id, follower) in followers {
        let last = get(&client, &site, &format!("/runs/{id}")).await["last_event_id"].as_u64();
        let seen = follower.await.unwrap();
        assert_eq!(seen, (1..=last.unwrap()).collect::<Vec<_>>(), "each event once and in order");
    }
    println!("{} runs, steps: {outcomes:?}, model calls: {}", accepted.len(), model.requests());
    assert!(accepted.len() as u64 >= kills, "too few runs were in flight");
    server.terminate();
    assert!(server.wait().await.success());
    let doctor = site.command(&["doctor"]).output().await.unwrap();
    assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stdout));
    for id in accepted.iter().take(REPLAYED) {
        let replay = site.command(&["replay", id]).output().await.unwrap();
        assert!(replay.status.success(), "{}", String::from_utf8_lossy(&replay.stderr));
    }
}

/// Each step of a run that ended has had its effect as its policy says, under one key.
pub(crate) async fn check_run(
    client: &reqwest::Client,
    site: &Site,
    run: &Value,
    ledger: &Ledger,
    outcomes: &mut BTreeMap<String, usize>,
) {
    let id = run["id"].as_str().unwrap();
    let events = all(client, site, &format!("/runs/{id}/events?limit=500")).await;
    let mut succeeded: HashMap<&str, usize> = HashMap::new();
    for (n, event) in events.iter().enumerate() {
        assert_eq!(event["id"], n + 1, "numbers have no gaps");
        let step = event["step"].as_str().unwrap_or_default();
        match event["type"].as_str().unwrap() {
            "step.started" => assert!(!succeeded.contains_key(step), "{step} ran again"),
            "step.succeeded" => assert!(succeeded.insert(step, n).is_none(), "{step} twice"),
            _ => {}
        }
    }
    let goal = run["goal"].as_str().unwrap();
    let name = goal.split_whitespace().find_map(|word| word.strip_prefix("id=")).unwrap();
    let entries = ledger.entries();
    let steps = get(client, site, &format!("/runs/{id}/steps")).await;
    let mut n = 0;
    for step in steps["items"].as_array().unwrap() {
        if step["name"] != "http.post" {
            continue;
        }
        let calls: Vec<_> =
            entries.iter().filter(|e| e.body["id"] == name && e.body["n"] == n).collect();
        n += 1;
        assert!(calls.iter().all(|call| call.key == calls[0].key), "one key per step");
        let attempts = usize::try_from(step["attempts"].as_u64().unwrap()).unwrap();
        let (policy, status) = (step["policy"].as_str().unwrap(), step["status"].as_str().unwrap());
        *outcomes.entry(format!("{policy} {status}")).or_default() += 1;
        match (policy, status) {
            ("at_most_once", "SUCCEEDED") => assert_eq!(calls.len(), 1, "{step:#}"),
            ("at_most_once", "INDETERMINATE") => assert!(calls.len() <= 1, "{step:#}"),
            ("idempotent", "SUCCEEDED") => {
                assert!((1..=attempts).contains(&calls.len()), "{} calls: {step:#}", calls.len());
            }
            _ => panic!("{step:#}"),
        }
    }
    assert_eq!(n, EFFECTS);
}
