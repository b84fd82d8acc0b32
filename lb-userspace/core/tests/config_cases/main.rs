//! Configurations and what is said about them, as data: `NNN-name.yaml` beside `NNN-name.expected`.
//!
//! `UPDATE_EXPECT=1` rewrites what is expected; read the difference before it is committed. A folder
//! `NNN-name.d` is the conf.d of a case. A line `# host: eth0 192.168.94.10/24` gives the machine an
//! address, and `# local ports: 1024 65000` another range than the usual one. For a case named
//! `NNN-right-…` the whole effective configuration is expected too.
#![allow(clippy::disallowed_methods, reason = "the cases are files")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use lb_core::config::diagnostic::{Code, render};
use lb_core::config::model::{Config, Mode};
use lb_core::config::{HostAddress, HostFacts, Source, check_against_host, effective, load, parse_local_ports};
use lb_core::tables::unsupported;

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

fn host(text: &str) -> Option<HostFacts> {
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
    let local_ports = text.lines().find_map(|line| line.strip_prefix("# local ports: "));
    let local_ports = local_ports.map_or(HostFacts::LOCAL_PORTS, |text| parse_local_ports(text).unwrap());
    (!addresses.is_empty()).then_some(HostFacts { addresses, local_ports })
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

/// The files of `configs/` by path, with their text.
fn deployments() -> Vec<Source> {
    let files = yaml_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs"));
    assert!(files.len() >= 4, "only {} files in configs", files.len());
    files
        .iter()
        .map(|file| Source { path: file.display().to_string(), text: fs::read_to_string(file).unwrap() })
        .collect()
}

/// Reads a deployment that must be right, and reads what is printed of it again.
fn right(deployment: Source) -> Config {
    let path = deployment.path.clone();
    let loaded = match load(&[deployment], &environment) {
        Ok(loaded) => loaded,
        Err(errors) => panic!("{}", errors.iter().map(render).collect::<String>()),
    };
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.iter().map(render).collect::<String>());
    let again = Source { path: "effective".into(), text: effective(&loaded.config) };
    assert_eq!(load(&[again], &environment).unwrap().config, loaded.config, "{path}");
    loaded.config
}

#[test]
fn every_deployment_in_configs_is_valid_without_a_warning_and_runs() {
    for deployment in deployments() {
        let path = deployment.path.clone();
        assert_eq!(unsupported(&right(deployment)), Vec::<String>::new(), "{path}");
    }
}

#[test]
fn the_example_of_the_readme_is_valid_and_runs() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md")).unwrap();
    let examples: Vec<&str> =
        readme.split("```yaml\n").skip(1).filter_map(|rest| rest.split_once("```").map(|(text, _)| text)).collect();
    assert_eq!(examples.len(), 1, "README.md has one configuration");
    let config = right(Source { path: "README.md".into(), text: examples[0].into() });
    assert_eq!(unsupported(&config), Vec::<String>::new());
}

/// Each block is one virtual service.
#[test]
fn the_examples_of_the_modes_are_valid_and_run() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/modes.md")).unwrap();
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split_once("```").map(|(text, _)| text));
    let mut modes = Vec::new();
    for block in blocks {
        let text = format!("version: 1\nnode: {{interfaces: [{{device: eth0}}]}}\nvirtual_services:\n{block}");
        let config = right(Source { path: "modes.md".into(), text });
        assert_eq!(unsupported(&config), Vec::<String>::new());
        modes.extend(config.virtual_services.iter().map(|service| service.mode));
    }
    assert_eq!(modes, [Mode::L4Dr, Mode::L4Nat, Mode::L4Snat]);
}

#[test]
fn what_is_commented_out_in_configs_is_valid_too() {
    let mut found = 0;
    for Source { path, text } in deployments() {
        let services = right(Source { path: path.clone(), text: text.clone() }).virtual_services.len();
        let mut blocks = 0;
        let whole = text.lines().map(|line| {
            let hidden = line.strip_prefix("#|");
            blocks += usize::from(hidden.is_some_and(|line| line.starts_with("  - name:")));
            hidden.unwrap_or(line).to_owned() + "\n"
        });
        let whole = Source { path: path.clone(), text: whole.collect() };
        assert_eq!(right(whole).virtual_services.len(), services + blocks, "{path}");
        found += blocks;
    }
    assert_eq!(found, 4, "services are commented out in three deployments");
}
