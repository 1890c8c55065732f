//! `time.now`: what time it is.

use std::{borrow::Cow, sync::Arc, time::Duration};

use agent_runner_core::{
    time::Clock,
    tool::{EffectPolicy, ToolCx, ToolError, ToolErrorKind, TypedTool},
};
use jiff::tz::TimeZoneDatabase;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Tells the time of an injected clock.
#[derive(Debug, Clone)]
pub struct TimeNow {
    clock: Arc<dyn Clock>,
    /// The one compiled in, so that every machine gives the same answer.
    zones: TimeZoneDatabase,
}

impl TimeNow {
    /// A tool that asks `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, zones: TimeZoneDatabase::bundled() }
    }
}

/// Arguments of `time.now`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeArgs {
    /// An IANA time zone such as `Europe/Berlin`. Left out: only UTC is told.
    timezone: Option<String>,
}

/// What `time.now` says.
#[derive(Debug, Serialize)]
pub struct TimeOutput {
    /// RFC 3339.
    utc: String,
    /// RFC 3339 with the offset of the zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<String>,
    timezone: String,
}

impl TypedTool for TimeNow {
    const NAME: &'static str = "time.now";
    const POLICY: EffectPolicy = EffectPolicy::Pure;
    type Args = TimeArgs;
    type Output = TimeOutput;

    fn description(&self) -> Cow<'_, str> {
        "Tells the present date and time in UTC, and in a time zone when one is named.".into()
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(5)
    }

    async fn run(&self, args: TimeArgs, _cx: &ToolCx) -> Result<TimeOutput, ToolError> {
        let now = self.clock.now();
        let utc = now.to_string();
        let Some(name) = args.timezone else {
            return Ok(TimeOutput { utc, local: None, timezone: "UTC".to_owned() });
        };
        let zone = self.zones.get(&name).map_err(|error| {
            let said = "`timezone` is not an IANA time zone: use a name such as `Europe/Berlin` \
                        or `America/New_York`, or leave it out for UTC";
            ToolError::new(ToolErrorKind::InvalidArgs, said).with_source(error)
        })?;
        let timezone = zone.iana_name().unwrap_or("UTC").to_owned();
        let local = now.display_with_offset(zone.to_offset(now)).to_string();
        Ok(TimeOutput { utc, local: Some(local), timezone })
    }
}

#[cfg(test)]
mod tests;
