//! The proxy whole: its threads carry connections over loopback between these clients and real servers.

mod answers;
mod connections;
mod consider;
mod message;
mod records;
mod resting;
mod script;
mod site;
