//! A chart as a picture in the page itself: lines over an axis. A library that draws in the reader's
//! browser was left out: the page is kept beside the figures for years, and needs nothing then.

use serde::Serialize;

use super::figure::Unit;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 34.0;
/// Lines across, the lowest at zero.
const LINES: u32 = 4;

/// How something depends on something else.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Chart {
    /// What it shows.
    pub(crate) title: String,
    /// What the points are measured at.
    pub(crate) x: String,
    /// What the values count.
    pub(crate) unit: Unit,
    /// Whether the lower axis counts in powers of ten.
    pub(crate) log_x: bool,
    /// A line each.
    pub(crate) series: Vec<Series>,
}

/// One line of a chart.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Series {
    /// Its name.
    pub(crate) name: String,
    /// Where, and how much.
    pub(crate) points: Vec<(f64, f64)>,
}

impl Chart {
    /// As a picture; its colours are the page's classes `s0` to `s7`.
    pub(crate) fn svg(&self) -> String {
        let scale = Scale::of(self);
        let mut out = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escape(&self.title)
        );
        for line in 0..=LINES {
            let value = scale.most_y * f64::from(line) / f64::from(LINES);
            let y = scale.y(value);
            out.push_str(&format!(
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                escape(&self.unit.show(value))
            ));
        }
        for x in self.places() {
            out.push_str(&format!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                scale.x(x),
                HEIGHT - BOTTOM + 16.0,
                Unit::Count.show(x)
            ));
        }
        out.push_str(&format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 4.0,
            escape(&self.x)
        ));
        for (index, series) in self.series.iter().enumerate() {
            out.push_str(&line(series, index % 8, &scale, self.unit));
        }
        out.push_str("</svg>");
        out
    }

    /// Where there are points: the ends and, while there is room, what is between.
    fn places(&self) -> Vec<f64> {
        let points = self.series.iter().flat_map(|series| &series.points);
        let mut places: Vec<f64> = points.map(|(x, _)| *x).collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        if places.len() > 7 {
            let every = places.len().div_ceil(6);
            places = places.into_iter().step_by(every).collect();
        }
        places
    }
}

fn line(series: &Series, colour: usize, scale: &Scale, unit: Unit) -> String {
    let place = |(x, y): &(f64, f64)| format!("{:.1},{:.1}", scale.x(*x), scale.y(*y));
    let path: Vec<String> = series.points.iter().map(place).collect();
    let mut out = format!(
        "<polyline class=\"s{colour}\" points=\"{}\"/>",
        path.join(" ")
    );
    for (x, y) in &series.points {
        out.push_str(&format!(
            "<circle class=\"s{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"><title>{}: {}</title></circle>",
            scale.x(*x),
            scale.y(*y),
            escape(&series.name),
            escape(&unit.show(*y))
        ));
    }
    out
}

struct Scale {
    from_x: f64,
    to_x: f64,
    most_y: f64,
    log_x: bool,
}

impl Scale {
    fn of(chart: &Chart) -> Self {
        let points = || chart.series.iter().flat_map(|series| &series.points);
        let on_axis = |x: f64| if chart.log_x { x.max(1.0).log10() } else { x };
        let xs = || points().map(|(x, _)| on_axis(*x));
        let most = points().map(|(_, y)| *y).fold(0.0, f64::max);
        Self {
            from_x: xs().fold(f64::INFINITY, f64::min),
            to_x: xs().fold(f64::NEG_INFINITY, f64::max),
            most_y: round_up(most),
            log_x: chart.log_x,
        }
    }

    fn x(&self, x: f64) -> f64 {
        let x = if self.log_x { x.max(1.0).log10() } else { x };
        let width = self.to_x - self.from_x;
        let part = if width > 0.0 {
            (x - self.from_x) / width
        } else {
            0.5
        };
        LEFT + 10.0 + part * (WIDTH - LEFT - RIGHT - 20.0)
    }

    fn y(&self, y: f64) -> f64 {
        HEIGHT - BOTTOM - (y / self.most_y).clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM)
    }
}

/// The next of 1, 2, 4, 5 and 8 times a power of ten.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 4.0, 5.0, 8.0, 10.0];
    let step = steps.into_iter().find(|step| step * power >= value * 0.999);
    step.unwrap_or(10.0) * power
}

/// Text that means nothing to a browser.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_a_round_value() {
        for (value, end) in [
            (0.0, 1.0),
            (0.6, 0.8),
            (1.0, 1.0),
            (1_603.0, 2_000.0),
            (9.1, 10.0),
        ] {
            assert!((round_up(value) - end).abs() < 1e-9, "{value}");
        }
    }

    #[test]
    fn points_lie_within_the_picture() {
        let chart = |points: Vec<(f64, f64)>| Chart {
            title: "a < b".to_owned(),
            x: "x".to_owned(),
            unit: Unit::Ms,
            log_x: true,
            series: vec![Series {
                name: "s".to_owned(),
                points,
            }],
        };
        let many = chart(vec![(1.0, 3.0), (1_000.0, 1.0), (100_000.0, 0.0)]);
        let scale = Scale::of(&many);
        for (x, y) in [(1.0, 3.0), (100_000.0, 0.0)] {
            assert!((LEFT..=WIDTH).contains(&scale.x(x)));
            assert!((0.0..=HEIGHT).contains(&scale.y(y)));
        }
        assert!(scale.x(1.0) < scale.x(1_000.0) && scale.y(3.0) < scale.y(1.0));
        let svg = many.svg();
        assert!(svg.contains("a &lt; b") && svg.contains("100,000"), "{svg}");
        for alone in [chart(vec![]), chart(vec![(5.0, 0.0)])] {
            assert!(!alone.svg().contains("NaN"));
        }
    }
}
