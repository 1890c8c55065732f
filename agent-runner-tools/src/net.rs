//! The one way to addresses that a model, a page or a repository chose.
//!
//! [`GuardedClient`] parses a URL once, refuses what is not a plain public web address, resolves
//! the name itself, refuses it unless every answer is public, dials exactly the addresses that it
//! checked, and looks at the peer again. Redirects go through the same door. What the operator
//! lists by host and port is let through as it is.

mod address;
mod client;
mod resolve;
mod target;
mod unpack;

pub(crate) use self::client::{Hop, after};
pub use self::{
    address::is_public,
    client::{GuardedClient, GuardedClientError, NetLimits, NetRequest, NetResponse},
    resolve::{Lookup, SystemLookup},
    target::{Reach, Target},
};

#[cfg(test)]
mod tests;
