//! LLM Surgeon (van der Ouderaa et al. 2024, arXiv 2312.17244) on given factors: the curvature of one linear as
//! `G ⊗ A` (`A = E[x xᵀ]`, `G = E[g gᵀ]`), what removing weights costs, which to remove over the whole model, and what
//! the others become.
//!
//! It knows matrices and weights; who gathers the factors and when is the run's concern. `W` is `[outputs, inputs]`.
//! The way of a shot: a [`KroneckerFactor`] per factor (that of the inputs shared by a group), [`Costs`] and their
//! [`CostHistogram`]s, [`allocate()`] over all linears, then with the factors at hand once more [`Costs::keep`] and
//! [`correlated_update()`]; or, for structures, [`row_costs()`] and [`column_costs()`], [`cheapest_lines()`] or
//! [`cheapest_units()`], then [`remove_rows()`] and [`remove_columns()`].
//!
//! Where we differ from the published code: any N:M; no bias column is assumed; costs are never kept, only counted; the
//! update touches the rows it needs; structured updates in the form in which the other factor has cancelled; coupled
//! units; [`MetricProblem`], convex pruning in the metric of the curvature; an update that would be worse than none is not taken, and said so.

mod allocate;
mod costs;
mod curvature;
mod depth;
mod lines;
mod metric;
mod nearest;
mod penalty;
mod rows;
mod structured;
mod units;
mod update;
mod widths;

pub use allocate::{CostHistogram, allocate, allocate_within, threshold};
pub use costs::{Costs, Grain, Saliency, column_costs, row_costs};
pub use curvature::{Curvature, KroneckerFactor};
pub use depth::{DepthCut, DepthTarget, Sizes};
pub use lines::{joint_column_cost, joint_row_cost, remove_columns, remove_rows};
pub use metric::{MetricProblem, Refitted};
pub use nearest::{add_weighted, input_scales, output_scale};
pub use penalty::{Penalty, Trial};
pub use rows::{KFAC_FISTA, SURGEON};
pub use structured::{LinearLines, RemovedLines, Unit, cheapest_lines, cheapest_units};
pub use units::{
    UnitPart, column_magnitudes, flap_scores, osscar_column_costs, osscar_cost, standardized, unit_costs,
    wanda_sp_scores,
};
pub use update::{UpdateSettings, Updated, correlated_update};
pub use widths::{Cut, LayerCosts, LayerCut, SizeTarget, Widths, default_round};
