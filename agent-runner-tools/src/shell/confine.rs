//! What a program keeps of its rights.

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
    path_beneath_rules,
};
use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CapabilitySet, CapabilitySets},
};

use super::{
    protocol::{Program, Refusal},
    seccomp,
};

/// The newest rights that are asked for, and those without which files are not safe: without the
/// right to truncate, every file of the server's user could be emptied.
const FILES: ABI = ABI::V5;
const FILES_NEEDED: ABI = ABI::V3;
const NETWORK: ABI = ABI::V4;
const SCOPES: ABI = ABI::V6;
/// Devices that every program may use.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// What this machine lacks to confine programs, for people; empty where programs can be confined.
#[must_use]
pub fn missing_confinement() -> Vec<String> {
    let strict = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let mut missing = Vec::new();
    if strict().handle_access(AccessFs::from_all(FILES_NEEDED)).is_err() {
        missing.push("Landlock for files (Linux 6.2, enabled)".to_owned());
    }
    if strict().scope(Scope::from_all(SCOPES)).is_err() {
        missing.push("Landlock for signals (Linux 6.12, enabled)".to_owned());
    }
    let own = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if !own.lines().any(|line| line.starts_with("Seccomp:")) {
        missing.push("seccomp filters".to_owned());
    }
    missing
}

/// Confines this thread and everything that it starts to signals among themselves. Whether it is
/// so.
pub(super) fn scope_signals() -> bool {
    let scoped = || {
        let ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .scope(Scope::Signal)?;
        ruleset.create()?.restrict_self()
    };
    scoped().is_ok_and(|status| status.ruleset == RulesetStatus::FullyEnforced)
}

/// Gives up every right that the program does not have, for good. The project is the working
/// directory. What is refused after this is not the program's fault.
pub(super) fn give_up(program: &Program, project: PathFd) -> Result<(), Refusal> {
    let required = |missing: Vec<String>| match program.required && !missing.is_empty() {
        true => Err(Refusal::Unconfined(missing)),
        false => Ok(()),
    };
    required(missing_confinement())?;
    rustix::thread::set_no_new_privs(true)
        .map_err(|error| Refusal::failed("new privileges")(error.into()))?;
    limit(program)?;
    drop_capabilities()?;
    match restrict(program, project) {
        Ok(RulesetStatus::FullyEnforced) => {}
        Ok(_) => required(vec!["Landlock for all that is asked of it".to_owned()])?,
        Err(error) => return Err(Refusal::Failed(format!("landlock: {error}"))),
    }
    match seccomp::apply(program.network) {
        Ok(()) => Ok(()),
        Err(error) => required(vec![format!("seccomp filters: {error}")]),
    }
}

/// Never more than what the server itself has.
fn limit(program: &Program) -> Result<(), Refusal> {
    for (resource, most) in [
        (Resource::Core, 0),
        (Resource::Cpu, program.cpu_seconds.saturating_add(1)),
        (Resource::As, program.memory_bytes_max),
        (Resource::Fsize, program.file_bytes_max),
        (Resource::Nofile, program.open_files_max),
        (Resource::Nproc, program.processes_max),
    ] {
        let most = getrlimit(resource).maximum.map_or(most, |now| now.min(most));
        // At the first limit of processor time a process is told, at the second it is killed.
        let more = u64::from(resource == Resource::Cpu);
        let limit = Rlimit { current: Some(most.saturating_sub(more)), maximum: Some(most) };
        setrlimit(resource, limit).map_err(|error| Refusal::failed("limits")(error.into()))?;
    }
    Ok(())
}

/// A server that runs as root starts programs that are root in name only.
fn drop_capabilities() -> Result<(), Refusal> {
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    // Who has none may not be allowed to ask.
    if rustix::thread::capabilities(None).is_ok_and(|has| {
        has.effective.is_empty() && has.permitted.is_empty() && has.inheritable.is_empty()
    }) {
        return Ok(());
    }
    // Before Linux 4.3 there are no ambient capabilities to clear.
    let _ = rustix::thread::clear_ambient_capability_set();
    rustix::thread::set_capabilities(None, sets)
        .map_err(|error| Refusal::failed("capabilities")(error.into()))
}

fn restrict(program: &Program, project: PathFd) -> Result<RulesetStatus, RulesetError> {
    let all = AccessFs::from_all(FILES);
    let writes = all & !(AccessFs::MakeBlock | AccessFs::MakeChar | AccessFs::IoctlDev);
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .scope(Scope::from_all(SCOPES))?;
    if !program.network {
        ruleset = ruleset.handle_access(AccessNet::from_all(NETWORK))?;
    }
    let devices: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate;
    let file = program.file.parent().map(PathBuf::from);
    let readable = program.readable.iter().chain(&file);
    let status = ruleset
        .create()?
        .add_rule(PathBeneath::new(project, writes))?
        .add_rules(path_beneath_rules(&program.writable, writes))?
        .add_rules(path_beneath_rules(readable, AccessFs::from_read(FILES)))?
        .add_rules(path_beneath_rules(DEVICES, devices))?
        .restrict_self()?;
    Ok(status.ruleset)
}
