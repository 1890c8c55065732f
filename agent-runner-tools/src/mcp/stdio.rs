//! A server that is a program of ours.

use std::{collections::BTreeMap, io, process::Stdio, sync::Arc, time::Duration};

use rmcp::{
    RoleClient,
    model::{ErrorData, RequestId},
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};
use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::Mutex,
    time::timeout,
};

use super::{
    error,
    guard::ServerLog,
    lines::{Line, Lines},
    secret::Redactor,
};

/// How long a server may take to end after its input was closed.
const GRACE: Duration = Duration::from_secs(2);
/// Most of a line on standard error that is looked at, in bytes.
const STDERR_BYTES_MAX: usize = 4 * 1024;
/// What a server inherits of our environment.
const INHERITED: [&str; 3] = ["PATH", "HOME", "LANG"];

/// A program in a process group of its own, which does not outlive this value.
#[derive(Debug)]
struct Group(Child);

impl Group {
    /// Kills it and everything it started.
    fn kill(&self) {
        // There is an id only until the program is waited for, so it cannot be another's by now.
        let id = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(id) = id {
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Lines of JSON to and from a program.
#[derive(Debug)]
pub(super) struct StdioTransport {
    group: Group,
    stdin: Arc<Mutex<Option<ChildStdin>>>,
    stdout: Lines<ChildStdout>,
    stderr: Option<Lines<ChildStderr>>,
    redactor: Redactor,
    log: ServerLog,
    /// A log of its own for standard error, so that a flood there hides nothing else.
    stderr_log: ServerLog,
}

impl StdioTransport {
    /// Starts the program.
    #[expect(clippy::disallowed_methods, reason = "the operator chose the program")]
    pub(super) fn spawn(
        program: &str,
        args: &[String],
        env: &BTreeMap<String, SecretString>,
        message_bytes_max: usize,
        (redactor, new_log): (&Redactor, impl Fn() -> ServerLog),
    ) -> io::Result<Self> {
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .envs(env.iter().map(|(name, value)| (name, value.expose_secret())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let stdin = child.stdin.take().ok_or_else(gone)?;
        let stdout = child.stdout.take().ok_or_else(gone)?;
        let stderr = child.stderr.take().ok_or_else(gone)?;
        Ok(Self {
            group: Group(child),
            stdin: Arc::new(Mutex::new(Some(stdin))),
            stdout: Lines::new(stdout, message_bytes_max),
            stderr: Some(Lines::new(stderr, STDERR_BYTES_MAX)),
            redactor: redactor.clone(),
            log: new_log(),
            stderr_log: new_log(),
        })
    }

    /// What a line says; `None` when it says nothing that MCP knows.
    fn parse(&mut self, line: &[u8]) -> Option<RxJsonRpcMessage<RoleClient>> {
        let Ok(mut value) = serde_json::from_slice::<Value>(line) else {
            if !line.trim_ascii().is_empty() {
                let head = line.get(..STDERR_BYTES_MAX).unwrap_or(line);
                self.log.say("stdout", &String::from_utf8_lossy(head));
            }
            return None;
        };
        self.redactor.value(&mut value);
        let message = serde_json::from_value(value);
        if message.is_err() {
            self.log.say("stdout", "a message that is not of the protocol");
        }
        message.ok()
    }
}

/// Logs what a program writes to standard error, until that ends.
async fn drain(stderr: &mut Option<Lines<ChildStderr>>, log: &mut ServerLog) {
    let Some(lines) = stderr else { return std::future::pending().await };
    while let Some(Line::Whole(line) | Line::TooLong(line)) = lines.next().await {
        log.say("stderr", &String::from_utf8_lossy(&line));
    }
    *stderr = None;
}

/// The id of the request that a message answers, looked for in its beginning.
fn id_in(head: &[u8]) -> Option<RequestId> {
    let head = String::from_utf8_lossy(head.get(..512).unwrap_or(head)).into_owned();
    let (_, rest) = head.split_once("\"id\"")?;
    let digits: String =
        rest.trim_start_matches([' ', ':', '"']).chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok().map(RequestId::Number)
}

impl Transport<RoleClient> for StdioTransport {
    type Error = io::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let stdin = Arc::clone(&self.stdin);
        async move {
            let mut line = serde_json::to_vec(&item)?;
            line.push(b'\n');
            let mut stdin = stdin.lock().await;
            let stdin = stdin.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            stdin.write_all(&line).await?;
            stdin.flush().await
        }
    }

    /// # Cancellation
    /// Both readers keep what they have read of a line.
    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            let line = tokio::select! {
                line = self.stdout.next() => line?,
                () = drain(&mut self.stderr, &mut self.stderr_log) => continue,
            };
            match line {
                Line::Whole(line) => {
                    if let Some(message) = self.parse(&line) {
                        return Some(message);
                    }
                }
                Line::TooLong(head) => {
                    self.log.say("stdout", "a message that is larger than allowed");
                    let error = ErrorData::new(error::TOO_LARGE, "too large", None);
                    let id = id_in(&head)?;
                    return Some(RxJsonRpcMessage::<RoleClient>::error(error, Some(id)));
                }
            }
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        // Somebody who still writes holds the lock; such a server gets no time to end by itself.
        if let Ok(mut stdin) = self.stdin.try_lock() {
            stdin.take();
            let end = async {
                loop {
                    tokio::select! {
                        line = self.stdout.next() => if line.is_none() { break },
                        () = drain(&mut self.stderr, &mut self.stderr_log) => {}
                    }
                }
            };
            let _ = timeout(GRACE, end).await;
        }
        self.group.kill();
        let _ = timeout(GRACE, self.group.0.wait()).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_large_answer_is_found_in_its_beginning() {
        for (head, id) in [
            (r#"{"jsonrpc":"2.0","id":7,"result":{"#, Some(RequestId::Number(7))),
            (r#"{"id" : 12 , "result""#, Some(RequestId::Number(12))),
            (r#"{"result":{"content":"#, None),
            (r#"{"id":"x""#, None),
        ] {
            assert_eq!(id_in(head.as_bytes()), id, "{head}");
        }
    }
}
