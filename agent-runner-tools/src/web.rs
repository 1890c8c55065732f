//! The web, read politely and behind a guard.
//!
//! [`Web`] asks through a [`GuardedClient`](crate::net::GuardedClient), keeps to robots.txt
//! (RFC 9309), asks each host only so often, and keeps answers as their headers allow (RFC 9111).
//! What comes back says where it came from and is marked as written by a stranger.

mod cache;
mod client;
mod html;
mod json;
mod pace;
mod page;
mod robots;
mod tools;

pub use self::{
    client::{Web, WebOptions},
    tools::{WebExtract, WebFetch, WebPost},
};

#[cfg(test)]
mod tests;
