//! Every check sees its fault: a good made-up kernel passes, and each edit of it is rejected with the message meant.

use secateur::gpu::{Kernel, Knob, ParamField, compose};

use super::{check_variant, lint, translate, variants};

pub(crate) const GOOD: &str = "\
// Mirrors each row of x within a group of LANES columns.
// mirrored[row, i] = x[row, LANES - 1 - i]. Reads x once.
#import index

struct Params {
    rows: u32,
    cols: u32,
    scale: f32,
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [rows, cols] row-major
@group(0) @binding(2) var<storage, read_write> mirrored: array<f32>; // [rows, cols] row-major

var<workgroup> sh_x: array<f32, LANES>;

fn exchange(lane: u32, value: f32) -> f32 {
    sh_x[lane] = value;
    workgroupBarrier();
    return sh_x[LANES - 1u - lane];
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_group(group, groups);
    let inside = row < params.rows && lane < params.cols;
    var value = 0.0;
    if inside {
        value = x[row * params.cols + lane];
    }
    let other = exchange(lane, value);
    if !inside {
        return;
    }
    mirrored[row * params.cols + lane] = params.scale * other;
}
";

const FIELDS: &[ParamField] = &[("rows", 0), ("cols", 4), ("scale", 8), ("pad0", 12)];
const LANES: Knob = Knob {
    name: "LANES",
    values: &[32, 64],
};

pub(crate) fn made_up(source: String) -> Kernel {
    Kernel {
        stem: "made/up",
        source: source.leak(),
        knobs: &[LANES],
        params: FIELDS,
        reads: 1,
        writes: 1,
        host: |_| {},
    }
}

/// The good kernel with one place of its text changed.
#[track_caller]
pub(crate) fn edited(from: &str, to: &str) -> Kernel {
    assert_eq!(
        GOOD.matches(from).count(),
        1,
        "`{from}` is one place of the good kernel"
    );
    made_up(GOOD.replace(from, to))
}

#[track_caller]
pub(crate) fn rejected(result: Result<(), String>, message: &str) {
    let found = result.expect_err(&format!("not rejected; wanted: {message}"));
    assert!(
        found.contains(message),
        "rejected for another reason: {found}\nwanted: {message}"
    );
}

/// The edited kernel fails `check_variant` with this message.
#[track_caller]
fn fault(from: &str, to: &str, message: &str) {
    rejected(check_variant(&edited(from, to), &[64]), message);
}

#[test]
fn the_good_kernel_passes() {
    let kernel = made_up(GOOD.to_string());
    assert_eq!(variants(&kernel), [[32], [64]]);
    for knobs in variants(&kernel) {
        check_variant(&kernel, &knobs).unwrap();
    }
    lint::file_order(GOOD).unwrap();
}

#[test]
fn variants_are_the_product_of_the_knobs() {
    let knobs = &[
        Knob {
            name: "A",
            values: &[0, 1],
        },
        Knob {
            name: "B",
            values: &[7, 8, 9],
        },
    ];
    let kernel = Kernel {
        knobs,
        ..made_up(String::new())
    };
    assert_eq!(variants(&kernel), [[0, 7], [0, 8], [0, 9], [1, 7], [1, 8], [1, 9]]);
    assert_eq!(variants(&Kernel { knobs: &[], ..kernel }), [[0u32; 0]]);
}

#[test]
fn imports() {
    fault("#import index", "#import nowhere", "unknown import `nowhere`");
    fault("#import index", "", "linear_group");
    let twice = compose(&edited("#import index", "#import index\n#import index"), &[64]).unwrap();
    assert_eq!(twice.matches("fn linear_group").count(), 1);
}

#[test]
fn entry_points() {
    fault("fn main(", "fn other(", "one compute entry point `main`");
    let second = "@compute @workgroup_size(1) fn second() {}\n\n@compute @workgroup_size(LANES)";
    fault("@compute @workgroup_size(LANES)", second, "[\"second\", \"main\"]");
}

#[test]
fn bindings() {
    fault(
        "value = x[row * params.cols + lane];",
        "value = 1.0;",
        "binding 1 `x` is not used",
    );
    fault("@group(0) @binding(1)", "@group(1) @binding(1)", "group 1");
    fault("@binding(1)", "@binding(3)", "the row says");
    fault("var<storage, read> x", "var<storage, read_write> x", "the row says");
    fault(
        "var<uniform> params: Params;",
        "var<storage, read> params: Params;",
        "not an array",
    );
    let quads = edited("read> x: array<f32>", "read> x: array<vec4<f32>>");
    check_variant(
        &made_up(quads.source.replace("+ lane];\n    }", "+ lane].x;\n    }")),
        &[64],
    )
    .unwrap();
    let triples = quads
        .source
        .replace("vec4", "vec3")
        .replace("+ lane];\n    }", "+ lane].x;\n    }");
    rejected(check_variant(&made_up(triples), &[64]), "elements of `x`");
    rejected(
        check_variant(
            &Kernel {
                reads: 2,
                ..made_up(GOOD.to_string())
            },
            &[64],
        ),
        "the row says",
    );
}

#[test]
fn params() {
    fault(
        "    rows: u32,\n    cols: u32,\n",
        "    cols: u32,\n    rows: u32,\n",
        "Params is",
    );
    fault("    pad0: u32,\n", "    pad0: vec3<u32>,\n", "Params.pad0 is not");
    let short = Kernel {
        params: &FIELDS[..3],
        ..edited("    pad0: u32,\n", "")
    };
    rejected(check_variant(&short, &[64]), "12 bytes, not a multiple of 16");
    let shifted = Kernel {
        params: &[("rows", 0), ("cols", 8), ("scale", 4), ("pad0", 12)],
        ..made_up(GOOD.to_string())
    };
    rejected(check_variant(&shifted, &[64]), "in Rust");
}

#[test]
fn limits() {
    rejected(
        check_variant(&made_up(GOOD.to_string()), &[512]),
        "at most 256 invocations",
    );
    check_variant(&edited("array<f32, LANES>", "array<f32, 4096>"), &[64]).unwrap();
    fault("array<f32, LANES>", "array<f32, 4097>", "bytes of workgroup memory");
    let binding = |i| format!("@group(0) @binding({i}) var<storage, read_write> y{i}: array<f32>; // [1]\n");
    let store = |i| format!("y{i}[0] = other;\n");
    let with = |more: std::ops::Range<u32>| {
        let text = edited(
            "var<workgroup>",
            &(more.clone().map(binding).collect::<String>() + "var<workgroup>"),
        );
        let stores = more.clone().map(store).collect::<String>() + "if !inside";
        Kernel {
            writes: 1 + more.len(),
            ..made_up(text.source.replace("if !inside", &stores))
        }
    };
    check_variant(&with(3..9), &[64]).unwrap();
    rejected(check_variant(&with(3..10), &[64]), "9 storage buffers");
}

#[test]
fn barriers() {
    let message = "`main` returns before a barrier";
    fault(
        "    var value = 0.0;",
        "    if !inside { return; }\n    var value = 0.0;",
        message,
    );
    fault(
        "    var value = 0.0;",
        "    { switch lane { case 3u: { return; } default: {} } }\n    var value = 0.0;",
        message,
    );
    let early = "if lane > 7u { return 0.0; }\n    sh_x[lane] = value;";
    fault("sh_x[lane] = value;", early, "`exchange` returns before a barrier");
    let uniform_load = "if !inside { return; }\n    let first = workgroupUniformLoad(&sh_x[0]);";
    fault(
        "if !inside {",
        &format!("{uniform_load}\n    if !inside || first > 9.0 {{"),
        message,
    );
    let around = "for (var i = 0u; i < 4u; i++) { workgroupBarrier(); if lane == i { return; } }\n    if !inside {";
    fault("if !inside {", around, message);
    // Alternatives, and the returns naga adds at the end of both, are not before each other.
    let either = "if params.rows > 9u { return; } else { workgroupBarrier(); }\n    if !inside {";
    check_variant(&edited("if !inside {", either), &[64]).unwrap();
}

#[test]
fn capabilities_and_translation() {
    fault("var value = 0.0;", "var value = 0.0 + ;", "expected expression");
    fault("var value = 0.0;", "var value: f32 = 0u;", "value");
    fault("var value = 0.0;", "var value = subgroupAdd(0.0);", "portable WGSL");
    // Each back end refuses what only it lacks.
    for (declared, used, back_end) in [
        ("var t: texture_external;", "_ = textureDimensions(t);", "SPIR-V"),
        ("var<storage, read_write> t: f64;", "t += 1.0lf;", "MSL"),
        (
            "var<storage, read_write> t: atomic<f32>;",
            "atomicAdd(&t, 1.0);",
            "HLSL",
        ),
    ] {
        let source = format!("@group(0) @binding(0) {declared}\n@compute @workgroup_size(1) fn main() {{ {used} }}");
        let module = translate::parse(&source).unwrap();
        rejected(translate::portable(&source, &module).map(drop), "portable WGSL");
        rejected(translate::all_back_ends(&source, &module), back_end);
    }
}
