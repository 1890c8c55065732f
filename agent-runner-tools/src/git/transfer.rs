//! Commits from remotes and to them.

use std::cell::RefCell;

use agent_runner_core::tool::{ToolError, ToolErrorKind};
use git2::{
    AutotagOption, Direction, FetchOptions, Oid, PushOptions, RemoteCallbacks, RemoteRedirect,
    RemoteUpdateFlags, Repository,
};
use tokio_util::sync::CancellationToken;

use super::{
    error::{conflict, failed, go_on, not_found},
    name::BranchName,
    relay::remote_failed,
    remote::Remote,
    repo::GitRepo,
};
use crate::fs::Usage;

/// Branches of a remote that are all fetched; of one with more, only the branch that is wanted.
const BRANCHES_MAX: usize = 200;

/// What a remote has.
#[derive(Debug)]
pub(super) struct Advertised {
    /// The branch that it suggests.
    pub(super) default: Option<String>,
    pub(super) branches: Vec<(String, Oid)>,
    /// What was fetched takes so much.
    pub(super) fetched: Usage,
}

fn callbacks(stop: &CancellationToken) -> RemoteCallbacks<'_> {
    let mut callbacks = RemoteCallbacks::new();
    callbacks.transfer_progress(|_| !stop.is_cancelled());
    callbacks.sideband_progress(|_| !stop.is_cancelled());
    callbacks
}

/// Asks a remote for its branches.
pub(super) fn advertised(
    repo: &Repository,
    url: &str,
    way: Direction,
    stop: &CancellationToken,
) -> Result<Advertised, ToolError> {
    let mut remote = repo.remote_anonymous(url).map_err(failed("name the remote"))?;
    let connection = remote
        .connect_auth(way, Some(callbacks(stop)), None)
        .map_err(remote_failed("reach the remote"))?;
    read_advertised(&connection)
}

fn read_advertised(
    connection: &git2::RemoteConnection<'_, '_, '_>,
) -> Result<Advertised, ToolError> {
    let default = connection.default_branch().ok();
    let default =
        default.and_then(|name| Some(name.as_str().ok()?.strip_prefix("refs/heads/")?.to_owned()));
    let heads = connection.list().map_err(remote_failed("list the remote's branches"))?;
    let branches = heads
        .iter()
        .filter_map(|head| Some((head.name().strip_prefix("refs/heads/")?.to_owned(), head.oid())));
    Ok(Advertised { default, branches: branches.collect(), fetched: Usage::default() })
}

/// Fetches branches of a remote; with `depth`, only so many commits of each.
pub(super) fn fetch(
    repo: &Repository,
    (remote, url): (&Remote, &str),
    (wanted, depth): (Option<&str>, Option<u32>),
    stop: &CancellationToken,
) -> Result<Advertised, ToolError> {
    let mut from = repo.remote_anonymous(url).map_err(failed("name the remote"))?;
    let mut connection = from
        .connect_auth(Direction::Fetch, Some(callbacks(stop)), None)
        .map_err(remote_failed("reach the remote"))?;
    let mut found = read_advertised(&connection)?;
    let branches = &found.branches;
    let missing = |branch: &str| not_found(format!("`{}` has no branch `{branch}`", remote.name));
    if let Some(branch) = wanted
        && !branches.iter().any(|(name, _)| name == branch)
    {
        return Err(missing(branch));
    }
    let space = remote.space();
    let one = |branch: &str| format!("+refs/heads/{branch}:{space}{branch}");
    let specs = match wanted.or(found.default.as_deref()) {
        Some(branch) if branches.len() > BRANCHES_MAX => vec![one(branch)],
        // A name that none of git's may have is not asked for, nor are others with it.
        _ => branches
            .iter()
            .filter(|(name, _)| BranchName::parse(name).is_ok())
            .map(|(name, _)| one(name))
            .collect(),
    };
    if specs.is_empty() {
        return Ok(found);
    }
    let mut options = FetchOptions::new();
    options
        .remote_callbacks(callbacks(stop))
        .download_tags(AutotagOption::None)
        .update_fetchhead(false)
        .follow_redirects(RemoteRedirect::None);
    if let Some(depth) = depth {
        options.depth(i32::try_from(depth).unwrap_or(i32::MAX));
    }
    let from = connection.remote();
    from.download(&specs, Some(&mut options)).map_err(remote_failed("fetch from the remote"))?;
    go_on(stop)?;
    // A pack and its index, and a file for each branch.
    let bytes = u64::try_from(from.stats().received_bytes()).unwrap_or(u64::MAX);
    let entries = u64::try_from(specs.len()).unwrap_or(u64::MAX).saturating_add(2);
    found.fetched = Usage { bytes, entries };
    from.update_tips(None, RemoteUpdateFlags::empty(), AutotagOption::None, None)
        .map_err(failed("note the remote's branches"))?;
    Ok(found)
}

/// What a push would do.
#[derive(Debug, Clone)]
pub(super) struct Intended {
    /// The branch there.
    pub(super) branch: BranchName,
    /// Its newest commit there, if there is such a branch.
    pub(super) from: Option<Oid>,
    /// The commit that is pushed.
    pub(super) to: Oid,
}

/// Whether a push happened.
#[derive(Debug)]
pub(super) enum Pushed {
    Yes(Intended),
    No,
    Unknown,
}

impl GitRepo<'_> {
    /// What pushing a branch would do.
    ///
    /// # Errors
    /// `Conflict` when the remote has commits that are not in the branch.
    pub(super) fn intend(
        &self,
        (remote, url): (&Remote, &str),
        branch: &BranchName,
    ) -> Result<Intended, ToolError> {
        let to = self
            .tip(branch)?
            .ok_or_else(|| not_found(format!("there is no branch `{branch}` to push")))?;
        let name = remote.pushed_as(branch)?;
        let found = advertised(&self.repo, url, Direction::Push, self.stop())?;
        let from =
            found.branches.iter().find(|(there, _)| there == name.as_str()).map(|(_, id)| *id);
        if let Some(from) = from.filter(|from| *from != to) {
            let behind = || {
                conflict(format!(
                    "`{name}` of `{}` has commits that are not in `{branch}`: git.pull or git.merge first",
                    remote.name
                ))
            };
            let known = self.repo.find_commit(from).is_ok();
            if !known
                || !self.repo.graph_descendant_of(to, from).map_err(failed("compare branches"))?
            {
                return Err(behind());
            }
        }
        Ok(Intended { branch: name, from, to })
    }

    /// Whether a branch was pushed.
    pub(super) fn pushed(
        &self,
        (remote, url): (&Remote, &str),
        branch: &BranchName,
    ) -> Result<Pushed, ToolError> {
        let Some(to) = self.tip(branch)? else { return Ok(Pushed::Unknown) };
        let name = remote.pushed_as(branch)?;
        let found = advertised(&self.repo, url, Direction::Push, self.stop())?;
        let Some((_, there)) = found.branches.iter().find(|(there, _)| there == name.as_str())
        else {
            return Ok(Pushed::No);
        };
        if self.repo.find_commit(*there).is_err() {
            // Somebody pushed something else, before or after.
            return Ok(Pushed::Unknown);
        }
        let holds = *there == to
            || self.repo.graph_descendant_of(*there, to).map_err(failed("compare branches"))?;
        Ok(if holds { Pushed::Yes(Intended { branch: name, from: None, to }) } else { Pushed::No })
    }

    /// Pushes what was intended; never over what the remote has.
    pub(super) fn push(
        &self,
        (remote, url): (&Remote, &str),
        intended: &Intended,
    ) -> Result<(), ToolError> {
        let said = RefCell::new(None);
        let stop = self.stop();
        let mut callbacks = callbacks(stop);
        callbacks.push_update_reference(|_, refusal| {
            *said.borrow_mut() = Some(refusal.map(str::to_owned));
            Ok(())
        });
        // Another push may have been faster since it was asked: what is overwritten is what was announced.
        callbacks.push_negotiation(|updates| {
            let from = intended.from.unwrap_or(Oid::ZERO_SHA1);
            let as_intended =
                updates.iter().all(|update| update.src() == from && update.dst() == intended.to);
            if as_intended && !stop.is_cancelled() {
                Ok(())
            } else {
                Err(git2::Error::new(
                    git2::ErrorCode::User,
                    git2::ErrorClass::Callback,
                    "not as intended",
                ))
            }
        });
        let mut options = PushOptions::new();
        options
            .remote_callbacks(callbacks)
            .packbuilder_parallelism(1)
            .follow_redirects(RemoteRedirect::None);
        let spec = format!("{}:{}", intended.to, intended.branch.reference());
        let mut to = self.repo.remote_anonymous(url).map_err(failed("name the remote"))?;
        let pushed = to.push(&[spec], Some(&mut options));
        drop(options);
        if let Err(error) = pushed {
            let moved = error.code() == git2::ErrorCode::NotFastForward
                || (error.code() == git2::ErrorCode::User && !stop.is_cancelled());
            return Err(if moved {
                conflict(format!(
                    "`{}` of `{}` moved meanwhile: git.pull first",
                    intended.branch, remote.name
                ))
            } else {
                remote_failed("push to the remote")(error).may_have_run()
            });
        }
        match said.into_inner() {
            Some(None) => {}
            Some(Some(refusal)) => return Err(refused(&refusal, remote, &intended.branch)),
            None => {
                let said = "the remote did not say whether it took the push";
                return Err(ToolError::new(ToolErrorKind::Network, said).may_have_run());
            }
        }
        let name = format!("{}{}", remote.space(), intended.branch);
        self.repo
            .reference(&name, intended.to, true, "push")
            .map_err(failed("note the push"))
            .map_err(ToolError::may_have_run)?;
        Ok(())
    }
}

/// Why a remote did not take a push. Its own words stay in the log.
fn refused(words: &str, remote: &Remote, branch: &BranchName) -> ToolError {
    let lower = words.to_ascii_lowercase();
    let why = if lower.contains("hook") {
        "a rule of the remote forbids it"
    } else if lower.contains("protected") {
        "the branch is protected there"
    } else if ["fast-forward", "fetch first", "stale", "lock"]
        .iter()
        .any(|word| lower.contains(word))
    {
        "the branch moved there meanwhile; git.pull first"
    } else {
        "the remote gave another reason, which is in the server's log"
    };
    let words: String = words.chars().take(500).collect();
    conflict(format!("`{}` did not take `{branch}`: {why}", remote.name))
        .with_source(std::io::Error::other(words))
}
