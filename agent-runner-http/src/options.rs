//! Bounds and intervals of the service (HTTP-1 of the security requirements).

use std::time::Duration;

/// Every bound of the service. Each has a default that fits a server of a few cores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiOptions {
    /// Largest request body in bytes. Default 1 MiB.
    pub body_bytes_max: usize,
    /// Largest sum of header names and values in bytes. Default 16 KiB.
    pub header_bytes_max: usize,
    /// Most header fields. Default 100.
    pub header_fields_max: usize,
    /// Longest path and query in bytes. Default 8 KiB.
    pub uri_bytes_max: usize,
    /// Most `key=value` pairs of a query. Default 100.
    pub query_pairs_max: usize,
    /// Longest time from the first byte of a request's head to its last. Default 10 s.
    pub header_read_timeout: Duration,
    /// Longest silence between two requests of a connection. Default 60 s.
    pub idle_timeout: Duration,
    /// Longest time that a client may refuse to take bytes. Default 15 s.
    pub write_timeout: Duration,
    /// Longest time for a request that neither waits for a run nor streams. Default 30 s.
    pub request_timeout: Duration,
    /// Longest `timeout` that a client may ask for when it waits for a run. Default 300 s.
    pub wait_max: Duration,
    /// Silence after which a stream sends a comment. Default 15 s.
    pub keep_alive_interval: Duration,
    /// Most requests in execution at once; streams and waiting requests do not count. Default 1,024.
    pub requests_max: usize,
    /// Most bundles of runs that are received or imported at once; each is in memory meanwhile, with
    /// up to 64 MiB. Default 2.
    pub imports_max: usize,
    /// Most connections. Default 20,000.
    pub connections_max: usize,
    /// Most connections of one address. Default 512. Behind a reverse proxy all clients share one
    /// address: set it as high as `connections_max` there.
    pub connections_per_ip_max: usize,
    /// Longest time that open connections get to end when the server shuts down. Default 10 s.
    pub shutdown_grace: Duration,
    /// Longest time for the store to answer a readiness probe. Default 2 s.
    pub readiness_timeout: Duration,
    /// Longest time for a provider to answer a health check. Default 3 s.
    pub provider_timeout: Duration,
    /// How long an answer about the health of providers is reused. Default 10 s.
    pub provider_cache: Duration,
}

impl Default for ApiOptions {
    fn default() -> Self {
        Self {
            body_bytes_max: 1024 * 1024,
            header_bytes_max: 16 * 1024,
            header_fields_max: 100,
            uri_bytes_max: 8 * 1024,
            query_pairs_max: 100,
            header_read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(15),
            request_timeout: Duration::from_secs(30),
            wait_max: Duration::from_secs(300),
            keep_alive_interval: Duration::from_secs(15),
            requests_max: 1_024,
            imports_max: 2,
            connections_max: 20_000,
            connections_per_ip_max: 512,
            shutdown_grace: Duration::from_secs(10),
            readiness_timeout: Duration::from_secs(2),
            provider_timeout: Duration::from_secs(3),
            provider_cache: Duration::from_secs(10),
        }
    }
}
