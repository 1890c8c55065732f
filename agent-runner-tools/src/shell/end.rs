//! The end of everything that a program started.

use std::{
    fs,
    time::{Duration, Instant},
};

use rustix::{
    event::{Timespec, poll},
    process::{
        Pid, Signal, WaitOptions, WaitStatus, getppid, kill_process, kill_process_group,
        test_kill_process, wait,
    },
};

use super::confine;

/// Between two looks at who is left.
const TICK: Duration = Duration::from_millis(5);
/// How long processes may take to be gone after they were killed.
const KILLED: Duration = Duration::from_secs(5);

/// The processes that descend from this one: it is their reaper.
#[derive(Debug)]
pub(super) struct Descendants {
    /// Whether signals of this process reach its descendants and nobody else.
    scoped: bool,
    main: Option<Pid>,
    status: Option<WaitStatus>,
}

impl Descendants {
    /// Takes charge of all that this process will start.
    pub(super) fn new() -> Self {
        // What this process may signal before and not after is proof that the kernel keeps its
        // signals in: without it, "everybody" would be everybody on the machine.
        let reaches = || getppid().is_some_and(|parent| test_kill_process(parent).is_ok());
        let scoped = reaches() && confine::scope_signals() && !reaches();
        Self { scoped, main: None, status: None }
    }

    /// The one whose end is waited for.
    pub(super) const fn watch(&mut self, main: Pid) {
        self.main = Some(main);
    }

    /// How the main one ended, if it did.
    pub(super) const fn status(&self) -> Option<WaitStatus> {
        self.status
    }

    /// Takes note of who ended. Whether anybody is left.
    pub(super) fn reap(&mut self) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if Some(pid) == self.main {
                        self.status = Some(status);
                    }
                }
                Ok(None) => return true,
                Err(rustix::io::Errno::INTR) => {}
                Err(_nobody) => return false,
            }
        }
    }

    /// Ends all of them, first asking. Whether that succeeded.
    pub(super) fn end(&mut self, grace: Duration) -> bool {
        if !self.reap() {
            return true;
        }
        self.signal(Signal::TERM);
        let asked = Instant::now();
        while asked.elapsed() < grace {
            if !self.reap() {
                return true;
            }
            tick();
        }
        let killed = Instant::now();
        while killed.elapsed() < KILLED {
            self.signal(Signal::KILL);
            tick();
            if !self.reap() {
                return true;
            }
        }
        false
    }

    fn signal(&self, signal: Signal) {
        // Who is gone already needs no signal.
        if self.scoped {
            // Everybody whom this process may signal. Nobody slips through by starting others:
            // the kernel makes no process while it goes through the list.
            let _ = kill_process_group(Pid::INIT, signal);
            return;
        }
        // Only where the kernel cannot confine: children, and those who become children when
        // those who started them end. A number of a child is nobody else's until it is reaped.
        if let (Some(main), None) = (self.main, self.status) {
            let _ = kill_process_group(main, signal);
        }
        let children = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
        for child in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            if let Some(child) = Pid::from_raw(child) {
                let _ = kill_process(child, signal);
            }
        }
    }
}

/// Waits a moment.
fn tick() {
    let tick = Timespec { tv_sec: 0, tv_nsec: i64::from(TICK.subsec_nanos()) };
    let _ = poll(&mut [], Some(&tick));
}
