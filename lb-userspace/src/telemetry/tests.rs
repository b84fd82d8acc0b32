use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tracing::info;

use super::*;

/// What was written.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_journal_is_chosen_by_itself_only_when_standard_error_goes_there() {
    for (format, journal, form) in [
        (LogFormat::Auto, true, Form::Journal),
        (LogFormat::Auto, false, Form::Text),
        (LogFormat::Text, true, Form::Text),
        (LogFormat::Json, true, Form::Json),
        (LogFormat::Journal, false, Form::Journal),
    ] {
        assert_eq!(format.form(journal), form, "{format:?} {journal}");
    }
}

#[test]
fn the_journals_stream_is_known_by_device_and_inode() {
    for (variable, is) in [
        ("9:12345", true),
        ("9:1234", false),
        ("8:12345", false),
        ("9", false),
        ("", false),
        ("9:12345:1", false),
        (":", false),
        ("nine:12345", false),
    ] {
        assert_eq!(journal::is_stream(variable, 9, 12345), is, "{variable}");
    }
}

#[test]
fn each_event_is_one_object_with_its_fields_beside_the_message() {
    let written = Written::default();
    let log = written.clone();
    let subscriber = tracing_subscriber::registry().with(format::json().with_writer(move || log.clone()));
    tracing::subscriber::with_default(subscriber, || {
        info!(service = "web", server = "HT1", "real server is \"up\"\nagain");
        warn!(count = 3, "odd");
    });
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [first, second] = &lines[..] else { panic!("two events are two lines: {text}") };
    let keys: Vec<&str> = first.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["level", "message", "server", "service", "timestamp"]);
    assert_eq!(first["message"], "real server is \"up\"\nagain");
    assert_eq!((&first["service"], &first["server"], &first["level"]), (&"web".into(), &"HT1".into(), &"INFO".into()));
    assert!(first["timestamp"].as_str().unwrap().ends_with('Z'), "{first}");
    assert_eq!((&second["count"], &second["level"]), (&3.into(), &"WARN".into()));
}

#[test]
fn a_filter_that_is_none_is_said_and_the_default_serves() {
    for (given, bad) in [(None, false), (Some(""), false), (Some("warn"), false), (Some("lb_core=loud"), true)] {
        let (used, said) = filter(given.map(str::to_owned), "info");
        assert_eq!(said.is_some(), bad, "{given:?}: {said:?}");
        assert!(used.to_string().contains("lbd::end=error"), "{used}");
    }
    assert!(filter(Some("off".to_owned()), "info").0.to_string().contains("off"));
}
