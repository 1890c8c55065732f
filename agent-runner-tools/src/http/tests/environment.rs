//! What the environment of the process may and may not change.

use std::process::{Command, Output};

const HERE: &str = "http::tests::a_listed_server_is_read";

/// Runs one test of this binary in an environment of its own.
fn run(prepare: impl FnOnce(&mut Command)) -> Output {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", HERE]);
    prepare(&mut child);
    child.output().unwrap()
}

fn assert_passed(output: &Output) {
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && shown.contains("1 passed"), "{shown}");
}

#[test]
fn proxy_variables_change_nothing() {
    // Nobody answers there, so whoever asks the proxy fails.
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let output = run(|child| {
        let names = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
        for name in names {
            child.env(name, &address).env(name.to_lowercase(), &address);
        }
        // In a CGI program, which this one marks, `HTTP_PROXY` would not be believed.
        child.env_remove("REQUEST_METHOD").env("NO_PROXY", "").env("no_proxy", "");
    });
    let asked = proxy.accept().map(drop).map_err(|error| error.kind());
    assert_eq!(asked, Err(std::io::ErrorKind::WouldBlock), "the proxy was asked");
    assert_passed(&output);
}

#[test]
fn plain_http_works_where_there_are_no_certificates() {
    let none = tempfile::NamedTempFile::new().unwrap();
    assert_passed(&run(|child| {
        child.env("SSL_CERT_FILE", none.path()).env("SSL_CERT_DIR", "/nonexistent");
    }));
}
