//! Names to addresses: looked up once, checked, and dialled as they were checked.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::is_public;

/// Longest lookup.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Most answers that are taken.
const ANSWERS_MAX: usize = 16;

/// Looks names up. Injecting another one weakens nothing: whatever it answers is checked.
pub trait Lookup: fmt::Debug + Send + Sync + 'static {
    /// The addresses of a name, with any port.
    fn lookup(&self, name: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;
}

/// The machine's own resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, name: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
    }
}

/// An address that is not public, among the answers for a name.
#[derive(Debug)]
pub(super) struct NotPublic(pub(super) String);

impl fmt::Display for NotPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the name {} leads to an address that is not of the public internet", self.0)
    }
}

impl std::error::Error for NotPublic {}

/// What the HTTP client dials by.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub(super) lookup: Arc<dyn Lookup>,
    /// Whether every answer must be public.
    pub(super) public: bool,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let (lookup, public) = (Arc::clone(&self.lookup), self.public);
        Box::pin(async move {
            let name = name.as_str().to_owned();
            let found = tokio::time::timeout(TIMEOUT, lookup.lookup(name.clone())).await??;
            // One answer that is not public is as bad as all: the next one would be dialled.
            if public && found.iter().any(|address| !is_public(address.ip())) {
                return Err(NotPublic(name).into());
            }
            let addresses: Vec<SocketAddr> = found.into_iter().take(ANSWERS_MAX).collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
