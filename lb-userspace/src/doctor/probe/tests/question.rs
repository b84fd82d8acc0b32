use proptest::prelude::*;

use super::super::packet::{Ends, Packet};
use super::super::question::{Answer, Asks, Ports, Question};
use super::{any_question, families, kinds, questions};
use crate::health::ping::icmp::Echo;

const ACK: u8 = 0x10;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const FIN: u8 = 0x01;

fn heard(question: &Question, packet: &[u8]) -> Option<Answer> {
    question.answer(&Packet::parse(packet)?)
}

fn reversed(ports: Ports) -> Vec<u8> {
    [ports.destination.to_be_bytes(), ports.source.to_be_bytes()].concat()
}

/// A segment of the asked one, that acknowledges what it says.
fn segment(question: &Question, acknowledged: u32, flags: u8) -> Vec<u8> {
    let Asks::Tcp { ports, .. } = question.asks else { panic!("{question:?}") };
    let head = [&reversed(ports)[..], &[9, 9, 9, 9], &acknowledged.to_be_bytes(), &[0x50, flags]].concat();
    question.ends.reversed().packet(64, 6, &[&head[..], &[0; 6]].concat())
}

/// What the asked one answers when all is well.
fn reply(question: &Question) -> Vec<u8> {
    match question.asks {
        Asks::Tcp { sequence, .. } => segment(question, sequence.wrapping_add(1), SYN | ACK),
        Asks::Udp { ports } => {
            question.ends.reversed().packet(64, 17, &[&reversed(ports)[..], &[0, 9, 0, 0, 1]].concat())
        }
        Asks::Echo(echo) => {
            let (protocol, kind) = icmp(question, 0, 129);
            question.ends.reversed().packet(64, protocol, &echo_message(kind, echo))
        }
    }
}

fn echo_message(kind: u8, echo: Echo) -> Vec<u8> {
    let Echo { ident, sequence, token } = echo;
    let ident = ident.to_be_bytes();
    [&[kind, 0, 0, 0][..], &ident, &sequence.to_be_bytes(), &token.to_be_bytes(), &[0; 24]].concat()
}

/// The ICMP of the question's family, and one of two numbers.
fn icmp(question: &Question, v4: u8, v6: u8) -> (u8, u8) {
    match question.ends {
        Ends::V4 { .. } => (1, v4),
        Ends::V6 { .. } => (58, v6),
    }
}

/// The asked one says that a packet was not delivered. Of IPv4 it quotes eight bytes after the header.
fn unreachable(question: &Question, quoted: &[u8]) -> Vec<u8> {
    let (protocol, kind) = icmp(question, 3, 1);
    let quoted = if protocol == 1 { &quoted[..28] } else { quoted };
    question.ends.reversed().packet(64, protocol, &[&[kind, 3, 0, 0, 0, 0, 0, 0], quoted].concat())
}

#[test]
fn each_question_knows_its_answer() {
    for question in questions() {
        let expected = match question.asks {
            Asks::Tcp { .. } => Answer::Connection,
            Asks::Udp { .. } => Answer::Datagram,
            Asks::Echo(_) => Answer::Echo,
        };
        assert_eq!(heard(&question, &reply(&question)), Some(expected), "{question:?}");
        let undelivered = unreachable(&question, &question.packet(64));
        assert_eq!(heard(&question, &undelivered), Some(Answer::Undelivered), "{question:?}");
        assert_eq!(heard(&question, &question.packet(64)), None, "the question itself");
    }
}

#[test]
fn a_segment_answers_by_its_flags_when_it_acknowledges_the_syn() {
    for ends in families() {
        let question = Question { ends, asks: kinds()[0] };
        for (flags, expected) in [
            (SYN | ACK, Some(Answer::Connection)),
            (RST | ACK, Some(Answer::Reset)),
            (RST, None),
            (SYN, None),
            (ACK, None),
            (FIN | ACK, None),
        ] {
            // The sequence number was 0xffff_ffff.
            assert_eq!(heard(&question, &segment(&question, 0, flags)), expected, "{flags:#x}");
            assert_eq!(heard(&question, &segment(&question, 1, flags)), None, "of another connection");
        }
    }
}

#[test]
fn what_a_router_says_is_no_answer() {
    for question in questions() {
        let (protocol, time_exceeded) = icmp(&question, 11, 3);
        let message = [&[time_exceeded, 0, 0, 0, 0, 0, 0, 0][..], &question.packet(64)].concat();
        assert_eq!(heard(&question, &question.ends.reversed().packet(64, protocol, &message)), None);
        let router = match question.ends {
            Ends::V4 { from, .. } => Ends::V4 { from: [192, 0, 2, 254].into(), to: from },
            Ends::V6 { from, .. } => Ends::V6 { from: "2001:db8::254".parse().unwrap(), to: from },
        };
        let message = Packet::parse(&unreachable(&question, &question.packet(64))).unwrap().transport.to_vec();
        assert_eq!(heard(&question, &router.packet(64, protocol, &message)), None);
    }
}

#[test]
fn the_reset_goes_where_the_syn_went_with_the_number_after_it() {
    for question in questions() {
        let Asks::Tcp { .. } = question.asks else {
            assert_eq!(question.reset(64), None);
            continue;
        };
        let (syn, reset) = (question.packet(64), question.reset(64).unwrap());
        let (syn, reset) = (Packet::parse(&syn).unwrap(), Packet::parse(&reset).unwrap());
        assert_eq!(reset.ends, syn.ends);
        assert_eq!(reset.transport[..4], syn.transport[..4]);
        assert_eq!(reset.transport[4..8], [0; 4], "after 0xffff_ffff");
        assert_eq!(reset.transport[13], RST);
    }
}

proptest! {
    #[test]
    fn an_answer_answers_the_question_that_was_asked_and_no_other(asked in any_question(), other in any_question()) {
        for answer in [reply(&asked), unreachable(&asked, &asked.packet(64))] {
            prop_assert!(heard(&asked, &answer).is_some());
            prop_assert!(asked == other || same_on_the_wire(&asked, &other, &answer) || heard(&other, &answer).is_none());
        }
    }

    #[test]
    fn no_cut_or_damaged_answer_makes_a_question_panic(
        asked in any_question(), cut in 0..100usize, at in 0..100usize, byte: u8
    ) {
        for answer in [reply(&asked), unreachable(&asked, &asked.packet(64))] {
            let mut damaged = answer.clone();
            if let Some(place) = damaged.get_mut(at) {
                *place = byte;
            }
            let _ = heard(&asked, &damaged);
            let whole = heard(&asked, &answer);
            let part = heard(&asked, answer.get(..cut).unwrap_or(&answer));
            prop_assert!(part.is_none() || part == whole);
        }
    }
}

/// The eight bytes that an error quotes of an echo request do not reach its token.
fn same_on_the_wire(asked: &Question, other: &Question, answer: &[u8]) -> bool {
    let (Asks::Echo(a), Asks::Echo(b)) = (asked.asks, other.asks) else { return false };
    let is_error = heard(asked, answer) == Some(Answer::Undelivered);
    is_error && asked.ends == other.ends && (a.ident, a.sequence) == (b.ident, b.sequence)
}
