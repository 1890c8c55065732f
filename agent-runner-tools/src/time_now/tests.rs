use agent_runner_core::{
    testing::{
        ManualClock,
        tool_contract::{ToolHarness, cx},
    },
    time::SystemClock,
    tool::{Tool, Typed},
    tool_contract,
};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::*;

#[derive(Debug)]
struct Harness(Arc<dyn Tool>);

#[async_trait]
impl ToolHarness for Harness {
    async fn open() -> Self {
        Self(Arc::new(Typed::new(TimeNow::new(Arc::new(SystemClock)))))
    }

    fn tool(&self) -> Arc<dyn Tool> {
        self.0.clone()
    }

    fn valid(&self) -> Value {
        json!({"timezone": "Europe/Berlin"})
    }

    fn refused(&self) -> Vec<Value> {
        ["", "Mars/Olympus", "../../etc/passwd", "UTC+25", "a\0b"]
            .iter()
            .map(|zone| json!({ "timezone": zone }))
            .collect()
    }
}

tool_contract!(Harness);

#[tokio::test]
async fn the_time_is_that_of_the_clock_in_the_zone_that_was_asked_for() {
    let clock = ManualClock::new("2026-07-01T22:30:00Z".parse().unwrap());
    let tool = Typed::new(TimeNow::new(Arc::new(clock)));
    for (arguments, want) in [
        (json!({}), json!({"utc": "2026-07-01T22:30:00Z", "timezone": "UTC"})),
        (
            json!({"timezone": "europe/berlin"}),
            json!({"utc": "2026-07-01T22:30:00Z", "local": "2026-07-02T00:30:00+02:00", "timezone": "Europe/Berlin"}),
        ),
        (
            json!({"timezone": "America/New_York"}),
            json!({"utc": "2026-07-01T22:30:00Z", "local": "2026-07-01T18:30:00-04:00", "timezone": "America/New_York"}),
        ),
        (
            json!({"timezone": "UTC"}),
            json!({"utc": "2026-07-01T22:30:00Z", "local": "2026-07-01T22:30:00+00:00", "timezone": "UTC"}),
        ),
    ] {
        let output = tool.call(arguments.clone(), &cx("1")).await.unwrap();
        assert_eq!(output.value, want, "{arguments}");
    }
}
