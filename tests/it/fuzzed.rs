//! The kept corpus of the fuzz targets, replayed: what was found once, or was hard to reach, is tried with every run of the tests.

use std::{collections::BTreeSet, fs, path::Path};

#[allow(unreachable_pub, reason = "there it is a crate, here a module")]
#[path = "../../fuzz/src/lib.rs"]
mod checks;

#[test]
fn what_fuzzing_kept_breaks_no_promise() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for &(name, check) in checks::CHECKS {
        check(b"");
        let inputs: Vec<_> = fs::read_dir(corpus.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!inputs.is_empty(), "nothing was kept for {name}");
        for input in inputs {
            // The last one named is the one that panicked.
            println!("{}", input.display());
            check(&fs::read(&input).unwrap());
        }
    }
}

#[test]
fn every_kept_corpus_and_every_target_has_its_check() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let stems = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(fuzz.join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let names = checks::CHECKS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(stems("corpus"), names);
    assert_eq!(stems("targets"), names);
}
