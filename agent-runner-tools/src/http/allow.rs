//! The operator's list of hosts.

use std::{collections::BTreeSet, fmt, str::FromStr};

use url::{Host, Url};

/// An entry of the list that is not `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowError {
    entry: String,
    said: &'static str,
}

impl fmt::Display for AllowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not an allowed host: {}", self.entry.escape_debug(), self.said)
    }
}

impl std::error::Error for AllowError {}

/// The hosts and ports that tools may call, such as `127.0.0.1:9000, api.example.com:443`.
///
/// Empty by default. A name stands for itself: neither its subdomains nor its addresses are
/// allowed with it. Wildcards do not exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpAllow {
    /// Hosts as the URL standard spells them (lower case, Punycode, IPv6 in brackets).
    entries: BTreeSet<(String, u16)>,
}

impl HttpAllow {
    /// Parses a list separated by commas. An empty text allows nothing.
    ///
    /// # Errors
    /// The first entry that is not `host:port`.
    pub fn parse(text: &str) -> Result<Self, AllowError> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        Ok(Self { entries: entries.map(parse_entry).collect::<Result<_, _>>()? })
    }

    /// Whether nothing is allowed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the host and port of `url` are on the list. The parser that made `url` is the one
    /// that the client dials by, so both mean the same host.
    pub(crate) fn allows(&self, url: &Url) -> bool {
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return false;
        };
        self.entries.contains(&(host.to_owned(), port))
    }
}

/// As it is parsed.
impl fmt::Display for HttpAllow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (host, port)) in self.entries.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{host}:{port}")?;
        }
        Ok(())
    }
}

impl FromStr for HttpAllow {
    type Err = AllowError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

fn parse_entry(entry: &str) -> Result<(String, u16), AllowError> {
    let fail = |said| AllowError { entry: entry.chars().take(120).collect(), said };
    if entry.contains("://") || entry.contains('/') {
        return Err(fail("write it without scheme and path, such as `api.example.com:443`"));
    }
    if entry.contains('*') {
        return Err(fail("there are no wildcards; list every host"));
    }
    if entry.contains('@') {
        return Err(fail("write it without user name and password"));
    }
    let (host, port) = entry
        .rsplit_once(':')
        .ok_or_else(|| fail("add the port, such as `api.example.com:443`"))?;
    let host = Host::parse(host).map_err(|_| {
        fail("the host is neither a name nor an address (IPv6 goes in brackets: `[::1]:80`)")
    })?;
    let port = port.parse().ok().filter(|port| *port != 0);
    let port = port.ok_or_else(|| fail("the port is not a number from 1 to 65535"))?;
    Ok((host.to_string(), port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn allows(list: &str, url: &str) -> bool {
        HttpAllow::parse(list).unwrap().allows(&Url::parse(url).unwrap())
    }

    #[test]
    fn the_list_is_empty_until_something_is_listed() {
        for text in ["", "  ", ",", " , ,"] {
            assert!(HttpAllow::parse(text).unwrap().is_empty(), "{text:?}");
        }
        assert!(!HttpAllow::default().allows(&Url::parse("http://127.0.0.1:9000/").unwrap()));
    }

    #[test]
    fn a_listed_host_and_port_is_allowed_however_a_url_spells_it() {
        let list = "127.0.0.1:9000, API.example.com:443,[::1]:80, bücher.example:80";
        for url in [
            "http://127.0.0.1:9000/x?y",
            "http://127.1:9000",
            "http://0x7f000001:9000",
            "http://2130706433:9000",
            "https://api.example.com/",
            "https://API.EXAMPLE.com:443/",
            "http://api.example.com:443/",
            "http://[::1]/",
            "http://[0:0::1]:80/",
            "http://xn--bcher-kva.example/",
        ] {
            assert!(allows(list, url), "{url}");
        }
    }

    #[test]
    fn nothing_beside_the_list_is_allowed() {
        let list = "127.0.0.1:9000, api.example.com:443";
        for url in [
            "http://127.0.0.1/",
            "http://127.0.0.1:9001/",
            "http://localhost:9000/",
            "http://127.0.0.2:9000/",
            "http://[::1]:9000/",
            "http://[::ffff:127.0.0.1]:9000/",
            "https://example.com/",
            "https://x.api.example.com/",
            "https://api.example.com./",
            "https://api.example.com.evil.test/",
            "http://api.example.com/",
            "http://api.example.com:443@evil.test/",
            "http://evil.test\\@api.example.com:443/",
            "file:///etc/passwd",
        ] {
            assert!(!allows(list, url), "{url}");
        }
    }

    #[test]
    fn an_entry_that_is_none_is_named_with_what_to_write() {
        for (entry, hint) in [
            ("api.example.com", "add the port"),
            ("https://api.example.com", "without scheme"),
            ("*.example.com:443", "no wildcards"),
            ("*:80", "no wildcards"),
            ("me:secret@example.com:80", "without user name"),
            ("::1:80", "brackets"),
            (":80", "neither a name"),
            ("a b:80", "neither a name"),
            ("example.com:0", "not a number"),
            ("example.com:65536", "not a number"),
            ("example.com:http", "not a number"),
        ] {
            let error = HttpAllow::parse(&format!("127.0.0.1:1, {entry}")).unwrap_err().to_string();
            assert!(error.contains(hint) && error.contains(entry), "{entry}: {error}");
        }
    }

    #[test]
    fn a_list_displays_as_it_is_parsed() {
        let list = HttpAllow::parse("b:2,A:1").unwrap();
        assert_eq!(list.to_string(), "a:1, b:2");
        assert_eq!(HttpAllow::parse(&list.to_string()), Ok(list));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in any::<String>()) {
            let _ = HttpAllow::parse(&text);
        }
    }
}
