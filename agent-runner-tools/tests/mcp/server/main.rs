//! The server of the tests as a program: `mcp_test_server <address of the test> <mode>`.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "a program for tests"
)]

mod strange;

use std::io::{Read as _, Write as _};

use rmcp::ServiceExt as _;

use self::strange::{Kind, Strange, Told};

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let told = Told::connect(&args.next().unwrap());
    let mode = args.next().unwrap();
    told.say(&format!("started {}", std::process::id()));
    let kind = match &*mode {
        "evil" => Kind::Evil,
        "endless" => Kind::Endless,
        "modern" => Kind::Modern,
        _ => Kind::Plain,
    };
    match &*mode {
        // Answers nothing.
        "mute" => {
            let mut all = Vec::new();
            std::io::stdin().read_to_end(&mut all).unwrap();
            told.say("input ended");
            return;
        }
        "exit" => return,
        // Answers with what is not the protocol.
        "babble" => {
            std::io::stdout()
                .write_all(b"{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{\"x\":1}}\n")
                .unwrap();
            std::future::pending::<()>().await;
        }
        // Begins with a line that never ends.
        "giant" => {
            let piece = vec![b'y'; 1024 * 1024];
            for _ in 0..64 {
                if std::io::stdout().write_all(&piece).is_err() {
                    return;
                }
            }
            std::io::stdout().write_all(b"\n").unwrap();
        }
        _ => {}
    }
    let strange = Strange::new(told.clone(), kind);
    let running = strange.serve(rmcp::transport::stdio()).await.unwrap();
    let _ = running.waiting().await;
    told.say("ended");
    // Ignores that its input ended, and that it is asked to go.
    if mode == "stubborn" {
        std::future::pending::<()>().await;
    }
}
