//! Every bound of the library in one place, each with the reason for its size.

use std::time::Duration;

/// Longest goal, instruction or directive in bytes. A model's context is the real limit; this
/// keeps a request's body and one event in proportion.
pub const TEXT_BYTES_MAX: usize = 256 * 1024;
/// Payloads above this size live in the blob table and the event keeps a reference
/// (one event must fit in one SSE frame that a browser handles with ease).
pub const EVENT_INLINE_BYTES_MAX: usize = 256 * 1024;
/// Most that a tool may hand back, in bytes. Beyond it the call fails as too large.
pub const TOOL_OUTPUT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most of a tool's output that is shown to the model by default, in bytes (about 16,000 tokens).
pub const TOOL_OUTPUT_MODEL_BYTES: usize = 64 * 1024;
/// Most bytes that a memory store within the process keeps: it has to fit beside everything else.
pub const EPHEMERAL_MEMORY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Largest artifact, in bytes: what one copy within S3 takes.
pub const ARTIFACT_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;
/// Most tool calls accepted in one reply of a model. More are answered with an error.
pub const TOOL_CALLS_PER_TURN_MAX: usize = 128;
/// Tool calls of one run in flight at once.
pub const TOOL_CALLS_IN_FLIGHT: usize = 8;
/// Calls of one code workflow that may be open at once. Each is a step that recovery looks at.
pub const CODE_CALLS_OPEN_MAX: usize = 1_024;
/// Times in a row that the code of a workflow may wake itself before it is taken to hang.
pub const CODE_POLLS_MAX: usize = 10_000;
/// Model calls per run unless the run says otherwise.
pub const MAX_STEPS_DEFAULT: u32 = 50;
/// Most model calls a run may ask for.
pub const MAX_STEPS_MAX: u32 = 10_000;
/// Replies in a row that do not fit the demanded shape before the run fails.
pub const REPAIRS_MAX: u32 = 3;
/// Times in a row that a model may pause and go on before the run fails.
pub const PAUSES_MAX: u32 = 16;
/// Replies in a row of which every tool call was denied before the run fails.
pub const DENIALS_MAX: u32 = 3;
/// Times that a conversation is made shorter before the same turn.
pub const COMPACTIONS_MAX: u32 = 3;
/// Share of a model's context, in per mille, that a prompt may have before the conversation is
/// made shorter. The rest is for the error of the estimate.
pub const CONTEXT_PER_MILLE: u64 = 850;
/// Tokens of a reply when nobody says how long it may be: so many are kept free of the context,
/// reserved, and allowed under a budget of tokens or money.
pub const REPLY_TOKENS: u64 = 8_192;
/// Fewest tokens that a reply needs: a call is not made when its budget leaves less.
pub const REPLY_TOKENS_MIN: u64 = 64;
/// Share of a budget, in per mille, at which a run is warned.
pub const BUDGET_WARNING_PER_MILLE: u64 = 800;
/// Tries of one step for errors that a retry may cure, the first included.
pub const ATTEMPTS_MAX: u32 = 5;
/// Tries of a model call whose reply was not what the protocol says, the first included: a model
/// that wrote a call wrongly may do better once, and a service that is broken stays so.
pub const MALFORMED_ATTEMPTS_MAX: u32 = 2;
/// Ancestors that a run may have: more than people keep apart, and an end to a chain of agents that
/// hand their task on.
pub const CHILD_DEPTH_MAX: u32 = 5;
/// Runs that one run may start: what one transaction cancels with their parent.
pub const CHILDREN_MAX: u32 = 1_000;
/// Most runs of one family that are shown at once: what a person or a page can take in.
pub const FAMILY_MAX: usize = 1_000;
/// Times a run may lose its worker in a row before it is parked as poison.
pub const RECOVERIES_MAX: u32 = 10;
/// First delay between two tries; doubles, with full jitter, up to [`RETRY_DELAY_MAX`].
pub const RETRY_DELAY_MIN: Duration = Duration::from_millis(500);
/// Longest delay between two tries.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(30);
/// A server that asks for a longer wait than this is not waited for in process
/// (the official SDKs draw the line at 120 s too).
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(120);
/// What people told a run that is kept apart from its conversation, in bytes, the newest first: a
/// share of the largest contexts that models have.
pub const TOLD_BYTES_MAX: usize = 1024 * 1024;
/// Events after which a run gets a snapshot. Folding so many takes about as long as reading one.
pub const SNAPSHOT_INTERVAL: u64 = 256;
/// Longest text that stands in a snapshot, in bytes. Longer ones are kept once, beside all snapshots.
pub const SNAPSHOT_TEXT_BYTES_MAX: usize = 4 * 1024;
/// Events read from the store at a time.
pub const EVENT_PAGE: usize = 1_000;
/// Largest page of any list.
pub const PAGE_MAX: usize = 500;
/// Most runs that one request may start: with bodies of a usual size, what a request may have.
pub const BATCH_MAX: usize = 100;
/// Runs of one request for many that are written at once, so that they share commits.
pub const BULK_IN_FLIGHT: usize = 16;
/// Most fields, and most steps, that a comparison of two runs lists.
pub const DIFF_ITEMS_MAX: usize = 500;
/// Longest value that a comparison of two runs shows whole, in bytes.
pub const DIFF_VALUE_BYTES_MAX: usize = 2 * 1024;
/// Largest bundle of a run that is imported, in bytes: room for some 200,000 events. All of it is
/// checked in memory and written in one transaction, which holds up other writes for that long.
pub const BUNDLE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest line of a bundle, in bytes: room for the largest output of a tool and the longest reply
/// of a model, escaped.
pub const BUNDLE_LINE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Events read at a time for a bundle: with payloads as large as events may have, 16 MiB.
pub const BUNDLE_PAGE: usize = 64;
/// Deepest nesting of a document that a store keeps. `serde_json` reads at most 127 levels, and what
/// is written must be readable.
pub const DOCUMENT_DEPTH_MAX: usize = 120;
/// Newest events of a run that are kept for all who watch it: as many as are read at a time.
pub const TAIL_EVENTS: usize = EVENT_PAGE;
/// Most bytes of their payloads. A watcher that falls further behind reads the store itself.
pub const TAIL_BYTES: u64 = 1024 * 1024;
/// Live frames a slow watcher may fall behind before it loses some.
pub const LIVE_FRAMES: usize = 1_024;
/// Live text kept for a watcher that joins during a generation, in bytes.
pub const LIVE_TEXT_BYTES_MAX: usize = 1024 * 1024;
/// Longest time a directive, pause or cancel retries against a busy run before it reports it.
pub const CONTROL_RETRIES_MAX: usize = 64;
