//! The description of the service is the one that clients were given.

use std::{
    fs,
    path::{Path, PathBuf},
};

use agent_runner_http::Api;
use serde_json::Value;

use crate::support::idle;

fn golden() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json"))
}

/// `UPDATE_GOLDEN=1` rewrites the file; look at what changed before you commit it.
#[test]
fn the_description_is_the_golden_file() {
    let now = Api::openapi_json();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(golden(), &now).unwrap();
    }
    let kept = fs::read_to_string(golden()).unwrap_or_default();
    let differs = now.lines().zip(kept.lines()).enumerate().find(|(_, (now, kept))| now != kept);
    assert!(
        now == kept,
        "docs/openapi.json is not what the routes say (first difference: {differs:?}); if that is \
         meant, run the test with UPDATE_GOLDEN=1"
    );
}

#[tokio::test]
async fn the_service_hands_out_the_same_description() {
    let answer = idle().get("/openapi.json").await;
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.text, Api::openapi_json());
    assert!(answer.json()["openapi"].as_str().unwrap().starts_with("3.1"));
}

fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str));
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_reference_has_its_target_and_every_operation_its_words() {
    let api: Value = serde_json::from_str(&Api::openapi_json()).unwrap();
    let mut found = Vec::new();
    references(&api, &mut found);
    assert!(found.len() > 50);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(api.pointer(pointer).is_some(), "{reference}");
    }
    let mut ids = Vec::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(operation["summary"].is_string(), "{method} {path}");
            assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{method} {path}");
            let named = path.matches('{').count();
            let parameters = operation["parameters"].as_array().map_or(0, |all| {
                all.iter().filter(|p| p["in"] == "path" && p["required"] == true).count()
            });
            assert_eq!(parameters, named, "{method} {path}");
            ids.push(operation["operationId"].as_str().unwrap().to_owned());
        }
    }
    let all = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all, "operation ids are unique");
}

/// Method and path of every request in the API collection.
fn collected(directory: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collected(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let url = text.lines().find_map(|line| line.trim().strip_prefix("url: {{baseUrl}}"));
        let Some(url) = url else { continue };
        let method = text
            .lines()
            .find_map(|line| line.strip_suffix(" {").filter(|m| METHODS.contains(m)))
            .unwrap_or_else(|| panic!("{path:?} has an address and no method"));
        found.push((method.to_owned(), url.split('?').next().unwrap_or_default().to_owned()));
    }
}

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

#[test]
fn the_api_collection_asks_every_route() {
    let mut requests = Vec::new();
    collected(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../bruno")), &mut requests);
    let api: Value = serde_json::from_str(&Api::openapi_json()).unwrap();
    for (path, item) in api["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let asked = requests.iter().any(|(verb, url)| {
                let (route, url): (Vec<&str>, Vec<&str>) =
                    (path.split('/').collect(), url.split('/').collect());
                verb == method
                    && route.len() == url.len()
                    && route.iter().zip(&url).all(|(want, is)| want.starts_with('{') || want == is)
            });
            assert!(asked, "bruno/ has no request for {method} {path}");
        }
    }
}
