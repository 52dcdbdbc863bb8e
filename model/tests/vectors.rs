// SPDX-License-Identifier: GPL-2.0-only
//! The model against everything that the Coq definitions computed, and proof that the comparison can fail.

use model::replay::{LibraryTally, Model, Script, Tally, Verdict, is_modelled, run};
use std::fs;
use std::path::{Path, PathBuf};

/// Where the vectors are.
fn vectors() -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    assert!(dir.is_dir(), "the test vectors are missing: {} is no directory", dir.display());
    dir
}

/// The text of one of the vectors' files.
fn read(name: &str) -> String {
    let path = vectors().join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Names of all files of scripts.
fn files() -> Vec<String> {
    let names = fs::read_dir(vectors()).expect("the vectors can be listed");
    let names = names.map(|entry| entry.expect("a directory entry").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".jsonl")).collect();
    names.sort();
    names
}

#[test]
fn the_model_agrees_with_all_vectors() {
    let files = files();
    for needed in ["high.jsonl", "low.jsonl", "undefined.jsonl"] {
        assert!(files.iter().any(|file| file == needed), "{needed} is missing");
    }
    for file in files {
        let tally = Tally::of::<Model>(&read(&file));
        println!("{file}: model: {tally}");
        assert!(tally.passed > 0, "{file} is empty");
        assert!(tally.failures.is_empty(), "{file}: {}", tally.failures[0]);
        assert!(tally.not_modelled.is_empty(), "{file}: not modelled: {:?}", tally.not_modelled);
    }
}

#[test]
fn the_library_agrees_with_all_vectors() {
    for file in files() {
        let tally = LibraryTally::of(&read(&file));
        println!("{file}: library: {tally}, at {:?}", tally.deviations);
        assert!(tally.passed > 0, "{file} is empty");
        assert!(tally.failures.is_empty(), "{file}: {}", tally.failures[0]);
        assert!(tally.unknown.is_empty(), "{file}: not in the library: {:?}", tally.unknown);
    }
}

#[test]
fn every_function_of_the_signatures_is_modelled() {
    let signatures: serde_json::Value = serde_json::from_str(&read("signatures.json")).expect("JSON");
    let names = signatures.as_object().expect("an object").keys();
    let missing: Vec<&String> = names.filter(|name| !is_modelled(name)).collect();
    assert!(missing.is_empty(), "not modelled: {missing:?}");
}

/// A script that the model passes: a VM gets a page.
const SCRIPT: &str = r#"{"id":"t","kind":"t","init":"high","steps":[
    {"fn":"register_kvm","args":[],"ret":1,"halt":false},
    {"fn":"assign_pfn_to_vm","args":[1,5,262149],"halt":false}],
    "final":{"halt":false,"tstate":1,"curid":0,"cur_vmid":0,"cur_vcpuid":0,
    "core_data":{"next_vmid":2,"next_remap_ptr":33554432},"locks":{},"s2page":[[262149,1,1,0,5]],
    "flatmem":{"count":1,"sum":10878421575804009366,"entries":[[262149,16481712997681181849]]},
    "vms":{"1":{"kvm":268439552,"state":2}},"smmu_vmid":{},"npts":{},"spts":{},"regs":{},"ctxts":{},
    "data_log":{"1":1},"core_data_log":{},"log_len":{"0":1,"1":4,"2":4,"5":4,"23":4}}}"#;

/// Runs [`SCRIPT`] with `from` replaced by `to`.
fn run_changed(from: &str, to: &str) -> Verdict {
    assert!(SCRIPT.contains(from), "the script has no {from}");
    run::<Model>(&Script::parse(&SCRIPT.replacen(from, to, 1)).expect("a script"))
}

/// What a failed run says: the step's number, what was expected and what came.
fn failure(from: &str, to: &str) -> (Option<usize>, String, String) {
    match run_changed(from, to) {
        Verdict::Failed(failure) => (failure.step.map(|step| step.0), failure.expected, failure.got),
        other => panic!("{from} -> {to}: {other:?}"),
    }
}

#[test]
fn an_unchanged_script_passes() {
    assert_eq!(run_changed("register_kvm", "register_kvm"), Verdict::Passed);
}

#[test]
fn a_wrong_result_is_detected() {
    let (step, expected, got) = failure(r#""ret":1"#, r#""ret":2"#);
    assert_eq!((step, expected.as_str(), got.as_str()), (Some(0), "2, halt false", "1, halt false"));
}

#[test]
fn a_missing_result_is_detected() {
    assert_eq!(failure(r#""ret":1,"#, "").0, Some(0));
}

#[test]
fn a_wrong_halt_flag_is_detected() {
    let (step, ..) = failure(r#"[1,5,262149],"halt":false"#, r#"[1,5,262149],"halt":true"#);
    assert_eq!(step, Some(1));
}

#[test]
fn a_wrong_argument_is_detected() {
    let (step, expected, got) = failure("[1,5,262149]", "[1,6,262149]");
    assert_eq!((step, expected.as_str(), got.as_str()), (None, "s2page/262149=1 0 5", "s2page/262149=1 0 6"));
}

#[test]
fn an_undefined_step_is_detected() {
    let (step, _, got) = failure("[1,5,262149]", "[17,5,262149]");
    assert_eq!((step, got.as_str()), (Some(1), "undefined"));
}

#[test]
fn every_part_of_the_final_state_is_compared() {
    for (from, to) in [
        (r#""tstate":1"#, r#""tstate":0"#),
        (r#""curid":0"#, r#""curid":1"#),
        (r#""next_vmid":2"#, r#""next_vmid":3"#),
        (r#""locks":{}"#, r#""locks":{"2":"own_true"}"#),
        (r#"[[262149,1,1,0,5]]"#, "[]"),
        (r#"[[262149,1,1,0,5]]"#, "[[262149,2,1,0,5]]"),
        (r#""sum":10878421575804009366"#, r#""sum":10878421575804009367"#),
        ("16481712997681181849", "16481712997681181848"),
        (r#""state":2"#, r#""state":3"#),
        (r#""smmu_vmid":{}"#, r#""smmu_vmid":{"0":1}"#),
        (r#""npts":{}"#, r#""npts":{"0":{"pt":[[1,1,1,3,4096]]}}"#),
        (r#""npts":{}"#, r#""npts":{"0":{"pmd_t":{"0/1":[2]}}}"#),
        (r#""spts":{}"#, r#""spts":{"pt":{"65536":[[1,1,1,4096]]}}"#),
        (r#""regs":{}"#, r#""regs":{"regs":{"x0":1}}"#),
        (r#""ctxts":{}"#, r#""ctxts":{"8":{"states":{"pc":1}}}"#),
        (r#""data_log":{"1":1}"#, r#""data_log":{"1":2}"#),
        (r#""core_data_log":{}"#, r#""core_data_log":{"1":1}"#),
        (r#""23":4"#, r#""23":6"#),
        (r#""spts":{}"#, r#""spts":{},"bars":"barriered""#),
    ] {
        assert_eq!(failure(from, to).0, None, "{from} -> {to}");
    }
}

#[test]
fn a_defined_call_is_no_undefined_one() {
    let script = r#"{"id":"t","kind":"probe","init":"high","steps":[],"undefined":{"fn":"FN","args":[ARGS]}}"#;
    let run = |name, args| {
        let script = script.replace("FN", name).replace("ARGS", args);
        run::<Model>(&Script::parse(&script).expect("a script"))
    };
    assert_eq!(run("gen_vmid_of_another_kind", ""), Verdict::NotModelled("gen_vmid_of_another_kind".into()));
    assert_eq!(run("get_vm_poweron", "17"), Verdict::Passed);
    assert!(matches!(run("get_vm_poweron", "16"), Verdict::Failed(_)));
    assert!(matches!(run("get_vm_poweron", "16,1"), Verdict::Failed(_)));
    assert!(matches!(run("get_vm_poweron", "4294967312"), Verdict::Failed(_)));
}

#[test]
fn numbers_beyond_what_a_double_holds_are_exact() {
    let large = SCRIPT.replacen("assign_pfn_to_vm\",\"args\":[1,5,262149]", "check64\",\"args\":[9007199254740993]", 1);
    let script = Script::parse(&large).expect("a script");
    assert_eq!(script.steps[1].to_string(), "check64(9007199254740993)");
    assert!(Script::parse("{\"id\":\"t\"}").is_err());
    assert_eq!(Tally::of::<Model>("no json").failures.len(), 1);
}
