//! Ids and names in paths. What is not an id names nothing: 404.

use std::str::FromStr;

use agent_runner_core::id::{ApprovalId, ArtifactId, ProjectId, RunId, StepKey};
use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use serde::de::{DeserializeOwned, IntoDeserializer as _};

use crate::{
    api::Api,
    dto::git::{GitAction, GitView},
    problem::Problem,
};

async fn segments<T: DeserializeOwned + Send>(parts: &mut Parts) -> Result<T, Problem> {
    let path = Path::<T>::from_request_parts(parts, &()).await;
    path.map(|Path(segments)| segments).map_err(|error| Problem::not_found(error.body_text()))
}

fn id<T: FromStr<Err: ToString>>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error: T::Err| Problem::not_found(error.to_string()))
}

/// One of the words that a part of the path can be.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let parsed = T::deserialize(text.into_deserializer());
    parsed.map_err(|error: serde::de::value::Error| Problem::not_found(error.to_string()))
}

macro_rules! path {
    ($(#[$doc:meta])* $name:ident($($field:ty),*) from $raw:pat, $segments:ty => $value:expr) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name($(pub(crate) $field),*);

        impl FromRequestParts<Api> for $name {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
                let $raw = segments::<$segments>(parts).await?;
                $value
            }
        }
    };
}

path! {
    /// `/runs/{id}`
    RunPath(RunId) from run, String => Ok(Self(id(&run)?))
}
path! {
    /// `/projects/{id}`
    ProjectPath(ProjectId) from project, String => Ok(Self(id(&project)?))
}
path! {
    /// `/approvals/{id}`
    ApprovalPath(ApprovalId) from approval, String => Ok(Self(id(&approval)?))
}
path! {
    /// `/projects/{id}/files/{path}`
    FilePath(ProjectId, String) from (project, path), (String, String) =>
        Ok(Self(id(&project)?, path))
}
path! {
    /// `/projects/{id}/git/{verb}`, looking
    GitViewPath(ProjectId, GitView) from (project, view), (String, String) =>
        Ok(Self(id(&project)?, word(&view)?))
}
path! {
    /// `/projects/{id}/git/{verb}`, doing
    GitActionPath(ProjectId, GitAction) from (project, action), (String, String) =>
        Ok(Self(id(&project)?, word(&action)?))
}
path! {
    /// `/runs/{id}/artifacts/{artifact_id}`
    ArtifactPath(RunId, ArtifactId) from (run, artifact), (String, String) =>
        Ok(Self(id(&run)?, id(&artifact)?))
}
path! {
    /// `/{name}`
    Name(String) from name, String => Ok(Self(name))
}
path! {
    /// `/runs/{id}/steps/{key}`
    RunStepPath(RunId, StepKey) from (run, key), (String, String) =>
        Ok(Self(id(&run)?, StepKey::new(key)))
}
path! {
    /// `/runs/{id}/diff/{other}`
    RunPairPath(RunId, RunId) from (run, other), (String, String) =>
        Ok(Self(id(&run)?, id(&other)?))
}
path! {
    /// `/runs/{id}/signals/{name}`
    RunSignalPath(RunId, String) from (run, name), (String, String) => Ok(Self(id(&run)?, name))
}
path! {
    /// `/runs/{id}/events/{seq}`
    RunEventPath(RunId, u64) from (run, seq), (String, String) => {
        let missing = || Problem::not_found(format!("`{seq}` is not the number of an event"));
        Ok(Self(id(&run)?, seq.parse().map_err(|_| missing())?))
    }
}
