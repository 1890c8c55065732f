//! A run's events as they happen, as server-sent events or as lines of JSON.
//!
//! Durable events carry their number as `id`; whoever reconnects with the last one it saw misses
//! nothing and sees nothing twice. Nothing is buffered here: the next frame is made when the
//! client took the one before.

mod encode;
mod feed;

pub(crate) use self::{
    encode::Format,
    feed::{StreamQuery, attach, event_types, respond},
};
