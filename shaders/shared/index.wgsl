// Unfolds a one-dimensional range of workgroups that the host folded into two dimensions (gpu/shader.rs, split_groups).

// Linear number of a workgroup; it may lie beyond the range, so every kernel checks it.
fn linear_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}
