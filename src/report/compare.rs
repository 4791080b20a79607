//! A comparison of methods: what `compare.json` holds, and its tables.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AdapterRecord, CalibrationRecord, EvalRecord, LinearRecord, Memory, Phases};

/// A comparison, finished or not.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CompareReport {
    /// Of the fields.
    pub version: u32,
    /// Tool and version.
    pub tool: String,
    /// Source checkpoint.
    pub model: String,
    /// What all rows depend on: the model and the texts.
    pub settings: Value,
    /// What the process that worked on it last took in all, evaluations included, and what was predicted for that.
    #[serde(default)]
    pub memory: Memory,
    /// The dense model, one record per text.
    pub dense: Vec<EvalRecord>,
    /// One per method, refit, target and seed.
    pub cells: Vec<CompareCell>,
}

/// One pruned checkpoint.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CompareCell {
    /// Name of its folder.
    pub name: String,
    /// Method.
    pub method: String,
    /// Conjugate-gradient steps of the refit.
    pub refit: usize,
    /// Pattern, e.g. `2:4` or `50 %`.
    pub target: String,
    /// Seed of the calibration samples.
    pub seed: u64,
    /// Everything its result depends on.
    pub settings: Value,
    /// Where the checkpoint is, if it was kept.
    pub checkpoint: Option<String>,
    /// Calibration tokens.
    pub calibration: CalibrationRecord,
    /// Device.
    pub adapter: AdapterRecord,
    /// Mean relative layer errors by projection.
    pub roles: Vec<RoleError>,
    /// The same over all linears.
    pub error: f64,
    /// Zeros among the weights of pruned linears, counted in the files.
    pub sparsity: f64,
    /// Wall time of the prune by phase.
    pub phases: Phases,
    /// Arithmetic of the solves: products of a linear's weight with the Gram of its inputs, the mean by their sizes.
    #[serde(default)]
    pub products: f64,
    /// Peak memory of the prune.
    pub memory: Memory,
    /// What the user should know of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// One record per text; fewer while it is unfinished.
    pub evals: Vec<EvalRecord>,
}

/// Mean errors of the linears of one role.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RoleError {
    /// Role: q, k, v, ...
    pub role: String,
    /// Linears.
    pub linears: usize,
    /// Mean relative error of the warm start.
    pub before: f64,
    /// Mean relative error of the weights as written.
    pub after: f64,
}

impl RoleError {
    /// By role, in the order of the first layer.
    pub fn means(linears: &[LinearRecord]) -> Vec<RoleError> {
        let mut roles: Vec<RoleError> = Vec::new();
        for linear in linears {
            let at = roles.iter().position(|r| r.role == linear.role).unwrap_or_else(|| {
                let role = linear.role.clone();
                roles.push(RoleError {
                    role,
                    ..Default::default()
                });
                roles.len() - 1
            });
            roles[at].linears += 1;
            let [before, after] = linear.errors();
            roles[at].before += before;
            roles[at].after += after;
        }
        for role in &mut roles {
            role.before /= role.linears as f64;
            role.after /= role.linears as f64;
        }
        roles
    }
}

impl CompareReport {
    /// Short names of the texts: their file names, if these tell them apart.
    pub(super) fn texts(&self) -> Vec<String> {
        let short = |path: &String| path.rsplit(['/', '\\']).next().unwrap_or_default().to_string();
        let full: Vec<String> = self.dense.iter().map(|e| e.text.clone()).collect();
        let names: Vec<String> = full.iter().map(short).collect();
        match names.iter().enumerate().any(|(i, name)| names[..i].contains(name)) {
            true => full,
            false => names,
        }
    }

    /// Roles of all cells.
    pub(super) fn roles(&self) -> Vec<&str> {
        let mut roles = Vec::new();
        for role in self.cells.iter().flat_map(|cell| &cell.roles) {
            if !roles.contains(&role.role.as_str()) {
                roles.push(role.role.as_str());
            }
        }
        roles
    }
}

impl CompareCell {
    pub(super) fn role(&self, name: &str) -> Option<&RoleError> {
        self.roles.iter().find(|role| role.role == name)
    }
}

/// One line per row of the comparison, dense first, every number in full.
pub fn compare_csv(report: &CompareReport) -> String {
    let (roles, texts) = (report.roles(), report.texts());
    let mut header: Vec<String> = ["method", "refit", "target", "seed", "sparsity", "layer_error"]
        .map(String::from)
        .into();
    header.extend(roles.iter().map(|role| format!("error_{role}")));
    for text in &texts {
        let names = ["perplexity", "perplexity_se", "nll", "kl", "kl_se", "top1_agreement"];
        header.extend(names.map(|name| format!("{name}:{text}")));
    }
    header.extend(
        [
            "prepare_s",
            "allocate_s",
            "capture_s",
            "solve_s",
            "propagate_s",
            "write_s",
            "products",
            "device_peak_bytes",
            "host_peak_bytes",
        ]
        .map(String::from),
    );
    let mut lines = vec![header.clone()];
    let mut dense = vec!["dense".to_string()];
    dense.resize(6 + roles.len(), String::new());
    dense.extend(report.dense.iter().flat_map(numbers));
    dense.resize(header.len(), String::new());
    lines.push(dense);
    for cell in &report.cells {
        let mut row = vec![
            cell.method.clone(),
            cell.refit.to_string(),
            cell.target.clone(),
            cell.seed.to_string(),
            cell.sparsity.to_string(),
            cell.error.to_string(),
        ];
        row.extend(
            roles
                .iter()
                .map(|name| cell.role(name).map_or(String::new(), |r| r.after.to_string())),
        );
        for number in 0..texts.len() {
            row.extend(cell.evals.get(number).map_or(Default::default(), numbers));
        }
        let phases = &cell.phases;
        let seconds = [
            phases.prepare,
            phases.allocate,
            phases.capture,
            phases.solve,
            phases.propagate,
            phases.write,
        ];
        row.extend(seconds.map(|s| s.to_string()));
        row.push(cell.products.to_string());
        row.push(cell.memory.device_peak.to_string());
        row.push(cell.memory.host_peak.map_or(String::new(), |bytes| bytes.to_string()));
        lines.push(row);
    }
    lines.iter().map(|fields| line(fields)).collect()
}

fn numbers(record: &EvalRecord) -> [String; 6] {
    let optional = |value: Option<f64>| value.map_or(String::new(), |v| v.to_string());
    [
        record.perplexity.to_string(),
        record.standard_error.to_string(),
        record.nll.to_string(),
        optional(record.kl_divergence),
        optional(record.kl_standard_error),
        optional(record.top1_agreement),
    ]
}

/// A line of comma-separated values, quoted where need be.
fn line(fields: &[String]) -> String {
    let quoted = fields.iter().map(|field| match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.clone(),
    });
    quoted.collect::<Vec<_>>().join(",") + "\n"
}
