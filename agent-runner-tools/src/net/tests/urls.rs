//! What a URL must be.

use super::*;
use crate::net::address::closed_addresses;

#[test]
fn every_closed_address_is_refused_as_a_literal() {
    let client = client(&[]);
    for address in closed_addresses() {
        let host = match address {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("[{v6}]"),
        };
        assert_blocked(client.target(&format!("http://{host}/")), &host);
    }
}

#[test]
fn spellings_of_loopback_are_refused() {
    let client = client(&[]);
    for url in [
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://①②⑦.⓪.⓪.①/",
        "http://127。0。0。1/",
        "http://%31%32%37.0.0.1/",
        "http:127.0.0.1",
        "http:////127.0.0.1/",
        "http:\\\\127.0.0.1\\",
        "http://0/",
        "http://[::ffff:7f00:1]/",
        "http://localhost/",
        "http://LOCALHOST./",
        "http://a.localhost/",
        "http://printer.local/",
        "http://metadata.google.internal/",
        "http://router.home.arpa/",
        "http://intranet/",
        "http://x.localdomain/",
        "http://x.onion/",
    ] {
        assert_blocked(client.target(url), url);
    }
}

#[test]
fn what_is_no_plain_web_address_is_refused() {
    let client = client(&[]);
    for url in [
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "ws://example.com/",
        "http://example.com:22/",
        "https://example.com:8443/",
        "http://user@example.com/",
        "http://user:word@example.com/",
        "http://:word@example.com/",
    ] {
        assert_blocked(client.target(url), url);
    }
    for url in [
        "",
        "example.com",
        "http://",
        "http://exa mple.com/",
        "http://a.b/\nx",
        "http://[::1%25lo]/",
    ] {
        let error = client.target(url).unwrap_err();
        assert_eq!(error.kind(), ToolErrorKind::InvalidArgs, "{url}");
    }
    assert!(client.target(&format!("http://example.com/{}", "a".repeat(9_000))).is_err());
}

#[test]
fn the_host_is_what_the_parser_dials() {
    let client = client(&[]);
    // A backslash ends the host, so what looks like a user name is it.
    let target = client.target("http://example.com\\@127.0.0.1/").unwrap();
    assert_eq!(target.host(), "example.com");
    for url in ["http://example.com/", "https://example.com/a?b#c", "http://93.184.216.34/"] {
        client.target(url).unwrap();
    }
}

#[test]
fn a_closed_client_reaches_what_is_listed_and_nothing_else() {
    let allow = HttpAllow::parse("127.0.0.1:9,git.example.com:443").unwrap();
    let reach = Reach::Closed(allow);
    for url in ["http://127.0.0.1:9/", "https://git.example.com/x"] {
        assert!(Target::parse(url, &reach).is_ok(), "{url}");
    }
    for url in ["http://127.0.0.1:10/", "http://git.example.com/x", "https://example.com/"] {
        assert_blocked(Target::parse(url, &reach), url);
    }
}

#[test]
fn an_error_names_the_host_and_no_more() {
    let url = "http://127.0.0.1/secret?token=hunter2";
    let shown = client(&[]).target(url).unwrap_err().to_string();
    assert!(!shown.contains("hunter2") && !shown.contains("secret"), "{shown}");
}
