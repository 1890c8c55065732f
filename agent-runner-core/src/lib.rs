//! The durable agent engine: nouns, rules, plugin traits.
//!
//! This crate does no network and no SQL. See `ARCHITECTURE.md`.

pub mod agent;
pub mod approval;
pub mod artifact;
pub mod blob;
pub mod budget;
pub mod code;
pub mod directive;
pub mod engine;
pub mod event;
pub mod files;
pub mod id;
pub mod limits;
pub mod llm;
pub mod machine;
pub mod memory;
pub mod message;
pub mod policy;
pub mod project;
pub mod run;
pub mod schema;
pub mod step;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod time;
pub mod tool;
