//! The tools a program has, by name, with their schemas compiled once.

use std::{collections::BTreeMap, sync::Arc};

use super::Tool;
use crate::{
    machine::agent::final_tool::FINAL_TOOL,
    schema::{Schema, SchemaError},
};

/// A tool that cannot be registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterToolError {
    /// The name has other characters than letters, digits, `_`, `-`, `.`, or is longer than 64.
    #[error("`{0}` is not a tool name: use 1 to 64 letters, digits, `_`, `-` or `.`")]
    Name(String),
    /// There is one of that name already.
    #[error("there are two tools called `{0}`")]
    Twice(String),
    /// The name has a meaning of its own.
    #[error("`{0}` cannot be a tool's name: agents answer under it; choose another")]
    Reserved(String),
    /// The schema of its arguments is not a JSON Schema.
    #[error("the input schema of tool `{0}` is not valid")]
    Schema(String, #[source] SchemaError),
}

/// A tool with its compiled schema.
#[derive(Debug, Clone)]
pub(crate) struct Registered {
    pub(crate) tool: Arc<dyn Tool>,
    pub(crate) schema: Arc<Schema>,
}

/// The tools a program has.
#[derive(Debug, Clone, Default)]
pub struct ToolRegistry {
    tools: BTreeMap<String, Registered>,
}

impl ToolRegistry {
    /// Adds a tool.
    ///
    /// # Errors
    /// A bad name, a name that is taken or reserved, a schema that is none.
    pub fn add(&mut self, tool: Arc<dyn Tool>) -> Result<(), RegisterToolError> {
        let name = tool.info().spec.name.clone();
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || name.len() > 64 || !name.chars().all(legal) {
            return Err(RegisterToolError::Name(name));
        }
        if name == FINAL_TOOL {
            return Err(RegisterToolError::Reserved(name));
        }
        if self.tools.contains_key(&name) {
            return Err(RegisterToolError::Twice(name));
        }
        let schema = Schema::compile(&tool.info().spec.input_schema)
            .map_err(|error| RegisterToolError::Schema(name.clone(), error))?;
        self.tools.insert(name, Registered { tool, schema: Arc::new(schema) });
        Ok(())
    }

    /// The tool of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.tools.get(name).map(|registered| &registered.tool)
    }

    pub(crate) fn registered(&self, name: &str) -> Option<&Registered> {
        self.tools.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Tool>> {
        self.tools.values().map(|registered| &registered.tool)
    }

    /// The names that a list of names and patterns such as `files.*` selects, sorted.
    ///
    /// # Errors
    /// The first entry that selects nothing.
    pub fn select(&self, patterns: &[String]) -> Result<Vec<String>, String> {
        let mut names = Vec::new();
        for pattern in patterns {
            let before = names.len();
            match pattern.strip_suffix('*') {
                Some(prefix) => {
                    names
                        .extend(self.tools.keys().filter(|name| name.starts_with(prefix)).cloned());
                }
                None => {
                    names.extend(self.tools.get_key_value(pattern).map(|(name, _)| name.clone()));
                }
            }
            if names.len() == before {
                return Err(pattern.clone());
            }
        }
        names.sort();
        names.dedup();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{step::EffectPolicy, testing::LedgerTool};

    #[test]
    fn a_name_is_legal_free_and_not_reserved() {
        let mut tools = ToolRegistry::default();
        let mut add = |name: &str| {
            tools
                .add(Arc::new(LedgerTool::new(name, EffectPolicy::Pure)))
                .map_err(|e| e.to_string())
        };
        assert_eq!(add("files.read"), Ok(()));
        for (name, said) in [
            ("files.read", "there are two tools"),
            ("", "is not a tool name"),
            ("über", "is not a tool name"),
            (FINAL_TOOL, "agents answer under it"),
        ] {
            let problem = add(name).unwrap_err();
            assert!(problem.contains(said), "{problem}");
        }
    }
}
