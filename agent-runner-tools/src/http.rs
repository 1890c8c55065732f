//! HTTP to hosts that the operator lists, and to nothing else.
//!
//! The list decides by name and port, so loopback is reachable when it is listed. Redirects are
//! answers, not instructions: the caller sees where they lead and the list decides again.

mod allow;
mod client;
mod get;
mod post;

pub use self::{
    allow::{AllowError, HttpAllow},
    client::{HttpClient, HttpClientError},
    get::HttpGet,
    post::{HttpPost, PostPolicyError},
};

#[cfg(test)]
mod tests;
