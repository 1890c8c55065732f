//! Lists: `{items, next_cursor}`.

use axum::{
    Json,
    http::{HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::extract::Page;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct List<T> {
    /// What fits on this page.
    pub(crate) items: Vec<T>,
    /// Give it as `cursor` to get the next page; `null` on the last one.
    pub(crate) next_cursor: Option<String>,
}

impl<T> List<T> {
    /// A page of `items`, of which one more than `limit` was asked for to know whether more come.
    pub(crate) fn page(mut items: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = items.last().filter(|_| more).map(cursor);
        Self { items, next_cursor }
    }

    /// A page of a list that is at hand as a whole, in the order of `cursor`'s first occurrence.
    pub(crate) fn slice(all: Vec<T>, page: &Page, cursor: impl Fn(&T) -> String) -> Self {
        let start = match &page.cursor {
            None => 0,
            Some(after) => {
                all.iter().position(|item| cursor(item) == *after).map_or(all.len(), |n| n + 1)
            }
        };
        let items = all.into_iter().skip(start).take(page.limit.saturating_add(1)).collect();
        Self::page(items, page.limit, cursor)
    }
}

impl<T: Serialize> List<T> {
    /// The answer, with the `Link` header of the next page.
    pub(crate) fn respond(self, uri: &Uri) -> Response {
        let link = self.next_cursor.as_deref().and_then(|cursor| next_link(uri, cursor));
        let mut response = Json(self).into_response();
        if let Some(link) = link {
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }
}

fn next_link(uri: &Uri, cursor: &str) -> Option<HeaderValue> {
    let kept = uri.query().unwrap_or_default().split('&').filter(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        !name.is_empty() && name != "cursor" && name != "after"
    });
    let mut query: Vec<String> = kept.map(str::to_owned).collect();
    query.push(format!("cursor={}", utf8_percent_encode(cursor, NON_ALPHANUMERIC)));
    HeaderValue::from_str(&format!("<{}?{}>; rel=\"next\"", uri.path(), query.join("&"))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_of_a_list_joined_are_the_list() {
        let all: Vec<u32> = (0..7).collect();
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let page = Page { limit: 3, cursor };
            let list = List::slice(all.clone(), &page, ToString::to_string);
            seen.extend(list.items);
            cursor = list.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn the_link_keeps_filters_and_replaces_the_cursor() {
        let uri: Uri = "/runs?status=FAILED&cursor=old&limit=2".parse().unwrap();
        let link = next_link(&uri, "a b").unwrap();
        assert_eq!(link, "</runs?status=FAILED&limit=2&cursor=a%20b>; rel=\"next\"");
    }
}
