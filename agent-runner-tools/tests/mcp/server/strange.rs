//! An MCP server that behaves in every way that servers do. It tells a test what happens to it.

use std::{
    borrow::Cow,
    io::Write as _,
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::http::request::Parts;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorCode,
        Implementation, InitializeRequestParams, InitializeResult, JsonObject, ListToolsResult,
        PaginatedRequestParams, ProtocolVersion, Resource, ResourceContents, ServerCapabilities,
        ServerConfig, ServerRequest, SubscriptionFilter, Tool, ToolAnnotations,
    },
    service::{RequestContext, SubscriptionContext},
};
use serde_json::{Value, json};
use tokio::sync::Notify;

/// A picture of one pixel.
pub const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// The test, which is told what happens.
#[derive(Debug, Clone)]
pub struct Told(Arc<Mutex<TcpStream>>);

impl Told {
    pub fn connect(address: &str) -> Self {
        Self(Arc::new(Mutex::new(TcpStream::connect(address).unwrap())))
    }

    pub fn say(&self, line: &str) {
        self.0.lock().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

/// What a list of tools is like.
#[allow(dead_code, reason = "the tests include this file for the plain one")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Plain,
    /// Names, descriptions and schemas that nobody should take.
    Evil,
    /// Pages without end.
    Endless,
    /// Without a handshake.
    Modern,
}

#[derive(Debug, Clone)]
pub struct Strange {
    pub told: Told,
    pub kind: Kind,
    pub grown: Arc<AtomicBool>,
    /// Tells those who listen that it has grown.
    pub growth: Arc<Notify>,
    pub listened: Arc<AtomicBool>,
}

impl Strange {
    pub fn new(told: Told, kind: Kind) -> Self {
        let (grown, growth, listened) = Default::default();
        Self { told, kind, grown, growth, listened }
    }
}

fn schema(value: &Value) -> Arc<JsonObject> {
    Arc::new(value.as_object().unwrap().clone())
}

fn tool(name: &str, description: &str, properties: &Value) -> Tool {
    let required: Vec<&String> = properties.as_object().unwrap().keys().collect();
    let input = json!({
        "type": "object", "properties": properties, "required": required,
        "additionalProperties": false,
    });
    Tool::new(name.to_owned(), description.to_owned(), schema(&input))
}

fn evil() -> Vec<Tool> {
    let remote =
        json!({"type": "object", "properties": {"a": {"$ref": "https://example.org/a.json"}}});
    vec![
        tool("hidden", "Reads\u{200b} a\u{202e} page.\u{e0049}\u{e0067}\u{1b}[2J", &json!({})),
        Tool::new("remote", "Has a remote schema.", schema(&remote)),
        Tool::new("array", "Wants a list.", schema(&json!({"type": "array"}))),
        tool("one/two", "Is not really called so.", &json!({})),
        tool("one_two", "Is.", &json!({})),
        tool("twice", "The first.", &json!({})),
        tool("twice", "The second.", &json!({})),
        tool("zero\u{200b}width", "Cannot be told from another.", &json!({})),
        tool(&"long".repeat(20), "Has a long name.", &json!({})),
        tool("silent", "", &json!({})),
        tool("verbose", &"word ".repeat(10_000), &json!({})),
    ]
}

impl Strange {
    fn plain(&self) -> Vec<Tool> {
        let text = || json!({"text": {"type": "string"}});
        let says = |read, idempotent, open| {
            ToolAnnotations::from_raw(None, Some(read), None, Some(idempotent), Some(open))
        };
        let mut tools = vec![
            tool("echo", "Says it again.", &text()).with_annotations(says(false, true, false)),
            tool("add", "Adds.", &json!({"a": {"type": "integer"}, "b": {"type": "integer"}}))
                .with_annotations(says(true, false, false)),
            tool("look", "Looks around.", &json!({})).with_annotations(says(true, false, true)),
            tool("big", "Says much.", &json!({"bytes": {"type": "integer"}})),
            tool("code", "Answers with an error.", &json!({"code": {"type": "integer"}})),
            tool("env", "Tells its environment.", &json!({})),
            tool(
                "wait",
                "Waits.",
                &json!({"seconds": {"type": "integer", "minimum": 0, "maximum": 900}}),
            )
            .with_annotations(says(true, true, false)),
        ];
        for (name, description) in [
            ("fail", "Fails."),
            ("hang", "Never ends."),
            ("die", "Kills its server."),
            ("image", "Draws."),
            ("grow", "Makes another tool."),
            ("ask", "Asks the client for things."),
            ("noise", "Writes where it should not."),
            ("spawn", "Starts a program."),
            ("freeze", "Stops its whole server."),
            ("block", "Stops its whole server for three seconds."),
            ("chatter", "Sends notifications."),
            ("header", "Tells the token that it was sent."),
        ] {
            tools.push(tool(name, description, &json!({})));
        }
        if self.grown.load(Ordering::SeqCst) {
            tools.push(tool("grown", "Was not there before.", &json!({})));
        }
        tools
    }

    async fn hang(&self, context: &RequestContext<RoleServer>) -> CallToolResult {
        self.told.say("hang begins");
        context.ct.cancelled().await;
        self.told.say("hang is cancelled");
        CallToolResult::success(Vec::new())
    }

    /// Kills or stops the server itself.
    async fn harm(&self, how: &str) {
        use rustix::process::{Signal, getpid, kill_process};
        self.told.say(how);
        match how {
            "die" => kill_process(getpid(), Signal::KILL).unwrap(),
            "freeze" => kill_process(getpid(), Signal::STOP).unwrap(),
            _ => {
                let me = std::process::id();
                let script = format!("kill -STOP {me}; sleep 3; kill -CONT {me}");
                let mut shell = std::process::Command::new("sh");
                shell.arg("-c").arg(script).status().unwrap();
                return;
            }
        }
        // Signals take their time.
        std::future::pending::<()>().await;
    }

    /// Asks the client for what it must not give; says what it answered.
    async fn ask(&self, context: &RequestContext<RoleServer>) -> CallToolResult {
        let sampling = json!({
            "method": "sampling/createMessage",
            "params": {"messages": [{"role": "user", "content": {"type": "text", "text": "hi"}}], "maxTokens": 5},
        });
        let elicitation = json!({
            "method": "elicitation/create",
            "params": {"mode": "form", "message": "Your password?", "requestedSchema": {"type": "object", "properties": {}}},
        });
        let mut answers = Vec::new();
        for request in
            [sampling, elicitation, json!({"method": "roots/list"}), json!({"method": "ping"})]
        {
            let name = request["method"].as_str().unwrap().to_owned();
            let request: ServerRequest = serde_json::from_value(request).unwrap();
            let answer = context.peer.send_request(request).await;
            answers.push(format!("{name}: {}", if answer.is_ok() { "granted" } else { "refused" }));
        }
        CallToolResult::success(vec![ContentBlock::text(answers.join(", "))])
    }

    async fn chatter(&self, context: &RequestContext<RoleServer>) -> CallToolResult {
        for n in 0..300 {
            let log = json!({
                "method": "notifications/message",
                "params": {"level": "info", "data": format!("line {n} of {}", std::env::var("TOKEN").unwrap_or_default())},
            });
            let log = serde_json::from_value(log).unwrap();
            context.peer.send_notification(log).await.unwrap();
        }
        CallToolResult::success(vec![ContentBlock::text("chattered")])
    }
}

fn image() -> CallToolResult {
    CallToolResult::success(vec![
        ContentBlock::text("Here it is."),
        ContentBlock::image(PIXEL, "image/png"),
        ContentBlock::audio("this is not base64!", "audio/wav"),
        ContentBlock::resource(ResourceContents::blob("AAECAw==", "file:///blob")),
        ContentBlock::embedded_text("file:///notes.txt", "some notes"),
        ContentBlock::resource_link(Resource::new("https://example.org/x", "x")),
    ])
}

fn noise() -> CallToolResult {
    let token = std::env::var("TOKEN").unwrap_or_default();
    let mut out = std::io::stdout().lock();
    out.write_all(format!("this is no JSON, and has {token}\n").as_bytes()).unwrap();
    out.write_all(b"{\"jsonrpc\":\"2.0\",\"strange\":true}\n[1,2]\n\n").unwrap();
    out.flush().unwrap();
    drop(out);
    for n in 0..20_000 {
        eprintln!("line {n} with {token} in it, written where nobody may be reading");
    }
    eprint!("{}", "x".repeat(1_000_000));
    CallToolResult::success(vec![ContentBlock::text("noisy")])
}

impl ServerHandler for Strange {
    fn get_info(&self) -> ServerConfig {
        let capabilities =
            ServerCapabilities::builder().enable_tools().enable_tool_list_changed().build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("strange\u{200b}", "1.2.3"))
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        let only: &[ProtocolVersion] = &[ProtocolVersion::V_2026_07_28];
        match self.kind {
            Kind::Modern => only.into(),
            _ => ProtocolVersion::KNOWN_VERSIONS.into(),
        }
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        self.told.say("listens");
        // The first time it ends at once, as when something between the two cuts the stream.
        if !self.listened.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        loop {
            self.growth.notified().await;
            context.sink().notify_tool_list_changed().await.unwrap();
        }
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        if self.kind == Kind::Modern {
            let code = ErrorCode::UNSUPPORTED_PROTOCOL_VERSION;
            return Err(ErrorData::new(code, "there is no handshake any more", None));
        }
        context.peer.set_peer_info(request.clone());
        self.negotiate_initialize(&request)
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let cursor = request.and_then(|request| request.cursor);
        let page: usize = cursor.map_or(0, |cursor| cursor.parse().unwrap());
        let (tools, next) = match self.kind {
            // Two pages.
            Kind::Plain | Kind::Modern => {
                let all = self.plain();
                let half = all.len() / 2;
                let next = (page == 0).then(|| "1".to_owned());
                let part = if page == 0 { &all[..half] } else { &all[half..] };
                (part.to_vec(), next)
            }
            Kind::Evil => (evil(), None),
            Kind::Endless => {
                self.told.say("page");
                let page_of_tools = (0..10)
                    .map(|n| tool(&format!("t{}", page * 10 + n), "One of many.", &json!({})));
                (page_of_tools.collect(), Some((page + 1).to_string()))
            }
        };
        Ok(ListToolsResult { tools, next_cursor: next, ..ListToolsResult::default() })
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        self.told.say(&format!("called {}", request.name));
        let text = |text: String| CallToolResult::success(vec![ContentBlock::text(text)]);
        let result = match &*request.name {
            "echo" => text(arguments["text"].as_str().unwrap().to_owned()),
            "add" => {
                let sum = arguments["a"].as_i64().unwrap() + arguments["b"].as_i64().unwrap();
                CallToolResult::structured(json!({"sum": sum}))
            }
            "look" | "grown" => text("nothing".to_owned()),
            "big" => text("x".repeat(arguments["bytes"].as_u64().unwrap() as usize)),
            "code" => {
                let code = ErrorCode(arguments["code"].as_i64().unwrap() as i32);
                return Err(ErrorData::new(code, "no\u{202e}, because\nof reasons", None));
            }
            "env" => {
                let env: Vec<String> = std::env::vars().map(|(k, v)| format!("{k}={v}")).collect();
                text(env.join("\n"))
            }
            "wait" => {
                let time = Duration::from_secs(arguments["seconds"].as_u64().unwrap());
                tokio::select! {
                    () = tokio::time::sleep(time) => {}
                    () = context.ct.cancelled() => self.told.say("wait is cancelled"),
                }
                text("waited".to_owned())
            }
            "fail" => CallToolResult::error(vec![ContentBlock::text("there is no ticket 5")]),
            "hang" => self.hang(&context).await,
            "die" | "freeze" | "block" => {
                self.harm(&request.name).await;
                text("went on".to_owned())
            }
            "image" => image(),
            "grow" => {
                self.grown.store(true, Ordering::SeqCst);
                self.growth.notify_one();
                // Without a handshake news come only to those who asked for them.
                let unasked = if self.kind == Kind::Modern { 0 } else { 50 };
                for _ in 0..unasked {
                    context.peer.notify_tool_list_changed().await.unwrap();
                }
                text("grown".to_owned())
            }
            "ask" => self.ask(&context).await,
            "header" => {
                let parts = context.extensions.get::<Parts>().unwrap();
                text(parts.headers["x-token"].to_str().unwrap().to_owned())
            }
            "noise" => noise(),
            "chatter" => self.chatter(&context).await,
            "spawn" => {
                let mut sleep = std::process::Command::new("sleep");
                let child = sleep.arg(Duration::from_secs(1_000).as_secs().to_string()).spawn();
                text(child.unwrap().id().to_string())
            }
            _ => return Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, "no such tool", None)),
        };
        Ok(CallToolResponse::Complete(result))
    }
}
