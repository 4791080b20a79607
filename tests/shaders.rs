//! T0: every variant of every kernel, checked without a GPU.
//!
//! Each check is a function from a kernel (or a tree of files) to `Result<(), String>`, and `planted` and
//! `planted_files` hold bad inputs for each: a check that has never failed proves nothing. Start reading at [`check_variant`].

#[path = "shaders/export.rs"]
mod export;
#[path = "shaders/layout.rs"]
mod layout;
#[path = "shaders/lint.rs"]
mod lint;
#[path = "shaders/mirror.rs"]
mod mirror;
#[path = "shaders/planted.rs"]
mod planted;
#[path = "shaders/planted_files.rs"]
mod planted_files;
#[path = "shaders/translate.rs"]
mod translate;

use secateur::gpu::{Kernel, TileModule, compose};
use secateur::ops::kernels;

/// All checks of one kernel with one choice of knobs.
fn check_variant(kernel: &Kernel, knobs: &[u32]) -> Result<(), String> {
    let source = compose(kernel, knobs).map_err(|e| e.to_string())?;
    let module = translate::parse(&source)?;
    let (module, info) = match kernel.tile_module() {
        TileModule::Tiled | TileModule::Double | TileModule::Register => translate::portable(&source, &module)?,
        TileModule::Subgroup => translate::with_subgroups(&source, &module)?,
        TileModule::Cooperative => translate::cooperative(&source, &module)?,
    };
    layout::entry_point(&module)?;
    layout::bindings(&module, &info, kernel)?;
    layout::params(&module, kernel)?;
    layout::limits(&module, &info, kernel, knobs)?;
    lint::barriers(&module)?;
    if kernel.tile_module() == TileModule::Cooperative {
        translate::all_but_direct_x(&source, &module)
    } else {
        translate::all_back_ends(&source, &module)
    }
}

/// The cartesian product of the knobs' values, in table order.
fn variants(kernel: &Kernel) -> Vec<Vec<u32>> {
    kernel.knobs.iter().fold(vec![Vec::new()], |chosen, knob| {
        let longer = |knobs: &Vec<u32>, value: u32| knobs.iter().copied().chain([value]).collect();
        chosen
            .iter()
            .flat_map(|knobs| knob.values.iter().map(move |v| longer(knobs, *v)))
            .collect()
    })
}

/// Panics with all failures at once, so that one run shows every kernel to mend.
fn report(failures: Vec<String>) {
    assert!(
        failures.is_empty(),
        "{} failures\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn every_variant_is_valid_on_every_back_end() {
    let mut failures = Vec::new();
    let mut count = 0;
    for kernel in kernels() {
        for knobs in variants(kernel) {
            count += 1;
            if let Err(message) = check_variant(kernel, &knobs) {
                failures.push(format!("{} {knobs:?}: {message}", kernel.stem));
            }
        }
    }
    eprintln!("{count} variants of {} kernels", kernels().len());
    assert!(count > 0, "the kernel table is empty");
    report(failures);
}

/// For Tint and `spirv-val`, which `scripts/standard` runs on what this leaves.
#[test]
fn every_variant_is_written_for_other_compilers() {
    let folder = export::folder();
    if let Err(error) = std::fs::remove_dir_all(&folder) {
        assert_eq!(
            error.kind(),
            std::io::ErrorKind::NotFound,
            "{}: {error}",
            folder.display()
        );
    }
    std::fs::create_dir_all(&folder).unwrap();
    let mut failures = Vec::new();
    let mut written = 0;
    for kernel in kernels() {
        for knobs in variants(kernel) {
            match export::write(&folder, kernel, &knobs) {
                Ok(files) => written += files,
                Err(message) => failures.push(format!("{} {knobs:?}: {message}", kernel.stem)),
            }
        }
    }
    report(failures);
    // Two variants of one name would be one file.
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), written);
}

#[test]
fn every_file_reads_in_the_agreed_order() {
    let failing = |k: &&Kernel| {
        lint::file_order(k.source)
            .err()
            .map(|message| format!("{}: {message}", k.stem))
    };
    report(kernels().iter().filter_map(failing).collect());
}

#[test]
fn every_stem_is_found_in_every_room() {
    report(mirror::check(&mirror::Tree::of_this_package(), &kernels()));
}
