//! How tables and numbers look on a terminal.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// A table with this header; columns of numbers are aligned right.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::ASCII_MARKDOWN)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Rows of text under a header.
pub fn text_table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut out = table(header);
    for row in rows {
        out.add_row(row);
    }
    out.to_string()
}

pub(super) fn percent(fraction: f64) -> String {
    format!("{:.4} %", 100.0 * fraction)
}

/// Bytes as MiB.
pub(super) fn megabytes(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))
}
