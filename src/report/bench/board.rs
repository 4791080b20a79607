//! A leaderboard of many runs as one static page: no server, no script but the few lines that sort the table.

use super::BenchRow;

const STYLE: &str = "body{font:14px sans-serif;margin:2em}table{border-collapse:collapse}\
th,td{padding:.2em .6em;border-bottom:1px solid #ccc;text-align:right;white-space:nowrap}\
th{cursor:pointer;background:#eee;position:sticky;top:0}td.text,th.text{text-align:left}details{margin:1em 0}";

/// Sorts by the column that was clicked, and hides rows of other kernels than the chosen one.
const SCRIPT: &str = "const body=document.querySelector('tbody');\
document.querySelectorAll('th').forEach((head,i)=>head.onclick=()=>{const up=head.dataset.up!=='1';head.dataset.up=up?'1':'0';\
const value=r=>{const c=r.cells[i];const v=c.dataset.v;return v===undefined?c.textContent:parseFloat(v)};\
[...body.rows].sort((a,b)=>{const x=value(a),y=value(b);const d=typeof x==='number'?x-y:x.localeCompare(y);return up?d:-d})\
.forEach(r=>body.append(r))});\
document.querySelector('select').onchange=e=>{for(const r of body.rows)r.hidden=e.target.value!==''&&r.dataset.kernel!==e.target.value};";

const COLUMNS: [(&str, bool); 14] = [
    ("kernel", true),
    ("shape", true),
    ("size", true),
    ("type", true),
    ("adapter", true),
    ("driver", true),
    ("median ms", false),
    ("± MAD", false),
    ("GFLOP/s", false),
    ("GB/s", false),
    ("% of roof", false),
    ("max rel. error", false),
    ("timing", true),
    ("file", true),
];

/// Text that is nothing but text in HTML, within quotes too.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// The page: every row with the file it is from, the same measurement on different machines together, fastest first.
pub fn bench_board(rows: &[(String, BenchRow)]) -> String {
    let mut sorted: Vec<&(String, BenchRow)> = rows.iter().collect();
    sorted.sort_by(|(_, a), (_, b)| a.key().cmp(&b.key()).then(a.median_ns.total_cmp(&b.median_ns)));
    let mut kernels: Vec<&str> = sorted.iter().map(|(_, row)| row.kernel.as_str()).collect();
    kernels.dedup();
    let options: String = kernels
        .iter()
        .map(|k| format!("<option>{}</option>", escape(k)))
        .collect();
    let heads: String = COLUMNS
        .iter()
        .map(|(name, text)| format!("<th{}>{name}</th>", if *text { " class=text" } else { "" }))
        .collect();
    let body: String = sorted.iter().map(|(file, row)| line(file, row)).collect();
    format!(
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8><title>secateur bench</title><style>{STYLE}</style></head><body>\n\
         <h1>secateur bench</h1>\n\
         <p>Median time of a call, its median absolute deviation, the share of what a plain FMA and a copy kernel reached in \
         the same run, and the largest difference from an f64 twin over the twin's largest value. Rates of software adapters \
         are those of a processor.</p>\n\
         <p>Kernel: <select><option value=\"\">all</option>{options}</select> Click a head to sort.</p>\n\
         <table><thead><tr>{heads}</tr></thead><tbody>\n{body}</tbody></table>\n\
         <h2>Runs</h2>\n{}<script>{SCRIPT}</script></body></html>\n",
        runs(rows)
    )
}

fn line(file: &str, row: &BenchRow) -> String {
    let text = |text: &str| format!("<td class=text>{}</td>", escape(text));
    let number = |value: Option<f64>, digits: usize| match value {
        Some(value) => format!("<td data-v=\"{value}\">{value:.digits$}</td>"),
        None => "<td data-v=\"-1\">-</td>".to_string(),
    };
    let m = &row.machine;
    let name = format!("{} {}", row.kernel, row.variant);
    let cells = [
        text(name.trim()),
        text(&row.shape),
        text(&row.size()),
        text(&row.dtype),
        text(&format!("{} ({})", m.gpu_info, m.backend)),
        text(m.driver.as_deref().unwrap_or("-")),
        number(Some(row.median_ns * 1e-6), 4),
        number(Some(row.mad_ns * 1e-6), 4),
        number(row.gflops, 1),
        number(row.gbps, 1),
        number(Some(row.pct_of_measured_peak), 1),
        format!("<td data-v=\"{0}\">{0:.1e}</td>", row.max_rel_err),
        text(&row.timing),
        text(file),
    ];
    format!("<tr data-kernel=\"{}\">{}</tr>\n", escape(&row.kernel), cells.concat())
}

/// How each file can be measured again, and where it was.
fn runs(rows: &[(String, BenchRow)]) -> String {
    let mut out = String::new();
    let mut seen: Vec<&str> = Vec::new();
    for (file, row) in rows {
        if seen.contains(&file.as_str()) {
            continue;
        }
        seen.push(file);
        let m = &row.machine;
        out += &format!(
            "<details><summary>{}: {}</summary><p><code>{}</code></p><p>secateur {} ({}), {}; {}; {} threads; power: {}; roofs {:.1} \
             GFLOP/s, {:.1} GB/s; features: {}</p></details>\n",
            escape(file),
            escape(&m.gpu_info),
            escape(&m.command),
            escape(&m.build_version),
            escape(&m.build_commit),
            escape(&m.test_time),
            escape(&m.cpu_info),
            m.cpu_threads,
            escape(&m.power_state),
            m.roof_gflops,
            m.roof_gbps,
            escape(&m.features),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_file_becomes_markup() {
        let mut row = BenchRow::default();
        row.machine.gpu_info = "<script>alert('x')</script> & \"y\"".into();
        let page = bench_board(&[("a<b>.json".into(), row)]);
        assert!(!page.contains("<script>alert") && !page.contains("a<b>"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;y&quot;"));
    }
}
