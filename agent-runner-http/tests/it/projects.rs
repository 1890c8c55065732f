//! Projects and their versions.

use serde_json::json;

use crate::support::{idle, request, with_header};

#[tokio::test]
async fn a_project_is_made_read_changed_listed_and_deleted() {
    let service = idle();
    let made = service
        .post("/projects", &json!({"name": "alpha", "description": "d", "metadata": {"a": 1}}))
        .await;
    assert_eq!((made.status.as_u16(), made.header("etag")), (201, "\"v1\""));
    let project = made.json();
    let uri = format!("/projects/{}", project["id"].as_str().unwrap());
    assert_eq!(made.header("location"), uri);
    let read = service.get(&uri).await;
    assert_eq!((read.json(), read.header("etag")), (project, "\"v1\""));

    let patch = json!({"description": "e"});
    let changed =
        service.send(with_header(request("PATCH", &uri, Some(&patch)), "if-match", "\"v1\"")).await;
    assert_eq!((changed.status.as_u16(), changed.header("etag")), (200, "\"v2\""));
    assert_eq!(
        (&changed.json()["description"], &changed.json()["metadata"]),
        (&json!("e"), &json!({"a": 1}))
    );
    for stale in ["\"v1\"", "W/\"v2\"", "nonsense"] {
        let refused = service
            .send(with_header(request("PATCH", &uri, Some(&patch)), "if-match", stale))
            .await;
        assert_eq!(
            (refused.status.as_u16(), &refused.json()["code"]),
            (412, &json!("etag_mismatch"))
        );
    }
    let free = service.send(request("PATCH", &uri, Some(&json!({})))).await;
    assert_eq!(free.status, 200, "without If-Match the last write wins");

    let taken = service.post("/projects", &json!({"name": "alpha"})).await;
    assert_eq!((taken.status.as_u16(), &taken.json()["code"]), (409, &json!("conflict")));
    service.post("/projects", &json!({"name": "beta"})).await;
    let page = service.get("/projects?limit=1").await.json();
    let rest = format!("/projects?limit=1&cursor={}", page["next_cursor"].as_str().unwrap());
    let rest = service.get(&rest).await.json();
    assert_ne!(page["items"][0]["id"], rest["items"][0]["id"]);
    assert_eq!(rest["next_cursor"], json!(null));

    let stale =
        service.send(with_header(request("DELETE", &uri, None), "if-match", "\"v1\"")).await;
    assert_eq!(stale.status, 412);
    assert_eq!(service.send(request("DELETE", &uri, None)).await.status, 204);
    assert_eq!(service.get(&uri).await.status, 404);
}

#[tokio::test]
async fn a_project_with_unfinished_runs_is_not_deleted() {
    let service = idle();
    let id = service.post("/projects", &json!({"name": "busy"})).await.json()["id"].clone();
    service.create(&json!({"goal": "g", "project_id": id})).await;
    let uri = format!("/projects/{}", id.as_str().unwrap());
    let refused = service.send(request("DELETE", &uri, None)).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (409, &json!("conflict")));
}
