//! Line plots as SVG, by hand: an axis with a unit each way, at most four lines, a legend.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 56.0;
/// Points drawn of one line: what is more is drawn as the mean of neighbours, with their least and greatest as a band.
const POINTS_MAX: usize = 360;
/// Told apart by those who see few colours too (Okabe and Ito).
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];

/// One line of a plot.
#[derive(Clone, Debug)]
pub struct Line {
    /// What the legend calls it.
    pub name: &'static str,
    /// Its points, by rising x.
    pub points: Vec<(f64, f64)>,
}

/// A plot.
#[derive(Clone, Debug)]
pub struct Plot {
    /// What it shows.
    pub title: String,
    /// The run it shows.
    pub subtitle: String,
    /// The horizontal axis, with its unit.
    pub x: &'static str,
    /// The vertical axis, with its unit.
    pub y: &'static str,
    /// Least range of the vertical axis: it holds these two whatever the lines do.
    pub holds: (f64, f64),
    /// What it shows.
    pub lines: Vec<Line>,
}

/// A point of what is drawn: x, least, mean, greatest.
type Band = (f64, f64, f64, f64);

fn thin(points: &[(f64, f64)]) -> Vec<Band> {
    let size = points.len().div_ceil(POINTS_MAX).max(1);
    let band = |part: &[(f64, f64)]| {
        let n = part.len() as f64;
        let ys = || part.iter().map(|p| p.1);
        let mean = |f: fn(&(f64, f64)) -> f64| part.iter().map(f).sum::<f64>() / n;
        (mean(|p| p.0), ys().fold(f64::INFINITY, f64::min), mean(|p| p.1), ys().fold(f64::NEG_INFINITY, f64::max))
    };
    points.chunks(size).map(band).collect()
}

/// Round steps that divide a range into about five parts.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let span = (high - low).max(f64::MIN_POSITIVE);
    let raw = span / 5.0;
    let power = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= raw * 0.999).unwrap_or(raw);
    let first = (low / step - 1e-9).ceil();
    (0..12).map(|i| (first + f64::from(i)) * step).take_while(|t| *t <= high + step * 1e-6).collect()
}

/// A number as short as its neighbours let it be.
fn label(x: f64, step: f64) -> String {
    let (x, step, unit) = match x.abs().max(step.abs()) {
        n if n >= 1e9 => (x / 1e9, step / 1e9, " G"),
        n if n >= 1e6 => (x / 1e6, step / 1e6, " M"),
        n if n >= 1e4 => (x / 1e3, step / 1e3, " k"),
        _ => (x, step, ""),
    };
    let decimals = (0..=6).find(|d| {
        let scaled = step * 10_f64.powi(*d);
        (scaled - scaled.round()).abs() < 1e-6 * scaled.abs().max(1.0)
    });
    let decimals = usize::try_from(decimals.unwrap_or(6)).unwrap_or(0);
    let text = format!("{:.decimals$}{unit}", if x == 0.0 { 0.0 } else { x });
    if x == 0.0 { "0".to_owned() } else { text }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Where values lie on the page.
struct Frame {
    x: (f64, f64),
    y: (f64, f64),
}

impl Frame {
    fn of(plot: &Plot) -> Self {
        let all = || plot.lines.iter().flat_map(|l| l.points.iter());
        let ends = |f: fn(&(f64, f64)) -> f64, first: (f64, f64)| {
            all().map(f).fold(first, |(low, high), v| (low.min(v), high.max(v)))
        };
        let (mut x, mut y) = (ends(|p| p.0, (f64::INFINITY, f64::NEG_INFINITY)), ends(|p| p.1, plot.holds));
        if !x.0.is_finite() {
            x = (0.0, 1.0);
        }
        for range in [&mut x, &mut y] {
            if range.1 - range.0 < 1e-12 {
                range.1 = range.0 + 1.0;
            }
        }
        let room = (y.1 - y.0) * 0.06;
        let low = if y.0 == 0.0 { 0.0 } else { y.0 - room };
        Self { x, y: (low, y.1 + room) }
    }

    fn across(&self, x: f64) -> f64 {
        LEFT + (x - self.x.0) / (self.x.1 - self.x.0) * (WIDTH - LEFT - RIGHT)
    }

    fn down(&self, y: f64) -> f64 {
        HEIGHT - BOTTOM - (y - self.y.0) / (self.y.1 - self.y.0) * (HEIGHT - TOP - BOTTOM)
    }

    fn grid(&self, out: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let marks = ticks(self.y.0, self.y.1);
        let step = marks.windows(2).map(|w| w[1] - w[0]).next().unwrap_or(1.0);
        for t in marks {
            let at = self.down(t);
            let _ = writeln!(out, "<path class='grid' d='M{LEFT} {at:.1}H{right}'/>");
            let _ = writeln!(
                out,
                "<text x='{}' y='{:.1}' text-anchor='end'>{}</text>",
                LEFT - 8.0,
                at + 4.0,
                label(t, step)
            );
        }
        let marks = ticks(self.x.0, self.x.1);
        let step = marks.windows(2).map(|w| w[1] - w[0]).next().unwrap_or(1.0);
        for t in marks {
            let at = self.across(t);
            let _ = writeln!(out, "<path class='axis' d='M{at:.1} {bottom}v5'/>");
            let _ =
                writeln!(out, "<text x='{at:.1}' y='{}' text-anchor='middle'>{}</text>", bottom + 20.0, label(t, step));
        }
        let _ = writeln!(out, "<path class='axis' d='M{LEFT} {bottom}H{right}'/>");
    }
}

impl Plot {
    /// The plot as a file of its own.
    pub fn svg(&self) -> String {
        let frame = Frame::of(self);
        let mut out = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' width='{WIDTH}' height='{HEIGHT}' role='img'>\n\
             <title>{title}</title>\n\
             <style>text{{font:12px system-ui,sans-serif;fill:#333}}.title{{font-size:16px;font-weight:600;fill:#111}}\
             .sub{{fill:#666}}.grid{{stroke:#e4e4e4;fill:none}}.axis{{stroke:#888;fill:none}}</style>\n\
             <rect width='{WIDTH}' height='{HEIGHT}' fill='#fff'/>\n\
             <text class='title' x='{LEFT}' y='24'>{title}</text>\n\
             <text class='sub' x='{LEFT}' y='42'>{subtitle}</text>\n",
            title = escape(&self.title),
            subtitle = escape(&self.subtitle),
        );
        frame.grid(&mut out);
        let middle = (TOP + HEIGHT - BOTTOM) / 2.0;
        let _ = writeln!(
            out,
            "<text x='{:.1}' y='{:.1}' text-anchor='middle'>{}</text>\n\
             <text transform='translate(18 {middle:.1}) rotate(-90)' text-anchor='middle'>{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 14.0,
            escape(self.x),
            escape(self.y)
        );
        for (line, colour) in self.lines.iter().zip(COLOURS) {
            self.draw(line, colour, &frame, &mut out);
        }
        self.legend(&mut out);
        out.push_str("</svg>\n");
        out
    }

    fn draw(&self, line: &Line, colour: &str, frame: &Frame, out: &mut String) {
        let bands = thin(&line.points);
        let place = |x: f64, y: f64| format!("{:.1} {:.1}", frame.across(x), frame.down(y));
        if line.points.len() > POINTS_MAX {
            let up = bands.iter().map(|b| place(b.0, b.3));
            let back = bands.iter().rev().map(|b| place(b.0, b.1));
            let edge: Vec<_> = up.chain(back).collect();
            let _ = writeln!(out, "<path d='M{}Z' fill='{colour}' fill-opacity='.18'/>", edge.join("L"));
        }
        let middle: Vec<_> = bands.iter().map(|b| place(b.0, b.2)).collect();
        let _ = writeln!(
            out,
            "<path d='M{}' fill='none' stroke='{colour}' stroke-width='1.8' stroke-linejoin='round'/>",
            middle.join("L")
        );
    }

    fn legend(&self, out: &mut String) {
        if self.lines.len() < 2 {
            return;
        }
        let mut x = LEFT;
        for (line, colour) in self.lines.iter().zip(COLOURS) {
            let _ = writeln!(out, "<path d='M{x} 54h18' stroke='{colour}' stroke-width='3'/>");
            let _ = writeln!(out, "<text x='{}' y='58'>{}</text>", x + 24.0, escape(line.name));
            x += 44.0 + 7.0 * line.name.chars().count() as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_lie_in_the_range() {
        assert_eq!(ticks(0.0, 1.0), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(ticks(0.0, 720.0).len(), 4);
        assert!(ticks(0.97, 1.0).iter().all(|t| (0.969..=1.0001).contains(t)));
        assert_eq!(
            (label(0.25, 0.25), label(20_000.0, 5_000.0), label(0.0, 0.1)),
            ("0.25".into(), "20 k".into(), "0".into())
        );
        assert_eq!((label(2_500_000.0, 500_000.0), label(12.0, 4.0)), ("2.5 M".into(), "12".into()));
    }

    #[test]
    fn a_plot_names_its_axes_and_lines_and_stays_inside() {
        let points = |k: f64| (0..1000).map(|i| (f64::from(i), k * f64::from(i % 7))).collect();
        let lines = vec![Line { name: "a <b>", points: points(1.0) }, Line { name: "c", points: points(2.0) }];
        let plot =
            Plot { title: "T & U".into(), subtitle: "s".into(), x: "hours", y: "share", holds: (0.0, 1.0), lines };
        let svg = plot.svg();
        for text in ["T &amp; U", "hours", "share", "a &lt;b&gt;", ">c<"] {
            assert!(svg.contains(text), "{text}");
        }
        let numbers = svg.split(['M', 'L', 'Z', '\'']).filter_map(|p| p.split_once(' '));
        let places: Vec<_> =
            numbers.filter_map(|(x, y)| Some((x.parse::<f64>().ok()?, y.parse::<f64>().ok()?))).collect();
        assert!(places.len() > POINTS_MAX);
        assert!(places.iter().all(|(x, y)| (0.0..=WIDTH).contains(x) && (0.0..=HEIGHT).contains(y)));
    }
}
