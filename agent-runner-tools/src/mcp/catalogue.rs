//! From what a server lists to what models are offered.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use agent_runner_core::tool::ToolSpec;
use rmcp::model;

use super::{
    config::McpServer, link::Link, policy::believed, report::McpToolReport, schema, text,
    tool::McpTool,
};

/// Longest name of a tool, as the engine has it.
const NAME_BYTES_MAX: usize = 64;
/// Longest name that a server may use.
const REMOTE_NAME_BYTES_MAX: usize = 256;
/// Longest description, in bytes.
const DESCRIPTION_BYTES_MAX: usize = 8 * 1024;

/// What a source offers.
#[derive(Debug, Clone, Default)]
pub(super) struct Catalogue {
    pub(super) tools: Vec<Arc<McpTool>>,
    pub(super) dropped: Vec<McpToolReport>,
}

impl Catalogue {
    /// Makes one of a list. A tool that did not change stays the same value.
    pub(super) fn new(
        server: &McpServer,
        link: &Arc<Link>,
        listed: &[model::Tool],
        before: &Self,
    ) -> Self {
        let mut new = Self::default();
        let mut named: BTreeMap<String, &model::Tool> = BTreeMap::new();
        let exact: HashSet<&str> = listed.iter().map(|tool| &*tool.name).collect();
        for tool in listed.iter().filter(|tool| server.offers(&tool.name)) {
            let name = match legal_name(&server.name, &tool.name) {
                Ok(name) => name,
                Err(why) => {
                    new.drop(tool, why);
                    continue;
                }
            };
            let own = name.get(server.name.len() + 1..).unwrap_or_default();
            // The tool that is really called so has the first right to the name.
            let taken = own != tool.name && exact.contains(own);
            if taken || named.contains_key(&name) {
                new.drop(tool, "another tool has the same name");
                continue;
            }
            named.insert(name, tool);
        }
        for (name, tool) in named {
            match make(server, link, name, tool) {
                Ok(made) => {
                    let same = before.tools.iter().find(|old| old.same_as(&made));
                    new.tools.push(same.map_or_else(|| Arc::new(made), Arc::clone));
                }
                Err(why) => new.drop(tool, why),
            }
        }
        new
    }

    fn drop(&mut self, tool: &model::Tool, why: &str) {
        let name = text::line(&tool.name, 100);
        self.dropped.push(McpToolReport { name, why: why.to_owned() });
    }
}

/// The name under which models know a tool.
fn legal_name(server: &str, tool: &str) -> Result<String, &'static str> {
    if tool.is_empty() || tool.len() > REMOTE_NAME_BYTES_MAX {
        return Err("its name is empty or too long");
    }
    let own: Option<String> = tool
        .chars()
        .map(|c| match c {
            ' ' | '/' | ':' => Some('_'),
            c if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') => Some(c),
            _ => None,
        })
        .collect();
    let own = own.ok_or("its name has other characters than letters, digits, `_`, `-`, `.`")?;
    let name = format!("{server}.{own}");
    if name.len() > NAME_BYTES_MAX {
        return Err("its name is longer than 64 characters with the name of the server");
    }
    Ok(name)
}

fn make(
    server: &McpServer,
    link: &Arc<Link>,
    name: String,
    tool: &model::Tool,
) -> Result<McpTool, &'static str> {
    let (input_schema, schema) = schema::accept(&tool.input_schema)?;
    let said = tool.description.as_deref().or(tool.title.as_deref()).unwrap_or_default();
    let mut description = text::clean(said, DESCRIPTION_BYTES_MAX).trim().to_owned();
    if description.is_empty() {
        description = "(its server does not describe it)".to_owned();
    }
    let (policy, risk) = believed(tool.annotations.as_ref(), server.trust_annotations);
    let spec = ToolSpec { name, description, input_schema };
    Ok(McpTool::new(Arc::clone(link), tool.name.to_string(), (spec, schema), policy, risk))
}
