//! Methods that weigh all layers against each other, as rows of the table of methods.

use crate::prune::registry::{Defaults, Evidence, MethodRow, Removes, Solver};

const DEFAULTS: Defaults = Defaults {
    refit: 20,
    ..Defaults::PUBLISHED
};

/// LLM Surgeon.
pub static SURGEON: MethodRow = MethodRow {
    name: "surgeon",
    title: "LLM Surgeon",
    help: "Compares weights of all layers by the curvature of the loss, in several shots. Also removes whole units",
    paper: "arXiv 2312.17244",
    evidence: Evidence::Gradients,
    removes: &[Removes::Weights, Removes::Groups, Removes::Lines, Removes::Units],
    defaults: DEFAULTS,
    options: &[],
    solver: Solver::Shots { search: false },
};

/// K-FAC-weighted convex pruning, which goes on where [`SURGEON`] ends.
pub static KFAC_FISTA: MethodRow = MethodRow {
    name: "kfac-fista",
    title: "K-FAC FISTA",
    help: "Improves each shot of LLM Surgeon by FISTA on its quadratic loss model. Needs several times the arithmetic",
    paper: "this project; FISTA as in arXiv 2408.03728",
    evidence: Evidence::Gradients,
    removes: &[Removes::Weights, Removes::Groups],
    defaults: DEFAULTS,
    options: &[],
    solver: Solver::Shots { search: true },
};
