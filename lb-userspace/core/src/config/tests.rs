use super::*;

fn source(text: &str) -> Vec<Source> {
    vec![Source { path: "/etc/lb/lb.yaml".into(), text: text.into() }]
}

fn no_environment(_: &str) -> Option<String> {
    None
}

#[test]
fn product_example() {
    let text = include_str!("../../../../configs/harmonic-vos.yaml");
    match load(&source(text), &no_environment) {
        Ok(loaded) => {
            println!("{}", effective(&loaded.config));
            for w in loaded.warnings { println!("{w}"); }
        }
        Err(errors) => { for e in errors { println!("{e}"); } panic!() }
    }
}
