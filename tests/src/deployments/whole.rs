//! The sites of the proxied services: whole deployments, with the real servers of every service of a guide.
//!
//! In: a lab. Out: [`Site`]s. Absent: the RAS deployment, whose real servers are behind a router (`routed`).

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;

use super::{Site, harmonic, insignia, site};
use crate::lab::Lab;

/// HL7 of the Insignia deployment.
pub const HL7_VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 26, 11, 71));
/// Web of the Dynamyx deployment.
pub const IIS_VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 86, 177));
/// Digital archive of the Dynamyx deployment.
pub const DA_VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 86, 166));
/// Management of the Harmonic VOS deployment.
pub const MANAGEMENT_VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 94, 100));

/// [`insignia`] with IMS1, .101, the real server of [`HL7_VIP`]; DS2 is its standby.
///
/// # Errors
/// When the lab cannot be laid out.
pub fn insignia_whole(lab: &Lab) -> Result<Site> {
    let mut site = insignia(lab)?;
    site.servers.push(lab.host_on("IMS1", &site.network, &["172.26.11.101/24"])?);
    Ok(site)
}

/// Inspirata Dynamyx: 192.168.86.0/24, balancer .40, and two machines that are real servers of [`IIS_VIP`] and of
/// [`DA_VIP`]: DX1 .50 and DX2 .51.
///
/// # Errors
/// When the lab cannot be laid out.
pub fn dynamyx(lab: &Lab) -> Result<Site> {
    let network = lab.network()?;
    let balancer = lab.host_on("lb1", &network, &["192.168.86.40/24"])?;
    site(lab, network, balancer, "192.168.86", None, &[("DX1", 50), ("DX2", 51)], &[])
}

/// [`harmonic`] with HM1 .105 and HM2 .106, the real servers of [`MANAGEMENT_VIP`].
///
/// # Errors
/// When the lab cannot be laid out.
pub fn harmonic_whole(lab: &Lab) -> Result<Site> {
    let mut site = harmonic(lab)?;
    for (name, address) in [("HM1", "192.168.94.105/24"), ("HM2", "192.168.94.106/24")] {
        site.servers.push(lab.host_on(name, &site.network, &[address])?);
    }
    Ok(site)
}
