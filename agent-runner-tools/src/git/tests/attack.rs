//! What attackers put into repositories, with git's own means.

mod plant;
mod race;
mod tree;
mod wire;

use super::*;

impl World {
    /// A repository in `t`, with two branches that differ.
    async fn repository(&self) {
        self.call("git.init", json!({"dir": "t"})).await;
        self.write("t/a", "a\n");
        self.write("t/src/lib.rs", "fn a() {}\n");
        self.call("git.commit", json!({"message": "first", "paths": ["."]})).await;
        self.call("git.checkout", json!({"branch": "side", "create": true})).await;
        self.write("t/src/lib.rs", "fn side() {}\n");
        self.call("git.commit", json!({"message": "side", "paths": ["."]})).await;
        self.call("git.checkout", json!({"branch": "main"})).await;
    }

    /// Whatever an agent may do with a repository.
    async fn use_everything(&self) {
        for (tool, arguments) in [
            ("git.status", json!({})),
            ("git.log", json!({})),
            ("git.diff", json!({})),
            ("git.show", json!({})),
            ("git.branch", json!({})),
            ("git.add", json!({"paths": ["."]})),
            ("git.commit", json!({"message": "x", "paths": ["."]})),
            ("git.checkout", json!({"branch": "side"})),
            ("git.checkout", json!({"branch": "main"})),
            ("git.merge", json!({"branch": "side"})),
            ("git.restore", json!({"paths": ["."]})),
            ("git.worktree", json!({"action": "create", "name": "w"})),
            ("git.worktree", json!({"action": "remove", "name": "w", "force": true})),
            ("git.pull", json!({})),
            ("git.push", json!({})),
        ] {
            let mut arguments = arguments;
            arguments["dir"] = json!("t");
            let _ = self.try_call(tool, arguments).await;
        }
    }
}
