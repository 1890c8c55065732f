//! Lists of what models can do and cost.

use std::fmt;

use jiff::Timestamp;

use super::{Capabilities, Price};
use crate::agent::ModelName;

/// A list of models: what they can do and what they cost. Looked up in memory, never asked over a
/// network.
pub trait ModelCatalog: fmt::Debug + Send + Sync + 'static {
    /// What the list says that the model can do.
    fn capabilities(&self, model: &ModelName) -> Capabilities;

    /// What the list says that the model costs at that moment. `None` when it does not know; a
    /// model that is free of charge has a price of 0.
    fn price(&self, model: &ModelName, at: Timestamp) -> Option<Price>;
}
