//! An expert that no calibration token is routed to: every method prunes it by magnitude, and as much as all.

use std::fs;

use safetensors::tensor::serialize_to_file;
use serde_json::Value;

use super::fixture::Stored;
use super::structure::golden;
use super::{Case, weights};

/// Four experts, one for each token, and the first never: its logit is 0, and of the others one is above that.
fn starved() -> Case {
    let case = golden("mixtral");
    let path = case.model().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["num_experts_per_tok"] = 1.into();
    fs::write(&path, config.to_string()).unwrap();
    let mut stored = weights(&case.model());
    for router in stored.iter_mut().filter(|t| t.name.ends_with("moe.gate.weight")) {
        let (mut values, width) = (router.values(), router.shape[1]);
        let row = values[width..2 * width].to_vec();
        for (expert, factor) in [0.0, 1.0, -1.0, 2.0].into_iter().enumerate() {
            let scaled = row.iter().map(|v| v * factor);
            values[expert * width..][..width]
                .iter_mut()
                .zip(scaled)
                .for_each(|(v, s)| *v = s);
        }
        router.set(&values);
    }
    let views = stored.iter().map(|t| (t.name.clone(), t.view()));
    serialize_to_file(views, None, &case.model().join("model.safetensors")).unwrap();
    case
}

fn report(case: &Case, flags: &str) -> Value {
    let flags: Vec<&str> = flags.split(' ').collect();
    case.prune(&[&flags[..], &["--json"]].concat()).json()
}

/// Linears of an expert, before and after.
fn of_expert(case: &Case, expert: usize) -> Vec<[Stored; 2]> {
    let of = |folder| {
        weights(folder)
            .into_iter()
            .filter(|t| t.name.contains(&format!("experts.{expert}.")))
    };
    of(&case.model()).zip(of(&case.output())).map(|(a, b)| [a, b]).collect()
}

/// Half of it is zero, and no zero was larger than what stayed, which is as it was.
fn by_magnitude([before, after]: &[Stored; 2], what: &str) {
    let pairs: Vec<(f32, f32)> = before.values().into_iter().zip(after.values()).collect();
    let gone: Vec<f32> = pairs.iter().filter(|(_, v)| *v == 0.0).map(|(w, _)| w.abs()).collect();
    let stayed: Vec<(f32, f32)> = pairs.iter().filter(|(_, v)| *v != 0.0).copied().collect();
    assert_eq!(2 * gone.len(), pairs.len(), "{what}: zeros of {}", before.name);
    let (most, least) = (
        gone.iter().copied().fold(0.0, f32::max),
        stayed.iter().map(|(w, _)| w.abs()).fold(f32::INFINITY, f32::min),
    );
    assert!(most <= least, "{what}: {most} of {} went, {least} stayed", before.name);
    for (w, v) in stayed {
        assert!(
            (w - v).abs() <= 0.01 * w.abs(),
            "{what}: {w} became {v} in {}",
            before.name
        );
    }
}

#[test]
fn every_method_prunes_it_by_magnitude() {
    let case = starved();
    for method in [
        "magnitude",
        "wanda --scope matrix",
        "ria",
        "sparsegpt",
        "fista",
        "alps",
        "admm",
        "surgeon",
        "kfac-fista",
    ] {
        let report = report(&case, &format!("--sparsity 0.5 --method {method}"));
        let linears = report["linears"].as_array().unwrap();
        let saw = |l: &&Value| l["expert"] == 0 && l["tokens"] == 0;
        let unseen = linears.iter().filter(saw).count();
        if method != "magnitude" {
            assert_eq!(unseen, 2 * 3, "{method}: experts without tokens");
            let warning = report["warnings"][0].as_str().unwrap();
            assert!(warning.contains("one without any is pruned by magnitude"), "{warning}");
        }
        // Nobody else asks for it.
        let asked = |l: &Value| l["lipschitz"].is_number() == (method == "fista" && l["tokens"] != 0);
        assert!(linears.iter().all(asked), "{method}");
        for pair in &of_expert(&case, 0) {
            by_magnitude(pair, method);
        }
        let all = weights(&case.output());
        assert!(all.iter().flat_map(Stored::values).all(|v| v.is_finite()), "{method}");
        fs::remove_dir_all(case.output()).unwrap();
    }
}

#[test]
fn and_in_groups() {
    let case = starved();
    for method in ["admm --permute off", "alps", "surgeon", "kfac-fista"] {
        report(&case, &format!("--pattern 2:4 --method {method}"));
        for pair in of_expert(&case, 0) {
            let [before, after] = [pair[0].values(), pair[1].values()];
            for (w, v) in before.chunks(4).zip(after.chunks(4)) {
                let mut sizes: Vec<f32> = w.iter().map(|w| w.abs()).collect();
                sizes.sort_by(f32::total_cmp);
                let went = w.iter().zip(v).filter(|(_, v)| **v == 0.0).map(|(w, _)| w.abs());
                let went: Vec<f32> = went.collect();
                assert!(
                    went.len() == 2 && went.iter().all(|w| *w <= sizes[1]),
                    "{method}: {w:?} became {v:?}"
                );
            }
        }
        fs::remove_dir_all(case.output()).unwrap();
    }
}
