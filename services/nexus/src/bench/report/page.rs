//! A report as one page, with its styles and charts in it. What comes from measurements is escaped.

use super::chart::{Chart, escape};
use super::text::machine_line;
use super::{Figure, Part, Report, UNOPTIMISED};

const HEAD: &str = include_str!("page.html");
/// How wide a figure's bar is drawn.
const BAR: f64 = 120.0;

pub(super) fn render(report: &Report) -> String {
    let mut body = format!("<p>{}</p>", escape(&machine_line(&report.machine)));
    if !report.machine.optimised {
        body.push_str(&format!("<p class=\"bad\">{}</p>", escape(UNOPTIMISED)));
    }
    for part in &report.parts {
        body.push_str(&section(part));
    }
    HEAD.replace("<!-- body -->", &body)
}

fn section(part: &Part) -> String {
    let mut out = format!(
        "<section><h2>{}</h2><p>{}</p>",
        escape(part.name),
        escape(&part.about)
    );
    if let Some(failure) = &part.failure {
        out.push_str(&format!("<p class=\"bad\">{}</p>", escape(failure)));
    }
    if !part.figures.is_empty() {
        out.push_str("<table><thead><tr><th></th><th>value</th><th></th><th>aim</th>");
        out.push_str("<th>without the platform</th></tr></thead><tbody>");
        out.extend(part.figures.iter().map(row));
        out.push_str("</tbody></table>");
    }
    out.extend(part.charts.iter().map(chart));
    out.push_str("</section>\n");
    out
}

fn row(figure: &Figure) -> String {
    let class = match figure.is_met() {
        None => "",
        Some(true) => " class=\"good\"",
        Some(false) => " class=\"bad\"",
    };
    let aim = figure.aim.map(|aim| aim.show(figure.unit));
    format!(
        "<tr><td>{}</td><td{class}>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
        escape(&figure.name),
        escape(&figure.unit.show(figure.value)),
        bar(figure),
        escape(&aim.unwrap_or_default()),
        escape(&figure.limit_text())
    )
}

/// The value against its aim, which is a mark; nothing where there is no aim.
fn bar(figure: &Figure) -> String {
    let Some(aim) = figure.aim else {
        return String::new();
    };
    let most = figure.value.max(aim.bound()).max(f64::MIN_POSITIVE) * 1.05;
    let (value, mark) = (figure.value / most * BAR, aim.bound() / most * BAR);
    let class = if aim.is_met(figure.value) {
        "good"
    } else {
        "bad"
    };
    format!(
        "<svg class=\"bar\" viewBox=\"0 0 {BAR} 12\" aria-hidden=\"true\">\
         <rect class=\"{class}\" width=\"{value:.1}\" height=\"8\" y=\"2\"/>\
         <line class=\"mark\" x1=\"{mark:.1}\" x2=\"{mark:.1}\" y1=\"0\" y2=\"12\"/></svg>"
    )
}

fn chart(chart: &Chart) -> String {
    let names: Vec<String> = (chart.series.iter().enumerate())
        .map(|(index, series)| {
            format!(
                "<span class=\"s{}\">{}</span>",
                index % 8,
                escape(&series.name)
            )
        })
        .collect();
    format!(
        "<figure><figcaption>{}, {}</figcaption>{}<p class=\"legend\">{}</p></figure>",
        escape(&chart.title),
        escape(chart.unit.label()),
        chart.svg(),
        names.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::super::example;

    #[test]
    fn the_page_needs_nothing_else_and_believes_nobody() {
        let page = example().page();
        for wanted in [
            "Whole runs &lt;over&gt; the bus.",
            "1,603",
            "≥ 1,500",
            "polyline",
            "no room",
        ] {
            assert!(page.contains(wanted), "{wanted}");
        }
        for foreign in ["http://", "https://", "<script", "<over>", "<link", "NaN"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert_eq!(
            page.matches("<section>").count(),
            page.matches("</section>").count()
        );
    }
}
