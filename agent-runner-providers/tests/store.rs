//! The SQLite store from outside: the contract, the guards in the database, damage, company.
#![cfg(feature = "sqlite")]

mod store {
    mod company;
    mod contract;
    mod damage;
    mod differential;
    mod guards;
    mod support;
    mod texts;
}
