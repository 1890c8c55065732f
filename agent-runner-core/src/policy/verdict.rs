//! The decision about one call.

use serde_json::Value;

use super::{ApprovalClass, ToolPolicy, ToolRule};
use crate::{schema::Schema, tool::Risk};

/// A call that is asked for.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "a decision needs all of it")]
pub struct Asked<'a> {
    /// Name of the tool.
    pub tool: &'a str,
    /// The arguments.
    pub arguments: &'a Value,
    /// The harm that the call can do.
    pub risk: Risk,
    /// Whether the run has read what nobody in charge wrote.
    pub untrusted: bool,
    /// Tool calls that the run made before.
    pub calls: u32,
    /// Calls of this tool that the run made before.
    pub calls_of_tool: u32,
}

/// What a policy says of a call. The order is that of strictness.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "the engine has to do what each says")]
pub enum Verdict {
    /// It may be made.
    Allow,
    /// A person has to approve it: why.
    Ask(String),
    /// It may not be made: why, and what to do instead.
    Deny(String),
}

impl Verdict {
    /// The stricter of two verdicts.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        // Of two that are as strict, the first one's reason is told.
        if other.rank() > self.rank() { other } else { self }
    }

    /// The spelling used in JSON.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask(_) => "ask",
            Self::Deny(_) => "deny",
        }
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Allow => None,
            Self::Ask(why) | Self::Deny(why) => Some(why),
        }
    }

    const fn rank(&self) -> u8 {
        match self {
            Self::Allow => 0,
            Self::Ask(_) => 1,
            Self::Deny(_) => 2,
        }
    }
}

/// Whether `name` is what `pattern` names, such as `files.*`.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    }
}

impl ToolPolicy {
    /// Decides about a call.
    #[must_use]
    pub fn decide(&self, asked: &Asked<'_>) -> Verdict {
        let verdict = self.admit(asked).and(self.approve(asked));
        match verdict {
            Verdict::Ask(why) if self.unattended => Verdict::Deny(format!(
                "{why}, and nobody is there to approve it; go on without this call"
            )),
            verdict => verdict,
        }
    }

    /// Decides about a call under several policies: the strictest verdict counts.
    #[must_use]
    pub fn decide_all<'a>(
        policies: impl IntoIterator<Item = &'a Self>,
        asked: &Asked<'_>,
    ) -> Verdict {
        let mut unattended = false;
        let verdict = policies.into_iter().fold(Verdict::Allow, |verdict, policy| {
            unattended |= policy.unattended;
            verdict.and(policy.decide(asked))
        });
        match verdict {
            Verdict::Ask(why) if unattended => Verdict::Deny(format!(
                "{why}, and nobody is there to approve it; go on without this call"
            )),
            verdict => verdict,
        }
    }

    fn rules_of<'a>(&'a self, tool: &'a str) -> impl Iterator<Item = &'a ToolRule> {
        self.rules.iter().filter(move |rule| matches(&rule.tool, tool))
    }

    /// Whether the tool may be called at all, leaving approval aside.
    #[must_use]
    pub fn offers(&self, tool: &str) -> bool {
        let listed = self.allow.as_ref().is_none_or(|allow| allow.iter().any(|p| matches(p, tool)));
        listed && !self.deny.iter().any(|pattern| matches(pattern, tool))
    }

    fn admit(&self, asked: &Asked<'_>) -> Verdict {
        let tool = asked.tool;
        if !self.offers(tool) {
            return Verdict::Deny(format!("the policy does not allow {tool}; go on without it"));
        }
        if let Some(most) = self.calls_max.filter(|most| asked.calls >= *most) {
            return Verdict::Deny(format!(
                "the policy allows {most} tool calls in a run, and all were made; finish without more"
            ));
        }
        for rule in self.rules_of(tool) {
            if let Some(most) = rule.calls_max.filter(|most| asked.calls_of_tool >= *most) {
                return Verdict::Deny(format!(
                    "the policy allows {most} calls of {tool} in a run, and all were made"
                ));
            }
            if let Some(schema) = &rule.arguments
                && let Err(why) = fits(schema, asked.arguments)
            {
                return Verdict::Deny(format!("the policy does not allow these arguments: {why}"));
            }
        }
        Verdict::Allow
    }

    fn approve(&self, asked: &Asked<'_>) -> Verdict {
        let tool = asked.tool;
        let of_rules = self
            .rules_of(tool)
            .filter_map(|rule| rule.approval)
            .max_by_key(|class| strictness(*class));
        match of_rules.unwrap_or(self.approval) {
            ApprovalClass::Always => {
                Verdict::Ask(format!("the policy wants a person to approve calls of {tool}"))
            }
            ApprovalClass::Untrusted if asked.untrusted && asked.risk >= Risk::Destructive => {
                Verdict::Ask(format!(
                    "the run has read content of unknown authors, and {tool} is {}",
                    match asked.risk {
                        Risk::Outward => "an action towards the outside",
                        _ => "destructive",
                    }
                ))
            }
            ApprovalClass::Untrusted | ApprovalClass::Never => Verdict::Allow,
        }
    }

    /// What is wrong with the policy: JSON Pointers and sentences.
    #[must_use]
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut say = |place: String, what: String| problems.push((place, what));
        let lists = [("allow", self.allow.as_deref().unwrap_or_default()), ("deny", &self.deny)];
        for (name, list) in lists {
            if list.len() > LIST_MAX {
                say(format!("/{name}"), format!("at most {LIST_MAX} entries"));
            }
            for (n, pattern) in list.iter().enumerate().filter(|(_, p)| !is_pattern(p)) {
                say(format!("/{name}/{n}"), not_a_pattern(pattern));
            }
        }
        if self.rules.len() > LIST_MAX {
            say("/rules".to_owned(), format!("at most {LIST_MAX} rules"));
        }
        for (n, rule) in self.rules.iter().enumerate() {
            if !is_pattern(&rule.tool) {
                say(format!("/rules/{n}/tool"), not_a_pattern(&rule.tool));
            }
            if let Some(Err(error)) = rule.arguments.as_ref().map(Schema::compile) {
                say(format!("/rules/{n}/arguments"), format!("not a JSON Schema: {error}"));
            }
        }
        if self.approval_seconds.is_some_and(|s| s == 0 || s > APPROVAL_SECONDS_MAX) {
            let most = APPROVAL_SECONDS_MAX;
            say("/approval_seconds".to_owned(), format!("must be 1 to {most} (30 days)"));
        }
        problems
    }
}

/// Entries of a list and rules of a policy.
const LIST_MAX: usize = 200;
/// Longest wait for an approval: 30 days.
const APPROVAL_SECONDS_MAX: u64 = 30 * 24 * 3_600;

const fn strictness(class: ApprovalClass) -> u8 {
    match class {
        ApprovalClass::Never => 0,
        ApprovalClass::Untrusted => 1,
        ApprovalClass::Always => 2,
    }
}

fn fits(schema: &Value, arguments: &Value) -> Result<(), String> {
    let schema = Schema::compile(schema).map_err(|error| {
        format!("its schema is not valid ({error}); the project's owner has to mend it")
    })?;
    schema.check(arguments).map_err(|violations| violations.join("; "))
}

fn is_pattern(text: &str) -> bool {
    let name = text.strip_suffix('*').unwrap_or(text);
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    !text.is_empty() && text.len() <= 64 && name.chars().all(legal)
}

fn not_a_pattern(text: &str) -> String {
    let shown: String = text.chars().take(80).collect();
    format!("`{shown}` is no name of a tool and no pattern such as `files.*`")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(value: Value) -> ToolPolicy {
        serde_json::from_value(value).unwrap()
    }

    fn verdict(
        policy: &Value,
        tool: &str,
        arguments: &Value,
        risk: Risk,
        untrusted: bool,
    ) -> String {
        let asked = Asked { tool, arguments, risk, untrusted, calls: 3, calls_of_tool: 2 };
        match self::policy(policy.clone()).decide(&asked) {
            Verdict::Allow => "allow".to_owned(),
            Verdict::Ask(why) => format!("ask: {why}"),
            Verdict::Deny(why) => format!("deny: {why}"),
        }
    }

    #[test]
    fn the_strictest_word_counts() {
        use Risk::{Destructive, Outward, Read, Write};
        let never = json!([{"tool": "a.b", "approval": "never"}]);
        let both =
            json!([{"tool": "a.b", "approval": "never"}, {"tool": "a.*", "approval": "always"}]);
        let few = json!([{"tool": "a.*", "calls_max": 2}]);
        for (policy, tool, risk, untrusted, want) in [
            (json!({}), "a.b", Outward, false, "allow"),
            (json!({}), "a.b", Write, true, "allow"),
            (json!({}), "a.b", Destructive, true, "ask: the run has read"),
            (json!({}), "a.b", Outward, true, "ask: the run has read"),
            (json!({"unattended": true}), "a.b", Outward, true, "deny: the run"),
            (json!({"approval": "never"}), "a.b", Outward, true, "allow"),
            (json!({"approval": "always"}), "a.b", Read, false, "ask: the policy"),
            (json!({"allow": ["a.*"]}), "a.b", Read, false, "allow"),
            (json!({"allow": ["a.*"]}), "b.a", Read, false, "deny: the policy"),
            (json!({"allow": []}), "b.a", Read, false, "deny: the policy"),
            (json!({"allow": ["*"], "deny": ["a.b"]}), "a.b", Read, false, "deny"),
            (json!({"calls_max": 3}), "a.b", Read, false, "deny: the policy allows 3"),
            (json!({"calls_max": 4}), "a.b", Read, false, "allow"),
            (json!({"rules": few}), "a.b", Read, false, "deny: the policy allows 2"),
            (json!({"rules": few}), "b.b", Read, false, "allow"),
            (json!({"rules": both}), "a.b", Read, false, "ask"),
            (json!({"approval": "always", "rules": never}), "a.b", Read, false, "allow"),
            (json!({"approval": "always", "rules": never}), "a.c", Read, false, "ask"),
            (json!({"approval": "always", "deny": ["a.b"]}), "a.b", Read, false, "deny"),
        ] {
            let got = verdict(&policy, tool, &json!({}), risk, untrusted);
            assert!(got.starts_with(want), "{policy} {tool} {risk:?} {untrusted}: {got}");
        }
    }

    #[test]
    fn arguments_have_to_fit_every_rule() {
        let policy = json!({"rules": [{"tool": "git.push", "arguments":
            {"properties": {"branch": {"pattern": "^agents/"}}, "required": ["branch"]}}]});
        let of = |branch: &str| {
            verdict(&policy, "git.push", &json!({"branch": branch}), Risk::Outward, false)
        };
        assert_eq!(of("agents/x"), "allow");
        assert!(of("main").contains("/branch"), "{}", of("main"));
        let broken = json!({"rules": [{"tool": "*", "arguments": {"type": 7}}]});
        let got = verdict(&broken, "a.b", &json!({}), Risk::Read, false);
        assert!(got.starts_with("deny") && got.contains("not valid"), "{got}");
    }

    #[test]
    fn nobody_there_in_one_policy_is_nobody_there() {
        let asked = Asked {
            tool: "a.b",
            arguments: &json!({}),
            risk: Risk::Read,
            untrusted: false,
            calls: 0,
            calls_of_tool: 0,
        };
        let (asks, alone) =
            (policy(json!({"approval": "always"})), policy(json!({"unattended": true})));
        for policies in [[&asks, &alone], [&alone, &asks]] {
            assert!(matches!(ToolPolicy::decide_all(policies, &asked), Verdict::Deny(_)));
        }
        assert_eq!(ToolPolicy::decide_all([&alone], &asked), Verdict::Allow);
        assert_eq!(ToolPolicy::decide_all([], &asked), Verdict::Allow);
    }

    #[test]
    fn a_policy_that_makes_no_sense_says_where() {
        let bad = policy(json!({
            "allow": ["files.*", "no spaces"], "deny": [""],
            "rules": [{"tool": "a*b"}, {"tool": "x", "arguments": {"type": 7}}],
            "approval_seconds": 0,
        }));
        let places: Vec<String> = bad.problems().into_iter().map(|(place, _)| place).collect();
        let want =
            ["/allow/1", "/deny/0", "/rules/0/tool", "/rules/1/arguments", "/approval_seconds"];
        assert_eq!(places, want);
        assert_eq!(ToolPolicy::default().problems(), []);
    }
}
