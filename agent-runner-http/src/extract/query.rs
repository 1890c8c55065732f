//! Query parameters: every wrong one is named, and none is ignored.

use std::str::FromStr;

use agent_runner_core::limits;
use axum::{
    extract::FromRequestParts,
    http::{Uri, request::Parts},
};

use super::nearest;
use crate::{
    api::Api,
    problem::{FieldProblem, Problem},
};

/// Page size when the client names none.
const PAGE_DEFAULT: usize = 50;

/// Typed query parameters.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

/// What can be read from query parameters.
pub(crate) trait FromQuery: Sized {
    /// Takes its parameters out; what is wrong is noted in `parameters`.
    fn from_query(parameters: &mut Parameters) -> Self;
}

impl<T: FromQuery> FromRequestParts<Api> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let mut parameters = Parameters::read(&parts.uri)?;
        if let Ok(number) = usize::try_from(api.options().wait_max.as_secs()) {
            parameters.seconds_max = number;
        }
        let read = T::from_query(&mut parameters);
        parameters.finish()?;
        Ok(Self(read))
    }
}

impl FromQuery for () {
    fn from_query(_: &mut Parameters) -> Self {}
}

/// The parameters of a request while they are read.
#[derive(Debug)]
pub(crate) struct Parameters {
    pairs: Vec<(String, String)>,
    known: Vec<&'static str>,
    wrong: Vec<FieldProblem>,
    seconds_max: usize,
}

impl Parameters {
    fn read(uri: &Uri) -> Result<Self, Problem> {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| Problem::field("", error.body_text()))?
            .0;
        Ok(Self { pairs, known: Vec::new(), wrong: Vec::new(), seconds_max: 0 })
    }

    /// Notes what is wrong with a parameter.
    pub(crate) fn wrong(&mut self, name: &str, detail: impl Into<String>) {
        self.wrong.push(FieldProblem { pointer: format!("/{name}"), detail: detail.into() });
    }

    /// The text of a parameter.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        let mut found = None;
        let mut twice = false;
        self.pairs.retain_mut(|(key, value)| {
            if key == name {
                twice |= found.is_some();
                found = Some(std::mem::take(value));
            }
            key != name
        });
        if twice {
            self.wrong(name, format!("query parameter `{name}` is given twice"));
        }
        found
    }

    /// A parameter that parses; `what` says what it must be.
    pub(crate) fn parsed<T: FromStr>(&mut self, name: &'static str, what: &str) -> Option<T> {
        let text = self.text(name)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            let shown: String = text.chars().take(80).collect();
            self.wrong(name, format!("query parameter `{name}` must be {what}, not `{shown}`"));
        }
        parsed
    }

    /// Seconds to wait, at most what the service allows.
    pub(crate) fn seconds(&mut self, name: &'static str) -> Option<std::time::Duration> {
        let max = self.seconds_max;
        let seconds = self.parsed::<usize>(name, "a whole number of seconds")?;
        if seconds > max {
            self.wrong(name, format!("query parameter `{name}` must be at most {max} seconds"));
        }
        u64::try_from(seconds).ok().map(std::time::Duration::from_secs)
    }

    /// A list separated by commas; empty when the parameter is missing.
    pub(crate) fn list(&mut self, name: &'static str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect()
    }

    fn finish(mut self) -> Result<(), Problem> {
        for (name, _) in std::mem::take(&mut self.pairs) {
            let detail = match nearest(&name, self.known.iter().copied()) {
                Some(meant) => format!("unknown query parameter `{name}`; did you mean `{meant}`?"),
                None if self.known.is_empty() => {
                    format!("unknown query parameter `{name}`; this resource takes none")
                }
                None => format!(
                    "unknown query parameter `{name}`; known are: {}",
                    self.known.join(", ")
                ),
            };
            self.wrong(&name, detail);
        }
        if self.wrong.is_empty() { Ok(()) } else { Err(Problem::fields(self.wrong)) }
    }
}

/// `?limit` and `?cursor` of a list.
#[derive(Debug)]
pub(crate) struct Page {
    /// 1 to 500.
    pub(crate) limit: usize,
    /// Where the page before ended.
    pub(crate) cursor: Option<String>,
}

impl FromQuery for Page {
    fn from_query(parameters: &mut Parameters) -> Self {
        let limit = parameters.parsed("limit", "a number from 1 to 500").unwrap_or(PAGE_DEFAULT);
        if limit == 0 || limit > limits::PAGE_MAX {
            parameters.wrong("limit", "query parameter `limit` must be a number from 1 to 500");
        }
        Self { limit, cursor: parameters.text("cursor") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str) -> Result<Page, Problem> {
        let uri: Uri = format!("/x?{query}").parse().unwrap();
        let mut parameters = Parameters::read(&uri)?;
        let page = Page::from_query(&mut parameters);
        parameters.finish().map(|()| page)
    }

    #[test]
    fn each_wrong_parameter_is_named() {
        assert_eq!(page("").unwrap().limit, 50);
        assert_eq!(page("limit=500&cursor=a%20b").unwrap().cursor.as_deref(), Some("a b"));
        for (query, pointer, word) in [
            ("limit=0", "/limit", "1 to 500"),
            ("limit=501", "/limit", "1 to 500"),
            ("limit=-1", "/limit", "not `-1`"),
            ("limit=ten", "/limit", "not `ten`"),
            ("limit=1&limit=2", "/limit", "twice"),
            ("limmit=1", "/limmit", "did you mean `limit`?"),
            ("x=1", "/x", "known are: limit, cursor"),
        ] {
            let body = page(query).unwrap_err().body("", "");
            assert_eq!(body.status, 422);
            assert_eq!(body.errors[0].pointer, pointer, "{query}");
            assert!(body.errors[0].detail.contains(word), "{query}: {}", body.errors[0].detail);
        }
    }
}
