//! A stranger's tool, written against the bare trait, and ones that break one rule each.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use agent_runner_core::{
    testing::tool_contract::{self as suite, ToolHarness},
    tool::{EffectPolicy, Tool, ToolCx, ToolError, ToolErrorKind, ToolInfo, ToolOutput, ToolSpec},
};
use serde_json::{Value, json};

const GOOD: u8 = 0;
const IGNORES_CANCELLATION: u8 = 1;
const ACTS_TWICE: u8 = 2;
const ACTS_AND_DENIES_IT: u8 = 3;
const TAKES_UNKNOWN_ARGUMENTS: u8 = 4;
const OPEN_SCHEMA: u8 = 5;
const PANICS: u8 = 6;
const TELLS_ITS_ADDRESS: u8 = 7;
const SAYS_NOTHING: u8 = 8;

const ADDRESS: &str = "10.0.0.7:5432";

/// Hangs a note on a board, once for each idempotency key.
#[derive(Debug)]
struct Pin<const DEFECT: u8> {
    info: ToolInfo,
    board: Arc<Mutex<Vec<(String, String)>>>,
}

impl<const DEFECT: u8> Pin<DEFECT> {
    fn new(board: Arc<Mutex<Vec<(String, String)>>>) -> Self {
        let spec = ToolSpec {
            name: "board.pin".to_owned(),
            description: "Pins a note; it stays for everybody to read.".to_owned(),
            input_schema: json!({
                "type": "object",
                "properties": {"note": {"type": "string"}, "hold_ms": {"type": "integer", "minimum": 0}},
                "required": ["note"],
                "additionalProperties": DEFECT == OPEN_SCHEMA,
            }),
        };
        Self { info: ToolInfo::new(spec, EffectPolicy::Idempotent), board }
    }

    fn pin(&self, key: &str, note: &str) {
        let mut board = self.board.lock().unwrap();
        let pinned = board.iter().any(|(known, _)| known == key);
        if !pinned || DEFECT == ACTS_TWICE {
            board.push((key.to_owned(), note.to_owned()));
        }
    }
}

fn refused(why: &str) -> ToolError {
    ToolError::new(ToolErrorKind::InvalidArgs, why)
}

#[async_trait::async_trait]
impl<const DEFECT: u8> Tool for Pin<DEFECT> {
    fn info(&self) -> &ToolInfo {
        &self.info
    }

    async fn call(&self, arguments: Value, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let note = match arguments.get("note") {
            Some(Value::String(note)) => note,
            Some(_) if DEFECT == PANICS => panic!("a note is a text"),
            Some(_) | None => return Err(refused("`note` must be a text")),
        };
        if DEFECT == ACTS_AND_DENIES_IT {
            self.pin(&cx.idempotency_key, note);
        }
        if note.is_empty() {
            return Err(refused(match DEFECT {
                TELLS_ITS_ADDRESS => "the board at 10.0.0.7:5432 refuses an empty note",
                SAYS_NOTHING => "no",
                _ => "`note` is empty; say what to pin",
            }));
        }
        let known = arguments.as_object().into_iter().flatten();
        if known.into_iter().any(|(name, _)| !["note", "hold_ms"].contains(&name.as_str()))
            && DEFECT != TAKES_UNKNOWN_ARGUMENTS
        {
            return Err(refused("there are the arguments `note` and `hold_ms`, no others"));
        }
        let hold = arguments.get("hold_ms").map_or(Some(0), Value::as_u64);
        let hold = hold.ok_or_else(|| refused("`hold_ms` must be milliseconds, 0 or more"))?;
        let held = tokio::time::sleep(Duration::from_millis(hold));
        if DEFECT == IGNORES_CANCELLATION {
            held.await;
        } else if cx.cancel.run_until_cancelled(held).await.is_none() {
            return Err(ToolError::new(ToolErrorKind::Cancelled, "nothing was pinned"));
        }
        self.pin(&cx.idempotency_key, note);
        Ok(ToolOutput::new(json!({"pinned": true})))
    }
}

#[derive(Debug)]
struct Harness<const DEFECT: u8> {
    tool: Arc<Pin<DEFECT>>,
    board: Arc<Mutex<Vec<(String, String)>>>,
}

#[async_trait::async_trait]
impl<const DEFECT: u8> ToolHarness for Harness<DEFECT> {
    async fn open() -> Self {
        let board = Arc::default();
        Self { tool: Arc::new(Pin::new(Arc::clone(&board))), board }
    }

    fn tool(&self) -> Arc<dyn Tool> {
        self.tool.clone()
    }

    fn valid(&self) -> Value {
        json!({"note": "milk"})
    }

    fn refused(&self) -> Vec<Value> {
        vec![json!({"note": ""}), json!({"note": "a", "hold_ms": -1}), json!({"note": 7})]
    }

    fn private(&self) -> Vec<String> {
        vec![ADDRESS.to_owned()]
    }

    async fn effects(&self) -> Vec<String> {
        self.board.lock().unwrap().iter().map(|(_, note)| note.clone()).collect()
    }

    fn lasting(&self) -> Option<Value> {
        Some(json!({"note": "later", "hold_ms": 600_000}))
    }
}

mod a_good_tool_passes {
    use super::{GOOD, Harness};

    agent_runner_core::tool_contract!(Harness<GOOD>);
}

caught! {
    a_tool_that_ignores_cancellation: Harness<IGNORES_CANCELLATION>,
        suite::c6_cancelling_a_call_ends_it_soon, "after it was cancelled";
    a_tool_that_begins_although_it_is_cancelled: Harness<IGNORES_CANCELLATION>,
        suite::c6_a_call_that_is_already_cancelled_ends_soon, "although it was cancelled";
    a_tool_that_acts_twice_for_one_key: Harness<ACTS_TWICE>,
        suite::c3_one_idempotency_key_has_one_effect, "had an effect of its own";
    a_tool_that_acts_and_denies_it: Harness<ACTS_AND_DENIES_IT>,
        suite::c4_an_error_that_rules_out_an_effect_left_none, "had an effect";
    a_tool_that_takes_unknown_arguments: Harness<TAKES_UNKNOWN_ARGUMENTS>,
        suite::c2_an_unknown_argument_is_refused, "the tool took it";
    a_tool_with_an_open_schema: Harness<OPEN_SCHEMA>,
        suite::c2_the_schema_is_a_closed_object, "unknown arguments must be refused";
    a_tool_that_panics: Harness<PANICS>,
        suite::c2_random_arguments_never_panic, "the tool panics on";
    a_tool_that_tells_its_address: Harness<TELLS_ITS_ADDRESS>,
        suite::c5_refusals_explain_themselves_and_keep_private_things, "tells `10.0.0.7:5432`";
    a_tool_that_says_nothing: Harness<SAYS_NOTHING>,
        suite::c5_refusals_explain_themselves_and_keep_private_things, "helps no model";
}
