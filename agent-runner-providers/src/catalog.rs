//! What models cost and can do, behind [`ModelCatalog`](agent_runner_core::llm::ModelCatalog): a
//! list that comes with the program, and a file of the operator's own.
//!
//! Money is whole micro-USD per million tokens from the first digit on. What nobody says is
//! `None`, never 0.

mod file;
mod genai;

pub use self::{
    file::{ModelsFile, ModelsFileError},
    genai::GenaiPrices,
};
