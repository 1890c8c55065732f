//! What the operator sets.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

/// What to do where the kernel cannot enforce everything that confines a program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Confinement {
    /// Start nothing, and say what is missing.
    #[default]
    Required,
    /// Start it with what the kernel has, down to nothing. For machines where the programs are
    /// trusted, or confined by something else.
    BestEffort,
}

/// What programs may do and use, in all projects.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShellLimits {
    /// Directories in which programs are looked for, the first one first. Also their `PATH`.
    pub path: Vec<PathBuf>,
    /// What programs get in their environment beside `PATH`, `HOME`, `TMPDIR`, `LANG` and `TERM`.
    pub environment: BTreeMap<String, String>,
    /// Files and directories outside the project that programs may read and execute, with all
    /// that is below. What is not there is left out. [`Self::path`] is always among them.
    pub readable: Vec<PathBuf>,
    /// Directories outside the project in which programs may change things, such as a cache that
    /// all projects share.
    pub writable: Vec<PathBuf>,
    /// Where each call gets its private directory, which is removed after it.
    pub scratch: PathBuf,
    /// What to do where the kernel cannot confine.
    pub confinement: Confinement,
    /// Whether a project may let its programs use the network. The guard of the web tools does
    /// not see what they do there.
    pub network: bool,
    /// Time of a call that does not say how long it may take.
    pub call: Duration,
    /// Longest time of a call.
    pub call_max: Duration,
    /// Time between asking processes to end and ending them.
    pub grace: Duration,
    /// Calls at work at once, in all projects.
    pub calls_max: usize,
    /// Longest text for a program's standard input, in bytes.
    pub stdin_bytes_max: usize,
    /// Most of each of the two outputs that a model is shown, in bytes.
    pub shown_bytes_max: usize,
    /// Most of both outputs that is kept as an artifact, in bytes.
    pub log_bytes_max: usize,
    /// Processor time of one process.
    pub cpu: Duration,
    /// Address space of one process, in bytes.
    pub memory_bytes_max: u64,
    /// Largest file that a process can write, in bytes.
    pub file_bytes_max: u64,
    /// Files that a process can hold open.
    pub open_files_max: u64,
    /// Processes and threads of the server's user, those of the server included, above which a
    /// program can start no more. The kernel does not hold `root` to it.
    pub processes_max: u64,
}

/// What programs of a common system need to start and to work.
const READABLE: [&str; 34] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/group",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/magic",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/pki/ca-trust/extracted",
    "/etc/pki/tls/certs",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/proc/cpuinfo",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/kernel/random",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
];

impl Default for ShellLimits {
    fn default() -> Self {
        Self {
            path: ["/usr/local/bin", "/usr/bin", "/bin"].map(PathBuf::from).into(),
            environment: BTreeMap::new(),
            readable: READABLE.map(PathBuf::from).into(),
            writable: Vec::new(),
            scratch: PathBuf::from("/tmp"),
            confinement: Confinement::Required,
            network: false,
            call: Duration::from_secs(120),
            call_max: Duration::from_secs(600),
            grace: Duration::from_millis(500),
            calls_max: 8,
            stdin_bytes_max: 1024 * 1024,
            shown_bytes_max: 20 * 1024,
            log_bytes_max: 16 * 1024 * 1024,
            cpu: Duration::from_secs(600),
            memory_bytes_max: 8 * 1024 * 1024 * 1024,
            file_bytes_max: 512 * 1024 * 1024,
            open_files_max: 1_024,
            processes_max: 1_024,
        }
    }
}

/// Why limits cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShellLimitsError(String);

impl fmt::Display for ShellLimitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for ShellLimitsError {}

/// Names that the tool sets itself.
const OWN: [&str; 3] = ["PATH", "HOME", "TMPDIR"];

impl ShellLimits {
    pub(super) fn check(&self) -> Result<(), ShellLimitsError> {
        let fail = |said: String| Err(ShellLimitsError(said));
        let paths = self.path.iter().chain(&self.readable).chain(&self.writable);
        for path in paths.chain([&self.scratch]) {
            if !path.is_absolute() || path.to_str().is_none_or(|path| path.contains('\0')) {
                return fail(format!("`{}` must be an absolute path in UTF-8", path.display()));
            }
        }
        if self.path.iter().any(|dir| dir.to_str().is_some_and(|dir| dir.contains(':'))) {
            return fail("a directory of the search path must not contain `:`".to_owned());
        }
        for dir in [&self.scratch].into_iter().chain(&self.writable) {
            if dir == Path::new("/") {
                return fail("programs must not be let write everywhere".to_owned());
            }
        }
        for (name, value) in &self.environment {
            let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(legal) || value.contains('\0') {
                return fail(format!("`{name}` cannot be in an environment"));
            }
            if OWN.contains(&name.as_str()) {
                return fail(format!("`{name}` is set by the tool"));
            }
        }
        Ok(())
    }
}
