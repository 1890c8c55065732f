//! The SQLite store from outside: the contract, the guards in the database, damage, company.
#![cfg(feature = "sqlite")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that finds something wrong panics, in its helpers too"
)]

mod store {
    mod company;
    mod contract;
    mod damage;
    mod differential;
    mod guards;
    mod spending;
    mod support;
    mod texts;
}
