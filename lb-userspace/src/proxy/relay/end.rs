//! One end of a relayed connection: a socket, with or without TLS on it.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::{TlsStream, client, server};

/// One end of a relayed connection.
pub trait End: AsyncRead + AsyncWrite + Unpin {
    /// Whether bytes are read and written as they lie in the socket: then the kernel may carry them.
    const PLAIN: bool;

    /// The socket below.
    fn socket(&self) -> &TcpStream;
}

impl End for TcpStream {
    const PLAIN: bool = true;

    fn socket(&self) -> &TcpStream {
        self
    }
}

/// With TLS a stream is a kilobyte large, and each future that it is handed to has room for it: it is handed on in a box.
impl<S: End> End for Box<S> {
    const PLAIN: bool = S::PLAIN;

    fn socket(&self) -> &TcpStream {
        (**self).socket()
    }
}

impl End for client::TlsStream<TcpStream> {
    const PLAIN: bool = false;

    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

impl End for server::TlsStream<TcpStream> {
    const PLAIN: bool = false;

    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

impl End for TlsStream<TcpStream> {
    const PLAIN: bool = false;

    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}
