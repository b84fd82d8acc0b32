//! A certificate from wherever it came, as the files that the configuration names.

use std::fs;
use std::io::{BufRead as _, Read as _};
use std::path::Path;
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::ImportArgs;
use crate::cli::exit::Failure;
use crate::cli::render::counted;
use crate::proxy::tls::bundle;

/// Longer ones nobody has.
const MOST_PASSWORD: u64 = 4096;

pub(super) fn run(args: &ImportArgs) -> Result<String, Failure> {
    let key_file = args.out.file("key");
    // A key that is where it belongs stays there.
    let in_place = args.files.iter().any(|file| same(file, &key_file));
    if in_place {
        args.out.check(&["pem"])?;
    } else {
        args.out.check(&["pem", "key"])?;
    }
    let password = args.password_file.as_deref().map(password).transpose()?;
    let bundle = bundle(&args.files, password.as_deref().map(String::as_str)).map_err(Failure::Refused)?;
    if !in_place {
        args.out.secret("key", &bundle.key)?;
    }
    args.out.public("pem", &bundle.chain)?;
    let view = bundle.view(SystemTime::now());
    let mut text = format!(
        "Wrote {} and {}: for {}, {}, signed by {}, {} in the chain.\n",
        args.out.file("pem").display(),
        key_file.display(),
        view.names.join(", "),
        view.key,
        view.issuer,
        counted(view.sent, "certificate")
    );
    for warning in bundle.warnings(SystemTime::now()) {
        text += &format!("Warning: {warning}.\n");
    }
    Ok(format!("{text}\n{}", args.out.advice()))
}

fn same(one: &Path, other: &Path) -> bool {
    fs::canonicalize(one).is_ok_and(|one| fs::canonicalize(other).is_ok_and(|other| one == other))
}

fn password(file: &Path) -> Result<Zeroizing<String>, Failure> {
    let mut line = Zeroizing::new(String::new());
    let read = if file == Path::new("-") {
        std::io::stdin().lock().take(MOST_PASSWORD).read_line(&mut line)
    } else {
        fs::File::open(file).and_then(|file| std::io::BufReader::new(file.take(MOST_PASSWORD)).read_line(&mut line))
    };
    read.map_err(|error| Failure::Refused(format!("the password cannot be read from {}: {error}", file.display())))?;
    Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()))
}
