//! This program again, in a process of its own that serves whoever asks and says first where it is.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

/// The process, which ends with this.
pub(crate) struct Served {
    child: Child,
    /// The first line that it printed.
    pub(crate) address: String,
}

impl Served {
    pub(crate) fn start(argument: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg(argument)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().to_owned() }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
