//! Many runs with one request.

use serde_json::{Value, json};

use crate::support::{answering, idle, request, with_header};

#[tokio::test]
async fn a_batch_answers_for_each_of_its_runs_in_order() {
    let service = idle();
    let batch = json!([
        {"goal": "one", "tags": ["b"]},
        {"goal": "two", "options": {"max_step": 3}},
        {"goal": "three", "model": "nowhere/x"},
        "four",
        {"goal": "five", "tags": ["b"]},
    ]);
    let answer = service.post("/runs/batch", &batch).await;
    assert_eq!(answer.status, 207, "{answer:?}");
    let answer = answer.json();
    assert_eq!((&answer["accepted"], &answer["failed"]), (&json!(2), &json!(3)));
    let items = answer["items"].as_array().unwrap();
    assert_eq!(items.len(), 5);
    for (n, goal) in [(0, "one"), (4, "five")] {
        assert_eq!((&items[n]["status"], items[n].get("problem")), (&json!("QUEUED"), None));
        let id = items[n]["id"].as_str().unwrap();
        assert_eq!(service.get(&format!("/runs/{id}")).await.json()["goal"], goal);
    }
    for (n, pointer) in [(1, "/options/max_step"), (2, "/model"), (3, "")] {
        let problem = &items[n]["problem"];
        assert_eq!(items[n].get("id"), None);
        assert_eq!((&problem["status"], &problem["code"]), (&json!(422), &json!("validation")));
        assert_eq!(problem["errors"][0]["pointer"], pointer);
        assert_eq!(problem["instance"], format!("/runs/batch#/{n}"));
    }
    let good = service.post("/runs/batch", &json!([{"goal": "six"}])).await;
    assert_eq!((good.status.as_u16(), &good.json()["failed"]), (201, &json!(0)));
    for wrong in [json!([]), json!({"goal": "g"}), json!(vec![json!({"goal": "g"}); 101])] {
        let refused = service.post("/runs/batch", &wrong).await;
        assert_eq!(refused.status, 422);
        assert_eq!(refused.json()["errors"][0]["pointer"], "");
    }
    assert_eq!(service.get("/runs").await.json()["items"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn one_key_gives_one_batch() {
    let service = idle();
    let send = async |body: Value| {
        let request =
            with_header(request("POST", "/runs/batch", Some(&body)), "idempotency-key", "k");
        service.send(request).await
    };
    let batch = json!([{"goal": "one"}, {"goal": ""}, {"goal": "two"}]);
    let one = send(batch.clone()).await;
    let same = send(batch).await;
    assert_eq!(one.json()["accepted"], 2);
    assert_eq!((one.status, &one.text), (same.status, &same.text));
    assert_eq!(same.header("idempotency-replayed"), "true");
    let other = send(json!([{"goal": "one"}, {"goal": "1.5"}, {"goal": "two"}])).await;
    assert_eq!(
        (other.status.as_u16(), &other.json()["code"]),
        (422, &json!("idempotency_mismatch"))
    );
    assert_eq!(service.get("/runs").await.json()["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn many_runs_are_canceled_by_a_filter_a_page_at_a_time() {
    let service = idle();
    for n in 0..3 {
        service.create(&json!({"goal": format!("old {n}"), "tags": ["a"]})).await;
    }
    let kept = service.create(&json!({"goal": "new", "tags": ["b"]})).await;
    for (body, pointer) in [
        (json!({}), "/filter"),
        (json!({"filter": {}}), "/filter"),
        (json!({"filter": {"tag": "a"}, "all": true}), "/filter"),
        (json!({"filter": {"status": ["FAILED"]}}), "/filter/status"),
        (json!({"filter": {"status": ["DONE"]}}), "/filter/status/0"),
        (json!({"filter": {"tags": "a"}}), "/filter/tags"),
        (json!({"filter": {"tag": "a"}, "limit": 501}), "/limit"),
    ] {
        let refused = service.post("/runs/cancel", &body).await;
        assert_eq!(refused.status, 422, "{body}");
        assert_eq!(refused.json()["errors"][0]["pointer"], pointer, "{body}");
    }
    let filter = json!({"status": ["QUEUED", "RUNNING"], "tag": "a", "q": "OLD"});
    let body = json!({"filter": filter, "dry_run": true});
    let would = service.post("/runs/cancel", &body).await.json();
    assert_eq!((&would["matched"], &would["accepted"]), (&json!(3), &json!(0)));
    assert_eq!(would["runs"][0].as_object().unwrap().len(), 1, "{would}");

    let body = json!({"filter": filter, "limit": 2, "reason": "enough"});
    let done = service.post("/runs/cancel", &body).await.json();
    assert_eq!((&done["matched"], &done["accepted"]), (&json!(2), &json!(2)));
    assert_eq!((&done["failed"], &done["runs"][0]["status"]), (&json!([]), &json!("CANCELED")));
    let body = json!({"filter": filter, "limit": 2, "cursor": done["next_cursor"]});
    let done = service.post("/runs/cancel", &body).await.json();
    assert_eq!((&done["matched"], &done["next_cursor"]), (&json!(1), &Value::Null));
    let left = service.get("/runs?status=QUEUED").await.json();
    assert_eq!(left["items"][0]["id"], json!(kept));
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
    let all = service.post("/runs/cancel", &json!({"all": true})).await.json();
    assert_eq!(all["runs"][0]["run_id"], json!(kept));
}

#[tokio::test]
async fn many_runs_are_started_anew_by_a_filter() {
    let service = answering("forty-two");
    let source = service.create(&json!({"goal": "g", "tags": ["a"]})).await;
    service.join(&source).await;
    let body = json!({"filter": {"tag": "a", "status": ["COMPLETED"]}, "changes": {"goal": "h"}});
    let send = async || {
        let request =
            with_header(request("POST", "/runs/rerun", Some(&body)), "idempotency-key", "k");
        service.send(request).await.json()
    };
    let done = send().await;
    assert_eq!((&done["matched"], &done["runs"][0]["run_id"]), (&json!(1), &json!(source)));
    assert_eq!(send().await, done, "one key gives one answer");
    let id = done["runs"][0]["id"].as_str().unwrap();
    let run = service.join(id).await;
    assert_eq!((&run["goal"], &run["forked_from"]["run_id"]), (&json!("h"), &json!(source)));

    let changes = json!({"model": "nowhere/x"});
    let body = json!({"filter": {"tag": "a"}, "changes": changes});
    let done = service.post("/runs/rerun", &body).await.json();
    assert_eq!((&done["matched"], &done["accepted"]), (&json!(2), &json!(0)));
    assert_eq!(done["failed"][1]["run_id"], json!(source));
    assert_eq!(done["failed"][1]["problem"]["errors"][0]["pointer"], "/model");
    let wrong = json!({"filter": {"tag": "a"}, "changes": {"event": 3}});
    let refused = service.post("/runs/rerun", &wrong).await;
    assert_eq!(refused.json()["errors"][0]["pointer"], "/changes/event");
}
