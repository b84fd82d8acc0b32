//! `lbctl` as it is typed, against a real API with a control loop that answers from fixtures.

mod examining;
mod following;
mod orders;
mod tracing;
mod typed;
mod watching;

use std::path::Path;

use clap::Parser;

use super::{Cli, Exit, Terminal, run};

/// Output to a file or a pipe.
fn no_terminal() -> Terminal {
    Terminal { width: usize::MAX, height: None, colour: false }
}

fn small_terminal() -> Terminal {
    Terminal { width: 80, height: Some(24), colour: true }
}

/// What `lbctl --socket SOCKET ARGUMENTS` says, and how it ends.
async fn lbctl(socket: &Path, arguments: &[&str]) -> (Exit, String, String) {
    let program = ["lbctl", "--socket", socket.to_str().unwrap()];
    let cli = Cli::try_parse_from(program.iter().chain(arguments)).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = run(cli, no_terminal, &mut out, &mut err).await;
    (exit, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}
