//! Files that were open in the server when it started the supervisor.

use std::{fs, os::fd::RawFd};

/// Standard input, output and error.
const STANDARD: RawFd = 2;

/// Closes what the server's own parent left open for all its descendants, such as a socket of a
/// service manager: what is open is not held back by any rule. What this process opened itself is
/// closed when it starts another one, and stays.
pub(super) fn close() {
    let names = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let open: Vec<RawFd> =
        names.filter_map(|name| name.file_name().to_str()?.parse().ok()).collect();
    for fd in open.into_iter().filter(|fd| *fd > STANDARD && is_inheritable(*fd)) {
        // It may be gone already.
        let _ = nix::unistd::close(fd);
    }
}

fn is_inheritable(fd: RawFd) -> bool {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & libc::O_CLOEXEC == 0)
}
