// Rows of an embedding table picked by token id, from one window of the table (the table may not fit a binding).
// out[t, :] = table[ids[t] - first_row, :] where first_row <= ids[t] < first_row + table_rows; other rows stay.
// Reads one id per row and each picked row once, writes it once. One workgroup per token.
#import index
#import half

struct Params {
    tokens: u32,
    width: u32,
    first_row: u32,
    table_rows: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>; // [tokens]
@group(0) @binding(2) var<storage, read> table: array<u32>; // [table_rows, width] row-major, B_FORMAT
@group(0) @binding(3) var<storage, read_write> out: array<f32>; // [tokens, width] row-major

const THREADS: u32 = 64u;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let token = linear_group(group, groups);
    if token >= params.tokens {
        return;
    }
    // Ids below the window wrap round to large numbers.
    let row = ids[token] - params.first_row;
    if row >= params.table_rows {
        return;
    }
    for (var col = lane; col < params.width; col += THREADS) {
        let index = row * params.width + col;
        out[token * params.width + col] = half_value(B_FORMAT, table[half_word(B_FORMAT, index)], index);
    }
}
