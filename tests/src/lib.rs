//! The product under test, from outside: labs of network namespaces in which real software talks
//! through `lbd` at the addresses of the deployments it is meant for.
//!
//! In: the built `lbd` and `lbctl`, and the programs of the deployments (dcmtk, nginx, ffmpeg,
//! GStreamer, iperf3). Out: claims that hold or fail, with the logs of every program when they
//! fail. Absent: anything of the product's own code; what a frame is and what a datagram says is
//! told here a second time, so that a mistake there cannot hide itself here.

pub mod attached;
pub mod balancer;
pub mod deployments;
pub mod frame;
pub mod lab;
pub mod noise;
pub mod odd;
pub mod proxied;
pub mod software;
pub mod systemd;
pub mod traffic;

/// An address and a port.
pub fn at(address: std::net::IpAddr, port: u16) -> std::net::SocketAddr {
    std::net::SocketAddr::new(address, port)
}
