//! An OCSP answer from a file, to be stapled (RFC 6960): what it is about, what it says and until when.
//!
//! In: DER. Out: the few facts that decide whether it is sent. Absent: the signature, which clients verify.

use std::path::Path;

use x509_parser::asn1_rs::{Any, Class, FromDer as _, Tag};
use x509_parser::time::ASN1Time;

use super::pem::contains;

/// An answer about one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) der: Vec<u8>,
    /// Serial number of the certificate, as its bytes.
    pub(super) serial: Vec<u8>,
    pub(super) good: bool,
    /// When the next one is due; `None`: whenever.
    pub(super) next_update: Option<i64>,
}

impl Answer {
    /// Whether clients take it.
    pub(super) fn is_current(&self, now: i64) -> bool {
        self.next_update.is_none_or(|until| now < until)
    }
}

/// Reads an answer; one to several questions counts by its first.
pub(super) fn read(bytes: &[u8], file: &Path) -> Result<Answer, String> {
    let file = file.display();
    if contains(bytes, "-----BEGIN ") {
        return Err(format!(
            "{file} is PEM, but an OCSP answer is stapled in DER, as `openssl ocsp -respout` writes it"
        ));
    }
    let (_, outer) = Any::from_der(bytes).map_err(|_| no_answer(&file))?;
    let mut parts = outer.data;
    let status = take(&mut parts).filter(|part| part.tag() == Tag::Enumerated);
    match status.and_then(|status| status.data.first().copied()) {
        Some(0) => {}
        Some(status) => {
            return Err(format!(
                "{file} holds no answer but an error of the OCSP server (status {status}); ask it again"
            ));
        }
        None => return Err(no_answer(&file)),
    }
    let (serial, good, next_update) = first(parts).ok_or_else(|| no_answer(&file))?;
    Ok(Answer { der: bytes.to_vec(), serial, good, next_update })
}

/// Of the first single response: serial number, whether it is good, when the next is due.
fn first(mut explicit: &[u8]) -> Option<(Vec<u8>, bool, Option<i64>)> {
    let mut response_bytes = take(&mut explicit)?.data;
    let mut kind_and_response = take(&mut response_bytes)?.data;
    take(&mut kind_and_response).filter(|kind| kind.tag() == Tag::Oid)?;
    let mut octets = take(&mut kind_and_response)?.data;
    let mut basic = take(&mut octets)?.data;
    let mut data = take(&mut basic)?.data;
    let responses = loop {
        // The version, the responder and the time come before.
        let part = take(&mut data)?;
        if part.class() == Class::Universal && part.tag() == Tag::Sequence {
            break part.data;
        }
    };
    let mut single = take(&mut { responses })?.data;
    let mut id = take(&mut single)?.data;
    let serial = loop {
        let part = take(&mut id)?;
        if part.tag() == Tag::Integer {
            break part.data.to_vec();
        }
    };
    let status = take(&mut single)?;
    let good = status.class() == Class::ContextSpecific && status.tag().0 == 0;
    take(&mut single)?;
    let next = take(&mut single).filter(|part| part.class() == Class::ContextSpecific && part.tag().0 == 0);
    let next_update = match next {
        Some(explicit) => Some(ASN1Time::from_der(explicit.data).ok()?.1.timestamp()),
        None => None,
    };
    Some((serial, good, next_update))
}

fn take<'a>(from: &mut &'a [u8]) -> Option<Any<'a>> {
    let (rest, part) = Any::from_der(from).ok()?;
    *from = rest;
    Some(part)
}

fn no_answer(file: &std::path::Display<'_>) -> String {
    format!("{file} is no OCSP answer in DER; `openssl ocsp -respout` writes one")
}
