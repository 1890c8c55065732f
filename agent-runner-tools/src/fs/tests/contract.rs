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

harness!(Append, FilesAppend::new, json!({"path": "there.txt", "text": "!"}), {
    let mut refused = escapes(&json!({"text": "text"}));
    refused.extend([json!({"path": "f"}), json!({"path": "dir", "text": ""})]);
    refused
});
harness!(Edit, FilesEdit::new, json!({"path": "there.txt", "old": "tex", "new": "TEX"}), {
    let mut refused = escapes(&json!({"old": "a", "new": "b"}));
    refused.extend([
        json!({"path": "gone", "old": "a", "new": "b"}),
        json!({"path": "there.txt", "old": "t", "new": "b"}),
        json!({"path": "there.txt", "old": "", "new": "b"}),
        json!({"path": "there.txt", "old": "text", "new": "b", "expected_sha256": "00"}),
    ]);
    refused
});
harness!(
    Patch,
    FilesPatch::new,
    json!({"path": "there.txt", "patch": "@@ -1 +1 @@\n-text\n\\ No newline at end of file\n+other\n"}),
    {
        let mut refused = escapes(&json!({"patch": "@@ -1 +1 @@\n-a\n+b\n"}));
        refused.extend([
            json!({"path": "there.txt", "patch": "@@ -1 +1 @@\n-a\n+b\n"}),
            json!({"path": "there.txt", "patch": "better"}),
        ]);
        refused
    }
);
harness!(OfGlob, FilesGlob::new, json!({"pattern": "**/*.txt"}), {
    vec![json!({}), json!({"pattern": ""}), json!({"pattern": "[a"})]
});
harness!(
    OfSearch,
    FilesSearch::new,
    json!({"pattern": "te.t", "glob": "*.txt", "ignore_case": true}),
    {
        let mut refused = escapes(&json!({"pattern": "a"}));
        refused.extend([json!({"pattern": "("}), json!({"pattern": "(a{1000}){1000}"})]);
        refused.push(json!({"pattern": "a", "glob": "{"}));
        refused
    }
);
harness!(Move, FilesMove::new, json!({"from": "there.txt", "to": "new/name.txt"}), {
    let mut refused = transfers();
    refused.push(json!({"from": "link", "to": "b"}));
    refused.push(json!({"from": "dir", "to": "dir/below"}));
    refused
});
harness!(OfCopy, FilesCopy::new, json!({"from": "there.txt", "to": "new/name.txt"}), {
    let mut refused = transfers();
    refused.push(json!({"from": "dir", "to": "b"}));
    refused
});
harness!(Mkdir, FilesMkdir::new, json!({"path": "a/b/c"}), {
    let mut refused = escapes(&json!({}));
    refused.push(json!({"path": "there.txt"}));
    refused
});
harness!(Delete, FilesDelete::new, json!({"path": "there.txt"}), {
    // A link itself may be deleted: that touches nothing outside.
    let mut refused = escapes(&json!({}));
    refused.retain(|arguments| arguments["path"] != "link");
    refused.push(json!({"path": "gone"}));
    refused.push(json!({"path": "there.txt", "expected_sha256": "00"}));
    refused
});
harness!(Diff, FilesDiff::new, json!({"path": "there.txt"}), {
    vec![json!({"path": "../outside"}), json!({"run": "x"}), json!({"path": ".git"})]
});

fn transfers() -> Vec<Value> {
    let paths = ESCAPES.iter().filter(|path| **path != "link");
    let from = paths.clone().map(|path| json!({"from": path, "to": "b"}));
    let to = paths.map(|path| json!({"from": "there.txt", "to": path}));
    let mut refused: Vec<Value> = from.chain(to).collect();
    refused.extend([
        json!({"from": "gone", "to": "b"}),
        json!({"from": "there.txt", "to": "there.txt"}),
        json!({"from": "there.txt", "to": "dir"}),
        json!({"from": "there.txt", "to": "link"}),
        json!({"from": "there.txt", "to": "there.txt/below"}),
    ]);
    refused
}

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

mod files_append {
    use super::*;

    tool_contract!(Append);
}

mod files_edit {
    use super::*;

    tool_contract!(Edit);
}

mod files_patch {
    use super::*;

    tool_contract!(Patch);
}

mod files_glob {
    use super::*;

    tool_contract!(OfGlob);
}

mod files_search {
    use super::*;

    tool_contract!(OfSearch);
}

mod files_move {
    use super::*;

    tool_contract!(Move);
}

mod files_copy {
    use super::*;

    tool_contract!(OfCopy);
}

mod files_mkdir {
    use super::*;

    tool_contract!(Mkdir);
}

mod files_delete {
    use super::*;

    tool_contract!(Delete);
}

mod files_diff {
    use super::*;

    tool_contract!(Diff);
}
