//! A proxy in the environment changes nothing.

use std::process::Command;

const HERE: &str = "http::tests::a_listed_server_is_read";

#[test]
fn proxy_variables_change_nothing() {
    // Nobody answers there, so whoever asks the proxy fails.
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", HERE]);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
    {
        child.env(name, &address);
    }
    // CGI programs are told apart by this one; without it `HTTP_PROXY` would be believed.
    child.env_remove("REQUEST_METHOD").env("NO_PROXY", "").env("no_proxy", "");
    let output = child.output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && shown.contains("1 passed"), "{shown}");
    let asked = proxy.accept().map(drop).map_err(|error| error.kind());
    assert_eq!(asked, Err(std::io::ErrorKind::WouldBlock), "the proxy was asked");
}
