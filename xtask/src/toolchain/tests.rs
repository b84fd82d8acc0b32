use super::*;

fn compiler(origin: &str, release: &str, llvm: u32, source: Option<&str>) -> Compiler {
    Compiler {
        origin: origin.to_owned(),
        rustc: "/usr/bin/rustc".into(),
        cargo: "cargo".into(),
        version: Version { release: release.to_owned(), llvm },
        source: source.map(str::to_owned),
    }
}

fn linker(llvm: Option<u32>) -> Linker {
    Linker { path: "/bin/bpf-linker".into(), llvm }
}

fn gap_of(compilers: &[Compiler], linker: Option<&Linker>) -> Gap {
    let Err(mut gaps) = choose(compilers, linker) else { panic!("a road was found") };
    gaps.remove(0).1
}

#[test]
fn the_first_complete_road_is_taken_and_the_others_are_explained() {
    let compilers = [
        compiler("rustup nightly", "1.97.0-nightly", 22, None),
        compiler("rustup stable", "1.95.0", 22, None),
        compiler("Debian rustc-web", "1.96.0", 22, Some("1.96.0")),
    ];
    let Ok(road) = choose(&compilers, Some(&linker(Some(22)))) else { panic!("Debian's is complete") };
    assert_eq!(road.compiler.origin, "Debian rustc-web");
    assert_eq!(
        road.explanation,
        "BPF toolchain: Debian rustc-web 1.96.0 (LLVM 22), bpf-linker with LLVM 22 \
         (not rustup nightly, rustup stable: the library source, rust-src, is missing)"
    );
}

#[test]
fn source_of_another_version_is_refused() {
    let compilers = [compiler("Debian rustc-web", "1.96.0", 22, Some("1.96.1"))];
    let gap = gap_of(&compilers, Some(&linker(Some(22))));
    assert_eq!(gap, Gap::SourceOfOther { release: "1.96.0".into(), source: "1.96.1".into() });
}

#[test]
fn a_linker_older_than_the_compilers_llvm_is_refused_and_a_newer_one_is_not() {
    let nightly = [compiler("rustup nightly", "1.99.0-nightly", 23, Some("1.99.0-nightly"))];
    assert_eq!(gap_of(&nightly, Some(&linker(Some(22)))), Gap::LinkerTooOld { linker: 22, compiler: 23 });
    assert!(choose(&nightly, Some(&linker(Some(23)))).is_ok());
    assert!(choose(&nightly, Some(&linker(None))).is_ok());
}

#[test]
fn an_old_compiler_is_refused() {
    let old = [compiler("Debian rustc-web", "1.63.0", 14, Some("1.63.0"))];
    assert_eq!(gap_of(&old, Some(&linker(Some(22)))), Gap::TooOld { release: "1.63.0".into() });
}

#[test]
fn on_an_empty_machine_debians_compiler_and_a_linker_are_wanted() {
    let wanted = wanted_by(&[], None);
    assert_eq!(wanted, Wanted { packages: vec!["rustc-web", "rust-web-src", "llvm-22-dev", "g++"], linker: true });
}

#[test]
fn a_nightly_that_only_lacks_a_linker_gets_one() {
    let nightly = [compiler("rustup nightly", "1.97.0-nightly", 22, Some("1.97.0-nightly"))];
    assert_eq!(wanted_by(&nightly, None), Wanted { packages: vec!["llvm-22-dev", "g++"], linker: true });
}

#[test]
fn a_nightly_too_new_for_any_linker_we_can_build_is_left_aside() {
    let nightly = [compiler("rustup nightly", "1.99.0-nightly", 23, Some("1.99.0-nightly"))];
    let wanted = wanted_by(&nightly, Some(&linker(Some(22))));
    assert_eq!(wanted, Wanted { packages: vec!["rustc-web", "rust-web-src"], linker: false });
}

#[test]
fn a_complete_road_wants_nothing() {
    let compilers = [compiler("Debian rustc-web", "1.96.0", 22, Some("1.96.0"))];
    assert_eq!(wanted_by(&compilers, Some(&linker(Some(22)))), Wanted::default());
}
