//! The other end of an answer that goes on: lines, as they come.

use bytes::{Buf as _, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

use super::ClientError;

/// Far above any line.
const LINE_BYTES: usize = 1 << 20;

/// An answer that is being read. The daemon is told by dropping it.
#[derive(Debug)]
pub struct Following {
    body: Incoming,
    read: BytesMut,
    /// Moves the bytes.
    connection: JoinHandle<()>,
}

impl Following {
    pub(super) fn new(body: Incoming, connection: JoinHandle<()>) -> Self {
        Self { body, read: BytesMut::new(), connection }
    }

    /// Waits for the next line; `None`: that was all. Nothing is lost when it is not waited for to the end.
    ///
    /// # Errors
    /// When lbd breaks off, or says what this version does not understand.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line = self.read.split_to(end);
                self.read.advance(1);
                let parsed = serde_json::from_slice(&line);
                return parsed.map(Some).map_err(|error| ClientError::Misunderstood(error.to_string()));
            }
            if self.read.len() > LINE_BYTES {
                return Err(ClientError::Misunderstood("a line without an end".to_owned()));
            }
            match self.body.frame().await {
                None if self.read.is_empty() => return Ok(None),
                None => return Err(ClientError::Misunderstood("half a line".to_owned())),
                Some(Err(error)) => return Err(ClientError::Broken(error.into())),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.read.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
