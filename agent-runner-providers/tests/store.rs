//! The SQLite store from outside: the contract, the guards in the database, damage, company.
#![cfg(feature = "sqlite")]

mod store {
    mod contract;
    mod support;
}
