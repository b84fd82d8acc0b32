//! `lbctl upgrade`: another lbd takes over from the running one.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lb_core::config::parse_duration;
use serde_json::json;

use super::exit::Failure;
use super::output;
use crate::api::Client;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// How long the new lbd may take until it serves.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time)]
    wait: Duration,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write a time like 60s or 5m".to_owned())
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<(), Failure> {
    let before = client.status().await?;
    let pid = client.upgrade().await?.pid;
    let _ = writeln!(err, "lbd (pid {pid}) was started, and takes over from pid {}", before.pid);
    let begun = Instant::now();
    loop {
        tokio::time::sleep(LOOK).await;
        // Between the two nobody answers for a moment.
        let status = client.status().await.ok();
        if let Some(status) = status.filter(|status| status.pid == pid) {
            let left = status.predecessor.map_or(0, |before| before.connections);
            if args.json {
                return output::json(out, &json!({"pid": pid, "version": status.version, "connections_left": left}));
            }
            let finishes = match left {
                0 => String::new(),
                left => format!("; the one before it finishes {left} connections"),
            };
            return output::text(out, &format!("lbd {} serves (pid {pid}){finishes}.\n", status.version));
        }
        let why = if !PathBuf::from(format!("/proc/{pid}")).exists() {
            "it has ended; its log says why"
        } else if begun.elapsed() > args.wait {
            "it does not serve yet"
        } else {
            continue;
        };
        let sentence = format!("lbd (pid {pid}) has not taken over: {why}; the one before it goes on");
        return Err(Failure::Refused(sentence));
    }
}
