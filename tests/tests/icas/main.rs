//! iCAS FS as its guide has it: S3 through `l7-http` with TLS at both ends, SMB and NFS through `l7-tcp`, three services
//! at one address, with the configuration that ships. Real clients, real servers, and what happens to them.

mod objects;
mod rig;
mod shares;
mod timeouts;
