//! The file tools keep the contract of `Tool`.

use std::{fmt, sync::Arc};

use agent_runner_core::{testing::tool_contract::ToolHarness, tool_contract};
use async_trait::async_trait;

use super::*;

struct Files {
    world: World,
    tool: Arc<dyn Tool>,
}

impl Files {
    fn new<T: TypedTool>(tool: fn(Workspace) -> T) -> Self {
        let world = World::new();
        fs::write(world.project().join("there.txt"), "text").unwrap();
        fs::create_dir(world.project().join("dir")).unwrap();
        let link = world.project().join("link");
        std::os::unix::fs::symlink(world.outside().join("secret"), link).unwrap();
        let tool = Arc::new(Typed::new(tool(world.workspace.clone())));
        Self { world, tool }
    }

    fn private(&self) -> Vec<String> {
        vec![self.world.temp.path().to_str().unwrap().to_owned(), "SECRET".to_owned()]
    }

    fn effects(&self) -> Vec<String> {
        let inside = contents(&self.world.project()).into_iter();
        inside.chain(contents(&self.world.outside())).map(|pair| format!("{pair:?}")).collect()
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tool.fmt(f)
    }
}

const ESCAPES: [&str; 6] = ["../outside/secret", "/etc/passwd", "link", ".git/config", "a\0b", ""];

macro_rules! harness {
    ($name:ident, $tool:expr, $valid:expr, $refused:expr) => {
        #[derive(Debug)]
        struct $name(Files);

        #[async_trait]
        impl ToolHarness for $name {
            async fn open() -> Self {
                Self(Files::new($tool))
            }

            fn tool(&self) -> Arc<dyn Tool> {
                self.0.tool.clone()
            }

            fn valid(&self) -> Value {
                $valid
            }

            fn refused(&self) -> Vec<Value> {
                $refused
            }

            fn private(&self) -> Vec<String> {
                self.0.private()
            }

            async fn effects(&self) -> Vec<String> {
                self.0.effects()
            }
        }
    };
}

fn escapes(with: &Value) -> Vec<Value> {
    let paths = ESCAPES.iter().chain(["there.txt/below"].iter());
    paths
        .map(|path| {
            let mut arguments = with.clone();
            arguments["path"] = json!(path);
            arguments
        })
        .collect()
}

harness!(Read, FilesRead::new, json!({"path": "there.txt"}), {
    let mut refused = escapes(&json!({}));
    refused.extend([json!({}), json!({"path": "gone"}), json!({"path": "dir"})]);
    refused.push(json!({"path": "there.txt", "offset_line": 99}));
    refused
});
harness!(Write, FilesWrite::new, json!({"path": "new/f.txt", "text": "text"}), {
    let mut refused = escapes(&json!({"text": "text"}));
    refused.extend([json!({"path": "f"}), json!({"path": "dir", "text": ""})]);
    refused.push(json!({"path": "large", "text": "x".repeat(8 * 1024 * 1024 + 1)}));
    refused
});
harness!(List, FilesList::new, json!({"path": ".", "recursive": true, "limit": 10}), {
    let mut refused = escapes(&json!({"recursive": true}));
    refused.extend([json!({"path": "gone"}), json!({"limit": -1})]);
    refused
});

mod files_read {
    use super::*;

    tool_contract!(Read);
}

mod files_write {
    use super::*;

    tool_contract!(Write);
}

mod files_list {
    use super::*;

    tool_contract!(List);
}
