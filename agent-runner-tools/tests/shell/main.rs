//! `shell.run` with real processes, on the kernel of this machine.

#![cfg(target_os = "linux")]

mod arguments;
mod confinement;
mod contract;
mod ending;
mod limits;
mod output;
mod world;
