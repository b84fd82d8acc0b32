//! The programs of the deployments: started on a host, waited for, used, stopped.
//!
//! In: a host and the addresses of the deployment. Out: what the program carried, as numbers that a
//! test can assert. Absent: installing anything; a missing program is an error that says how.

pub mod abuse;
pub mod certificate;
pub mod curl;
pub mod dicom;
pub mod echo;
pub mod ffmpeg;
pub mod files;
pub mod half_closed;
pub mod hl7;
pub mod iperf;
pub mod nfs;
pub mod nginx;
pub mod prometheus;
pub mod python;
pub mod rdp;
pub mod rtsp;
pub mod s3;
pub mod samba;
pub mod status_page;
pub mod web;
pub mod websocket;
