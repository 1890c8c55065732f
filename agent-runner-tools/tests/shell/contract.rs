//! `shell.run` keeps the contract of `Tool`.

use std::{fmt, sync::Arc};

use agent_runner_core::{
    project::ProjectSettings,
    testing::tool_contract::ToolHarness,
    tool::{Footprint, Risk, Tool, ToolCx, ToolError, ToolInfo, ToolOutput},
    tool_contract,
};
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::world::World;

/// The tool in a project that allows programs; the suite's own project does not.
#[derive(Debug)]
struct Allowed {
    tool: Arc<dyn Tool>,
    settings: Arc<ProjectSettings>,
}

#[async_trait]
impl Tool for Allowed {
    fn info(&self) -> &ToolInfo {
        self.tool.info()
    }

    async fn call(&self, arguments: Value, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        self.tool.call(arguments, &cx.clone().with_settings(Arc::clone(&self.settings))).await
    }

    fn risk(&self, arguments: &Value) -> Risk {
        self.tool.risk(arguments)
    }

    fn footprint(&self, arguments: &Value) -> Footprint {
        self.tool.footprint(arguments)
    }
}

struct Harness {
    world: World,
    tool: Arc<dyn Tool>,
}

impl fmt::Debug for Harness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tool.fmt(f)
    }
}

#[async_trait]
impl ToolHarness for Harness {
    async fn open() -> Self {
        let world = World::confined();
        let settings = Arc::new(world.settings.clone());
        let tool = Arc::new(Allowed { tool: world.tool(), settings });
        Self { world, tool }
    }

    fn tool(&self) -> Arc<dyn Tool> {
        self.tool.clone()
    }

    fn valid(&self) -> Value {
        json!({"argv": ["sh", "-c", "cat > made.txt"], "cwd": ".", "stdin": "text"})
    }

    fn refused(&self) -> Vec<Value> {
        let argvs = [
            json!([]),
            json!([""]),
            json!(["not-listed"]),
            json!(["/bin/sh", "-c", "true"]),
            json!(["not-installed"]),
            json!(["sh -c true"]),
            json!(["sh", "a\0b"]),
            json!(["sh", 5]),
            json!(vec!["sh"; 513]),
            json!(["sh", "x".repeat(128 * 1024)]),
        ];
        let mut refused: Vec<Value> = argvs.into_iter().map(|argv| json!({"argv": argv})).collect();
        for cwd in ["..", "/", "/tmp", "gone", "a/../..", ".git", "a\0b"] {
            refused.push(json!({"argv": ["true"], "cwd": cwd}));
        }
        refused.push(json!({"argv": ["true"], "timeout_seconds": 0}));
        refused.push(json!({"argv": ["true"], "timeout_seconds": 601}));
        refused.push(json!({"argv": ["true"], "stdin": "x".repeat(1024 * 1024 + 1)}));
        refused
    }

    fn private(&self) -> Vec<String> {
        vec![self.world.temp.path().to_str().unwrap().to_owned(), "SECRET".to_owned()]
    }

    async fn effects(&self) -> Vec<String> {
        let mut effects = Vec::new();
        for dir in [self.world.project(), self.world.outside()] {
            for entry in std::fs::read_dir(dir).unwrap() {
                effects.push(format!("{:?}", entry.unwrap().file_name()));
            }
        }
        effects.sort();
        effects
    }

    fn lasting(&self) -> Option<Value> {
        Some(json!({"argv": ["sleep", "300"]}))
    }
}

tool_contract!(Harness);
