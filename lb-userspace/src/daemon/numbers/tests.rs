use std::path::PathBuf;

use lb_common::abi::{Address, Server, ServerState, Service, ServiceMode};

use super::*;

/// A folder of its own, gone when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("lb-numbers-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing depends on it being gone.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn identity(server: &str, address: &str) -> ServerIdentity {
    ServerIdentity {
        service: "web".to_owned(),
        server: server.to_owned(),
        address: address.parse().unwrap(),
        port: None,
    }
}

/// Numbers of one service with two servers, and tables that use them.
fn in_use() -> (Ids, Installed) {
    let mut ids = Ids::new();
    let service = ids.service("web").unwrap();
    let mut installed = Installed::default();
    let mode = ServiceMode::DirectRouting as u8;
    installed.services.insert(service, Service { mode, ..Service::default() });
    for (server, address) in [("a", "10.0.0.1"), ("b", "2001:db8::2")] {
        let identity = identity(server, address);
        let number = ids.server(&identity).unwrap();
        let entry = Server {
            generation: 7,
            state: ServerState::Active as u8,
            service,
            address: Address::from(identity.address),
            ..Server::default()
        };
        installed.servers.insert(number, entry);
    }
    (ids, installed)
}

fn servers(ids: &Ids) -> Vec<(ServerIdentity, u32)> {
    ids.servers().map(|(identity, number)| (identity.clone(), number)).collect()
}

#[test]
fn numbers_that_were_kept_are_adopted_with_their_names() {
    let folder = Folder::new("kept");
    let (ids, installed) = in_use();
    keep(&folder.0, &ids).unwrap();
    let adopted = adopt(&folder.0, &installed).unwrap();
    assert_eq!(servers(&adopted), servers(&ids));
    assert_eq!(adopted.services().collect::<Vec<_>>(), ids.services().collect::<Vec<_>>());
    assert_eq!(folder.names(), ["numbers.json"], "nothing is left beside it");
}

#[test]
fn a_port_is_part_of_the_name() {
    let folder = Folder::new("port");
    let (mut ids, mut installed) = in_use();
    let with_port = ServerIdentity { port: Some(8080), ..identity("c", "10.0.0.3") };
    let number = ids.server(&with_port).unwrap();
    let address = Address::from(with_port.address);
    installed.servers.insert(number, Server { generation: 1, service: 1, port: 8080, address, ..Server::default() });
    keep(&folder.0, &ids).unwrap();
    assert_eq!(servers(&adopt(&folder.0, &installed).unwrap()), servers(&ids));
}

#[test]
fn without_the_file_or_with_garbage_numbers_in_the_tables_are_not_given_again() {
    let folder = Folder::new("lost");
    let (ids, installed) = in_use();
    for text in [None, Some(&b""[..]), Some(b"{\"services\": 5}"), Some(b"\xff\x00")] {
        forget(&folder.0).unwrap();
        if let Some(text) = text {
            fs::write(path(&folder.0), text).unwrap();
        }
        let mut adopted = adopt(&folder.0, &installed).unwrap();
        assert_eq!(servers(&adopted), [], "{text:?}");
        let taken: Vec<u32> = ids.servers().map(|(_, number)| number).collect();
        let given = adopted.server(&identity("a", "10.0.0.1")).unwrap();
        assert!(!taken.contains(&given), "{text:?}: flows of another server may carry {given}");
        assert_ne!(adopted.service("web").unwrap(), 1, "{text:?}");
    }
}

#[test]
fn a_file_that_is_out_of_date_names_nothing_wrong() {
    let folder = Folder::new("old");
    let (ids, mut installed) = in_use();
    keep(&folder.0, &ids).unwrap();
    // The daemon died after it had given number 1 to another machine.
    installed.servers.get_mut(&1).unwrap().address = Address::v4([10, 0, 0, 99]);
    let adopted = adopt(&folder.0, &installed).unwrap();
    assert_eq!(servers(&adopted), [(identity("b", "2001:db8::2"), 2)]);
}

#[test]
fn empty_tables_need_no_names() {
    let folder = Folder::new("empty");
    keep(&folder.0, &in_use().0).unwrap();
    let adopted = adopt(&folder.0, &Installed::default()).unwrap();
    assert_eq!(servers(&adopted), []);
    assert_eq!(adopted.services().count(), 0);
}

#[test]
fn a_folder_that_is_not_there_is_said_and_the_old_file_stays() {
    let folder = Folder::new("gone");
    let (ids, installed) = in_use();
    let error = keep(&folder.0.join("nowhere"), &ids).unwrap_err();
    let sentence = format!("{error:#}");
    assert!(sentence.starts_with("cannot write ") && sentence.contains("nowhere/numbers.json"), "{sentence}");

    keep(&folder.0, &ids).unwrap();
    // What is written beside it cannot be: a folder has its name.
    fs::create_dir(folder.0.join("numbers.new")).unwrap();
    assert!(keep(&folder.0, &Ids::new()).is_err());
    assert_eq!(servers(&adopt(&folder.0, &installed).unwrap()), servers(&ids));
}

#[test]
fn names_that_are_kept_already_need_no_room() {
    let folder = Folder::new("same");
    let (ids, _) = in_use();
    keep(&folder.0, &ids).unwrap();
    // As on a full disk: nothing can be written beside it.
    fs::create_dir(folder.0.join("numbers.new")).unwrap();
    keep(&folder.0, &ids).unwrap();
    assert!(keep(&folder.0, &Ids::new()).is_err());
}

#[test]
fn a_file_of_any_size_is_not_read_to_its_end() {
    let folder = Folder::new("huge");
    let (ids, installed) = in_use();
    keep(&folder.0, &ids).unwrap();
    let whole = fs::read(path(&folder.0)).unwrap();
    let longest = usize::try_from(file::MOST_BYTES).unwrap();
    let padded = |length: usize| [whole.as_slice(), &vec![b' '; length - whole.len()]].concat();
    fs::write(path(&folder.0), padded(longest)).unwrap();
    assert_eq!(servers(&adopt(&folder.0, &installed).unwrap()), servers(&ids));
    fs::write(path(&folder.0), padded(longest + 1)).unwrap();
    assert_eq!(servers(&adopt(&folder.0, &installed).unwrap()), []);
}

#[test]
fn what_is_forgotten_is_gone_and_may_be_forgotten_again() {
    let folder = Folder::new("forgotten");
    keep(&folder.0, &in_use().0).unwrap();
    forget(&folder.0).unwrap();
    forget(&folder.0).unwrap();
    assert!(folder.names().is_empty());
}
