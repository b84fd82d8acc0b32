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
use lb_core::config::model::{Config, Mode, VirtualService};
use lb_core::config::{
    HostAddress, HostFacts, Source, check_against_host, effective, load, parse_local_ports, print_duration,
};
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
    // It takes hundreds of mistakes, and is tested where they are generated; a file that cannot be used takes a disk,
    // and is tested where the shell reads it.
    const GENERATED: &[Code] = &[Code::TooManyProblems, Code::UnusableFile];
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
    assert!(files.len() >= 6, "only {} files in configs", files.len());
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
    assert_eq!(modes, [Mode::L4Dr, Mode::L4Nat, Mode::L4Snat, Mode::L7Tcp, Mode::L7Http]);
}

/// A service in one line: what a guide says of it.
fn summary(service: &VirtualService) -> String {
    let ports: Vec<String> = service.ports.iter().map(ToString::to_string).collect();
    let persistence = service.persistence.as_ref().map_or("none".to_owned(), |of| print_duration(of.timeout));
    let check = serde_json::to_value(&service.health_check.probe).unwrap()["type"].as_str().unwrap().to_owned();
    let port = service.check_port(&service.real_servers[0]).map_or(String::new(), |port| format!(":{port}"));
    let servers: Vec<String> = service
        .real_servers
        .iter()
        .map(|server| {
            let port = server.port.map_or(String::new(), |port| format!(":{port}"));
            format!("{} {}{port}{}", server.name, server.address, if server.tls.is_some() { " tls" } else { "" })
        })
        .collect();
    let (protocol, mode) = (word(&service.protocol), word(&service.mode));
    format!(
        "{} {} {protocol} {} {mode} persistence {persistence} check {check}{port} -> {}",
        service.name,
        service.address,
        ports.join(","),
        servers.join(", ")
    )
}

fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).unwrap().as_str().unwrap().to_owned()
}

#[test]
fn the_deployments_are_those_of_their_guides() {
    let mut summaries = Vec::new();
    for deployment in deployments() {
        let name = Path::new(&deployment.path).file_stem().unwrap().to_string_lossy().into_owned();
        summaries.extend(right(deployment).virtual_services.iter().map(|of| format!("{name}: {}", summary(of))));
    }
    assert_eq!(
        summaries,
        [
            "dynamyx: IIS_VIP 192.168.86.177 tcp 443 l7-tcp persistence 5m check connect:443 -> \
             IIS1 192.168.86.50, IIS2 192.168.86.51",
            "dynamyx: DA_VIP 192.168.86.166 tcp 9001 l7-tcp persistence none check connect:9001 -> \
             DA1 192.168.86.50, DA2 192.168.86.51",
            "harmonic-vos: Harmonic_Management 192.168.94.100 tcp 8080,8443 l7-tcp persistence 5m check https:8443 -> \
             HM1 192.168.94.105, HM2 192.168.94.106",
            "harmonic-vos: Harmonic_Traffic 192.168.94.110 tcp+udp 554,1935,50000-65535 l4-dr persistence 5m check \
             https:8443 -> HT1 192.168.94.115, HT2 192.168.94.116",
            "icas-fs: iCAS-FS-S3 192.168.110.65 tcp 80 l7-http persistence none check https:443 -> \
             iCAS-FS-1 192.168.110.70:443 tls, iCAS-FS-2 192.168.110.71:443 tls",
            "icas-fs: iCAS-FS-SMB 192.168.110.65 tcp 445 l7-tcp persistence none check connect:445 -> \
             iCAS-FS-1 192.168.110.70:445, iCAS-FS-2 192.168.110.71:445",
            "icas-fs: iCAS-FS-NFS 192.168.110.65 tcp 111,2049 l7-tcp persistence none check connect:2049 -> \
             iCAS-FS-1 192.168.110.70, iCAS-FS-2 192.168.110.71",
            "insignia: DS_DICOM 172.26.11.70 tcp 104 l4-dr persistence 5m check dicom-echo:104 -> \
             DS1 172.26.11.100, DS2 172.26.11.103",
            "insignia: HL7 172.26.11.71 tcp 2575 l7-tcp persistence none check ping -> IMS1 172.26.11.101:2575",
            "minimal: web 192.168.10.80 tcp 80 l4-dr persistence none check connect:80 -> \
             web1 192.168.10.81, web2 192.168.10.82",
            "parallels-ras: RAS-SG-HTTPS 10.20.90.105 tcp 443 l7-tcp persistence 6m check connect:443 -> \
             RAS_Server1 10.11.20.106:443, RAS_Server2 10.11.20.107:443",
            "parallels-ras: RAS-Web-HTTP 10.20.90.105 tcp 80 l7-tcp persistence 6m check connect:80 -> \
             RAS_Server1 10.11.20.106:80, RAS_Server2 10.11.20.107:80",
            "parallels-ras: RAS-SG-UDP 10.20.90.105 udp 443 l4-snat persistence 6h check ping -> \
             RAS_Server1 10.11.20.106:443, RAS_Server2 10.11.20.107:443",
        ]
    );
}
