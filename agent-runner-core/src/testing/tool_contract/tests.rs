use std::{borrow::Cow, sync::Mutex};

use schemars::JsonSchema;
use serde::Deserialize;

use super::*;
use crate::tool::{Typed, TypedTool};

/// How a [`Ledger`] breaks the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    None,
    CountsEveryCall,
    WritesBeforeItRefuses,
    TellsItsPath,
    IgnoresCancellation,
    Panics,
}

const PRIVATE: &str = "/srv/secret/place";

/// Notes each text once per idempotency key, unless it has a defect.
#[derive(Debug)]
struct Ledger {
    defect: Defect,
    noted: Arc<Mutex<Vec<String>>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LedgerArgs {
    text: String,
    #[serde(default)]
    forever: bool,
}

impl TypedTool for Ledger {
    const NAME: &'static str = "ledger";
    const POLICY: EffectPolicy = EffectPolicy::Idempotent;
    type Args = LedgerArgs;
    type Output = String;

    fn description(&self) -> Cow<'_, str> {
        "Notes a text.".into()
    }

    async fn run(&self, args: LedgerArgs, cx: &ToolCx) -> Result<String, ToolError> {
        let entry = format!("{}:{}", cx.idempotency_key, args.text);
        if self.defect == Defect::WritesBeforeItRefuses {
            self.noted.lock().unwrap().push(entry.clone());
        }
        if args.text.is_empty() {
            let place = if self.defect == Defect::TellsItsPath { PRIVATE } else { "the ledger" };
            let said = format!("there is nothing to note in {place}");
            return Err(ToolError::new(ToolErrorKind::InvalidArgs, said));
        }
        assert!(self.defect != Defect::Panics || args.text == "hello", "a defect");
        if args.forever {
            let forever = std::future::pending::<()>();
            if self.defect == Defect::IgnoresCancellation {
                std::future::pending::<()>().await;
            }
            cx.cancel.run_until_cancelled(forever).await;
            return Err(ToolError::new(ToolErrorKind::Cancelled, "it was cancelled"));
        }
        let mut noted = self.noted.lock().unwrap();
        if self.defect == Defect::CountsEveryCall || !noted.contains(&entry) {
            noted.push(entry);
        }
        Ok("noted".to_owned())
    }
}

#[derive(Debug)]
struct Harness<const DEFECT: u8>(Arc<dyn Tool>, Arc<Mutex<Vec<String>>>);

#[async_trait]
impl<const DEFECT: u8> ToolHarness for Harness<DEFECT> {
    async fn open() -> Self {
        let defect = match DEFECT {
            0 => Defect::None,
            1 => Defect::CountsEveryCall,
            2 => Defect::WritesBeforeItRefuses,
            3 => Defect::TellsItsPath,
            4 => Defect::IgnoresCancellation,
            _ => Defect::Panics,
        };
        let noted = Arc::<Mutex<Vec<String>>>::default();
        Self(Arc::new(Typed::new(Ledger { defect, noted: noted.clone() })), noted)
    }

    fn tool(&self) -> Arc<dyn Tool> {
        self.0.clone()
    }

    fn valid(&self) -> Value {
        json!({"text": "hello"})
    }

    fn refused(&self) -> Vec<Value> {
        vec![json!({"text": ""})]
    }

    fn private(&self) -> Vec<String> {
        vec![PRIVATE.to_owned()]
    }

    async fn effects(&self) -> Vec<String> {
        self.1.lock().unwrap().clone()
    }

    fn lasting(&self) -> Option<Value> {
        Some(json!({"text": "wait", "forever": true}))
    }
}

mod a_good_tool_passes {
    use super::*;

    crate::tool_contract!(Harness<0>);
}

async fn fails(case: impl Future<Output = ()>) -> bool {
    AssertUnwindSafe(case).catch_unwind().await.is_err()
}

#[tokio::test]
async fn a_tool_that_acts_twice_for_one_key_fails() {
    assert!(fails(c3_one_idempotency_key_has_one_effect::<Harness<1>>()).await);
}

#[tokio::test]
async fn a_tool_that_acts_and_denies_it_fails() {
    assert!(fails(c4_an_error_that_rules_out_an_effect_left_none::<Harness<2>>()).await);
}

#[tokio::test]
async fn a_tool_that_tells_a_private_thing_fails() {
    assert!(fails(c5_refusals_explain_themselves_and_keep_private_things::<Harness<3>>()).await);
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_cannot_be_cancelled_fails() {
    assert!(fails(c6_cancelling_a_call_ends_it_soon::<Harness<4>>()).await);
    assert!(fails(c6_a_call_that_is_already_cancelled_ends_soon::<Harness<4>>()).await);
}

#[tokio::test]
async fn a_tool_that_panics_fails() {
    assert!(fails(c2_random_arguments_never_panic::<Harness<5>>()).await);
}
