//! Tools of a server keep the contract of `Tool`.

use std::{fmt, sync::Arc};

use agent_runner_core::{testing::tool_contract::ToolHarness, tool::Tool};
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::world::{Ear, World, server};

macro_rules! harness {
    ($module:ident, $tool:literal, $valid:expr, $refused:expr, $lasting:expr) => {
        mod $module {
            use super::*;

            struct Harness(World, Arc<dyn Tool>);

            impl fmt::Debug for Harness {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    self.1.fmt(f)
                }
            }

            #[async_trait]
            impl ToolHarness for Harness {
                async fn open() -> Self {
                    let ear = Ear::open().await;
                    let mut server = server(&ear, "plain");
                    server.trust_annotations = true;
                    let world = World::of(ear, server);
                    world.connected(1).await;
                    let tool = world.tool($tool);
                    Self(world, tool)
                }

                fn tool(&self) -> Arc<dyn Tool> {
                    self.1.clone()
                }

                fn valid(&self) -> Value {
                    $valid
                }

                fn refused(&self) -> Vec<Value> {
                    $refused
                }

                fn private(&self) -> Vec<String> {
                    vec![crate::world::program(), self.0.ear.address.clone()]
                }

                fn lasting(&self) -> Option<Value> {
                    $lasting
                }
            }

            agent_runner_core::tool_contract!(Harness);
        }
    };
}

harness!(echo, "echo", json!({"text": "hello"}), vec![json!({}), json!({"text": 5})], None);
harness!(
    add,
    "add",
    json!({"a": 1, "b": 2}),
    vec![json!({"a": 1}), json!({"a": 1, "b": "2"})],
    None
);
harness!(
    wait,
    "wait",
    json!({"seconds": 0}),
    vec![json!({"seconds": -1}), json!({"seconds": 100_000})],
    Some(json!({"seconds": 600}))
);
