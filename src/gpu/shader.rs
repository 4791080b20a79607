//! Composes WGSL: `#import name` from `shaders/shared/`, once only, and a generated header of knob constants.

use super::{GpuError, Kernel, TileModule};

type Modules = [(&'static str, &'static str)];

const SHARED: &Modules = &[
    ("index", include_str!("../../shaders/shared/index.wgsl")),
    ("half", include_str!("../../shaders/shared/half.wgsl")),
    ("act", include_str!("../../shaders/shared/act.wgsl")),
    ("act_slope", include_str!("../../shaders/shared/act_slope.wgsl")),
    (
        "attention_pairs",
        include_str!("../../shaders/shared/attention_pairs.wgsl"),
    ),
    ("stored", include_str!("../../shaders/shared/stored.wgsl")),
    ("stored_half", include_str!("../../shaders/shared/stored_half.wgsl")),
    ("reduce", include_str!("../../shaders/shared/reduce.wgsl")),
    ("tanh", include_str!("../../shaders/shared/tanh.wgsl")),
    ("outer", include_str!("../../shaders/shared/outer.wgsl")),
    ("tile", include_str!("../../shaders/shared/tile.wgsl")),
    ("double_tile", include_str!("../../shaders/shared/double_tile.wgsl")),
    ("register_tile", include_str!("../../shaders/shared/register_tile.wgsl")),
    ("subgroup_tile", include_str!("../../shaders/shared/subgroup_tile.wgsl")),
    ("coop_tile", include_str!("../../shaders/shared/coop_tile.wgsl")),
];

/// Name and text of every shared module.
pub fn shared_modules() -> &'static [(&'static str, &'static str)] {
    SHARED
}

/// The text that goes to the driver: header, imports in order of first use, then the kernel.
///
/// Fails if an import is unknown or circular.
pub fn compose(kernel: &Kernel, knobs: &[u32]) -> Result<String, GpuError> {
    let mut text = coop_header(kernel, knobs);
    for (knob, value) in kernel.knobs.iter().zip(knobs) {
        text.push_str(&format!("const {}: u32 = {value}u;\n", knob.name));
    }
    let mut modules = SHARED.to_vec();
    for (import, module) in kernel.modules() {
        let (_, text) = SHARED
            .iter()
            .find(|(name, _)| *name == module)
            .expect("a shared module");
        let named = modules.iter_mut().filter(|(name, _)| *name == import);
        named.for_each(|(_, given)| *given = text);
    }
    let mut done = Vec::new();
    expand(&modules, kernel.source, &mut Vec::new(), &mut done, &mut text).map_err(|message| GpuError::Shader {
        stem: kernel.stem.to_string(),
        message,
    })?;
    Ok(text)
}

/// What a cooperative variant needs before all else: the language extensions, and the matrices of the size that its last
/// knob (`COOP`) holds.
fn coop_header(kernel: &Kernel, knobs: &[u32]) -> String {
    if kernel.tile_module() != TileModule::Cooperative {
        return String::new();
    }
    let size = knobs.last().map_or(0, |coop| coop >> 16);
    let matrix = |name, element, role| format!("alias {name} = coop_mat{size}x{size}<{element}, {role}>;\n");
    [
        "enable f16;\nenable wgpu_cooperative_matrix;\n".to_string(),
        matrix("Left", "f16", "A"),
        matrix("Right", "f16", "B"),
        matrix("Sums", "f32", "C"),
    ]
    .concat()
}

fn expand(
    modules: &Modules,
    source: &'static str,
    open: &mut Vec<&'static str>,
    done: &mut Vec<&'static str>,
    out: &mut String,
) -> Result<(), String> {
    for line in source.lines() {
        let Some(name) = line.strip_prefix("#import ") else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        let (name, text) = *modules
            .iter()
            .find(|(known, _)| *known == name.trim())
            .ok_or_else(|| format!("unknown import `{}`", name.trim()))?;
        if open.contains(&name) {
            return Err(format!("circular import `{name}`"));
        }
        if !done.contains(&name) {
            open.push(name);
            expand(modules, text, open, done, out)?;
            open.pop();
            done.push(name);
        }
    }
    Ok(())
}

/// Folds a one-dimensional number of workgroups under the 65,535 limit; `index.wgsl` unfolds it.
pub fn split_groups(groups: usize) -> [u32; 3] {
    const LIMIT: usize = 65_535;
    if groups <= LIMIT {
        return [groups as u32, 1, 1];
    }
    let rows = groups.div_ceil(LIMIT);
    [groups.div_ceil(rows) as u32, rows as u32, 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(source: &'static str, modules: &Modules) -> Result<String, String> {
        let mut out = String::new();
        expand(modules, source, &mut Vec::new(), &mut Vec::new(), &mut out).map(|()| out)
    }

    #[test]
    fn imports_come_once_and_never_in_a_circle() {
        let fine = [("a", "#import b\nA"), ("b", "B")];
        assert_eq!(expanded("#import a\n#import b\nmain", &fine).unwrap(), "B\nA\nmain\n");
        let circle = [("a", "#import b"), ("b", "#import a")];
        assert_eq!(expanded("#import a", &circle).unwrap_err(), "circular import `a`");
        assert_eq!(
            expanded("#import a", &[("a", "#import a")]).unwrap_err(),
            "circular import `a`"
        );
        assert_eq!(expanded("#import c", &fine).unwrap_err(), "unknown import `c`");
    }
}
