use super::*;

/// A folder of its own, gone when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("lb-config-files-{}-{name}", std::process::id()));
        fs::create_dir_all(path.join(FOLDER)).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> &Self {
        fs::write(self.0.join(name), bytes).unwrap();
        self
    }

    fn main(&self) -> PathBuf {
        self.0.join("lb.yaml")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing depends on it being gone.
        let _ = fs::remove_dir_all(&self.0);
    }
}

const MAIN: &[u8] = b"version: 1\nnode: {interfaces: [{device: eth0}]}\n";

#[test]
fn the_files_of_conf_d_follow_in_the_order_of_their_names() {
    let folder = Folder::new("order");
    folder.write("lb.yaml", MAIN).write("conf.d/20-b.yaml", b"").write("conf.d/10-a.yaml", b"");
    folder.write("conf.d/.#30-c.yaml", b"x").write("conf.d/10-a.yaml~", b"x").write("conf.d/README", b"x");
    let names: Vec<String> = read(&folder.main())
        .unwrap()
        .iter()
        .map(|source| source.path.rsplit('/').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(names, ["lb.yaml", "10-a.yaml", "20-b.yaml"]);
}

#[test]
fn a_configuration_without_conf_d_is_the_main_file() {
    let folder = Folder::new("alone");
    fs::remove_dir(folder.0.join(FOLDER)).unwrap();
    folder.write("lb.yaml", MAIN);
    assert_eq!(read(&folder.main()).unwrap().len(), 1);
    assert_eq!(load(&folder.main()).unwrap().warnings.len(), 1);
}

#[test]
fn mistakes_of_all_files_come_together() {
    let folder = Folder::new("mistakes");
    folder.write("lb.yaml", b"version: 1\nnode: {}\n").write("conf.d/a.yaml", b"colour: green\n");
    let Err(LoadError::Invalid(mistakes)) = load(&folder.main()) else { panic!("there are mistakes") };
    assert_eq!(mistakes.len(), 2);
    assert!(mistakes[1].file.ends_with("conf.d/a.yaml"));
}

#[test]
fn what_cannot_be_read_is_said_in_a_sentence() {
    let folder = Folder::new("unreadable");
    let missing = read(&folder.main()).unwrap_err().to_string();
    assert!(missing.starts_with("there is no configuration at "), "{missing}");
    folder.write("lb.yaml", b"version: 1\nnode: \xff\n");
    let text = read(&folder.main()).unwrap_err().to_string();
    assert!(text.contains("line 2"), "{text}");
    folder.write("lb.yaml", MAIN).write("conf.d/a.yml", b"");
    let ending = read(&folder.main()).unwrap_err().to_string();
    assert!(ending.contains("end in .yaml"), "{ending}");
    fs::remove_file(folder.0.join("conf.d/a.yml")).unwrap();
    fs::create_dir(folder.0.join("conf.d/folder.yaml")).unwrap();
    assert!(matches!(read(&folder.main()), Err(ReadError::NotAFile(_))));
}

#[test]
fn this_machine_has_its_loopback_address_and_a_range_of_ports() {
    let host = host_facts().unwrap();
    let loopback = HostAddress { device: "lo".into(), address: "127.0.0.1".parse().unwrap(), prefix: 8 };
    assert!(host.addresses.contains(&loopback), "{host:?}");
    assert!(host.local_ports.first < host.local_ports.last, "{host:?}");
}
