//! Configurations and what is said about them, as data: `NNN-name.yaml` beside `NNN-name.expected`.
//!
//! `UPDATE_EXPECT=1` rewrites what is expected; read the difference before it is committed. A folder
//! `NNN-name.d` is the conf.d of a case. A line `# host: eth0 192.168.94.10/24` gives the machine an
//! address. For a case named `NNN-right-…` the whole effective configuration is expected too.

#![allow(clippy::disallowed_methods, reason = "the cases are files")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use lb_core::config::diagnostic::{Code, render};
use lb_core::config::{HostAddress, HostAddresses, Source, check_against_host, effective, load};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config_cases")
}

fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}

fn sources(case: &Path) -> Vec<Source> {
    let mut sources = vec![Source { path: "lb.yaml".into(), text: fs::read_to_string(case).unwrap() }];
    let more = case.with_extension("d");
    if more.is_dir() {
        for file in yaml_files(&more) {
            let path = format!("conf.d/{}", file.file_name().unwrap().to_string_lossy());
            sources.push(Source { path, text: fs::read_to_string(&file).unwrap() });
        }
    }
    sources
}

fn environment(name: &str) -> Option<String> {
    match name {
        "VIP" => Some("192.168.94.110".into()),
        "PORT" => Some("8443".into()),
        "HOSTILE" => Some("x\nmode: l4-dr".into()),
        _ => None,
    }
}

fn host(text: &str) -> Option<HostAddresses> {
    let address = |line: &str| {
        let (device, network) = line.strip_prefix("# host: ")?.split_once(' ')?;
        let (address, prefix) = network.split_once('/')?;
        Some(HostAddress {
            device: device.into(),
            address: address.parse().unwrap(),
            prefix: prefix.trim().parse().unwrap(),
        })
    };
    let addresses: Vec<HostAddress> = text.lines().filter_map(address).collect();
    (!addresses.is_empty()).then_some(HostAddresses { addresses })
}

fn outcome(case: &Path) -> String {
    let sources = sources(case);
    match load(&sources, &environment) {
        Err(diagnostics) => diagnostics.iter().map(render).collect::<Vec<_>>().join("\n"),
        Ok(loaded) => {
            let mut diagnostics = loaded.warnings.clone();
            if let Some(host) = host(&sources[0].text) {
                diagnostics.extend(check_against_host(&loaded.config, &loaded.places, &host));
            }
            let mut text = diagnostics.iter().map(render).collect::<Vec<_>>().join("\n");
            if case.to_string_lossy().contains("-right-") {
                text.push_str(&effective(&loaded.config));
            } else if diagnostics.is_empty() {
                text.push_str("nothing to report\n");
            }
            text
        }
    }
}

#[test]
fn every_case_says_what_is_expected() {
    let cases = yaml_files(&folder());
    assert!(cases.len() >= 60, "only {} cases were found", cases.len());
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut wrong = Vec::new();
    for case in &cases {
        let expected = case.with_extension("expected");
        let actual = outcome(case);
        if update {
            fs::write(&expected, actual).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != actual {
            wrong.push(format!("{}:\n{actual}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n\n{}", wrong.len(), wrong.join("\n\n"));
}

#[test]
fn every_code_is_shown_by_a_case() {
    // It takes hundreds of mistakes, and is tested where they are generated.
    const GENERATED: &[Code] = &[Code::TooManyProblems];
    let mut shown: BTreeSet<&Code> = BTreeSet::new();
    for case in yaml_files(&folder()) {
        let expected = fs::read_to_string(case.with_extension("expected")).unwrap();
        shown.extend(Code::ALL.iter().filter(|code| expected.contains(&format!("[{}]", code.id()))));
    }
    let missing: Vec<_> = Code::ALL.iter().filter(|code| !shown.contains(code) && !GENERATED.contains(code)).collect();
    assert!(missing.is_empty(), "no case shows {missing:?}");
}

#[test]
fn every_deployment_in_configs_is_valid_without_a_warning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let files = yaml_files(&folder);
    assert!(files.len() >= 3, "only {} files in configs", files.len());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let path = file.display().to_string();
        let loaded = match load(&[Source { path, text }], &environment) {
            Ok(loaded) => loaded,
            Err(errors) => panic!("{}", errors.iter().map(render).collect::<String>()),
        };
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.iter().map(render).collect::<String>());
        let again = Source { path: "effective".into(), text: effective(&loaded.config) };
        assert_eq!(load(&[again], &environment).unwrap().config, loaded.config, "{}", file.display());
    }
}
