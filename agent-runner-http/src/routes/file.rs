//! Files of a project: bytes in and out; everything else is the tool of the same name.

use agent_runner_core::{engine::EngineErrorKind, files::FileExpect, id::ProjectId};
use axum::{
    Json,
    body::Body as RawBody,
    extract::{OriginalUri, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{
    api::Api,
    download,
    dto::{
        file::{Entry, MakeDir, Search, Transfer, Written, arguments},
        page::List,
    },
    extract::{Body, FilePath, FromQuery, Page, Parameters, ProjectPath, Query, collect_up_to},
    problem::{Code, Problem, ProblemBody},
};

/// What to list.
#[derive(Debug)]
pub(crate) struct Wanted {
    page: Page,
    prefix: Option<String>,
    glob: Option<String>,
    recursive: bool,
}

impl FromQuery for Wanted {
    fn from_query(parameters: &mut Parameters) -> Self {
        Self {
            page: Page::from_query(parameters),
            prefix: parameters.text("prefix"),
            glob: parameters.text("glob"),
            recursive: parameters.parsed("recursive", "`true` or `false`").unwrap_or(false),
        }
    }
}

/// Which run to look at.
#[derive(Debug)]
pub(crate) struct OfRun {
    run: Option<String>,
    path: Option<String>,
}

impl FromQuery for OfRun {
    fn from_query(parameters: &mut Parameters) -> Self {
        let run = parameters.text("run");
        if run.is_none() {
            parameters.wrong("run", "query parameter `run` is the id of a run");
        }
        Self { run, path: parameters.text("path") }
    }
}

async fn call(api: &Api, id: ProjectId, tool: &str, arguments: Value) -> Result<Value, Problem> {
    Ok(api.engine().invoke_tool(id, tool, arguments).await?.output.value)
}

/// Lists files of a project, by path.
#[utoipa::path(get, path = "/projects/{id}/files", tag = "files",
    params(
        ("id" = String, Path, description = "The project"),
        ("prefix" = Option<String>, Query, description = "The directory to list; the project's own when missing"),
        ("glob" = Option<String>, Query, description = "Only files whose path fits this pattern, such as `src/**/*.rs`"),
        ("recursive" = Option<bool>, Query, description = "Whether to list what is in the directories too"),
        ("limit" = Option<u16>, Query, description = "1 to 500; default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of files; of the first 1,000", body = List<Entry>),
        (status = 403, description = "The path leads out of the project or through a link", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "Unknown project or directory", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(api): State<Api>,
    OriginalUri(uri): OriginalUri,
    ProjectPath(id): ProjectPath,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let entries: Vec<Entry> = match &wanted.glob {
        Some(glob) => {
            let found =
                call(&api, id, "files.glob", json!({"pattern": glob, "limit": 1_000})).await?;
            let paths = found.get("paths").and_then(Value::as_array).cloned().unwrap_or_default();
            let paths = paths.iter().filter_map(Value::as_str);
            let under = wanted.prefix.as_deref().unwrap_or_default();
            paths
                .filter(|path| under.is_empty() || path.starts_with(under))
                .map(|path| Entry { path: path.to_owned(), kind: "file".to_owned(), size: None })
                .collect()
        }
        None => {
            let mut arguments = json!({"recursive": wanted.recursive, "limit": 1_000});
            if let (Some(prefix), Some(map)) = (&wanted.prefix, arguments.as_object_mut()) {
                let path = prefix.trim_end_matches('/').to_owned();
                map.insert("path".to_owned(), path.into());
            }
            let mut found = call(&api, id, "files.list", arguments).await?;
            let entries = found.get_mut("entries").map(Value::take).unwrap_or_default();
            serde_json::from_value(entries).map_err(|_| Problem::internal())?
        }
    };
    Ok(List::slice(entries, &wanted.page, |entry| entry.path.clone()).respond(&uri))
}

/// The bytes of a file, or a range of them.
#[utoipa::path(get, path = "/projects/{id}/files/{*path}", tag = "files",
    params(
        ("id" = String, Path, description = "The project"),
        ("path" = String, Path, description = "The file, such as `notes/plan.md`"),
        ("Range" = Option<String>, Header, description = "One range of bytes"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` that the client has"),
    ),
    responses(
        (status = 200, description = "The bytes", content_type = "application/octet-stream", headers(("ETag" = String, description = "SHA-256 of the content"))),
        (status = 206, description = "A range of them", content_type = "application/octet-stream"),
        (status = 304, description = "The client has it"),
        (status = 403, description = "The path leads out of the project, through a link or to what is not a regular file", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "Unknown project or file", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "It is a directory", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "It is larger than can be read", body = ProblemBody, content_type = "application/problem+json"),
        (status = 416, description = "The range is outside of it", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn get(
    State(api): State<Api>,
    FilePath(id, path): FilePath,
    Query(()): Query<()>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (info, content) = api.engine().read_file(id, &path).await?;
    if download::is_known(&headers, &info.sha256) {
        return Ok(download::not_modified(&info.sha256));
    }
    let range = download::range(&headers, info.bytes, &info.sha256)?;
    let name = info.path.rsplit('/').next().unwrap_or_default();
    let body = match &range {
        Some(range) => content.slice(as_index(range.start)..as_index(range.end)),
        None => content,
    };
    let meta = download::Meta {
        name,
        media_type: "application/octet-stream",
        bytes: info.bytes,
        sha256: &info.sha256,
    };
    Ok(download::respond(&meta, range.as_ref(), RawBody::from(body)))
}

fn as_index(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// What the conditions of a request expect to find.
fn expected(headers: &HeaderMap) -> Result<FileExpect, Problem> {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
    match (text(header::IF_MATCH), text(header::IF_NONE_MATCH)) {
        (None, None) => Ok(FileExpect::Anything),
        (Some("*"), None) => Ok(FileExpect::Present),
        (Some(tag), None) => Ok(FileExpect::Sha256(tag.trim().trim_matches('"').to_owned())),
        (None, Some("*")) => Ok(FileExpect::Absent),
        _ => Err(Problem::new(
            Code::BadRequest,
            "a write takes `If-Match` with an ETag or `*`, or `If-None-Match: *`, not both",
        )),
    }
}

/// Writes a file: all of it or nothing, on disk when the answer comes.
#[utoipa::path(put, path = "/projects/{id}/files/{*path}", tag = "files",
    params(
        ("id" = String, Path, description = "The project"),
        ("path" = String, Path, description = "The file, such as `notes/plan.md`; directories are made as needed"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` it must still have"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: it must not exist"),
    ),
    request_body(content = String, content_type = "application/octet-stream", description = "The whole content"),
    responses(
        (status = 200, description = "Replaced", body = Written, headers(("ETag" = String, description = "SHA-256 of the content"))),
        (status = 201, description = "Made", body = Written, headers(("ETag" = String, description = "SHA-256 of the content"))),
        (status = 403, description = "The path leads out of the project, through a link or to what is not a regular file", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "Unknown project", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "Something else is in the way", body = ProblemBody, content_type = "application/problem+json"),
        (status = 412, description = "It is not what the conditions expect", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "It is larger than can be written", body = ProblemBody, content_type = "application/problem+json"),
        (status = 507, description = "The project's quota or the disk is full", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn put(
    State(api): State<Api>,
    FilePath(id, path): FilePath,
    Query(()): Query<()>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let expect = expected(&parts.headers)?;
    let max = api.engine().files().map_or(0, |files| files.write_bytes_max());
    let content = collect_up_to(max, &parts.headers, body, api.options()).await?;
    let (info, created) = api.engine().write_file(id, &path, content, expect).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let tag = download::etag(&info.sha256);
    let written = Written { path: info.path, bytes: info.bytes, sha256: info.sha256, created };
    Ok((status, [(header::ETAG, tag)], Json(written)).into_response())
}

/// Deletes a file, or a directory.
#[utoipa::path(delete, path = "/projects/{id}/files/{*path}", tag = "files",
    params(
        ("id" = String, Path, description = "The project"),
        ("path" = String, Path, description = "The file or directory"),
        ("recursive" = Option<bool>, Query, description = "Whether a directory goes with all that is in it"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` it must still have"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 403, description = "The path leads out of the project or through a link", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "Unknown project or file", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The directory is not empty", body = ProblemBody, content_type = "application/problem+json"),
        (status = 412, description = "It changed since it was read", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn delete(
    State(api): State<Api>,
    FilePath(id, path): FilePath,
    Query(Recursive(recursive)): Query<Recursive>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let mut arguments = json!({"path": path, "recursive": recursive});
    if let (FileExpect::Sha256(sha256), Some(map)) =
        (expected(&headers)?, arguments.as_object_mut())
    {
        map.insert("expected_sha256".to_owned(), sha256.into());
    }
    call(&api, id, "files.delete", arguments).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `?recursive`.
#[derive(Debug)]
pub(crate) struct Recursive(bool);

impl FromQuery for Recursive {
    fn from_query(parameters: &mut Parameters) -> Self {
        Self(parameters.parsed("recursive", "`true` or `false`").unwrap_or(false))
    }
}

macro_rules! by_tool {
    ($(#[$meta:meta])* $name:ident($body:ty) $tool:literal) => {
        $(#[$meta])*
        pub(crate) async fn $name(
            State(api): State<Api>,
            ProjectPath(id): ProjectPath,
            Query(()): Query<()>,
            Body(body, _): Body<$body>,
        ) -> Result<Json<Value>, Problem> {
            call(&api, id, $tool, arguments(&body)).await.map(Json)
        }
    };
}

by_tool! {
    /// Moves or renames a file or directory.
    #[utoipa::path(post, path = "/projects/{id}/files:move", tag = "files", request_body = Transfer,
        operation_id = "move_file",
        params(("id" = String, Path, description = "The project")),
        responses(
            (status = 200, description = "It has the new name", body = Value),
            (status = 404, description = "Unknown project or file", body = ProblemBody, content_type = "application/problem+json"),
            (status = 409, description = "Something of the new name exists", body = ProblemBody, content_type = "application/problem+json"),
            (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
    ))]
    rename(Transfer) "files.move"
}
by_tool! {
    /// Copies a file.
    #[utoipa::path(post, path = "/projects/{id}/files:copy", tag = "files", request_body = Transfer,
        operation_id = "copy_file",
        params(("id" = String, Path, description = "The project")),
        responses(
            (status = 200, description = "It is copied", body = Value),
            (status = 404, description = "Unknown project or file", body = ProblemBody, content_type = "application/problem+json"),
            (status = 409, description = "Something else of the new name exists", body = ProblemBody, content_type = "application/problem+json"),
            (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
    ))]
    copy(Transfer) "files.copy"
}
by_tool! {
    /// Makes a directory; one that is there already is no error.
    #[utoipa::path(post, path = "/projects/{id}/files:mkdir", tag = "files", request_body = MakeDir,
        operation_id = "make_directory",
        params(("id" = String, Path, description = "The project")),
        responses(
            (status = 200, description = "It is there", body = Value),
            (status = 409, description = "A file is in the way", body = ProblemBody, content_type = "application/problem+json"),
            (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
    ))]
    make_dir(MakeDir) "files.mkdir"
}
by_tool! {
    /// Finds lines that fit a regular expression.
    #[utoipa::path(post, path = "/projects/{id}/files:search", tag = "files", request_body = Search,
        operation_id = "search_files",
        params(("id" = String, Path, description = "The project")),
        responses(
            (status = 200, description = "The lines", body = Value),
            (status = 422, description = "The expression or the pattern is not valid", body = ProblemBody, content_type = "application/problem+json"),
            (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
    ))]
    search(Search) "files.search"
}

/// What a run changed in the project's files, as far as it still stands.
#[utoipa::path(get, path = "/projects/{id}/files:diff", tag = "files", operation_id = "diff_of_run",
    params(
        ("id" = String, Path, description = "The project"),
        ("run" = String, Query, description = "The run"),
        ("path" = Option<String>, Query, description = "Only this file or directory"),
    ),
    responses(
        (status = 200, description = "The files, and their changes as a unified diff", body = Value),
        (status = 404, description = "Unknown project or run", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn diff(
    State(api): State<Api>,
    ProjectPath(id): ProjectPath,
    Query(of): Query<OfRun>,
) -> Result<Json<Value>, Problem> {
    let run = of.run.unwrap_or_default();
    let missing = || Problem::not_found(format!("there is no run {run} in this project"));
    match api.engine().run(run.parse().map_err(|_| missing())?).await {
        Ok(found) if found.project_id == id => {}
        Err(error) if error.kind() != EngineErrorKind::NotFound => return Err(error.into()),
        _ => return Err(missing()),
    }
    let mut arguments = json!({"run": run});
    if let (Some(path), Some(map)) = (of.path, arguments.as_object_mut()) {
        map.insert("path".to_owned(), path.into());
    }
    call(&api, id, "files.diff", arguments).await.map(Json)
}
