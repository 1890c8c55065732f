//! The kinds of errors that the service knows.

use axum::http::StatusCode;

macro_rules! codes {
    ($( $(#[$doc:meta])* $name:ident $status:ident $code:literal $title:literal; )*) => {
        /// The kind of an error; each has one status.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Code { $( $(#[$doc])* $name, )* }

        impl Code {
            /// Every code.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The spelling in `code` and at the end of `type`.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The HTTP status.
            pub(crate) const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// The kind of error in words.
            pub(crate) const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// Not HTTP or not JSON.
    BadRequest BAD_REQUEST "bad_request" "The request cannot be read";
    /// A policy or a guard does not allow it.
    Forbidden FORBIDDEN "forbidden" "Not allowed";
    /// A path leads out of the project, through a link or into what is not a regular file.
    PathEscape FORBIDDEN "path_escape" "The path leads where it must not";
    /// The guard of outbound requests does not allow the address.
    BlockedTarget FORBIDDEN "blocked_target" "The target is not allowed";
    /// The project's settings do not allow this with the remote.
    RemoteNotAllowed FORBIDDEN "remote_not_allowed" "The remote is not allowed";
    /// There is nothing of that name.
    NotFound NOT_FOUND "not_found" "Not found";
    /// `Allow` names the methods that work.
    MethodNotAllowed METHOD_NOT_ALLOWED "method_not_allowed" "Method not allowed";
    /// The answer does not come in the wanted format.
    NotAcceptable NOT_ACCEPTABLE "not_acceptable" "No such format";
    /// The client was too slow, or what it waited for did not happen in time.
    RequestTimeout REQUEST_TIMEOUT "timeout" "Time is up";
    /// In use, taken, or changed in the meantime.
    Conflict CONFLICT "conflict" "In conflict with the present state";
    /// The run's state does not allow it.
    InvalidTransition CONFLICT "invalid_transition" "The run's state does not allow it";
    /// The first request with this key is still running.
    IdempotencyInFlight CONFLICT "idempotency_in_flight" "A request with this key is in progress";
    /// It was there, and is over.
    Expired GONE "expired" "It is over";
    /// `If-Match` names another version.
    EtagMismatch PRECONDITION_FAILED "etag_mismatch" "It changed since it was read";
    /// The body is too large.
    TooLarge PAYLOAD_TOO_LARGE "too_large" "The body is too large";
    /// Path and query are too long.
    UriTooLong URI_TOO_LONG "uri_too_long" "The URL is too long";
    /// The range of bytes is outside of what there is.
    RangeNotSatisfiable RANGE_NOT_SATISFIABLE "range_not_satisfiable" "No such range";
    /// The body is not declared as JSON.
    UnsupportedMediaType UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" "Not a supported media type";
    /// Fields or parameters make no sense.
    Validation UNPROCESSABLE_ENTITY "validation" "The request has wrong fields";
    /// What may be spent is spent.
    BudgetExceeded TOO_MANY_REQUESTS "budget_exceeded" "A budget is spent";
    /// The key was used for another request.
    IdempotencyMismatch UNPROCESSABLE_ENTITY "idempotency_mismatch" "The key was used for another request";
    /// The headers are too large or too many.
    HeadersTooLarge REQUEST_HEADER_FIELDS_TOO_LARGE "headers_too_large" "The headers are too large";
    /// A defect.
    Internal INTERNAL_SERVER_ERROR "internal" "Internal error";
    /// Somebody else's server did not answer well, or not at all.
    UpstreamError BAD_GATEWAY "upstream_error" "Another server did not answer well";
    /// A tool, or a server that it asked, took too long.
    UpstreamTimeout GATEWAY_TIMEOUT "upstream_timeout" "It took too long";
    /// Too many calls in too little time.
    RateLimited TOO_MANY_REQUESTS "rate_limited" "Too many calls";
    /// A model's service refused or did not answer.
    ProviderError BAD_GATEWAY "provider_error" "The provider did not answer well";
    /// Too much is going on.
    Overloaded SERVICE_UNAVAILABLE "overloaded" "Too much is going on";
    /// The database does not answer.
    StoreUnavailable SERVICE_UNAVAILABLE "store_unavailable" "The database does not answer";
    /// There is no room left.
    Quota INSUFFICIENT_STORAGE "quota" "No room left";
}

impl Code {
    /// The code of a response that somebody else made.
    pub(crate) fn from_status(status: StatusCode) -> Self {
        let known = Self::ALL.iter().copied().find(|code| code.status() == status);
        known.unwrap_or(if status.is_server_error() { Self::Internal } else { Self::BadRequest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_every_status_is_an_error() {
        let mut spellings: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        spellings.sort_unstable();
        spellings.dedup();
        assert_eq!(spellings.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|code| code.status().as_u16() >= 400));
    }

    #[test]
    fn every_code_is_described_where_its_type_leads_to() {
        let page = include_str!("../../ui/docs.html");
        let manual = include_str!("../../../docs/HTTP_API.md");
        for code in Code::ALL {
            let (name, status) = (code.as_str(), code.status().as_u16());
            assert!(page.contains(&format!("id=\"problem-{name}\">{name} · {status}<")), "{name}");
            assert!(manual.contains(&format!("| {status} | `{name}` |")), "{name}");
        }
    }
}
