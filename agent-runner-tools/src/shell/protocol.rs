//! What the server, the supervisor and the process that becomes the program say to each other:
//! one JSON value a line, over the socket that each has as its standard input.

use std::{
    io::{self, BufRead, Read as _, Write as _},
    path::PathBuf,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Longest line, in bytes: arguments, environment and paths are bounded long before.
pub(super) const LINE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What to run. The text for the standard input follows the line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) program: Program,
    /// Where programs are looked for.
    pub(super) path: Vec<PathBuf>,
    /// Where the private directory is made.
    pub(super) scratch: PathBuf,
    pub(super) grace_ms: u64,
    /// When to give up although nobody said so: the server does before.
    pub(super) seconds_max: u64,
    pub(super) stdin_bytes: u64,
}

/// What becomes the program, and what it keeps of its rights. The project is the directory in
/// which it starts.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Program {
    pub(super) argv: Vec<String>,
    /// Where the program is; the supervisor finds it.
    pub(super) file: PathBuf,
    /// Names that lead from the project's directory to the working directory.
    pub(super) cwd: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) stdin: PathBuf,
    pub(super) readable: Vec<PathBuf>,
    pub(super) writable: Vec<PathBuf>,
    pub(super) network: bool,
    pub(super) required: bool,
    pub(super) cpu_seconds: u64,
    pub(super) memory_bytes_max: u64,
    pub(super) file_bytes_max: u64,
    pub(super) open_files_max: u64,
    pub(super) processes_max: u64,
}

/// What the supervisor says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// The program runs.
    Started,
    /// It never did.
    Refused(Refusal),
    /// It ran, and nothing of it runs any more.
    Ended(End),
}

/// How a program ended.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) exit_code: Option<i32>,
    pub(super) signal: Option<i32>,
    /// Whether something could not be killed.
    pub(super) survivors: bool,
}

/// Why a program was not started.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Refusal {
    /// No directory of the path has it.
    NotInstalled,
    /// The kernel cannot confine it: what is missing.
    Unconfined(Vec<String>),
    /// The working directory is not there any more, or a link.
    Directory,
    /// Something else: what was done, and what the system said. For the log.
    Failed(String),
}

impl Refusal {
    /// What the system said while something was done.
    pub(super) fn failed(doing: &str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Failed(format!("{doing}: {error}"))
    }
}

/// A value as a line.
pub(super) fn line(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

/// Reads a value from a line.
pub(super) fn read<T: DeserializeOwned>(from: &mut impl BufRead) -> io::Result<T> {
    let mut line = Vec::new();
    from.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    Ok(serde_json::from_slice(&line)?)
}

/// Writes a value as a line to a socket.
pub(super) fn write(to: impl rustix::fd::AsFd, value: &impl Serialize) -> io::Result<()> {
    let mut to = std::fs::File::from(to.as_fd().try_clone_to_owned()?);
    to.write_all(&line(value)?)
}
