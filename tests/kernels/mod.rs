//! T1: every op against its f64 twin, on the host executor and on an adapter, over awkward sizes.

mod attention;
mod cross_entropy;
mod divergence;
mod embed;
mod gemm;
mod gram;
mod rms_norm;
mod rope;
mod silu_gate;
