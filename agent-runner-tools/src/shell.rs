//! Programs in a run's project: `shell.run`.
//!
//! No shell takes part: a model gives the name of a program and its arguments, and the project's
//! owner says which programs there are. Two small processes stand between the server and a
//! program. The *supervisor* ([`run_launcher_if_asked`]) holds one end of a socket; when the other
//! end closes, for whatever reason, it kills everything that the program started. The second one
//! gives up every right that the program must not have, and becomes the program.

#![expect(
    clippy::disallowed_methods,
    reason = "the guard of programs: it starts them, and reads what the kernel says of them"
)]

mod args;
mod confine;
mod end;
mod hide;
mod inherited;
mod launcher;
mod limits;
mod output;
mod protocol;
mod seccomp;
mod start;
mod supervise;
mod text;
mod tool;
mod watch;

pub use self::{
    args::ShellArgs,
    confine::missing_confinement,
    launcher::{Launcher, run_launcher_if_asked},
    limits::{Confinement, ShellLimits, ShellLimitsError},
    tool::Shell,
};
