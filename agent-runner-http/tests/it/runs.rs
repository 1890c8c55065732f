//! Starting, reading, listing, waiting for and deleting runs.

use serde_json::{Value, json};

use crate::support::{Setup, answering, idle, request};
use agent_runner_core::testing::Turn;

#[tokio::test]
async fn a_run_is_accepted_executed_and_shown() {
    let service = answering("forty-two");
    let body = json!({
        "goal": "what is it", "name": "n", "tags": ["a", "b"], "metadata": {"k": [1]},
        "tools": ["note"], "instructions": "be short", "tool_mode": "native",
        "options": {"max_steps": 3, "timeout_seconds": 60, "priority": -5, "temperature": 0.5,
                    "max_output_tokens": 9},
    });
    let accepted = service.post("/runs", &body).await;
    assert_eq!(accepted.status, 201);
    let run = accepted.json();
    let id = run["id"].as_str().unwrap();
    assert_eq!(accepted.header("location"), format!("/runs/{id}"));
    assert!(["QUEUED", "RUNNING", "COMPLETED"].contains(&run["status"].as_str().unwrap()));
    let done = service.join(id).await;
    assert_eq!(done["status"], "COMPLETED");
    assert_eq!((&done["phase"], &done["output"]), (&json!("done"), &json!("forty-two")));
    for (field, value) in [
        ("goal", json!("what is it")),
        ("name", json!("n")),
        ("agent", json!("assistant")),
        ("model", json!("test/model")),
        ("tags", json!(["a", "b"])),
        ("metadata", json!({"k": [1]})),
        ("tools", json!(["note"])),
        ("tool_mode", json!("native")),
        ("cost", Value::Null),
        ("forked_from", Value::Null),
        ("error", Value::Null),
        ("waiting_on", Value::Null),
        ("parent_id", Value::Null),
        ("root_id", json!(id)),
        ("status_reason", Value::Null),
        (
            "options",
            json!({"max_steps": 3, "timeout_seconds": 60, "priority": -5,
                           "temperature": 0.5, "max_output_tokens": 9,
                           "reasoning": null, "budget": null, "tree_budget": null,
                           "tool_policy": null}),
        ),
        (
            "input",
            json!({"goal": "what is it", "instructions": "be short", "output_schema": null,
                   "inputs": null}),
        ),
        ("workflow", Value::Null),
    ] {
        assert_eq!(done[field], value, "{field}");
    }
    assert_eq!(done["usage"]["total"], 15);
    assert_eq!((&done["spend"]["requests"], &done["spend"]["tokens"]), (&json!(1), &json!(15)));
    let detail = service.get(&format!("/runs/{id}")).await.json();
    assert_eq!(detail["steps_summary"], json!({"total": 1, "by_status": {"SUCCEEDED": 1}}));
    assert_eq!(detail["children"], json!([]));
    for time in ["created_at", "started_at", "finished_at", "deadline_at"] {
        assert!(detail[time].as_str().unwrap().ends_with('Z'), "{time} is UTC");
    }
}

#[tokio::test]
async fn a_workflow_of_the_program_is_a_run_too() {
    let service = answering("unused");
    let body = json!({"workflow": "double", "inputs": 21, "tags": ["w"]});
    let accepted = service.post("/runs", &body).await;
    assert_eq!(accepted.status, 201, "{accepted:?}");
    let done = service.join(accepted.json()["id"].as_str().unwrap()).await;
    assert_eq!((&done["status"], &done["output"]), (&json!("COMPLETED"), &json!(42)));
    assert_eq!(done["workflow"], json!({"name": "double", "version": 2}));
    assert_eq!((&done["input"]["inputs"], &done["goal"]), (&json!(21), &json!("double")));
    for (body, pointer) in [
        (json!({"workflow": "triple", "inputs": 1}), "/workflow"),
        (json!({"workflow": "double", "workflow_version": 7, "inputs": 1}), "/workflow"),
        (json!({"workflow": "double", "inputs": "one"}), "/inputs"),
        (json!({"goal": "g", "inputs": 1}), "/workflow"),
    ] {
        let refused = service.post("/runs", &body).await;
        assert_eq!(refused.status, 422, "{body}");
        assert_eq!(refused.json()["errors"][0]["pointer"], pointer, "{body}");
    }
}

#[tokio::test]
async fn steps_events_usage_and_transcript_tell_one_story() {
    let turns = [Turn::tool("note", json!({"n": 1})), Turn::text("noted")];
    let service = Setup::new(turns).start();
    let id = service.create(&json!({"goal": "note it", "tools": ["note"]})).await;
    let run = service.join(&id).await;
    let steps = service.get(&format!("/runs/{id}/steps")).await.json();
    let kinds: Vec<&str> =
        steps["items"].as_array().unwrap().iter().map(|s| s["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["model", "tool", "model"]);
    let tool = steps["items"][1]["id"].as_str().unwrap();
    let detail = service.get(&format!("/runs/{id}/steps/{tool}")).await.json();
    assert_eq!((&detail["input"], &detail["output"]), (&json!({"n": 1}), &json!({"done": 1})));
    assert_eq!((&detail["status"], &detail["policy"]), (&json!("SUCCEEDED"), &json!("idempotent")));

    let events = service.get(&format!("/runs/{id}/events?limit=500")).await.json();
    let events = events["items"].as_array().unwrap();
    let ids: Vec<u64> = events.iter().map(|e| e["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (1..=run["last_event_id"].as_u64().unwrap()).collect::<Vec<_>>());
    assert_eq!(events[0]["type"], "run.queued");
    assert_eq!(events.last().unwrap()["type"], "run.completed");
    assert!(events.iter().all(|e| e["payload"]["message"].as_str().is_some_and(|m| m.len() > 5)));
    assert!(events.iter().all(|e| e["run_id"] == id && e["created_at"].is_string()));
    let one = service.get(&format!("/runs/{id}/events/3")).await.json();
    assert_eq!(one, events[2]);

    let usage = service.get(&format!("/runs/{id}/usage")).await.json();
    assert_eq!(
        (&usage["total"]["total"], usage["steps"].as_array().unwrap().len()),
        (&json!(30), 2)
    );
    let transcript = service.get(&format!("/runs/{id}/transcript")).await.json();
    let roles: Vec<&str> = transcript["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["user", "assistant", "tool", "assistant"]);
    assert_eq!(transcript["messages"][3]["text"], "noted");
}

#[tokio::test]
async fn event_pages_filter_turn_around_and_join_up() {
    let service = answering("done");
    let id = service.create(&json!({"goal": "g"})).await;
    let last = service.join(&id).await["last_event_id"].as_u64().unwrap();
    let numbers = |answer: Value| -> Vec<u64> {
        answer["items"].as_array().unwrap().iter().map(|e| e["id"].as_u64().unwrap()).collect()
    };
    let mut seen = Vec::new();
    let mut uri = format!("/runs/{id}/events?limit=2");
    loop {
        let answer = service.get(&uri).await;
        let next = answer.json()["next_cursor"].as_str().map(str::to_owned);
        let link = answer.header("link").to_owned();
        seen.extend(numbers(answer.json()));
        match next {
            Some(cursor) => {
                assert_eq!(
                    link,
                    format!("</runs/{id}/events?limit=2&cursor={cursor}>; rel=\"next\"")
                );
                uri = format!("/runs/{id}/events?limit=2&cursor={cursor}");
            }
            None => break assert_eq!(link, ""),
        }
    }
    assert_eq!(seen, (1..=last).collect::<Vec<_>>());
    let after = service.get(&format!("/runs/{id}/events?after={}", last - 1)).await.json();
    assert_eq!(numbers(after), [last]);
    let newest = service.get(&format!("/runs/{id}/events?order=desc&limit=2")).await.json();
    assert_eq!(numbers(newest), [last, last - 1]);
    let types = service.get(&format!("/runs/{id}/events?types=run.queued,run.completed")).await;
    assert_eq!(numbers(types.json()), [1, last]);
}

#[tokio::test]
async fn lists_filter_and_their_pages_join_up_without_gap_or_repeat() {
    let service = idle();
    let project = service.post("/projects", &json!({"name": "p"})).await.json();
    let project = project["id"].as_str().unwrap();
    let mut all = Vec::new();
    for n in 0..7 {
        let mut body =
            json!({"goal": format!("goal {n}"), "tags": [if n % 2 == 0 { "even" } else { "odd" }]});
        if n == 3 {
            body["project_id"] = json!(project);
            body["name"] = json!("The Needle");
        }
        all.push(service.create(&body).await);
    }
    service.post(&format!("/runs/{}/cancel", all[6]), &json!({})).await;
    let ids = |answer: &Value| -> Vec<String> {
        answer["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let mut seen = Vec::new();
    let mut uri = "/runs?limit=3".to_owned();
    loop {
        let page = service.get(&uri).await.json();
        seen.extend(ids(&page));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        uri = format!("/runs?limit=3&cursor={cursor}");
    }
    let newest_first: Vec<String> = all.iter().rev().cloned().collect();
    assert_eq!(seen, newest_first);
    for (filter, expected) in [
        ("order=asc&limit=1", vec![0]),
        ("status=CANCELED", vec![6]),
        ("status=QUEUED,CANCELED", vec![6, 5, 4, 3, 2, 1, 0]),
        ("status=COMPLETED", vec![]),
        ("tag=odd", vec![5, 3, 1]),
        ("q=needle", vec![3]),
        ("q=GOAL%202", vec![2]),
        (&format!("project_id={project}"), vec![3]),
        ("agent=assistant&limit=2", vec![6, 5]),
        ("agent=nobody", vec![]),
        ("created_after=2999-01-01T00:00:00Z", vec![]),
        (&format!("parent_id={}", all[0]), vec![]),
    ] {
        let page = service.get(&format!("/runs?{filter}")).await;
        assert_eq!(page.status, 200, "{page:?}");
        let expected: Vec<String> = expected.iter().map(|n: &usize| all[*n].clone()).collect();
        assert_eq!(ids(&page.json()), expected, "{filter}");
    }
}

#[tokio::test]
async fn wait_answers_the_ended_run_or_says_that_it_goes_on() {
    let service = answering("quick");
    let done = service.post("/runs/wait?timeout=20", &json!({"goal": "g"})).await;
    assert_eq!((done.status.as_u16(), &done.json()["output"]), (200, &json!("quick")));
    let slow = idle();
    let late = slow.post("/runs/wait?timeout=0", &json!({"goal": "g"})).await;
    assert_eq!((late.status.as_u16(), &late.json()["code"]), (408, &json!("timeout")));
    let run = slow.get(late.header("location")).await;
    assert_eq!(run.json()["status"], "QUEUED", "the run goes on");
    let id = run.json()["id"].as_str().unwrap().to_owned();
    let join = slow.get(&format!("/runs/{id}/join?timeout=0")).await;
    assert_eq!((join.status.as_u16(), &join.json()["id"]), (202, &json!(id)));
}

#[tokio::test]
async fn only_a_run_that_ended_can_be_deleted() {
    let service = idle();
    let id = service.create(&json!({"goal": "g"})).await;
    let early = service.send(request("DELETE", &format!("/runs/{id}"), None)).await;
    assert_eq!((early.status.as_u16(), &early.json()["code"]), (409, &json!("conflict")));
    service.post(&format!("/runs/{id}/cancel"), &json!({})).await;
    let gone = service.send(request("DELETE", &format!("/runs/{id}"), None)).await;
    assert_eq!((gone.status.as_u16(), gone.text.as_str()), (204, ""));
    assert_eq!(service.get(&format!("/runs/{id}")).await.status, 404);
}

#[tokio::test]
async fn a_failed_run_says_why() {
    let service = Setup::new([Turn::tool("note", json!({}))]).start();
    let body = json!({"goal": "g", "tools": ["note"], "options": {"max_steps": 2}});
    let id = service.create(&body).await;
    let run = service.join(&id).await;
    assert_eq!((&run["status"], &run["status_reason"]), (&json!("FAILED"), &json!("max_steps")));
    assert_eq!(run["error"]["reason"], "max_steps");
    assert!(run["error"]["message"].as_str().unwrap().len() > 10);
}

#[tokio::test]
async fn a_budget_is_checked_shown_spent_and_raised() {
    let turns = [Turn::tool("note", json!({"n": 1})), Turn::text("noted")];
    let service = Setup::new(turns).start();
    for (budget, pointer) in [
        (json!({"token": 5}), "/options/budget/token"),
        (json!({"usd": -1}), "/options/budget/usd"),
        (json!({"tokens": 0}), "/options/budget/tokens"),
        (json!({"on_exceeded": "explode"}), "/options/budget/on_exceeded"),
    ] {
        let body = json!({"goal": "x", "options": {"budget": budget}});
        let refused = service.post("/runs", &body).await.json();
        assert_eq!(refused["code"], "validation", "{refused}");
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{refused}");
    }
    let budget = json!({"requests": 1, "on_exceeded": "park"});
    let body = json!({"goal": "x", "tools": ["note"], "options": {"budget": budget}});
    let id = service.create(&body).await;
    let waiting = loop {
        let run = service.get(&format!("/runs/{id}")).await.json();
        if run["phase"] == "parked" {
            break run;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(waiting["waiting_on"]["reason"], "budget");
    assert_eq!((&waiting["status"], &waiting["spend"]["requests"]), (&json!("RUNNING"), &json!(1)));
    let usage = service.get(&format!("/runs/{id}/usage")).await.json();
    assert_eq!(usage["budget"]["requests"], 1);
    assert_eq!((&usage["budget_used_percent"], &usage["cost"]), (&json!(100.0), &Value::Null));
    let more = json!({"budget": {"requests": 5}});
    let changed = service.send(request("PATCH", &format!("/runs/{id}"), Some(&more))).await;
    assert_eq!(changed.status, 200, "{}", changed.json());
    let done = service.join(&id).await;
    assert_eq!((&done["status"], &done["spend"]["requests"]), (&json!("COMPLETED"), &json!(2)));
    let late = service.send(request("PATCH", &format!("/runs/{id}"), Some(&more))).await;
    assert_eq!(late.status, 409);
    assert_eq!(late.json()["code"], "invalid_transition");
}

#[tokio::test]
async fn a_run_shows_what_descends_from_it() {
    let agents = Turn::tool("agent.run", json!({"goal": "a part"}));
    let service = Setup::new([agents, Turn::text("done")]).start();
    let body = json!({"goal": "all", "tools": ["agent.run"]});
    let id = service.post("/runs", &body).await.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(service.join(&id).await["status"], "COMPLETED");
    let tree = service.get(&format!("/runs/{id}/tree")).await.json();
    assert_eq!((&tree["complete"], tree["items"].as_array().unwrap().len()), (&json!(true), 2));
    let [run, child] = [0, 1].map(|n| tree["items"][n].clone());
    assert_eq!(
        (&run["id"], &run["parent_id"], &run["step"]),
        (&json!(id), &Value::Null, &Value::Null)
    );
    assert_eq!((&run["level"], &child["level"]), (&json!(0), &json!(1)));
    assert_eq!((&child["parent_id"], &child["step"]), (&json!(id), &json!("turn.1.tool.1")));
    assert_eq!((&child["goal"], &child["status"]), (&json!("a part"), &json!("COMPLETED")));
    let requests = |item: &Value| item["spend"]["requests"].as_u64().unwrap();
    assert!(requests(&run) > requests(&child) && requests(&child) > 0, "{tree}");
    let list = service.get(&format!("/runs?parent_id={id}")).await.json();
    assert_eq!(list["items"][0]["id"], child["id"]);
    assert_eq!(service.get("/runs/0199d3f0-0000-7000-8000-000000000000/tree").await.status, 404);
}
