//! Protocol data units on a connection (PS3.8 section 9.3), framed here and decoded by `dicom-ul`.
//!
//! In: bytes. Out: one PDU at a time, or the failure that its absence means. Absent: the conversation.

use std::io::ErrorKind;

use dicom_ul::pdu::{
    AbortRQSource, AssociationRJ, AssociationRJResult, AssociationRJServiceUserReason, AssociationRJSource, Pdu,
    ReadError, read_pdu, write_pdu,
};
use lb_core::health::{Detail, Failure};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::health::failure::from_io;

/// The longest PDU taken, without its header; what the association request says, too.
pub(super) const MOST_BYTES: u32 = 16_384;

/// The next PDU; `before` completes "closed the connection before ...".
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin), before: &'static str) -> Result<Pdu, Failure> {
    let mut header = [0; HEADER];
    read_exact(stream, &mut header, before).await?;
    let [kind, _, length @ ..] = header;
    let length = u32::from_be_bytes(length);
    if !(ASSOCIATE_RQ..=ABORT).contains(&kind) {
        return Err(bad(format!("it does not speak DICOM (its first byte is {kind:#04x})")));
    }
    if length > MOST_BYTES {
        return Err(bad(format!("a PDU of {length} bytes, where at most {MOST_BYTES} were agreed")));
    }
    let mut bytes = header.to_vec();
    bytes.resize(HEADER + usize::try_from(length).unwrap_or(0), 0);
    read_exact(stream, &mut bytes[HEADER..], before).await?;
    decode(bytes)
}

pub(super) fn encode(pdu: &Pdu) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, pdu)
        .map_err(|error| Failure::Local(Detail::new(format!("the DICOM request cannot be written: {error}"))))?;
    Ok(bytes)
}

/// The failure that a PDU other than the awaited one means.
pub(super) fn unexpected(pdu: &Pdu) -> Failure {
    let name = match pdu {
        Pdu::AssociationRJ(reject) => return rejected(reject),
        Pdu::AbortRQ { source } => return Failure::DicomAborted(aborted(source)),
        Pdu::AssociationRQ(_) => "an association request",
        Pdu::AssociationAC(_) => "a second acceptance of the association",
        Pdu::PData { .. } => "data before the association",
        Pdu::ReleaseRQ => "a request to release the association",
        Pdu::ReleaseRP => "a release that was not requested",
        Pdu::Unknown { .. } => "a PDU of unknown type",
    };
    bad(format!("{name} came instead of an answer"))
}

async fn read_exact(
    stream: &mut (impl AsyncRead + Unpin),
    bytes: &mut [u8],
    before: &'static str,
) -> Result<(), Failure> {
    match stream.read_exact(bytes).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(Failure::ClosedEarly { before }),
        Err(error) => Err(from_io(&error)),
    }
}

fn decode(bytes: Vec<u8>) -> Result<Pdu, Failure> {
    let bytes = match bytes.first() {
        // Nobody sends this to the side that asked, and its decoder is not needed.
        Some(&ASSOCIATE_RQ) => return Err(bad("an association request came instead of an answer")),
        Some(&ASSOCIATE_AC) => without_user_information(&bytes)?,
        _ => bytes,
    };
    match read_pdu(&bytes[..], MOST_BYTES, true) {
        Ok(Some(pdu)) => Ok(pdu),
        Ok(None) => Err(bad("a PDU shorter than it says")),
        // PS3.8 table 9-21 leaves codes for later editions.
        Err(ReadError::InvalidRejectSourceOrReason { .. }) => match bytes.get(HEADER + 1..HEADER + 4) {
            Some(&[result, source, reason]) => Err(Failure::DicomRejected {
                transient: result == 2,
                reason: Detail::new(format!("source {source}, reason {reason}, which the standard does not define")),
            }),
            _ => Err(bad("a rejection without a reason")),
        },
        Err(ReadError::InvalidAbortSourceOrReason { .. }) => {
            Err(Failure::DicomAborted(Detail::new("for a reason that the standard does not define")))
        }
        // Allowed for a refused context (PS3.8 section 9.3.3.2: the sub-item is not significant then).
        Err(ReadError::MissingTransferSyntax { .. }) => {
            Err(Failure::DicomVerificationRefused(Detail::new("its answer names no transfer syntax")))
        }
        Err(error) => Err(bad(error.to_string())),
    }
}

/// An A-ASSOCIATE-AC without its user information item. A C-ECHO needs nothing of it, and the decoder of `dicom-ul`
/// 0.9 subtracts lengths found there without a check.
fn without_user_information(pdu: &[u8]) -> Result<Vec<u8>, Failure> {
    let truncated = || bad("an association acceptance shorter than it says");
    let mut kept = pdu.get(..HEADER + ACCEPT_FIXED).ok_or_else(truncated)?.to_vec();
    let mut items = &pdu[kept.len()..];
    while let [kind, _, high, low, rest @ ..] = items {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (item, next) = items.split_at_checked(items.len() - rest.len() + length).ok_or_else(truncated)?;
        if *kind != USER_INFORMATION {
            kept.extend_from_slice(item);
        }
        items = next;
    }
    if !items.is_empty() {
        return Err(truncated());
    }
    let length = u32::try_from(kept.len() - HEADER).map_err(|_| truncated())?;
    kept[2..HEADER].copy_from_slice(&length.to_be_bytes());
    Ok(kept)
}

fn rejected(reject: &AssociationRJ) -> Failure {
    let hint = match &reject.source {
        AssociationRJSource::ServiceUser(AssociationRJServiceUserReason::CalledAETitleNotRecognized) => {
            ": check called_ae_title"
        }
        AssociationRJSource::ServiceUser(AssociationRJServiceUserReason::CallingAETitleNotRecognized) => {
            ": make calling_ae_title known to the real server"
        }
        AssociationRJSource::ServiceUser(_)
        | AssociationRJSource::ServiceProviderASCE(_)
        | AssociationRJSource::ServiceProviderPresentation(_) => "",
    };
    let transient = match reject.result {
        AssociationRJResult::Transient => true,
        AssociationRJResult::Permanent => false,
    };
    Failure::DicomRejected { transient, reason: Detail::new(format!("{}{hint}", reject.source)) }
}

fn aborted(source: &AbortRQSource) -> Detail {
    match source {
        AbortRQSource::ServiceUser => Detail::new("its application ended it without a reason"),
        AbortRQSource::ServiceProvider(reason) => Detail::new(reason.to_string()),
        AbortRQSource::Reserved => Detail::new("for a reason that the standard does not define"),
    }
}

fn bad(what: impl AsRef<str>) -> Failure {
    Failure::BadAnswer(Detail::new(what))
}

/// Type, reserved byte, length in network byte order.
const HEADER: usize = 6;
/// Version, titles and reserved bytes before the items of an A-ASSOCIATE-AC.
const ACCEPT_FIXED: usize = 2 + 2 + 16 + 16 + 32;
const ASSOCIATE_RQ: u8 = 0x01;
const ASSOCIATE_AC: u8 = 0x02;
const ABORT: u8 = 0x07;
const USER_INFORMATION: u8 = 0x50;
