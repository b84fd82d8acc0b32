//! The proxy whole: its threads carry connections over loopback between these clients and real servers.

mod connections;
mod consider;
mod records;
mod resting;
mod site;
