//! OpenAI's Responses API: typed items in and out, each event with a name.
//!
//! Nothing is stored at the service: the engine keeps the conversation, and the model's reasoning
//! comes back encrypted and goes to it again as it came.

mod decode;
mod encode;
mod wire;

pub(super) use self::{decode::ResponseReader, encode::body};
