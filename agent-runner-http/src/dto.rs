//! The wire types. They are apart from the engine's types, so that storage and wire change
//! independently; each file converts what it shows.

pub(crate) mod approval;
pub(crate) mod artifact;
pub(crate) mod budget;
pub(crate) mod bulk;
pub(crate) mod control;
pub(crate) mod diff;
pub(crate) mod event;
pub(crate) mod file;
pub(crate) mod fork;
pub(crate) mod git;
pub(crate) mod health;
pub(crate) mod message;
pub(crate) mod new_run;
pub(crate) mod page;
pub(crate) mod policy;
pub(crate) mod project;
pub(crate) mod provider;
pub(crate) mod run;
pub(crate) mod settings;
pub(crate) mod step;
pub(crate) mod tool;
pub(crate) mod tree;
pub(crate) mod usage;
pub(crate) mod web;
pub(crate) mod worker;
