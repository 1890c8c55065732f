//! Git repositories as clients see them.

use agent_runner_core::tool::ToolOutput;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use crate::extract::{FromQuery, Parameters};

/// What of a repository is looked at.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GitView {
    /// What differs from the newest commit.
    Status,
    /// Commits.
    Log,
    /// Changes, as a patch.
    Diff,
    /// A commit, or a file as it was in it.
    Show,
    /// Branches.
    Branches,
}

impl GitView {
    /// The tool that looks.
    pub(crate) const fn tool(self) -> &'static str {
        match self {
            Self::Status => "git.status",
            Self::Log => "git.log",
            Self::Diff => "git.diff",
            Self::Show => "git.show",
            Self::Branches => "git.branch",
        }
    }
}

/// How a repository is looked at; each view has its own of these.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct GitLook {
    /// The repository's directory; not needed when the project has one repository.
    dir: Option<String>,
    /// `log`, `show`: a branch, `<remote>/<branch>`, a tag or an id.
    rev: Option<String>,
    /// `log`: only commits that changed it. `show`: this file as it was.
    path: Option<String>,
    /// `log`: most commits, 1 to 200.
    limit: Option<u32>,
    /// `log`: leaves out so many of the newest.
    skip: Option<u32>,
    /// `diff`: what to compare with.
    from: Option<String>,
    /// `diff`: the commit to compare.
    to: Option<String>,
    /// `diff`: what the next commit would be.
    staged: Option<bool>,
    /// `diff`, `show`: lines around each change.
    context_lines: Option<u32>,
}

impl FromQuery for GitLook {
    fn from_query(parameters: &mut Parameters) -> Self {
        Self {
            dir: parameters.text("dir"),
            rev: parameters.text("rev"),
            path: parameters.text("path"),
            limit: parameters.parsed("limit", "a whole number"),
            skip: parameters.parsed("skip", "a whole number"),
            from: parameters.text("from"),
            to: parameters.text("to"),
            staged: parameters.parsed("staged", "true or false"),
            context_lines: parameters.parsed("context_lines", "a whole number"),
        }
    }
}

impl GitLook {
    /// The arguments of the tool that looks.
    pub(crate) fn arguments(self) -> Value {
        let given: [(&str, Option<Value>); 9] = [
            ("dir", self.dir.map(Value::from)),
            ("rev", self.rev.map(Value::from)),
            ("path", self.path.map(Value::from)),
            ("limit", self.limit.map(Value::from)),
            ("skip", self.skip.map(Value::from)),
            ("from", self.from.map(Value::from)),
            ("to", self.to.map(Value::from)),
            ("staged", self.staged.map(Value::from)),
            ("context_lines", self.context_lines.map(Value::from)),
        ];
        let given = given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(given.collect::<Map<_, _>>())
    }
}

/// What is done in a repository.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GitAction {
    /// Makes a repository.
    Init,
    /// Clones a remote of the project's settings.
    Clone,
    /// Makes or deletes a branch.
    Branch,
    /// Checks a branch out.
    Checkout,
    /// Notes changes for the next commit.
    Add,
    /// Commits.
    Commit,
    /// Pushes a branch to a remote that takes pushes.
    Push,
    /// Fetches, and moves the branch on.
    Pull,
    /// Merges.
    Merge,
    /// Makes files what they were.
    Restore,
    /// Makes or removes a working tree of its own.
    Worktree,
}

impl GitAction {
    /// The tool that does it.
    pub(crate) const fn tool(self) -> &'static str {
        match self {
            Self::Init => "git.init",
            Self::Clone => "git.clone",
            Self::Branch => "git.branch",
            Self::Checkout => "git.checkout",
            Self::Add => "git.add",
            Self::Commit => "git.commit",
            Self::Push => "git.push",
            Self::Pull => "git.pull",
            Self::Merge => "git.merge",
            Self::Restore => "git.restore",
            Self::Worktree => "git.worktree",
        }
    }
}

/// Arguments of a tool.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object, examples(json!({"message": "Say hello", "paths": ["."]})))]
pub(crate) struct GitArguments(Map<String, Value>);

impl From<GitArguments> for Value {
    fn from(arguments: GitArguments) -> Self {
        Self::Object(arguments.0)
    }
}

/// What was found or done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GitAnswer {
    /// The output of the tool; see docs/GIT.md.
    #[schema(value_type = Object)]
    output: Value,
    /// Where what it shows came from, when nobody in charge wrote it.
    untrusted: Option<String>,
}

impl From<ToolOutput> for GitAnswer {
    fn from(output: ToolOutput) -> Self {
        Self { output: output.value, untrusted: output.untrusted }
    }
}
