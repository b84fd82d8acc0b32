use std::io::Write as _;
use std::net::{Shutdown, TcpListener};
use std::sync::mpsc;

use super::*;

/// Runs on a thread of its own: what never yields could not be ended by the runtime that it runs on.
fn peek_at(sent: &'static [u8]) -> mpsc::Receiver<io::Result<((), usize)>> {
    let (tell, told) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        client.write_all(sent).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let looked = runtime.block_on(async {
            let stream = TcpStream::from_std(stream).unwrap();
            let whole =
                |bytes: &[u8]| Ok(if bytes.len() < 8 { Parsed::More } else { Parsed::Done { value: (), length: 8 } });
            peek(&stream, 16, whole).await
        });
        let _ = tell.send(looked);
    });
    told
}

#[test]
fn who_closes_before_all_of_it_has_come_is_not_waited_for() {
    for sent in [&b"PRI"[..], b""] {
        let looked = peek_at(sent).recv_timeout(Duration::from_secs(20)).expect("it comes to an end");
        assert_eq!(looked.unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{sent:?}");
    }
}

#[test]
fn what_came_whole_counts_though_the_client_has_closed() {
    let looked = peek_at(b"PRI * HTTP/2.0").recv_timeout(Duration::from_secs(20)).expect("it comes to an end");
    assert_eq!(looked.unwrap().1, 8);
}
