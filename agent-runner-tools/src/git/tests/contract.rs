//! The git tools keep the contract of `Tool`.

use std::fmt;

use agent_runner_core::{
    testing::tool_contract::ToolHarness,
    tool::{EffectPolicy, Reconciled, Risk, ToolInfo},
    tool_contract,
};
use async_trait::async_trait;

use super::*;

/// A tool in a project with settings, which the suite's own circumstances do not have.
struct Settled {
    tool: Arc<dyn Tool>,
    settings: Arc<ProjectSettings>,
}

impl fmt::Debug for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tool.fmt(f)
    }
}

#[async_trait]
impl Tool for Settled {
    fn info(&self) -> &ToolInfo {
        self.tool.info()
    }

    async fn call(&self, arguments: Value, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        self.tool.call(arguments, &cx.clone().with_settings(Arc::clone(&self.settings))).await
    }

    fn risk(&self, arguments: &Value) -> Risk {
        self.tool.risk(arguments)
    }

    async fn reconcile(&self, arguments: &Value, cx: &ToolCx) -> Result<Reconciled, ToolError> {
        self.tool.reconcile(arguments, cx).await
    }
}

struct Repositories {
    world: World,
    tool: Arc<dyn Tool>,
}

impl fmt::Debug for Repositories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tool.fmt(f)
    }
}

impl Repositories {
    /// A clone with a change that is not committed, a staged file and another branch.
    async fn new(tool: &str) -> Self {
        let world = World::new();
        let bare = world.origin();
        world.call("git.clone", json!({"dir": "t"})).await;
        world.call("git.checkout", json!({"branch": "side", "create": true})).await;
        world.write("t/side", "side\n");
        world.call("git.commit", json!({"message": "side", "paths": ["."]})).await;
        world.call("git.checkout", json!({"branch": "main"})).await;
        world.others_commit(&bare, "theirs", "theirs\n");
        world.write("t/src/lib.rs", "fn changed() {}\n");
        world.write("t/staged", "staged\n");
        world.call("git.add", json!({"paths": ["staged"]})).await;
        let settings = Arc::new(world.settings.lock().unwrap().clone());
        let tool = Arc::new(Settled { tool: Arc::clone(&world.tools[tool]), settings });
        Self { world, tool }
    }

    /// All that git's own command line sees of the repositories, and the files.
    fn effects(&self) -> Vec<String> {
        let mut seen = Vec::new();
        let git = |dir: &Path, args: &[&str]| {
            let output = git_output(dir, args);
            format!("{dir:?} {args:?} {}", String::from_utf8_lossy(&output.stdout))
        };
        let mut dirs = vec![self.world.server.root.path().join("tool.git")];
        for entry in fs::read_dir(self.world.project()).unwrap() {
            let path = entry.unwrap().path();
            seen.push(path.display().to_string());
            dirs.push(path);
        }
        dirs.sort();
        for dir in dirs {
            seen.push(git(&dir, &["for-each-ref", "--format=%(refname) %(objectname)"]));
            seen.push(git(&dir, &["symbolic-ref", "HEAD"]));
            seen.push(git(&dir, &["ls-files", "--stage"]));
            seen.push(git(&dir, &["status", "--porcelain", "--untracked-files=all"]));
        }
        seen.sort();
        seen
    }

    fn private(&self) -> Vec<String> {
        let path = self.world.temp.path().to_str().unwrap().to_owned();
        vec![path, SECRET.to_owned(), self.world.server.address.to_string()]
    }
}

macro_rules! contract {
    ($module:ident, $tool:literal, $valid:expr, $refused:expr) => {
        contract!($module, $tool, $valid, $refused, |_| None);
    };
    ($module:ident, $tool:literal, $valid:expr, $refused:expr, $lasting:expr) => {
        mod $module {
            use super::*;

            #[derive(Debug)]
            struct Harness(Repositories);

            #[async_trait]
            impl ToolHarness for Harness {
                async fn open() -> Self {
                    Self(Repositories::new($tool).await)
                }

                fn tool(&self) -> Arc<dyn Tool> {
                    Arc::clone(&self.0.tool)
                }

                fn valid(&self) -> Value {
                    $valid
                }

                fn refused(&self) -> Vec<Value> {
                    let mut refused: Vec<Value> = $refused.into();
                    for dir in ["", "..", "../x", "/etc", "none", "t/src/lib.rs", "t/.git", "a\0b"]
                    {
                        let mut arguments: Value = $valid;
                        arguments["dir"] = json!(dir);
                        // Some make what is not there.
                        if !(matches!($tool, "git.init" | "git.clone") && dir == "none") {
                            refused.push(arguments);
                        }
                    }
                    refused
                }

                fn private(&self) -> Vec<String> {
                    self.0.private()
                }

                async fn effects(&self) -> Vec<String> {
                    self.0.effects()
                }

                fn lasting(&self) -> Option<Value> {
                    let lasting: fn(&World) -> Option<Value> = $lasting;
                    lasting(&self.0.world)
                }
            }

            tool_contract!(Harness);
        }
    };
}

/// Arguments of a call that a silent remote would never answer.
fn silent(world: &World, arguments: Value) -> Option<Value> {
    world.server.be_silent_at("-pack");
    Some(arguments)
}

contract!(
    git_init,
    "git.init",
    json!({"dir": "new/er"}),
    [json!({"branch": "-f"}), json!({"dir": ".worktrees/x"}),]
);
contract!(
    git_clone,
    "git.clone",
    json!({"dir": "c"}),
    [
        json!({"remote": "none"}),
        json!({"dir": "t"}),
        json!({"dir": "."}),
        json!({"dir": "c", "branch": "none"}),
        json!({"dir": "c", "branch": "--x"}),
        json!({"dir": "c", "depth": 0}),
        json!({"url": "https://evil.example/x"}),
    ],
    |world| silent(world, json!({"dir": "lasting"}))
);
contract!(git_status, "git.status", json!({}), [json!({"path": "x"})]);
contract!(
    git_log,
    "git.log",
    json!({"limit": 5, "path": "README.md"}),
    [
        json!({"rev": "none"}),
        json!({"rev": "-x"}),
        json!({"limit": 0}),
        json!({"limit": 201}),
        json!({"path": "../x"}),
    ]
);
contract!(
    git_diff,
    "git.diff",
    json!({"paths": ["src"]}),
    [
        json!({"from": "none"}),
        json!({"to": "a..b"}),
        json!({"paths": ["-x"]}),
        json!({"paths": [":!x"]}),
        json!({"paths": ["../x"]}),
        json!({"context_lines": 51}),
        json!({"staged": true, "to": "HEAD"}),
    ]
);
contract!(
    git_show,
    "git.show",
    json!({"rev": "HEAD~1"}),
    [json!({"rev": "HEAD^"}), json!({"path": "none"}), json!({"path": ".git/config"}),]
);
contract!(
    git_branch,
    "git.branch",
    json!({"action": "create", "name": "new"}),
    [
        json!({"action": "create"}),
        json!({"action": "create", "name": "main/x"}),
        json!({"action": "create", "name": "side", "start": "HEAD~1"}),
        json!({"action": "delete", "name": "main"}),
        json!({"action": "delete", "name": "side"}),
        json!({"action": "list", "name": "x"}),
        json!({"action": "create", "name": "x..y"}),
    ]
);
contract!(
    git_checkout,
    "git.checkout",
    json!({"branch": "side"}),
    [
        json!({"branch": "none"}),
        json!({"branch": "HEAD:x"}),
        json!({"branch": "new", "create": true, "force": true}),
        json!({"branch": "side", "create": true}),
        json!({"branch": "side", "start": "main"}),
    ]
);
contract!(
    git_add,
    "git.add",
    json!({"paths": ["."]}),
    [
        json!({"paths": []}),
        json!({"paths": ["none"]}),
        json!({"paths": ["../x"]}),
        json!({"paths": ["-A"]}),
        json!({"paths": [":/"]}),
        json!({"paths": [".git/config"]}),
    ]
);
contract!(
    git_commit,
    "git.commit",
    json!({"message": "m", "paths": ["."]}),
    [
        json!({"message": ""}),
        json!({"message": "a\0b", "paths": ["."]}),
        json!({"message": "Run-Step: x", "paths": ["."]}),
        json!({"message": "m", "paths": ["none"]}),
        json!({"message": "m", "paths": ["/etc/passwd"]}),
    ]
);
contract!(
    git_push,
    "git.push",
    json!({"branch": "side"}),
    [
        json!({"remote": "none"}),
        json!({"branch": "none"}),
        json!({"branch": "+main"}),
        json!({"branch": "side:main"}),
        json!({"branch": "HEAD"}),
    ],
    |world| silent(world, json!({"branch": "side"}))
);
contract!(
    git_pull,
    "git.pull",
    json!({}),
    [json!({"remote": "none"}), json!({"branch": "none"}), json!({"branch": "-x"}),],
    |world| silent(world, json!({}))
);
contract!(
    git_merge,
    "git.merge",
    json!({"branch": "side"}),
    [
        json!({"branch": "none"}),
        json!({"branch": "side^"}),
        json!({"branch": "side", "prefer": "mine"}),
    ]
);
contract!(
    git_restore,
    "git.restore",
    json!({"paths": ["src"]}),
    [
        json!({"paths": []}),
        json!({"paths": ["none"]}),
        json!({"paths": ["src"], "from": "none"}),
        json!({"paths": ["-x"]}),
    ]
);
contract!(
    git_worktree,
    "git.worktree",
    json!({"action": "create", "name": "w"}),
    [
        json!({"action": "create", "name": "../w"}),
        json!({"action": "create", "name": "w", "branch": "main"}),
        json!({"action": "create", "name": "w", "branch": "-x"}),
        json!({"action": "create", "name": "w", "start": "none"}),
    ]
);

#[test]
fn each_tool_says_what_harm_it_can_do() {
    let world = World::new();
    let of = |tool: &str| {
        let info = world.tools[tool].info();
        (info.policy, info.risk)
    };
    use EffectPolicy::{Idempotent, Pure, Reconcile};
    for (tool, policy, risk) in [
        ("git.status", Pure, Risk::Read),
        ("git.log", Pure, Risk::Read),
        ("git.diff", Pure, Risk::Read),
        ("git.show", Pure, Risk::Read),
        ("git.init", Idempotent, Risk::Write),
        ("git.clone", Idempotent, Risk::Write),
        ("git.add", Idempotent, Risk::Write),
        ("git.commit", Idempotent, Risk::Write),
        ("git.pull", Idempotent, Risk::Write),
        ("git.merge", Idempotent, Risk::Write),
        ("git.branch", Idempotent, Risk::Destructive),
        ("git.checkout", Idempotent, Risk::Destructive),
        ("git.restore", Idempotent, Risk::Destructive),
        ("git.worktree", Idempotent, Risk::Destructive),
        ("git.push", Reconcile, Risk::Outward),
    ] {
        assert_eq!(of(tool), (policy, risk), "{tool}");
    }
    for (tool, arguments, risk) in [
        ("git.branch", json!({}), Risk::Read),
        ("git.branch", json!({"action": "create", "name": "x"}), Risk::Write),
        ("git.branch", json!({"action": "delete", "name": "x"}), Risk::Destructive),
        ("git.checkout", json!({"branch": "x"}), Risk::Write),
        ("git.checkout", json!({"branch": "x", "force": true}), Risk::Destructive),
        ("git.restore", json!({"paths": ["."], "staged": true}), Risk::Write),
        ("git.worktree", json!({"action": "remove", "name": "x"}), Risk::Destructive),
        ("git.worktree", json!({"action": "create"}), Risk::Write),
        ("git.push", json!({}), Risk::Outward),
    ] {
        assert_eq!(world.tools[tool].risk(&arguments), risk, "{tool} {arguments}");
    }
    let footprint = |tool: &str, arguments: Value| world.tools[tool].footprint(&arguments);
    let (status, commit) =
        (footprint("git.status", json!({})), footprint("git.commit", json!({"message": "m"})));
    let checkout = footprint("git.checkout", json!({"branch": "x"}));
    let write = footprint("files.write", json!({"path": "x", "text": ""}));
    let read = footprint("files.read", json!({"path": "x"}));
    assert!(commit.meets(&write) && status.meets(&write) && status.meets(&commit));
    assert!(checkout.meets(&read) && !status.meets(&read));
}
