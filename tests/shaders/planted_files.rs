//! Bad inputs for the checks of texts and trees: the order of a file, and the mirror.

use secateur::gpu::Kernel;
use secateur::ops::kernels;

use super::lint;
use super::mirror::{self, Tree};
use super::planted::{GOOD, edited, made_up, rejected};

#[test]
fn order_of_a_file() {
    let wrong = |from: &str, to: &str, message| rejected(lint::file_order(edited(from, to).source), message);
    wrong("// Mirrors each", "\n// Mirrors each", "line 1");
    wrong(
        "#import index",
        "const LATE: u32 = 1u;\n#import index",
        "Imports after Constants",
    );
    wrong(
        "struct Params {",
        "fn early() {}\nstruct Params {",
        "Params after Helpers",
    );
    wrong(
        "[LANES - 1u - lane];\n}",
        "[LANES - 1u - lane];\n}\nconst LATE: u32 = 1u;",
        "Constants after Helpers",
    );
    wrong(
        "x: array<f32>; // [rows, cols] row-major",
        "x: array<f32>;",
        "ends with its shape",
    );
    rejected(
        lint::file_order(&(GOOD.to_string() + "\nfn after() {}\n")),
        "Helpers after Main",
    );
    rejected(lint::file_order(&GOOD[GOOD.find("#import").unwrap()..]), "line 1");
    rejected(lint::file_order("// Nothing.\n"), "no `fn main`");
}

/// The real tree, with a file added, replaced or (`None`) removed; what the mirror then says.
fn mirrored(path: &str, text: Option<&str>) -> String {
    let mut tree = Tree::of_this_package();
    match text {
        Some(text) => tree.0.insert(path.to_string(), text.to_string()),
        None => tree.0.remove(path),
    };
    mirror::check(&tree, &kernels()).join("\n")
}

#[test]
fn mirror_sees_what_is_missing_or_left_over() {
    let wrong = |path, text, message: &str| {
        let found = mirrored(path, text);
        assert!(found.contains(message), "{path}: {found}\nwanted: {message}");
    };
    wrong("shaders/nn/stray.wgsl", Some(""), "shaders/nn/stray.wgsl has no row");
    wrong("shaders/dense/gemm.wgsl", None, "shaders/dense/gemm.wgsl is missing");
    wrong(
        "shaders/dense/gemm.wgsl",
        Some("// Another."),
        "not the text of its row",
    );
    wrong(
        "src/ops/dense/gemm.rs",
        None,
        "no file of src/ops/dense contains \"dense/gemm_register\"",
    );
    wrong(
        "src/ops/dense/stray.rs",
        Some(""),
        "src/ops/dense/stray.rs serves no kernel",
    );
    wrong(
        "src/reference/dense/gemm.rs",
        None,
        "dense/gemm: no src/reference/dense/gemm.rs",
    );
    wrong(
        "src/reference/nn/stray.rs",
        Some(""),
        "src/reference/nn/stray.rs is the twin of nothing",
    );
    wrong("tests/kernels/gram.rs", None, "dense/gram: no tests/kernels/gram.rs");
    wrong(
        "shaders/shared/stray.wgsl",
        Some(""),
        "shaders/shared/stray.wgsl and the composer's list disagree",
    );
    let twice = [kernels(), kernels()].concat();
    assert!(mirror::check(&Tree::of_this_package(), &twice).contains(&"dense/gemm has two rows".to_string()));
}

#[test]
fn one_op_file_may_serve_several_stems() {
    let made = ["prox/count", "prox/kth", "prox/kth_register"].map(|stem| Kernel {
        stem,
        ..made_up(GOOD.to_string())
    });
    let shared = secateur::gpu::shared_modules().iter();
    let mut tree = Tree(
        shared
            .map(|(n, t)| (format!("shaders/shared/{n}.wgsl"), t.to_string()))
            .collect(),
    );
    for kernel in &made {
        tree.0
            .insert(format!("shaders/{}.wgsl", kernel.file()), kernel.source.to_string());
    }
    let op = "stem: \"prox/count\", stem: \"prox/kth\", stem: \"prox/kth_register\"";
    for (path, text) in [
        ("src/ops/prox/kth.rs", op),
        ("src/reference/prox/kth.rs", ""),
        ("tests/kernels/kth.rs", ""),
    ] {
        tree.0.insert(path.to_string(), text.to_string());
    }
    let rows: Vec<&Kernel> = made.iter().collect();
    assert_eq!(mirror::check(&tree, &rows), [""; 0]);
    tree.0.insert("src/reference/prox/count.rs".to_string(), String::new());
    assert_eq!(mirror::check(&tree, &rows), [""; 0]);
    tree.0
        .insert("src/ops/prox/kth.rs".to_string(), "stem: \"prox/count\"".to_string());
    assert!(!mirror::check(&tree, &rows).is_empty());
}

#[test]
fn composed_ops_and_helpers_of_twins_belong() {
    let before = mirror::check(&Tree::of_this_package(), &kernels());
    let mut tree = Tree::of_this_package();
    for (path, text) in [
        ("src/ops/nn/chain.rs", ""),
        ("tests/kernels/chain.rs", ""),
        ("src/reference/nn/chain.rs", "use super::part::step;"),
        ("src/reference/nn/part.rs", ""),
    ] {
        tree.0.insert(path.to_string(), text.to_string());
    }
    assert_eq!(mirror::check(&tree, &kernels()), before);
    tree.0.remove("tests/kernels/chain.rs");
    let found = mirror::check(&tree, &kernels());
    assert!(found.contains(&"src/ops/nn/chain.rs serves no kernel, and has no test".to_string()));
}
