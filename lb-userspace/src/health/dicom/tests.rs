use std::fs;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use dicom_ul::pdu::{
    AbortRQServiceProviderReason, AbortRQSource, AssociationAC, AssociationRJ, AssociationRJResult,
    AssociationRJServiceProviderASCEReason, AssociationRJServiceProviderPresentationReason,
    AssociationRJServiceUserReason, AssociationRJSource, PDataValue, PDataValueType, Pdu, PresentationContextResult,
    PresentationContextResultReason, UserVariableItem,
};
use futures_util::FutureExt;
use lb_core::health::{Detail, Failure};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{command, pdu};
use crate::health::tests::soon;

/// What an echo says of a peer that treats its one connection so.
async fn against<F>(peer: impl FnOnce(TcpStream) -> F) -> Result<(), Failure>
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let echo = tokio::spawn(async move { super::echo(address, None, "STORE1", "LB").await });
    let (stream, _) = soon(listener.accept()).await.expect("the check");
    stream.set_nodelay(true).expect("a TCP option");
    let peer = tokio::spawn(peer(stream));
    let echo = soon(echo).await.expect("no panic");
    if let Ok(stream) = echo {
        soon(super::release(stream)).await;
        soon(peer).await.expect("what the peer asserts");
        return Ok(());
    }
    soon(peer).await.expect("what the peer asserts");
    echo.map(drop)
}

/// A peer that reads the association request and answers with these bytes.
async fn answering(bytes: Vec<u8>) -> Result<(), Failure> {
    against(|mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(&bytes).await.expect("a peer that reads");
        read_to_end(&mut stream).await;
    })
    .await
}

/// A peer that accepts the association and answers the C-ECHO with these PDUs.
async fn echoing(answers: Vec<Pdu>) -> Result<(), Failure> {
    against(|mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(&bytes(&accept())).await.expect("a peer that reads");
        pdu::read(&mut stream, "the C-ECHO").await.expect("the C-ECHO");
        for answer in answers {
            // An answer too many meets a check that has ended already.
            let _ = stream.write_all(&bytes(&answer)).await;
        }
        let _ = stream.shutdown().await;
        read_to_end(&mut stream).await;
    })
    .await
}

/// Reads the association request, which `dicom-ul` understands as meant.
async fn read_request(stream: &mut TcpStream) {
    let mut header = [0; 6];
    stream.read_exact(&mut header).await.expect("a header");
    let length = u32::from_be_bytes([header[2], header[3], header[4], header[5]]);
    let mut request = header.to_vec();
    request.resize(6 + usize::try_from(length).expect("a length"), 0);
    stream.read_exact(&mut request[6..]).await.expect("a request");
    let request = dicom_ul::pdu::read_pdu(&request[..], pdu::MOST_BYTES, true).expect("valid").expect("complete");
    let Pdu::AssociationRQ(request) = request else { panic!("not an association request: {request:?}") };
    assert_eq!((request.called_ae_title.as_str(), request.calling_ae_title.as_str()), ("STORE1", "LB"));
    let [context] = &request.presentation_contexts[..] else { panic!("one context") };
    assert_eq!(context.abstract_syntax, "1.2.840.10008.1.1");
    assert_eq!(context.transfer_syntaxes, ["1.2.840.10008.1.2"]);
}

async fn read_to_end(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // Bytes that the check does not read any more may turn its close into a reset.
    let _ = stream.read_to_end(&mut rest).await;
}

fn bytes(pdu: &Pdu) -> Vec<u8> {
    pdu::encode(pdu).expect("a PDU that can be written")
}

fn accept_with(reason: PresentationContextResultReason) -> AssociationAC {
    AssociationAC {
        protocol_version: 1,
        calling_ae_title: "LB".to_owned(),
        called_ae_title: "STORE1".to_owned(),
        application_context_name: super::APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: vec![PresentationContextResult {
            id: 1,
            reason,
            transfer_syntax: super::IMPLICIT_VR_LITTLE_ENDIAN.to_owned(),
        }],
        user_variables: vec![UserVariableItem::MaxLength(16_384)],
    }
}

fn accept() -> Pdu {
    accept_with(PresentationContextResultReason::Acceptance).into()
}

/// A command set with these elements of group 0000.
fn set(elements: &[(u16, u16)]) -> Vec<u8> {
    elements
        .iter()
        .flat_map(|(tag, value)| [&[0, 0][..], &tag.to_le_bytes(), &2u32.to_le_bytes(), &value.to_le_bytes()].concat())
        .collect()
}

fn response(status: u16) -> Vec<u8> {
    set(&[(0x0100, 0x8030), (0x0120, 1), (0x0800, 0x0101), (0x0900, status)])
}

fn data(bytes: &[u8], is_last: bool) -> Pdu {
    let value_type = PDataValueType::Command;
    Pdu::PData { data: vec![PDataValue { presentation_context_id: 1, value_type, is_last, data: bytes.to_vec() }] }
}

fn bad(what: &str) -> Result<(), Failure> {
    Err(Failure::BadAnswer(Detail::new(what)))
}

/// dcmtk's server on one connection, and what it logs.
async fn storescp(options: &[&str]) -> (Result<(), Failure>, String) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address: SocketAddr = listener.local_addr().expect("an address");
    let echo = tokio::spawn(async move {
        let stream = super::echo(address, None, "STORE1", "LB").await?;
        super::release(stream).await;
        Ok(())
    });
    let (stream, _) = soon(listener.accept()).await.expect("the check");
    let stream = stream.into_std().expect("a socket");
    stream.set_nonblocking(false).expect("a socket option");
    let folder = LogFolder::new();
    // With --inetd it serves the connection that is its standard input, so it needs no port of its own; and it closes
    // its standard output and error, so it logs into a file.
    let mut child = Command::new("storescp")
        .args(["--inetd", "--ignore", "--log-config"])
        .arg(folder.configuration())
        .args(options)
        .stdin(Stdio::from(OwnedFd::from(stream)))
        .spawn()
        .expect("storescp of dcmtk: apt-get install dcmtk");
    let echo = soon(echo).await.expect("no panic");
    let status = soon(tokio::task::spawn_blocking(move || child.wait())).await.expect("no panic");
    status.expect("storescp to end");
    (echo, folder.log())
}

/// Where storescp logs; gone when dropped.
struct LogFolder(PathBuf);

impl LogFolder {
    fn new() -> Self {
        let name = format!("lb-storescp-{}-{:?}", std::process::id(), std::thread::current().id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).expect("a new folder");
        Self(folder)
    }

    fn configuration(&self) -> PathBuf {
        let path = self.0.join("log4cplus");
        let lines = format!(
            "log4cplus.rootLogger = INFO, file\n\
             log4cplus.appender.file = log4cplus::FileAppender\n\
             log4cplus.appender.file.File = {}\n",
            self.0.join("log").display()
        );
        fs::write(&path, lines).expect("a file");
        path
    }

    fn log(&self) -> String {
        fs::read_to_string(self.0.join("log")).expect("a log")
    }
}

impl Drop for LogFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn dcmtk_answers_and_sees_an_association_in_good_order() {
    let (outcome, log) = storescp(&[]).await;
    assert_eq!(outcome, Ok(()), "{log}");
    assert!(log.contains("Association Received") && log.contains("Received Echo Request"), "{log}");
    assert!(log.contains("Association Release") && !log.contains("Abort"), "{log}");
}

#[tokio::test]
async fn dcmtk_that_refuses_is_reported_with_its_reason() {
    let (outcome, log) = storescp(&["--refuse"]).await;
    let reason = Detail::new("no reason given");
    assert_eq!(outcome, Err(Failure::DicomRejected { transient: false, reason }), "{log}");
}

#[tokio::test]
async fn an_answer_that_comes_byte_by_byte_is_understood() {
    let outcome = against(|mut stream| async move {
        read_request(&mut stream).await;
        for byte in bytes(&accept()) {
            stream.write_u8(byte).await.expect("a peer that reads");
        }
        let request = pdu::read(&mut stream, "the C-ECHO").await.expect("the C-ECHO");
        assert_eq!(request, data(&command::echo_request(), true));
        for byte in bytes(&data(&response(0), true)) {
            stream.write_u8(byte).await.expect("a peer that reads");
        }
        assert_eq!(pdu::read(&mut stream, "the release").await, Ok(Pdu::ReleaseRQ));
        stream.write_all(&bytes(&Pdu::ReleaseRP)).await.expect("a peer that reads");
        let closed = Failure::ClosedEarly { before: "any more" };
        assert_eq!(pdu::read(&mut stream, "any more").await, Err(closed), "a FIN, not a reset");
    });
    assert_eq!(outcome.await, Ok(()));
}

#[tokio::test]
async fn a_response_in_fragments_is_put_together() {
    let whole = response(0);
    let (first, second) = whole.split_at(7);
    assert_eq!(echoing(vec![data(first, false), data(&[], false), data(second, true)]).await, Ok(()));
    let endless = vec![data(&[], false); 200];
    assert_eq!(echoing(endless).await, bad("the response to the C-ECHO comes in too many fragments"));
    let long = vec![data(&[0; 4000], false); 2];
    assert_eq!(echoing(long).await, bad("the response to the C-ECHO is too long"));
}

#[tokio::test]
async fn a_rejection_is_told_in_words() {
    use AssociationRJServiceProviderPresentationReason::LocalLimitExceeded;
    use AssociationRJServiceUserReason::{CalledAETitleNotRecognized, CallingAETitleNotRecognized};
    use AssociationRJSource::{ServiceProviderASCE, ServiceProviderPresentation, ServiceUser};
    for (source, why) in [
        (ServiceUser(CalledAETitleNotRecognized), "called AE title not recognized: check called_ae_title"),
        (
            ServiceUser(CallingAETitleNotRecognized),
            "calling AE title not recognized: make calling_ae_title known to the real server",
        ),
        (
            ServiceProviderASCE(AssociationRJServiceProviderASCEReason::ProtocolVersionNotSupported),
            "protocol version not supported",
        ),
        (ServiceProviderPresentation(LocalLimitExceeded), "local limit exceeded"),
    ] {
        for (result, transient) in [(AssociationRJResult::Permanent, false), (AssociationRJResult::Transient, true)] {
            let reject = AssociationRJ { result, source: source.clone() };
            let expected = Failure::DicomRejected { transient, reason: Detail::new(why) };
            assert_eq!(answering(bytes(&reject.into())).await, Err(expected));
        }
    }
    let reason = Detail::new("source 2, reason 99, which the standard does not define");
    let unknown = vec![3, 0, 0, 0, 0, 4, 0, 1, 2, 99];
    assert_eq!(answering(unknown).await, Err(Failure::DicomRejected { transient: false, reason }));
}

#[tokio::test]
async fn after_a_rejection_the_peer_hears_nothing_more() {
    let outcome = against(|mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(&[3, 0, 0, 0, 0, 4, 0, 1, 1, 1]).await.expect("a peer that reads");
        assert_eq!(stream.read(&mut [0; 16]).await.expect("a FIN"), 0);
    });
    let reason = Detail::new("no reason given");
    assert_eq!(outcome.await, Err(Failure::DicomRejected { transient: false, reason }));
}

#[tokio::test]
async fn an_abort_is_told_in_words() {
    let by_provider = AbortRQSource::ServiceProvider(AbortRQServiceProviderReason::UnexpectedPdu);
    for (source, why) in
        [(by_provider, "unexpected PDU"), (AbortRQSource::ServiceUser, "its application ended it without a reason")]
    {
        let abort = Pdu::AbortRQ { source };
        let expected = Err(Failure::DicomAborted(Detail::new(why)));
        assert_eq!(answering(bytes(&abort)).await, expected);
        assert_eq!(echoing(vec![abort]).await, expected);
    }
}

#[tokio::test]
async fn what_is_not_dicom_is_told() {
    let http = b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec();
    assert_eq!(answering(http).await, bad("it does not speak DICOM (its first byte is 0x48)"));
    let huge = vec![2, 0, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(answering(huge).await, bad("a PDU of 4294967295 bytes, where at most 16384 were agreed"));
    let cut = vec![2, 0, 0, 0, 0, 3, 0, 1, 0];
    assert_eq!(answering(cut).await, bad("an association acceptance shorter than it says"));
}

#[tokio::test]
async fn a_pdu_out_of_turn_is_told() {
    let outcome = answering(bytes(&Pdu::ReleaseRQ)).await;
    assert_eq!(outcome, bad("a request to release the association came instead of an answer"));
    let outcome = answering(bytes(&data(&[], true))).await;
    assert_eq!(outcome, bad("data before the association came instead of an answer"));
    let outcome = answering(bytes(&super::association_request("A", "B"))).await;
    assert_eq!(outcome, bad("an association request came instead of an answer"));
    let outcome = echoing(vec![accept()]).await;
    assert_eq!(outcome, bad("a second acceptance of the association came instead of an answer"));
}

#[tokio::test]
async fn a_refused_verification_is_told() {
    use PresentationContextResultReason::{AbstractSyntaxNotSupported, TransferSyntaxesNotSupported, UserRejection};
    for (reason, why) in [
        (UserRejection, "user rejection"),
        (AbstractSyntaxNotSupported, "abstract syntax not supported"),
        (TransferSyntaxesNotSupported, "transfer syntaxes not supported"),
    ] {
        let outcome = answering(bytes(&accept_with(reason).into())).await;
        assert_eq!(outcome, Err(Failure::DicomVerificationRefused(Detail::new(why))));
    }
    let nothing =
        AssociationAC { presentation_contexts: Vec::new(), ..accept_with(PresentationContextResultReason::Acceptance) };
    let why = Detail::new("it says nothing of that presentation context");
    assert_eq!(answering(bytes(&nothing.into())).await, Err(Failure::DicomVerificationRefused(why)));
}

#[tokio::test]
async fn a_status_other_than_success_is_told_and_the_association_aborted() {
    let outcome = against(|mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(&bytes(&accept())).await.expect("a peer that reads");
        pdu::read(&mut stream, "the C-ECHO").await.expect("the C-ECHO");
        stream.write_all(&bytes(&data(&response(0x0122), true))).await.expect("a peer that reads");
        let abort = Pdu::AbortRQ { source: AbortRQSource::ServiceUser };
        assert_eq!(pdu::read(&mut stream, "the abort").await, Ok(abort));
    });
    assert_eq!(outcome.await, Err(Failure::DicomStatus(0x0122)));
}

#[tokio::test]
async fn a_wrong_response_is_told() {
    for (set, what) in [
        (set(&[(0x0100, 0x8030), (0x0120, 2), (0x0900, 0)]), "a response to another message than the C-ECHO"),
        (set(&[(0x0100, 0x8001), (0x0120, 1), (0x0900, 0)]), "another message than a response to the C-ECHO"),
        (set(&[(0x0100, 0x8030), (0x0120, 1)]), "a response to the C-ECHO without a status"),
        (response(0)[1..].to_vec(), "the response to the C-ECHO is cut short"),
        (response(0)[..37].to_vec(), "the response to the C-ECHO is cut short"),
    ] {
        assert_eq!(echoing(vec![data(&set, true)]).await, bad(what));
    }
    let value_type = PDataValueType::Data;
    let value = PDataValue { presentation_context_id: 1, value_type, is_last: true, data: response(0) };
    assert_eq!(echoing(vec![Pdu::PData { data: vec![value] }]).await, bad("data that does not belong to the C-ECHO"));
}

#[tokio::test]
async fn an_early_close_and_a_reset_are_told_apart() {
    let close = against(|mut stream| async move { read_request(&mut stream).await }).await;
    assert_eq!(close, Err(Failure::ClosedEarly { before: "it answered the association request" }));
    let close = against(|mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(&bytes(&accept())).await.expect("a peer that reads");
        pdu::read(&mut stream, "the C-ECHO").await.expect("the C-ECHO");
        stream.write_all(&[4, 0, 0]).await.expect("a peer that reads");
    });
    assert_eq!(close.await, Err(Failure::ClosedEarly { before: "it answered the C-ECHO" }));
    let reset = against(|mut stream| async move {
        read_request(&mut stream).await;
        stream.set_zero_linger().expect("a socket option");
    });
    assert_eq!(reset.await, Err(Failure::Reset));
}

/// An acceptance with a user information item of these bytes.
fn accept_with_user_information(sub_items: &[u8]) -> Vec<u8> {
    let mut pdu = bytes(
        &AssociationAC { user_variables: Vec::new(), ..accept_with(PresentationContextResultReason::Acceptance) }
            .into(),
    );
    pdu.extend([0x50, 0]);
    pdu.extend(u16::try_from(sub_items.len()).expect("short").to_be_bytes());
    pdu.extend(sub_items);
    let length = u32::try_from(pdu.len() - 6).expect("short");
    pdu[2..6].copy_from_slice(&length.to_be_bytes());
    pdu
}

fn read(bytes: &[u8]) -> Result<Pdu, Failure> {
    pdu::read(&mut &bytes[..], "the end").now_or_never().expect("bytes in memory are there at once")
}

#[test]
fn lengths_in_the_user_information_do_no_harm() {
    // SOP class extended negotiation of length 0 whose UID claims 9 bytes.
    let pdu = accept_with_user_information(&[0x56, 0, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert!(matches!(read(&pdu), Ok(Pdu::AssociationAC(_))));
}

#[test]
fn a_refused_context_without_a_transfer_syntax_is_understood() {
    let mut fixed = vec![0; 68];
    fixed[1] = 1;
    let pdu = [&[2, 0, 0, 0, 0, 76][..], &fixed, &[0x21, 0, 0, 4, 1, 0, 3, 0]].concat();
    assert!(matches!(read(&pdu), Err(Failure::DicomVerificationRefused(_))));
}

proptest! {
    #[test]
    fn no_pdu_makes_the_reader_panic(kind in 0..9u8, body in prop::collection::vec(any::<u8>(), 0..300)) {
        let length = u32::try_from(body.len()).expect("short").to_be_bytes();
        let _ = read(&[&[kind, 0][..], &length, &body].concat());
    }

    #[test]
    fn no_mutation_of_an_acceptance_makes_the_reader_panic(changes in prop::collection::vec((6..200usize, any::<u8>()), 1..8)) {
        let mut pdu = accept_with_user_information(&[0x56, 0, 0, 5, 0, 2, 49, 50, 1, 0x51, 0, 0, 4, 0, 0, 64, 0]);
        for (at, byte) in changes {
            if let Some(old) = pdu.get_mut(at) {
                *old = byte;
            }
        }
        let _ = read(&pdu);
    }

    #[test]
    fn no_command_set_makes_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = command::echo_status(&bytes);
    }
}
