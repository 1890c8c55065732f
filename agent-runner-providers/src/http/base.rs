//! The address of a service as an operator writes it.

use url::Url;

/// Checks an address and makes its path end with a slash, so that paths can be joined to it.
///
/// # Errors
/// What is wrong with it, without quoting it: people paste keys into addresses.
pub(crate) fn base_url(text: &str) -> Result<Url, &'static str> {
    let mut url = Url::parse(text.trim())
        .map_err(|_| "the base URL is not a URL; write it as http://host:port/path")?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("the base URL must begin with http:// or https:// and name a host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the base URL must not contain a user or password; give the key separately");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("the base URL must not contain `?` or `#`");
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_a_slash_and_a_bad_one_is_refused_without_being_quoted() {
        assert_eq!(base_url(" http://h:1/v1 ").unwrap().as_str(), "http://h:1/v1/");
        assert_eq!(base_url("https://h").unwrap().as_str(), "https://h/");
        let bad = [
            "",
            "h:1",
            "ftp://h",
            "http://",
            "http://u:sk-1@h",
            "http://h/?key=sk-1",
            "http://h/#a",
        ];
        for text in bad {
            assert!(!base_url(text).unwrap_err().contains("sk-1"), "{text}");
        }
    }
}
