//! The DICOM check: a C-ECHO (PS3.4 annex A) is answered with success.
//!
//! In: an address and the application entity titles. Out: the open association, or why there is none; then
//! its release. Absent: a timeout (the machine cancels), TLS, other services.

mod command;
mod pdu;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use dicom_ul::pdu::{
    AssociationAC, AssociationRQ, PDataValue, PDataValueType, Pdu, PresentationContextProposed,
    PresentationContextResultReason, UserVariableItem,
};
use lb_core::config::model::ProxyProtocol;
use lb_core::health::{Detail, Failure};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::connect;
use super::failure::from_io;
use command::MOST_COMMAND_BYTES;

/// Opens an association and asks for an echo.
pub(super) async fn echo(
    address: SocketAddr,
    header: Option<ProxyProtocol>,
    called: &str,
    calling: &str,
) -> Result<TcpStream, Failure> {
    let mut stream = connect::open(address, header).await?;
    match converse(&mut stream, called, calling).await {
        Ok(()) => Ok(stream),
        Err(failure) => {
            if leaves_it_open(&failure) {
                abort(&stream);
            }
            Err(failure)
        }
    }
}

/// Ends an association in good order: A-RELEASE-RQ, its answer, close. The caller bounds the time.
pub(super) async fn release(mut stream: TcpStream) {
    if send(&mut stream, &Pdu::ReleaseRQ).await.is_err() {
        return;
    }
    // Whatever the answer is, nothing depends on it any more.
    let _ = pdu::read(&mut stream, "it answered the release").await;
    connect::close(stream).await;
}

async fn converse(stream: &mut TcpStream, called: &str, calling: &str) -> Result<(), Failure> {
    send(stream, &association_request(called, calling)).await?;
    match pdu::read(stream, "it answered the association request").await? {
        Pdu::AssociationAC(accept) => accepted(&accept)?,
        other => return Err(pdu::unexpected(&other)),
    }
    let request = PDataValue {
        presentation_context_id: CONTEXT,
        value_type: PDataValueType::Command,
        is_last: true,
        data: command::echo_request(),
    };
    send(stream, &Pdu::PData { data: vec![request] }).await?;
    match command::echo_status(&response(stream).await?)? {
        0x0000 => Ok(()),
        status => Err(Failure::DicomStatus(status)),
    }
}

/// The command set of the response, which may come in fragments (PS3.8 annex E).
async fn response(stream: &mut TcpStream) -> Result<Vec<u8>, Failure> {
    let mut command = Vec::new();
    for _ in 0..MOST_FRAGMENTS {
        let values = match pdu::read(stream, "it answered the C-ECHO").await? {
            Pdu::PData { data } => data,
            other => return Err(pdu::unexpected(&other)),
        };
        for value in values {
            if value.presentation_context_id != CONTEXT || value.value_type != PDataValueType::Command {
                return Err(Failure::BadAnswer(Detail::new("data that does not belong to the C-ECHO")));
            }
            command.extend_from_slice(&value.data);
            if command.len() > MOST_COMMAND_BYTES {
                return Err(Failure::BadAnswer(Detail::new("the response to the C-ECHO is too long")));
            }
            if value.is_last {
                return Ok(command);
            }
        }
    }
    Err(Failure::BadAnswer(Detail::new("the response to the C-ECHO comes in too many fragments")))
}

fn association_request(called: &str, calling: &str) -> Pdu {
    Pdu::AssociationRQ(AssociationRQ {
        protocol_version: 1,
        calling_ae_title: calling.to_owned(),
        called_ae_title: called.to_owned(),
        application_context_name: APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: vec![PresentationContextProposed {
            id: CONTEXT,
            abstract_syntax: command::VERIFICATION.to_owned(),
            transfer_syntaxes: vec![IMPLICIT_VR_LITTLE_ENDIAN.to_owned()],
        }],
        user_variables: vec![
            UserVariableItem::MaxLength(pdu::MOST_BYTES),
            UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS.to_owned()),
            UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION.to_owned()),
        ],
    })
}

fn accepted(accept: &AssociationAC) -> Result<(), Failure> {
    let context = accept.presentation_contexts.iter().find(|context| context.id == CONTEXT);
    let Some(context) = context else {
        return Err(Failure::DicomVerificationRefused(Detail::new("it says nothing of that presentation context")));
    };
    match context.reason {
        PresentationContextResultReason::Acceptance => Ok(()),
        PresentationContextResultReason::UserRejection
        | PresentationContextResultReason::NoReason
        | PresentationContextResultReason::AbstractSyntaxNotSupported
        | PresentationContextResultReason::TransferSyntaxesNotSupported => {
            Err(Failure::DicomVerificationRefused(Detail::new(context.reason.to_string())))
        }
    }
}

async fn send(stream: &mut TcpStream, pdu: &Pdu) -> Result<(), Failure> {
    let bytes = pdu::encode(pdu)?;
    stream.write_all(&bytes).await.map_err(|error| from_io(&error))
}

/// Whether the real server may think that there is an association still (PS3.8 section 9.2.3: a protocol error is
/// answered with an abort, a rejection or an abort with nothing).
fn leaves_it_open(failure: &Failure) -> bool {
    match failure {
        Failure::BadAnswer(_) | Failure::DicomStatus(_) | Failure::DicomVerificationRefused(_) => true,
        Failure::Refused
        | Failure::Timeout { .. }
        | Failure::Unreachable(_)
        | Failure::Reset
        | Failure::ClosedEarly { .. }
        | Failure::DicomRejected { .. }
        | Failure::DicomAborted(_)
        | Failure::HttpStatus { .. }
        | Failure::HttpPage { .. }
        | Failure::Tls(_)
        | Failure::Certificate(_)
        | Failure::Script { .. }
        | Failure::NoPrivilege(_)
        | Failure::Local(_) => false,
    }
}

/// Says that this association is over, if the network takes the few bytes right now.
fn abort(stream: &TcpStream) {
    if let Ok(bytes) = pdu::encode(&Pdu::AbortRQ { source: dicom_ul::pdu::AbortRQSource::ServiceUser }) {
        let _ = stream.try_write(&bytes);
    }
}

/// PS3.7 annex A.2.1.
const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";
/// PS3.5 annex A.1.
const IMPLICIT_VR_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2";
/// The only presentation context; identifiers are odd (PS3.8 section 9.3.2.2).
const CONTEXT: u8 = 1;
/// Derived from a UUID (PS3.5 annex B.2).
const IMPLEMENTATION_CLASS: &str = "2.25.26127857272886439096124249991932184792";
/// At most 16 characters (PS3.7 annex D.3.3.2).
const IMPLEMENTATION_VERSION: &str = "LB_HEALTH_CHECK";
/// A response of a hundred bytes has no reason for more.
const MOST_FRAGMENTS: usize = 64;
