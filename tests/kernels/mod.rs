//! T1: every op against its f64 twin, on the host executor and on an adapter, over awkward sizes.

mod gemm;
mod gram;
