//! What is written is read; what cannot be read is put aside and costs nothing but itself.

use super::*;

/// A folder of this test's own, gone on drop.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("lb-file-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_was_written_is_read() {
    let folder = Folder::new("round");
    let path = folder.0.join("some.json");
    assert_eq!(read::<Vec<u32>>(&path, "nothing"), None);
    replace(&path, &vec![1_u32, 2]).unwrap();
    replace(&path, &vec![3_u32]).unwrap();
    assert_eq!(read::<Vec<u32>>(&path, "nothing"), Some(vec![3]));
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn a_file_that_is_no_json_is_put_aside() {
    let folder = Folder::new("bad");
    let path = folder.0.join("some.json");
    fs::write(&path, b"{\"cut\": [1, 2").unwrap();
    assert_eq!(read::<Vec<u32>>(&path, "nothing"), None);
    assert!(!path.exists());
    assert!(path.with_extension("unreadable").exists());
}

#[test]
fn a_file_that_cannot_be_written_is_named_and_the_old_one_stays() {
    let folder = Folder::new("directory");
    let path = folder.0.join("some.json");
    replace(&path, &7_u32).unwrap();
    fs::create_dir(path.with_extension("new")).unwrap();
    let error = replace(&path, &8_u32).unwrap_err().to_string();
    assert!(error.starts_with("cannot write ") && error.contains("some.json"), "{error}");
    assert_eq!(read::<u32>(&path, "nothing"), Some(7));
}
