//! Connections that have been used once and wait.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context as _, Result};

use super::tcp::MESSAGE;
use super::{Protocol, answer, tls};

/// Opens them, says `ready`, and keeps them until standard input is closed.
pub(super) fn wait(target: SocketAddr, protocol: Protocol, count: usize) -> Result<()> {
    let config = tls::config()?;
    let (mut plain, mut encrypted) = (Vec::new(), Vec::new());
    let connect = || TcpStream::connect(target).context("connecting");
    for _ in 0..count {
        match protocol {
            Protocol::Tls => {
                let mut stream = tls::connect(&config, target)?;
                answer::ask(&mut stream)?;
                encrypted.push(stream);
            }
            Protocol::Http => {
                let mut stream = connect()?;
                answer::ask(&mut stream)?;
                plain.push(stream);
            }
            Protocol::Tcp => {
                let mut stream = connect()?;
                stream.write_all(&MESSAGE)?;
                stream.read_exact(&mut MESSAGE.clone())?;
                plain.push(stream);
            }
        }
    }
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    drop((plain, encrypted));
    Ok(())
}
