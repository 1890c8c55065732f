//! Runs LLM agents the way SQLite keeps data: link it, point it at a file, trust it.
#![cfg_attr(feature = "server", doc = "")]
#![cfg_attr(feature = "server", doc = include_str!("../README.md"))]

#[cfg(feature = "testing")]
pub use agent_runner_core::testing;
pub use agent_runner_core::{
    agent, approval, artifact, blob, budget, code, directive, engine, engine::Engine, event, files,
    id, limits, llm, machine, memory, message, policy, project, run, schema, step, store, time,
    tool,
};
#[cfg(feature = "http")]
pub use agent_runner_http as http;
pub use agent_runner_providers as providers;
pub use agent_runner_tools as tools;

/// The blocks of the guide for authors of providers, as tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/ADDING_A_PROVIDER.md")]
mod adding_a_provider {}

/// The blocks of the guide to code workflows, as tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/CODE_WORKFLOWS.md")]
mod code_workflows {}

/// The blocks of the guide for authors of tools, as tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/ADDING_A_TOOL.md")]
mod adding_a_tool {}

/// The blocks of the guide to testing plugins, as tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/TESTING_PLUGINS.md")]
mod testing_plugins {}
