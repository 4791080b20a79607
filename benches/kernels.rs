//! Every kernel at the sizes of a SmolLM2-135M layer, on the host executor and on the adapter that `SECATEUR_ADAPTER`
//! names (default: `auto`). Each row is first played beside its twin and fails if they differ; only then it is timed.
//!
//! Quote ratios measured in one run, never times across machines.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use secateur::gpu::{Gpu, GpuOptions, Recording, Slice};
use secateur::ops::dense::{self, Gemm, GemmGrouped, GramPart, Layout, RowReduce, TwoFour};
use secateur::ops::factor::{self, BLOCK, CholeskyBlock, KronGather};
use secateur::ops::nn::{self, Activation, AttentionBackward, AttentionShape, RopeShape};
use secateur::ops::prox::{self, FistaStep, Keep, OBS_COLS, ObsSweep, Penalty, PermuteSwap, Scope, Survivors};
use secateur::ops::{Precision, Variant, bench};
use secateur::tensor::{DType, PanelMatrix, Tensor};

/// Outputs, inputs and tokens.
const ROWS: usize = 1536;
const N: usize = 576;
const TOKENS: usize = 1024;
/// Weights of a chunk of correlated updates.
const PLACES: usize = 512;

/// The heads of a layer.
const ATTENTION: AttentionShape = AttentionShape {
    seq: TOKENS,
    heads: 9,
    kv_heads: 3,
    head_dim: 64,
    scale: 0.125,
    window: None,
    soft_cap: None,
};

/// One row: name, work per call in flops or moved words, and how it is recorded.
type Row = (&'static str, usize, Box<dyn Fn(&mut Recording, &Gpu)>);

/// A matrix of small, varied numbers.
fn matrix(gpu: &Gpu, rows: usize, cols: usize) -> Tensor {
    let values: Vec<f32> = (0..rows * cols)
        .map(|i| ((i * 7919) % 1009) as f32 / 1009.0 - 0.5)
        .collect();
    Tensor::upload(gpu, "bench", rows, cols, &values).expect("fits")
}

/// q, k and v of a layer.
fn grouped_row(gpu: &Gpu) -> Row {
    let wide = [N, N / 3, N / 3];
    let b = wide.map(|cols| matrix(gpu, N, cols));
    let outs = wide.map(|cols| matrix(gpu, TOKENS, cols));
    let flops = 2 * TOKENS * N * wide.iter().sum::<usize>();
    let operands = (matrix(gpu, TOKENS, N), b, outs);
    row_of("dense/gemm_grouped", flops, operands, |r, gpu, (a, b, outs)| {
        let call = GemmGrouped {
            a,
            b: &b.each_ref(),
            layout: Layout::NN,
            outs: &outs.each_ref(),
            precision: Precision::Full,
        };
        dense::gemm_grouped(r, gpu, &call).expect("it fits");
    })
}

/// Every number below `n` once.
fn places(gpu: &Gpu, n: usize) -> Slice {
    let places: Vec<u32> = (0..n as u32).collect();
    gpu.upload("places", bytemuck::cast_slice(&places))
        .expect("fits")
        .slice()
}

/// An order, and square matrices to permute.
fn permuted(gpu: &Gpu) -> (Slice, PanelMatrix, PanelMatrix) {
    let mut recording = Recording::new();
    let mut zeros = || PanelMatrix::zeros(gpu, &mut recording, "bench", N).expect("fits");
    let (x, out) = (zeros(), zeros());
    gpu.submit(recording).expect("it plays");
    (places(gpu, N), x, out)
}

/// The product on cooperative matrices, where the device has them.
fn coop_row(gpu: &Gpu) -> Option<Row> {
    let variant = *Variant::cooperative(gpu, &dense::GEMM_COOPERATIVE).first()?;
    let [v, h, w] = [[ROWS, N], [N, N], [ROWS, N]].map(|[rows, cols]| matrix(gpu, rows, cols));
    let record = move |r: &mut Recording, _: &Gpu, (a, b, out): &(Tensor, Tensor, Tensor)| {
        dense::gemm_with(r, variant, &Gemm::new(a, b, Layout::NN, out));
    };
    Some(row_of("dense/gemm_coop", 2 * ROWS * N * N, (v, h, w), record))
}

fn dense_rows(gpu: &Gpu) -> Vec<Row> {
    let m = |rows, cols| matrix(gpu, rows, cols);
    let (v, w, h, x) = (m(ROWS, N), m(ROWS, N), m(N, N), m(TOKENS, N));
    let (turned, sums, row, col) = (m(N, ROWS), m(1, ROWS), m(1, ROWS), m(1, N));
    let (total, y, state) = (m(N, N), m(1, N), m(1, 4));
    let both = [v.clone(), w.clone()];
    // 7 is prime to the number of tokens: every row once.
    let ids: Vec<u32> = (0..TOKENS as u32).map(|i| i * 7 % TOKENS as u32).collect();
    let ids = gpu.upload("rows", bytemuck::cast_slice(&ids)).expect("fits").slice();
    vec![
        row_of(
            "dense/gemm",
            2 * ROWS * N * N,
            (v.clone(), h.clone(), w.clone()),
            |r, gpu, (a, b, out)| {
                dense::gemm(r, gpu, &Gemm::new(a, b, Layout::NN, out));
            },
        ),
        grouped_row(gpu),
        row_of("dense/gram", TOKENS * N * N, (x, total), |r, gpu, (x, total)| {
            dense::gram_chunk(
                r,
                gpu,
                &GramPart {
                    a: x,
                    a_col: 0,
                    b: x,
                    total,
                    upper: true,
                },
            );
        }),
        row_of(
            "dense/sum_parts",
            8 * N * N,
            (m(8 * N, N), m(N, N)),
            |r, _, (parts, total)| dense::sum_parts(r, &parts.slice(), true, total),
        ),
        row_of("dense/axpby", ROWS * N, both.clone(), |r, _, [x, y]| {
            dense::axpby(r, 0.5, x, 0.5, y)
        }),
        row_of("dense/multiply", ROWS * N, both.clone(), |r, _, [x, y]| {
            dense::multiply(r, x, y)
        }),
        row_of("dense/scale", ROWS * N, (w, row, col.clone()), |r, _, (x, a, b)| {
            dense::scale(r, x, a, b)
        }),
        row_of("dense/add_row", ROWS * N, (m(1, N), m(ROWS, N)), |r, _, (row, x)| {
            dense::add_row(r, row, x)
        }),
        row_of(
            "dense/scatter_rows",
            TOKENS * N,
            (ids, m(1, TOKENS), m(TOKENS, N), m(TOKENS, N)),
            |r, _, (ids, weights, x, out)| dense::scatter_rows(r, ids, weights, x, out),
        ),
        row_of("dense/diagonal", N, (h.clone(), y.clone()), |r, _, (x, d)| {
            dense::diagonal(r, x, 0, d)
        }),
        row_of("dense/set_diagonal", N, (y.clone(), h.clone()), |r, _, (d, x)| {
            dense::set_diagonal(r, d, 0, x)
        }),
        row_of("dense/mirror", N * N, h.clone(), |r, _, x| dense::mirror(r, x, 1.0)),
        row_of("dense/transpose", ROWS * N, (v.clone(), turned), |r, _, (x, out)| {
            dense::transpose(r, x, out)
        }),
        row_of("dense/permute", N * N, permuted(gpu), |r, _, (order, x, out)| {
            dense::permute(r, order, x, out);
        }),
        row_of(
            "dense/points_gather",
            PLACES,
            (places(gpu, PLACES), m(1, PLACES), m(ROWS, N), m(1, PLACES)),
            |r, _, (places, scale, x, out)| dense::points_gather(r, places, scale, 0, x, out),
        ),
        row_of(
            "dense/points_scatter",
            PLACES,
            (places(gpu, PLACES), m(1, PLACES), m(1, PLACES), m(ROWS, N)),
            |r, _, (places, scale, values, x)| dense::points_scatter(r, places, [scale, values], 0, x),
        ),
        row_of(
            "dense/gemv",
            2 * N * N,
            (h, col.clone(), y.clone()),
            |r, _, (h, x, y)| dense::gemv(r, h, x, 0, y),
        ),
        row_of(
            "dense/gemv_two_four",
            N * N,
            (two_four(gpu), m(1, N), m(1, N)),
            |r, _, (h, x, y)| dense::gemv_two_four(r, h, x, y),
        ),
        row_of("dense/power_step", N, (y, col, state), |r, _, (y, x, s)| {
            dense::power_step(r, y, x, s)
        }),
        row_of("dense/row_reduce", ROWS * N, (v, sums), |r, _, (x, out)| {
            dense::row_reduce(r, RowReduce::Dot, x, x, out);
        }),
    ]
}

/// Two of every four weights, packed.
fn two_four(gpu: &Gpu) -> TwoFour {
    let weights: Vec<f32> = (0..N * N)
        .map(|i| {
            if i % 4 < 2 {
                ((i * 7919) % 1009) as f32 / 1009.0
            } else {
                0.0
            }
        })
        .collect();
    TwoFour::upload(gpu, &weights, N, DType::F32).expect("fits")
}

/// Rows of an upper factor whose diagonal is one and whose other elements are small, so that sweeps stay bounded.
fn unit_factor(gpu: &Gpu) -> Tensor {
    let values: Vec<f32> = (0..OBS_COLS * N)
        .map(|i| f32::from(i % N == OBS_COLS + i / N) + ((i * 7919) % 1009) as f32 / 1e6)
        .collect();
    Tensor::upload(gpu, "factor", OBS_COLS, N, &values).expect("fits")
}

/// Squared norms of one, and floors that no row is below.
fn unit_norms(gpu: &Gpu) -> Tensor {
    let values = [[1.0; ROWS], [0.0; ROWS]].concat();
    Tensor::upload(gpu, "norms", 2, ROWS, &values).expect("fits")
}

fn prox_rows(gpu: &Gpu) -> Vec<Row> {
    let m = |rows, cols| matrix(gpu, rows, cols);
    let free = Tensor::upload(gpu, "free", ROWS, N, &vec![1.0; ROWS * N]).expect("fits");
    let four = [m(ROWS, N), m(ROWS, N), m(ROWS, N), m(ROWS, N)];
    let (h, norms) = (m(N, N), unit_norms(gpu));
    let factor = unit_factor(gpu);
    vec![
        row_of("prox/soft_threshold", ROWS * N, four.clone(), |r, _, [x, out, ..]| {
            prox::soft_threshold(r, 0.1, x, out);
        }),
        row_of(
            "prox/fista_step",
            2 * ROWS * N * N,
            (four.clone(), h, free.clone()),
            |r, gpu, (four, h, free)| {
                let [y, b, x, y_next] = four;
                let factors = (1e-3, 1e-4, 0.5);
                let (step, threshold, momentum) = factors;
                let call = FistaStep {
                    y,
                    y_col: 0,
                    h,
                    b,
                    free,
                    x,
                    y_next,
                    step,
                    threshold,
                    momentum,
                    accumulate: false,
                };
                prox::fista_step(r, gpu, &call);
            },
        ),
        row_of(
            "prox/project_nm",
            ROWS * N,
            (four.clone(), free.clone()),
            |r, _, ([v, out, support, _], free)| {
                prox::project_nm(r, v, free, 2, 4, out, support);
            },
        ),
        row_of(
            "prox/cost_histogram",
            ROWS * N,
            (four.clone(), m(1, 1 << 16)),
            |r, _, ([cost, w, ..], histogram)| prox::cost_histogram(r, cost, w, histogram),
        ),
        row_of(
            "prox/group_cost",
            ROWS * N,
            (four.clone(), m(ROWS, N / 4), m(ROWS, N / 4)),
            |r, _, ([costs, w, ..], cost, open)| prox::group_cost(r, [costs, w], [2, 4], [cost, open]),
        ),
        row_of(
            "prox/permute_swap",
            ROWS * N * 4,
            (m(N, ROWS), m(2, N / 8), places(gpu, N), places(gpu, N / 4)),
            |r, _, (energy, sums, order, pairs)| {
                let call = PermuteSwap {
                    energy,
                    pattern: [2, 4],
                    pairs,
                    first: 0,
                    swaps: false,
                };
                prox::permute_swap(r, &call, order, sums);
            },
        ),
        row_of(
            "prox/keep_largest",
            ROWS * N,
            (four.clone(), free),
            |r, gpu, ([v, out, support, _], free)| {
                let keep = Keep { count: ROWS * N / 2 };
                prox::keep_largest(r, gpu, v, free, Scope::Matrix, keep, out, support).expect("scratch fits");
            },
        ),
        row_of(
            "prox/obs_score",
            ROWS * OBS_COLS,
            (four.clone(), factor.clone(), m(ROWS, OBS_COLS), m(ROWS, OBS_COLS)),
            |r, _, ([w, free, ..], u, score, candidate)| {
                prox::obs_score(r, [w, free], u, OBS_COLS, [score, candidate]);
            },
        ),
        row_of(
            "prox/greedy_remove",
            ROWS * OBS_COLS * OBS_COLS / 2,
            (four.clone(), factor.clone()),
            |r, _, ([w, before, removed, _], gram)| {
                prox::greedy_remove(r, [gram, w, before], OBS_COLS, OBS_COLS / 2, removed);
            },
        ),
        row_of(
            "prox/obs_sweep",
            ROWS * OBS_COLS * OBS_COLS / 2,
            (four.clone(), factor, m(ROWS, OBS_COLS)),
            |r, _, ([v, free, support, _], u, err)| {
                let call = ObsSweep {
                    u,
                    first: OBS_COLS,
                    survivors: Survivors::Nm { free, n: 2, m: 4 },
                    v,
                    support,
                    err,
                };
                prox::obs_sweep(r, &call);
            },
        ),
        row_of("prox/admm_step", ROWS * N, four.clone(), |r, _, [b, d, z, right]| {
            let penalty = Penalty {
                before: 0.1,
                next: 0.13,
            };
            prox::admm_step(r, penalty, [b, d], z, right);
        }),
        row_of(
            "prox/cg_begin",
            ROWS * N,
            (four.clone(), m(ROWS, N), norms.clone()),
            |r, _, (four, p, norms)| {
                let [vh, b, support, residual] = four;
                prox::cg_begin(r, vh, b, support, residual, p, norms);
            },
        ),
        row_of(
            "prox/cg_step",
            ROWS * N,
            (four, m(ROWS, N), norms),
            |r, _, (four, p, norms)| {
                let [ph, support, v, residual] = four;
                prox::cg_step(r, ph, support, v, residual, p, norms);
            },
        ),
    ]
}

/// What `secateur bench` holds the others against.
fn bench_rows(gpu: &Gpu) -> Vec<Row> {
    const ROUNDS: usize = 16;
    let m = |rows, cols| matrix(gpu, rows, cols);
    vec![
        row_of(
            "bench/fma",
            ROUNDS * bench::ROUND_FLOPS * TOKENS,
            m(1, TOKENS),
            |r, _, out| {
                bench::fma(r, ROUNDS, [0.75, 0.5], out);
            },
        ),
        row_of("bench/copy", ROWS * N, (m(ROWS, N), m(ROWS, N)), |r, _, (x, out)| {
            bench::copy(r, x, out);
        }),
        row_of(
            "bench/gemm_naive",
            2 * ROWS * N * N,
            (m(ROWS, N), m(N, N), m(ROWS, N)),
            |r, _, (a, b, out)| bench::gemm_naive(r, a, b, out),
        ),
    ]
}

/// Room for the elements between all places.
fn square_of_places(gpu: &Gpu) -> PanelMatrix {
    let mut recording = Recording::new();
    let out = PanelMatrix::zeros(gpu, &mut recording, "bench", PLACES).expect("fits");
    gpu.submit(recording).expect("plays");
    out
}

fn factor_rows(gpu: &Gpu) -> Vec<Row> {
    let mut recording = Recording::new();
    let whole = PanelMatrix::zeros(gpu, &mut recording, "bench", N).expect("fits");
    gpu.submit(recording).expect("plays");
    let unit: Vec<f32> = (0..BLOCK * N).map(|i| f32::from(i / N == i % N)).collect();
    let rows = Tensor::upload(gpu, "bench", BLOCK, N, &unit).expect("fits");
    let square = || matrix(gpu, BLOCK, BLOCK);
    let state = Tensor::upload(gpu, "bench", 1, 2, &[0.0; 2]).expect("fits");
    vec![
        row_of(
            "factor/cholesky_block",
            2 * BLOCK * BLOCK * BLOCK / 3,
            (rows.clone(), square(), square(), state),
            |r, _, (rows, inverse, transposed, state)| {
                let block = CholeskyBlock {
                    a: rows,
                    col: 0,
                    index: 0,
                    sign: 1.0,
                    floor: 1e-6,
                };
                factor::cholesky_block(r, &block, inverse, transposed, state);
            },
        ),
        row_of(
            "factor/kron_gather",
            PLACES * PLACES,
            (
                places(gpu, PLACES),
                matrix(gpu, 1, PLACES),
                matrix(gpu, 1, ROWS),
                whole.clone(),
                square_of_places(gpu),
            ),
            |r, _, (places, scale, g, a, out)| {
                let call = KronGather {
                    places,
                    scale,
                    g,
                    g_first: 0,
                    a,
                };
                factor::kron_gather(r, &call, out);
            },
        ),
        row_of(
            "factor/panel_read",
            BLOCK * N,
            (whole.clone(), rows.clone()),
            |r, _, (whole, rows)| factor::panel_read(r, whole, BLOCK, 0, rows),
        ),
        row_of("factor/panel_write", BLOCK * N, (whole, rows), |r, _, (whole, rows)| {
            factor::panel_write(r, rows, BLOCK, whole);
        }),
    ]
}

fn nn_rows(gpu: &Gpu) -> Vec<Row> {
    const HEADS: [usize; 2] = [9, 3];
    const HEAD: usize = 64;
    let m = |rows, cols| matrix(gpu, rows, cols);
    let ids: Vec<u32> = (0..TOKENS as u32).map(|i| i * 7 % 4096).collect();
    let ids = gpu.upload("ids", bytemuck::cast_slice(&ids)).expect("fits").slice();
    let (x, out, norm, logits) = (m(TOKENS, N), m(TOKENS, N), m(1, N), m(TOKENS, 4096));
    let (k, v) = (m(TOKENS, HEADS[1] * HEAD), m(TOKENS, HEADS[1] * HEAD));
    vec![
        row_of(
            "nn/embed",
            TOKENS * N,
            (ids.clone(), m(4096, N), out.clone()),
            |r, _, (ids, table, out)| {
                nn::embed(r, ids, table, 0, out);
            },
        ),
        row_of(
            "nn/rms_norm",
            TOKENS * N,
            (x.clone(), norm, out.clone()),
            |r, _, (x, weight, out)| {
                nn::rms_norm(r, x, weight, 1e-5, out);
            },
        ),
        row_of(
            "nn/layer_norm",
            TOKENS * N,
            (x.clone(), m(1, N), m(1, N), out.clone()),
            |r, _, (x, weight, bias, out)| {
                nn::layer_norm(r, x, weight, bias, 1e-5, out);
            },
        ),
        row_of(
            "nn/rope",
            TOKENS * N,
            (out.clone(), m(TOKENS, HEAD)),
            |r, _, (x, table)| {
                let shape = RopeShape {
                    seq: TOKENS,
                    heads: HEADS[0],
                    head_dim: HEAD,
                    rotary_dim: HEAD,
                };
                nn::rope(r, x, table, shape);
            },
        ),
        row_of(
            "nn/attention",
            2 * TOKENS * TOKENS * N,
            (x.clone(), k.clone(), v.clone(), out.clone()),
            |r, gpu, (q, k, v, out)| nn::attention(r, gpu, q, k, v, out, ATTENTION),
        ),
        row_of(
            "nn/attention_half",
            2 * TOKENS * TOKENS * N,
            (x, k, v, out),
            |r, gpu, (q, k, v, out)| {
                let kernel = (&nn::ATTENTION_HALF, gpu.dispatch_flops() as f64);
                nn::attention_with(r, kernel, [q, k, v], out, ATTENTION);
            },
        ),
        row_of(
            "nn/gate",
            TOKENS * ROWS,
            (m(TOKENS, ROWS), m(TOKENS, ROWS)),
            |r, _, (up, gate)| {
                // Again and again in place, numbers would shrink until they are subnormal, and slow.
                r.copy(&up.slice(), &gate.slice());
                nn::gate(r, Activation::Silu, up, gate);
            },
        ),
        row_of(
            "nn/activation",
            TOKENS * ROWS,
            (m(TOKENS, ROWS), m(TOKENS, ROWS)),
            |r, _, (fresh, x)| {
                r.copy(&fresh.slice(), &x.slice());
                nn::activation(r, Activation::GeluErf, x);
            },
        ),
        row_of("nn/soft_cap", TOKENS * 4096, m(TOKENS, 4096), |r, _, x| {
            nn::soft_cap(r, 30.0, x);
        }),
        row_of(
            "nn/cross_entropy",
            TOKENS * 4096,
            (logits.clone(), ids, m(TOKENS, 4)),
            |r, _, (l, ids, state)| {
                nn::cross_entropy(r, l, ids, 0, state);
            },
        ),
        row_of(
            "nn/divergence",
            TOKENS * 4096,
            (logits, m(TOKENS, 4096), m(TOKENS, 8)),
            |r, _, (p, q, state)| {
                nn::divergence(r, p, q, 0, state);
            },
        ),
    ]
}

fn nn_backward_rows(gpu: &Gpu) -> Vec<Row> {
    let m = |rows, cols| matrix(gpu, rows, cols);
    let ids: Vec<u32> = (0..TOKENS as u32).map(|i| i * 7 % 4096).collect();
    let ids = gpu.upload("ids", bytemuck::cast_slice(&ids)).expect("fits").slice();
    let (x, dy, dx, norm) = (m(TOKENS, N), m(TOKENS, N), m(TOKENS, N), m(1, N));
    let wide = || m(TOKENS, ROWS);
    // A softmax's state: largest logit and a sum.
    let state = Tensor::upload(gpu, "state", TOKENS, 4, &[0.5, 4096.0, 0.0, 0.0].repeat(TOKENS)).expect("fits");
    vec![
        row_of(
            "nn/rms_norm_backward",
            TOKENS * N,
            (x.clone(), norm.clone(), dy.clone(), dx.clone()),
            |r, _, (x, weight, dy, dx)| nn::rms_norm_backward(r, x, weight, 1e-5, [dy, dx]),
        ),
        row_of(
            "nn/layer_norm_backward",
            TOKENS * N,
            (x, norm, dy, dx),
            |r, _, (x, weight, dy, dx)| nn::layer_norm_backward(r, x, weight, 1e-5, [dy, dx]),
        ),
        // Each works in place, and numbers would shrink until they are subnormal, and slow.
        row_of(
            "nn/gate_backward",
            TOKENS * ROWS,
            (wide(), wide(), wide()),
            |r, _, (fresh, gate, up)| {
                r.copy(&fresh.slice(), &gate.slice());
                r.copy(&fresh.slice(), &up.slice());
                nn::gate_backward(r, Activation::Silu, fresh, gate, up);
            },
        ),
        row_of(
            "nn/activation_backward",
            TOKENS * ROWS,
            (wide(), wide()),
            |r, _, (x, dy)| {
                r.copy(&x.slice(), &dy.slice());
                nn::activation_backward(r, Activation::GeluErf, x, dy);
            },
        ),
        row_of(
            "nn/soft_cap_backward",
            TOKENS * 4096,
            (m(TOKENS, 4096), m(TOKENS, 4096)),
            |r, _, (x, dy)| {
                r.copy(&x.slice(), &dy.slice());
                nn::soft_cap_backward(r, 30.0, x, dy);
            },
        ),
        row_of(
            "nn/cross_entropy_backward",
            TOKENS * 4096,
            (m(TOKENS, 4096), m(TOKENS, 4096), ids, state, m(TOKENS, 1)),
            |r, _, (fresh, logits, ids, state, factors)| {
                r.copy(&fresh.slice(), &logits.slice());
                nn::cross_entropy_backward(r, [state, factors], ids, 0, logits);
            },
        ),
        attention_backward_row(gpu),
    ]
}

/// Both kernels, on what attention itself gives.
fn attention_backward_row(gpu: &Gpu) -> Row {
    let shape = ATTENTION;
    let wide = || matrix(gpu, TOKENS, shape.heads * shape.head_dim);
    let narrow = || matrix(gpu, TOKENS, shape.kv_heads * shape.head_dim);
    let (q, k, v, out) = (wide(), narrow(), narrow(), wide());
    let mut recording = Recording::new();
    nn::attention(&mut recording, gpu, &q, &k, &v, &out, shape);
    gpu.submit(recording).expect("it plays");
    let given = (q, k, v, out, wide());
    let made = (matrix(gpu, TOKENS, 2 * shape.heads), wide(), narrow(), narrow());
    row_of(
        "nn/attention_backward",
        7 * TOKENS * TOKENS * N,
        (given, made),
        move |r, gpu, ((q, k, v, out, dout), (stats, dq, dk, dv))| {
            let call = AttentionBackward {
                q,
                k,
                v,
                out,
                dout,
                stats,
                dq,
                dk,
                dv,
            };
            nn::attention_backward(r, gpu, &call, shape);
        },
    )
}

fn row_of<T: 'static>(
    name: &'static str,
    work: usize,
    tensors: T,
    record: impl Fn(&mut Recording, &Gpu, &T) + 'static,
) -> Row {
    (
        name,
        work,
        Box::new(move |recording, gpu| record(recording, gpu, &tensors)),
    )
}

fn rows(gpu: &Gpu) -> Vec<Row> {
    dense_rows(gpu)
        .into_iter()
        .chain(coop_row(gpu))
        .chain(factor_rows(gpu))
        .chain(prox_rows(gpu))
        .chain(nn_rows(gpu))
        .chain(nn_backward_rows(gpu))
        .chain(bench_rows(gpu))
        .collect()
}

fn open(adapter: &str, verify: bool) -> Gpu {
    let adapter = adapter.parse().expect("any text is a choice");
    Gpu::open(GpuOptions {
        adapter,
        verify,
        ..Default::default()
    })
    .expect("the adapter opens")
}

fn play(gpu: &Gpu, record: &dyn Fn(&mut Recording, &Gpu)) {
    let mut recording = Recording::new();
    record(&mut recording, gpu);
    gpu.submit(black_box(recording))
        .expect("the kernel agrees with its twin")
        .wait()
        .expect("it finishes");
}

fn kernels(criterion: &mut Criterion) {
    let named = std::env::var("SECATEUR_ADAPTER").unwrap_or_default();
    for adapter in ["cpu", &named] {
        let gpu = open(adapter, false);
        if adapter != "cpu" && gpu.is_host() {
            continue;
        }
        // The host plays the twins themselves, so only a device has something to check.
        if !gpu.is_host() {
            let checked = open(adapter, true);
            for (_, _, record) in rows(&checked) {
                play(&checked, &record);
            }
        }
        let mut group = criterion.benchmark_group(gpu.name().to_string());
        group.sample_size(10);
        for (name, work, record) in rows(&gpu) {
            group.throughput(Throughput::Elements(work as u64));
            group.bench_function(name, |bencher| bencher.iter(|| play(&gpu, &record)));
        }
        group.finish();
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
