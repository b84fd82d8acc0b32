//! `lbctl status --watch`: the same picture again and again, in place, with rates.

use std::future::Future;
use std::io::Write;
use std::time::{Duration, Instant};

use lb_core::view::Status;
use tokio::signal::unix::{SignalKind, signal};

use super::exit::Failure;
use super::output::{self, Terminal};
use super::render::{self, Earlier};
use crate::api::Client;

/// The other screen, no wrapping of lines, no cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?7l\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?7h\x1b[?1049l";

/// Completes when the administrator has seen enough (Ctrl-C), or the terminal or session ends.
pub(super) fn interrupted() -> Result<impl Future<Output = ()>, Failure> {
    let listen = |kind| signal(kind).map_err(|error| Failure::System("cannot listen for Ctrl-C", error));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

/// Draws every `interval` until `stop` completes. A daemon that cannot be asked at first is an
/// error; later it is shown, and asked again.
pub(super) async fn run(
    client: &Client,
    out: &mut impl Write,
    interval: Duration,
    json: bool,
    terminal: impl Fn() -> Terminal,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let first = client.status().await?;
    if json {
        return lines(client, out, interval, first, stop).await;
    }
    let in_place = terminal().height.is_some();
    if in_place {
        output::text(out, ENTER)?;
    }
    let last = frames(client, out, interval, terminal, first, stop).await;
    if in_place {
        output::text(out, LEAVE)?;
    }
    // The other screen is gone with what it showed, so the last picture stays on this one.
    if in_place { output::text(out, &last?) } else { last.map(drop) }
}

async fn lines(
    client: &Client,
    out: &mut impl Write,
    interval: Duration,
    first: Status,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let mut status = first;
    tokio::pin!(stop);
    loop {
        output::json_line(out, &status)?;
        out.flush().map_err(Failure::Output)?;
        tokio::select! {
            biased;
            () = &mut stop => return Ok(()),
            () = tokio::time::sleep(interval) => {}
        }
        status = tokio::select! {
            () = &mut stop => return Ok(()),
            status = client.status() => status?,
        };
    }
}

/// Returns the last picture, as it would be without `--watch`.
async fn frames(
    client: &Client,
    out: &mut impl Write,
    interval: Duration,
    terminal: impl Fn() -> Terminal,
    first: Status,
    stop: impl Future<Output = ()>,
) -> Result<String, Failure> {
    let mut earlier: Option<(Status, Instant)> = None;
    let mut answer = Ok(first);
    tokio::pin!(stop);
    loop {
        let now = Instant::now();
        let terminal = terminal();
        let picture = match &answer {
            Ok(status) => {
                let earlier = earlier.as_ref().map(|(status, at)| Earlier { status, elapsed: now - *at });
                render::status_since(status, earlier.as_ref(), output::unix_now(), terminal.width, terminal.colour)
            }
            Err(error) => format!("{error}\n"),
        };
        let frame = terminal.height.map_or_else(|| format!("{picture}\n"), |height| frame(&picture, height));
        output::text(out, &frame)?;
        out.flush().map_err(Failure::Output)?;
        earlier = answer.ok().map(|status| (status, now));
        tokio::select! {
            biased;
            () = &mut stop => return Ok(picture),
            () = tokio::time::sleep(interval) => {}
        }
        answer = tokio::select! {
            () = &mut stop => return Ok(picture),
            answer = client.status() => answer,
        };
    }
}

/// `picture` drawn over the one before, cut to `height` lines.
pub(super) fn frame(picture: &str, height: usize) -> String {
    let total = picture.lines().count();
    let shown = if total > height { height.saturating_sub(1) } else { total };
    let mut lines: Vec<_> = picture.lines().take(shown).map(str::to_owned).collect();
    if total > shown {
        lines.push(format!("… {} more lines: enlarge the window, or use `lbctl status`", total - shown));
    }
    // From the top; what a longer line or picture left behind is erased. No line end after the last
    // line: at the bottom it would scroll.
    format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n"))
}
