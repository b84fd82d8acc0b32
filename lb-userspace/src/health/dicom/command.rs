//! The command sets of C-ECHO (PS3.7 section 9.3.5): elements of group 0000, implicit VR, little endian.
//!
//! In: nothing, or the response's bytes. Out: the request's bytes, or the status. Absent: PDUs.

use lb_core::health::{Detail, Failure};

/// The Verification SOP class (PS3.4 annex A.4).
pub(super) const VERIFICATION: &str = "1.2.840.10008.1.1";

/// A response is about 80 bytes; nobody needs more than this.
pub(super) const MOST_COMMAND_BYTES: usize = 4096;

/// The command set of a C-ECHO-RQ.
pub(super) fn echo_request() -> Vec<u8> {
    let mut uid = VERIFICATION.as_bytes().to_vec();
    // PS3.5 section 9.1: a UID of odd length is padded with one NUL.
    uid.resize(uid.len().next_multiple_of(2), 0);
    let mut group = Vec::new();
    element(&mut group, AFFECTED_SOP_CLASS, &uid);
    element(&mut group, COMMAND_FIELD, &ECHO_RQ.to_le_bytes());
    element(&mut group, MESSAGE_ID, &THE_MESSAGE.to_le_bytes());
    element(&mut group, DATA_SET_TYPE, &NO_DATA_SET.to_le_bytes());
    let mut set = Vec::new();
    element(&mut set, GROUP_LENGTH, &length(&group).to_le_bytes());
    set.extend_from_slice(&group);
    set
}

/// The status of a C-ECHO-RSP to our request.
pub(super) fn echo_status(set: &[u8]) -> Result<u16, Failure> {
    let bad = |what: &str| Failure::BadAnswer(Detail::new(what));
    let (mut command, mut message, mut status) = (None, None, None);
    let mut rest = set;
    while !rest.is_empty() {
        let (tag, value, next) = split(rest).ok_or_else(|| bad("the response to the C-ECHO is cut short"))?;
        match tag {
            COMMAND_FIELD => command = short(value),
            MESSAGE_ID_ANSWERED => message = short(value),
            STATUS => status = short(value),
            _ => {}
        }
        rest = next;
    }
    if command != Some(ECHO_RSP) {
        return Err(bad("another message than a response to the C-ECHO"));
    }
    if message != Some(THE_MESSAGE) {
        return Err(bad("a response to another message than the C-ECHO"));
    }
    status.ok_or_else(|| bad("a response to the C-ECHO without a status"))
}

/// An element of group 0000.
fn element(to: &mut Vec<u8>, tag: u16, value: &[u8]) {
    to.extend_from_slice(&[0, 0]);
    to.extend_from_slice(&tag.to_le_bytes());
    to.extend_from_slice(&length(value).to_le_bytes());
    to.extend_from_slice(value);
}

/// The first element's number in group 0000, its value, and what follows.
fn split(set: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (&[0, 0, low, high, a, b, c, d], rest) = set.split_first_chunk()? else { return None };
    let (value, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()?)?;
    Some((u16::from_le_bytes([low, high]), value, rest))
}

fn short(value: &[u8]) -> Option<u16> {
    Some(u16::from_le_bytes(*value.first_chunk()?))
}

fn length(value: &[u8]) -> u32 {
    u32::try_from(value.len()).unwrap_or(u32::MAX)
}

// PS3.7 annex E.1: elements (0000,xxxx).
const GROUP_LENGTH: u16 = 0x0000;
const AFFECTED_SOP_CLASS: u16 = 0x0002;
const COMMAND_FIELD: u16 = 0x0100;
const MESSAGE_ID: u16 = 0x0110;
const MESSAGE_ID_ANSWERED: u16 = 0x0120;
const DATA_SET_TYPE: u16 = 0x0800;
const STATUS: u16 = 0x0900;

const ECHO_RQ: u16 = 0x0030;
const ECHO_RSP: u16 = 0x8030;
const NO_DATA_SET: u16 = 0x0101;
/// One association carries one request.
const THE_MESSAGE: u16 = 1;
