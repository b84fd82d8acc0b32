//! ffmpeg: publishes and plays RTMP, plays RTSP, sends and receives MPEG-TS over UDP.
//!
//! What it plays is decoded to frames that are counted: bytes that merely arrive are not enough.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::lab::{Host, Output, Process, require};

/// A picture that moves, in real time, without a camera.
const SOURCE: &[&str] = &["-re", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=25"];
const SOUND: &[&str] = &["-f", "lavfi", "-i", "sine=frequency=440"];
/// Look at a second of a stream before decoding, not at five.
const HURRY: &[&str] = &["-analyzeduration", "1000000"];
/// Longest time until the frames asked for have been decoded.
const PLAY_DEADLINE: Duration = Duration::from_secs(25);

/// How RTSP carries media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtspMedia {
    /// In the control connection.
    Tcp,
    /// In datagrams of their own.
    Udp,
}

/// Publishes an RTMP stream with sound until the process is dropped.
///
/// # Errors
/// When ffmpeg is missing.
pub fn publish_rtmp(client: &Host, url: &str) -> Result<Process> {
    let codecs = ["-c:v", "flv", "-g", "25", "-c:a", "aac", "-f", "flv", url];
    client.spawn(&command(&[SOURCE, SOUND, &codecs])?)
}

/// Plays an RTMP stream until `frames` pictures have been decoded.
///
/// # Errors
/// When ffmpeg is missing or does not get them in time.
pub fn play_rtmp(client: &Host, url: &str, frames: u32) -> Result<u32> {
    let frames = frames.to_string();
    let player = client.spawn(&command(&[HURRY, &["-rw_timeout", "8000000", "-i", url], &null_output(&frames)])?)?;
    finish(player)
}

/// Plays an RTSP stream until `frames` pictures have been decoded.
///
/// # Errors
/// When ffmpeg is missing or does not get them in time.
pub fn play_rtsp(client: &Host, url: &str, media: RtspMedia, frames: u32) -> Result<u32> {
    let transport = match media {
        RtspMedia::Tcp => "tcp",
        RtspMedia::Udp => "udp",
    };
    let frames = frames.to_string();
    let input = ["-rtsp_transport", transport, "-timeout", "8000000", "-i", url];
    let player = client.spawn(&command(&[HURRY, &input, &null_output(&frames)])?)?;
    finish(player)
}

/// Sends MPEG-TS over UDP until the process is dropped.
///
/// # Errors
/// When ffmpeg is missing.
pub fn send_mpegts(client: &Host, address: &str) -> Result<Process> {
    let url = format!("udp://{address}?pkt_size=1316");
    client.spawn(&command(&[SOURCE, &["-c:v", "mpeg2video", "-g", "10", "-f", "mpegts", &url]])?)
}

/// Waits for MPEG-TS at a UDP port and decodes `frames` pictures; [`finish`] gives their number.
///
/// # Errors
/// When ffmpeg is missing.
pub fn receive_mpegts(host: &Host, port: u16, frames: u32) -> Result<Process> {
    let (url, frames) = (format!("udp://0.0.0.0:{port}?timeout=20000000"), frames.to_string());
    let mut receiver = host.spawn(&command(&[HURRY, &["-i", &url], &null_output(&frames)])?)?;
    host.wait_listening(&mut receiver, "udp", port)?;
    Ok(receiver)
}

/// Waits for the end of a player; how many pictures it decoded.
///
/// # Errors
/// When it does not end in time, fails, or decoded nothing.
pub fn finish(mut player: Process) -> Result<u32> {
    let output = player.wait_end(PLAY_DEADLINE)?.success()?;
    frames_decoded(&output)
}

fn null_output(frames: &str) -> [&str; 7] {
    ["-map", "0:v:0", "-frames:v", frames, "-f", "null", "-"]
}

fn command<'a>(parts: &[&[&'a str]]) -> Result<Vec<&'a str>> {
    require("ffmpeg", "ffmpeg")?;
    let start = ["ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "info", "-nostats", "-progress", "pipe:1"];
    Ok(start.iter().chain(parts.iter().copied().flatten()).copied().collect())
}

/// The last `frame=N` of the progress report.
fn frames_decoded(output: &Output) -> Result<u32> {
    let last = output.stdout.lines().filter_map(|line| line.strip_prefix("frame=")).next_back();
    let frames = last.with_context(|| format!("no picture was decoded: {output}"))?;
    frames.trim().parse().with_context(|| format!("{frames:?} is not a number of pictures"))
}
