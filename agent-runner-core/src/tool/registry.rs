//! The tools a program has, by name, with their schemas compiled once.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use super::{Tool, ToolSource};
use crate::{
    machine::agent::final_tool::FINAL_TOOL,
    policy::matches,
    project::ProjectSettings,
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

/// The tools a program has: its own, and those of sources that come and go.
#[derive(Debug, Default)]
pub struct ToolRegistry {
    tools: BTreeMap<String, Registered>,
    sources: Vec<Arc<dyn ToolSource>>,
    /// Compiled tools of sources, by name.
    compiled: Mutex<HashMap<String, Registered>>,
}

impl ToolRegistry {
    /// Adds a tool.
    ///
    /// # Errors
    /// A bad name, a name that is taken or reserved, a schema that is none.
    pub fn add(&mut self, tool: Arc<dyn Tool>) -> Result<(), RegisterToolError> {
        let registered = compile(tool)?;
        let name = registered.tool.info().spec.name.clone();
        if self.tools.contains_key(&name) {
            return Err(RegisterToolError::Twice(name));
        }
        self.tools.insert(name, registered);
        Ok(())
    }

    /// Adds tools that come and go. Of two tools with the same name, the first one added counts;
    /// one that could not be added is left out.
    pub fn add_source(&mut self, source: Arc<dyn ToolSource>) {
        self.sources.push(source);
    }

    /// The sources.
    #[must_use]
    pub fn sources(&self) -> &[Arc<dyn ToolSource>] {
        &self.sources
    }

    /// The tool of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<dyn Tool>> {
        self.registered(name).map(|registered| registered.tool)
    }

    pub(crate) fn registered(&self, name: &str) -> Option<Registered> {
        if let Some(own) = self.tools.get(name) {
            return Some(own.clone());
        }
        let tool = self
            .sources
            .iter()
            .filter(|source| name.strip_prefix(source.name()).is_some_and(|n| n.starts_with('.')))
            .flat_map(|source| source.tools())
            .find(|tool| tool.info().spec.name == name)?;
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = compiled.get(name).filter(|known| Arc::ptr_eq(&known.tool, &tool)) {
            return Some(known.clone());
        }
        let registered = compile(tool).ok()?;
        compiled.insert(name.to_owned(), registered.clone());
        Some(registered)
    }

    /// All of them, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<dyn Tool>> {
        let mut all: BTreeMap<String, Arc<dyn Tool>> = BTreeMap::new();
        for tool in self.sources.iter().flat_map(|source| source.tools()) {
            let name = tool.info().spec.name.clone();
            if let Some(registered) = self.registered(&name) {
                all.entry(name).or_insert(registered.tool);
            }
        }
        all.extend(self.tools.iter().map(|(name, own)| (name.clone(), Arc::clone(&own.tool))));
        all.into_values().collect()
    }

    /// The names that a list of names and patterns such as `files.*` selects, sorted. A pattern
    /// selects what a project with these settings may have.
    ///
    /// # Errors
    /// The first entry that selects nothing.
    pub fn select(
        &self,
        patterns: &[String],
        settings: &ProjectSettings,
    ) -> Result<Vec<String>, String> {
        let all = self.all();
        let mut names = Vec::new();
        for pattern in patterns {
            let exact = !pattern.ends_with('*');
            let all_of_them = pattern == "*";
            let fitting = all.iter().filter(|tool| matches(pattern, &tool.info().spec.name));
            let mut known = false;
            for tool in fitting {
                let name = &tool.info().spec.name;
                // A tool that is asked for by name is told when it is called why it cannot be.
                known = true;
                let wanted = !(all_of_them && tool.info().on_request);
                if exact || (wanted && tool.available(settings) && settings.tools.offers(name)) {
                    names.push(name.clone());
                }
            }
            if !known {
                return Err(pattern.clone());
            }
        }
        names.sort();
        names.dedup();
        Ok(names)
    }
}

fn compile(tool: Arc<dyn Tool>) -> Result<Registered, RegisterToolError> {
    let spec = &tool.info().spec;
    let name = spec.name.clone();
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > 64 || !name.chars().all(legal) {
        return Err(RegisterToolError::Name(name));
    }
    if name == FINAL_TOOL {
        return Err(RegisterToolError::Reserved(name));
    }
    let schema = Schema::compile(&spec.input_schema)
        .map_err(|error| RegisterToolError::Schema(name.clone(), error))?;
    Ok(Registered { tool, schema: Arc::new(schema) })
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
