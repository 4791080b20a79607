//! Autotuning: measured once, asked again when a source changes, and never a wrong candidate.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use secateur::gpu::{Contest, Gpu, GpuError, GpuOptions, Kernel, Question, Recording, TuneMode, TuneRecord};
use secateur::ops::Variant;
use secateur::ops::dense::{
    self, GEMM_COOPERATIVE, GEMM_REGISTER, GEMM_SUBGROUP, GEMM_TILED, GRAM_REGISTER, GRAM_SUBGROUP, GRAM_TILED, Gemm,
    Layout,
};
use secateur::tensor::{DType, Tensor};

use crate::common::{cooperative, devices, own_devices, reopen, subgroups};

/// A device on a software adapter, with results in `file`.
fn tuned(mode: TuneMode, file: &Path) -> Gpu {
    let device = devices().iter().find(|gpu| !gpu.is_host()).expect("an adapter");
    let options = GpuOptions {
        tune: Some(mode),
        tune_file: Some(file.to_path_buf()),
        ..GpuOptions::default()
    };
    reopen(device, options)
}

/// The fastest by the seconds that the file has of the question. That it is the one which sleeps least, no test can claim:
/// a busy machine lets the others catch up.
fn fastest(file: &Path, stem: &str) -> usize {
    let entries: BTreeMap<String, TuneRecord> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let (_, found) = entries.iter().find(|(key, _)| key.starts_with(stem)).unwrap();
    let mut medians = Vec::new();
    for (i, (trial, (name, _, pause))) in found.trials.iter().zip(&CANDIDATES).enumerate() {
        assert_eq!(trial.candidate, *name);
        let mut seconds = trial.seconds.clone();
        seconds.sort_by(f64::total_cmp);
        assert_eq!(seconds.len(), if trial.rejected.is_none() { 5 } else { 0 });
        assert!(seconds.iter().all(|s| *s >= *pause as f64 * 1e-3), "{trial:?}");
        medians.extend(seconds.get(2).map(|median| (*median, i)));
    }
    let least = medians.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).unwrap().1;
    assert_eq!(found.chosen, CANDIDATES[least].0);
    least
}

/// Candidates that take their time and may be wrong; counts how often each is asked for.
struct Fake<'a> {
    candidates: [(&'static str, &'static str, u64); 3],
    wrong: Option<usize>,
    broken: Option<usize>,
    plays: &'a RefCell<[usize; 3]>,
}

impl Contest for Fake<'_> {
    fn candidates(&self) -> Vec<(String, String)> {
        let pairs = self.candidates.iter();
        pairs
            .map(|(name, source, _)| (name.to_string(), source.to_string()))
            .collect()
    }

    fn check(&self, candidate: usize) -> Result<Option<String>, GpuError> {
        Ok((self.wrong == Some(candidate)).then(|| "planted".to_string()))
    }

    fn play(&self, candidate: usize) -> Result<(), GpuError> {
        self.plays.borrow_mut()[candidate] += 1;
        if self.broken == Some(candidate) {
            return Err(GpuError::TuneMode {
                value: "planted".into(),
            });
        }
        std::thread::sleep(std::time::Duration::from_millis(self.candidates[candidate].2));
        Ok(())
    }
}

/// Each with the milliseconds it sleeps.
const CANDIDATES: [(&str, &str, u64); 3] = [("a", "source a", 60), ("b", "source b", 0), ("c", "source c", 20)];

fn question() -> Question {
    Question::new("test/fake", &[1], &[100, 1000])
}

#[test]
fn measured_once_for_all_processes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("deep/tune.json");
    let plays = RefCell::new([0; 3]);
    let fake = |wrong, broken| Fake {
        candidates: CANDIDATES,
        wrong,
        broken,
        plays: &plays,
    };
    let ask = |mode| tuned(mode, &file).tuned(&question(), || Ok(fake(None, None)));
    assert_eq!(ask(TuneMode::Off), 0);
    assert_eq!(ask(TuneMode::Load), 0, "nothing is known yet");
    assert_eq!(*plays.borrow(), [0; 3]);
    let chosen = ask(TuneMode::Full);
    assert_eq!(chosen, fastest(&file, "test/fake"));
    assert_eq!(*plays.borrow(), [8; 3], "3 to warm up, 5 that count");
    assert_eq!(ask(TuneMode::Full), chosen);
    assert_eq!(ask(TuneMode::Load), chosen);
    assert_eq!(*plays.borrow(), [8; 3], "a second run measures nothing");
    // Sizes of the same rounded logarithm are the same question, others are not.
    let near = Question::new("test/fake", &[1], &[120, 900]);
    assert_eq!(
        tuned(TuneMode::Load, &file).tuned(&near, || Ok(fake(None, None))),
        chosen
    );
    let far = Question::new("test/fake", &[1], &[300, 900]);
    assert_eq!(tuned(TuneMode::Load, &file).tuned(&far, || Ok(fake(None, None))), 0);
}

#[test]
fn an_edited_source_expires_its_own_entries() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tune.json");
    let plays = RefCell::new([0; 3]);
    let fake = |stem, third| {
        let mut candidates = CANDIDATES;
        candidates[2].1 = third;
        let contest = Fake {
            candidates,
            wrong: None,
            broken: None,
            plays: &plays,
        };
        tuned(TuneMode::Full, &file).tuned(&Question::new(stem, &[], &[8]), || Ok(contest))
    };
    assert_eq!(fake("test/one", "source c"), fastest(&file, "test/one"));
    assert_eq!(fake("test/two", "source c"), fastest(&file, "test/two"));
    assert_eq!(*plays.borrow(), [16; 3]);
    assert_eq!(fake("test/one", "source c, edited"), fastest(&file, "test/one"));
    assert_eq!(*plays.borrow(), [24; 3], "asked again");
    assert_eq!(fake("test/two", "source c"), fastest(&file, "test/two"));
    assert_eq!(*plays.borrow(), [24; 3], "the other entry stands");
}

#[test]
fn a_wrong_or_broken_candidate_never_wins() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tune.json");
    let plays = RefCell::new([0; 3]);
    let fake = |wrong, broken| {
        let contest = Fake {
            candidates: CANDIDATES,
            wrong,
            broken,
            plays: &plays,
        };
        let _ = std::fs::remove_file(&file);
        let chosen = tuned(TuneMode::Full, &file).tuned(&question(), || Ok(contest));
        assert_eq!(chosen, fastest(&file, "test/fake"));
        chosen
    };
    assert_ne!(fake(Some(1), None), 1);
    assert_eq!(*plays.borrow(), [8, 0, 8], "what is wrong is not timed");
    assert_ne!(fake(None, Some(1)), 1, "dropped at its first failure");
    assert_eq!(*plays.borrow(), [16, 1, 16]);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("rejected"), "{text}");
}

/// A product that is off by a thousandth, and one that leaves its last column out.
#[test]
fn a_wrong_kernel_is_found_out() {
    let gpu = devices().iter().find(|gpu| !gpu.is_host()).expect("an adapter");
    let edited = |from: &str, to: &str| -> &'static Kernel {
        assert!(GEMM_TILED.source.contains(from), "{from}");
        Box::leak(Box::new(Kernel {
            stem: Box::leak(format!("dense/gemm {to}").into_boxed_str()),
            source: Box::leak(GEMM_TILED.source.replace(from, to).into_boxed_str()),
            ..GEMM_TILED
        }))
    };
    let scaled = edited("params.alpha * value[i]", "1.001 * value[i]");
    let short = edited("if c < params.cols {", "if c + 1u < params.cols {");
    for layout in [Layout::NN, Layout::NT] {
        let kernels = [&GEMM_TILED, scaled, &GEMM_REGISTER, short];
        let variants = kernels.map(Variant::of).to_vec();
        let contest = dense::gemm_contest(gpu, [70, 60, 130], (layout, DType::F32), variants).unwrap();
        let right: Vec<bool> = (0..4).map(|i| contest.check(i).unwrap().is_none()).collect();
        assert_eq!(right, [true, false, true, false], "{layout:?}");
    }
}

/// Cooperative matrices stand the check; without the low terms they do not, though all is right to 11 bits.
#[test]
fn halves_without_their_rest_are_found_out() {
    let name = "tune: halves_without_their_rest_are_found_out";
    let edited: &'static Kernel = {
        let from = "const B_SHORT: bool = B_FORMAT != 0u;";
        assert!(GEMM_COOPERATIVE.source.contains(from));
        let source = GEMM_COOPERATIVE.source.replace(from, "const B_SHORT: bool = true;");
        Box::leak(Box::new(Kernel {
            stem: "dense/gemm_short_coop",
            source: Box::leak(source.into_boxed_str()),
            ..GEMM_COOPERATIVE
        }))
    };
    for layout in [Layout::NN, Layout::NT] {
        for kernel in [&GEMM_COOPERATIVE, edited] {
            for (gpu, variant) in cooperative(name, kernel) {
                let sizes = [70, 60, 130];
                let contest = dense::gemm_contest(gpu, sizes, (layout, DType::F32), vec![variant]).unwrap();
                let wrong = contest.check(0).unwrap();
                assert_eq!(wrong.is_some(), std::ptr::eq(kernel, edited), "{layout:?} {wrong:?}");
            }
        }
    }
}

/// Subgroup variants stand the check in both layouts.
#[test]
fn subgroup_variants_are_checked() {
    let name = "tune: subgroup_variants_are_checked";
    for layout in [Layout::NN, Layout::NT] {
        for (gpu, variant) in subgroups(name, &GEMM_SUBGROUP) {
            let contest = dense::gemm_contest(gpu, [70, 60, 130], (layout, DType::F32), vec![variant]).unwrap();
            assert_eq!(contest.check(0).unwrap(), None, "{layout:?} {}", variant.name());
        }
    }
}

/// Without the option the device has no such variant, and its choices are those of any other.
#[test]
fn cooperative_matrices_can_be_left_off() {
    let device = devices().iter().find(|gpu| !gpu.is_host()).expect("an adapter");
    let options = GpuOptions {
        cooperative: Some(false),
        ..GpuOptions::default()
    };
    let gpu = reopen(device, options);
    assert!(gpu.cooperative().is_none());
    assert!(Variant::cooperative(&gpu, &GEMM_COOPERATIVE).is_empty());
}

/// A Gram in parts stands the check of its tokens' sum; one that leaves its last token out does not.
#[test]
fn grams_in_parts_are_checked() {
    let from = "let tokens = min(params.part,";
    assert!(GRAM_TILED.source.contains(from));
    let source = GRAM_TILED.source.replace(from, "let tokens = min(params.part - 1u,");
    let short: &'static Kernel = Box::leak(Box::new(Kernel {
        stem: "dense/gram short",
        source: Box::leak(source.into_boxed_str()),
        ..GRAM_TILED
    }));
    for gpu in &own_devices(GpuOptions::default()) {
        for upper in [false, true] {
            let [right, short] = [&GRAM_TILED, short].map(Variant::of);
            let mut variants = vec![right, right.in_parts(4), Variant::of(&GRAM_REGISTER).in_parts(8)];
            variants.extend(Variant::subgroup(gpu, &GRAM_SUBGROUP).first().map(|v| v.in_parts(16)));
            let fine = variants.len();
            if !gpu.is_host() {
                variants.extend([short.in_parts(4), short]);
            }
            let count = variants.len();
            let contest = dense::gram_contest(gpu, [33, 33, 2100], upper, variants).unwrap();
            let before = gpu.flops();
            let names: BTreeSet<String> = contest.candidates().into_iter().map(|(name, _)| name).collect();
            assert!(names.contains("tiled 64x64x16 in 4 parts"), "{names:?}");
            for i in 0..count {
                let found = contest.check(i).unwrap();
                assert_eq!(
                    found.is_some(),
                    i >= fine,
                    "{} {i} upper {upper}: {found:?}",
                    gpu.name()
                );
                contest.play(i).unwrap();
            }
            assert_eq!(gpu.flops(), before, "trials are no work");
        }
    }
}

/// On a software adapter they are an exercise: even a product that allows them is not tuned on them, nor on subgroups.
#[test]
fn software_adapters_do_not_choose_cooperative_matrices() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tune.json");
    let gpu = tuned(TuneMode::Full, &file);
    if !gpu.is_software() {
        eprintln!(
            "SKIPPED software_adapters_do_not_choose_cooperative_matrices: {} is hardware",
            gpu.name()
        );
        return;
    }
    let [a, b, out] = [(); 3].map(|()| Tensor::empty(&gpu, "test", 16, 16).unwrap());
    let mut recording = Recording::new();
    dense::gemm(&mut recording, &gpu, &Gemm::new(&a, &b, Layout::NN, &out).split());
    gpu.submit(recording).unwrap().wait().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("tiled") && !text.contains("cooperative") && !text.contains("subgroup"),
        "{text}"
    );
}
