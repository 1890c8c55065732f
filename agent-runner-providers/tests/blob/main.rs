//! The stores of bytes keep the contract of `BlobStore`: a directory, and a real server that speaks
//! S3 when `AGENT_RUNNER_TEST_S3` is its address (`make test-s3` starts one).

#![cfg(feature = "s3")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests fail by panicking, and read their settings from the environment"
)]

mod directory;
mod s3;
