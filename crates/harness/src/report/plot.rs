//! The two plots: throughput and latency over time, phases as a labelled band, faults as shaded spans with their names.
//!
//! Drawn with plotters' SVG backend, no fonts and no network needed. [`Canvas`] owns the layout; both plots share it, so
//! that they line up when stacked.

use std::collections::BTreeMap;

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::measure::{BIN_NS, Bin};

use super::{RunResult, format};

const WIDTH: i32 = 1100;
const HEIGHT: i32 = 430;
const LEFT: i32 = 74;
const RIGHT: i32 = WIDTH - 74;
const TOP: i32 = 96;
const BOTTOM: i32 = HEIGHT - 56;
const BAND_TOP: i32 = TOP - 26;

const INK: RGBColor = RGBColor(31, 41, 55);
const FAINT: RGBColor = RGBColor(107, 114, 128);
const GRID: RGBColor = RGBColor(229, 231, 235);
const BAND: [RGBColor; 2] = [RGBColor(226, 232, 240), RGBColor(241, 245, 249)];
const FAULT: RGBColor = RGBColor(213, 94, 0);
/// Okabe and Ito's palette: told apart by everybody.
const GREY: RGBColor = RGBColor(156, 163, 175);
const BLUE: RGBColor = RGBColor(0, 114, 178);
const SKY: RGBColor = RGBColor(86, 180, 233);
const GREEN: RGBColor = RGBColor(0, 158, 115);
const RED: RGBColor = RGBColor(204, 61, 61);

/// One line of a plot; pieces, since a bin without samples is a gap.
struct Series {
    name: &'static str,
    colour: RGBColor,
    width: u32,
    pieces: Vec<Vec<(f64, f64)>>,
}

impl Series {
    /// The bins' middles against `value`; where it is `None` the line is interrupted.
    fn new(
        name: &'static str,
        colour: RGBColor,
        width: u32,
        bins: &BTreeMap<u64, Bins<'_>>,
        value: impl Fn(&Bins<'_>) -> Option<f64>,
    ) -> Self {
        let mut pieces: Vec<Vec<(f64, f64)>> = vec![Vec::new()];
        for (at, bin) in bins {
            match value(bin) {
                Some(y) => pieces.last_mut().expect("never empty").push(((at + BIN_NS / 2) as f64 / 1e9, y)),
                None => pieces.push(Vec::new()),
            }
        }
        pieces.retain(|piece| !piece.is_empty());
        Self { name, colour, width, pieces }
    }
}

/// The bins of all loads at one time.
type Bins<'a> = Vec<&'a Bin>;

fn by_time(result: &RunResult) -> BTreeMap<u64, Bins<'_>> {
    let mut map: BTreeMap<u64, Bins<'_>> = BTreeMap::new();
    for bin in &result.measured.bins {
        map.entry(bin.at_ns).or_default().push(bin);
    }
    map
}

/// `plots/throughput.svg`.
pub(super) fn throughput(result: &RunResult) -> String {
    let bins = by_time(result);
    let per_s =
        |pick: fn(&Bin) -> u64| move |bin: &Bins<'_>| Some(bin.iter().map(|bin| pick(bin)).sum::<u64>() as f64 * 4.0);
    let consumed = bins.values().flatten().any(|bin| bin.consumed > 0);
    let mut series = vec![Series::new("offered", GREY, 2, &bins, per_s(|bin| bin.offered))];
    if consumed {
        series.push(Series::new("consumed", GREEN, 2, &bins, per_s(|bin| bin.consumed)));
    }
    series.push(Series::new("acknowledged", BLUE, 2, &bins, per_s(|bin| bin.acked)));
    let top = series.iter().flat_map(|series| series.pieces.iter().flatten()).map(|(_, y)| *y).fold(1.0, f64::max);
    let (acked, bytes) =
        result.measured.bins.iter().fold((0u64, 0u64), |(acked, bytes), bin| (acked + bin.acked, bytes + bin.bytes));
    let mib_of = (acked > 0 && bytes > 0).then(|| bytes as f64 / acked as f64 / 1_048_576.0);
    let step = nice(top * 1.08 / 5.0);
    let y = Axis { low: 0.0, high: (top * 1.08 / step).ceil() * step, log: false };
    let ticks: Vec<(f64, String)> = (0..=50)
        .map(|n| f64::from(n) * step)
        .take_while(|tick| *tick <= y.high + step / 2.0)
        .map(|tick| (tick, format::count(tick as u64)))
        .collect();
    let right = mib_of.map(|mib| {
        let step = nice(y.high * mib / 5.0);
        let values = (0..=50).map(|n| f64::from(n) * step).take_while(|value| *value <= y.high * mib * 1.001);
        ("MiB/s", values.map(|value| (value / mib, short(value))).collect())
    });
    Canvas { result, title: "Throughput", unit: "records/s", y, ticks, right, series }.draw()
}

/// `plots/latency.svg`.
pub(super) fn latency(result: &RunResult) -> String {
    let bins = by_time(result);
    let worst = |pick: fn(&Bin) -> (u64, u64)| {
        move |bin: &Bins<'_>| {
            let values = bin.iter().map(|bin| pick(bin)).filter(|(samples, _)| *samples > 0).map(|(_, us)| us);
            values.max().map(|us| us.max(1) as f64 / 1e3)
        }
    };
    let mut series = vec![
        Series::new("max", RED, 1, &bins, worst(|bin| (bin.latency.samples, bin.latency.max_us))),
        Series::new("p99", BLUE, 2, &bins, worst(|bin| (bin.latency.samples, bin.latency.p99_us))),
        Series::new("p50", SKY, 2, &bins, worst(|bin| (bin.latency.samples, bin.latency.p50_us))),
    ];
    if bins.values().flatten().any(|bin| bin.e2e.samples > 0) {
        series.push(Series::new("end to end p99", GREEN, 1, &bins, worst(|bin| (bin.e2e.samples, bin.e2e.p99_us))));
    }
    let values = || series.iter().flat_map(|series| series.pieces.iter().flatten()).map(|(_, y)| *y);
    let low = libm::floor(libm::log10(values().fold(f64::MAX, f64::min).clamp(0.001, 1e6)));
    let high = libm::ceil(libm::log10(values().fold(0.001, f64::max))).max(low + 1.0);
    let y = Axis { low, high, log: true };
    let ticks = (low as i32..=high as i32)
        .map(|exponent| (f64::from(exponent), short(libm::pow(10.0, f64::from(exponent)))))
        .collect();
    Canvas { result, title: "Latency from the intended send", unit: "ms (log)", y, ticks, right: None, series }.draw()
}

#[derive(Clone, Copy)]
struct Axis {
    low: f64,
    high: f64,
    log: bool,
}

impl Axis {
    /// The row of a value; of an exponent where the axis is logarithmic.
    fn row(&self, at: f64) -> i32 {
        let share = (at - self.low) / (self.high - self.low);
        BOTTOM - (share.clamp(0.0, 1.0) * f64::from(BOTTOM - TOP)).round() as i32
    }

    fn row_of(&self, value: f64) -> i32 {
        self.row(if self.log { libm::log10(value) } else { value })
    }
}

struct Canvas<'a> {
    result: &'a RunResult,
    title: &'a str,
    unit: &'a str,
    y: Axis,
    ticks: Vec<(f64, String)>,
    right: Option<(&'a str, Vec<(f64, String)>)>,
    series: Vec<Series>,
}

type Area<'s> = DrawingArea<SVGBackend<'s>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

impl Canvas<'_> {
    fn draw(&self) -> String {
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, (WIDTH as u32, HEIGHT as u32)).into_drawing_area();
            self.draw_on(&area).expect("a String takes everything");
            area.present().expect("a String takes everything");
        }
        svg.push('\n');
        svg
    }

    fn begin_s(&self) -> f64 {
        self.result.windows.first().map_or(0.0, |window| window.start_ns as f64 / 1e9)
    }

    fn end_s(&self) -> f64 {
        let last = self.result.measured.bins.iter().map(|bin| bin.at_ns + BIN_NS).max().unwrap_or(0);
        let last = last.max(self.result.windows.last().map_or(0, |window| window.end_ns));
        (last as f64 / 1e9).max(self.begin_s() + 0.001)
    }

    fn column(&self, seconds: f64) -> i32 {
        let share = (seconds - self.begin_s()) / (self.end_s() - self.begin_s());
        LEFT + (share.clamp(0.0, 1.0) * f64::from(RIGHT - LEFT)).round() as i32
    }

    fn draw_on(&self, area: &Area<'_>) -> Drawn {
        area.fill(&WHITE)?;
        text(area, self.title, (LEFT, 14), 18, FontStyle::Bold, INK, HPos::Left)?;
        let about = format!("{}, seed {}", self.result.scenario, self.result.seed);
        text(area, &about, (LEFT, 40), 13, FontStyle::Normal, FAINT, HPos::Left)?;
        self.legend(area)?;
        self.phases(area)?;
        self.faults(area, false)?;
        self.grid(area)?;
        for series in &self.series {
            for piece in &series.pieces {
                let points: Vec<(i32, i32)> = piece.iter().map(|(x, y)| (self.column(*x), self.y.row_of(*y))).collect();
                if let [one] = points.as_slice() {
                    area.draw(&Circle::new(*one, 2, series.colour.filled()))?;
                } else {
                    area.draw(&PathElement::new(points, series.colour.stroke_width(series.width)))?;
                }
            }
        }
        self.faults(area, true)
    }

    fn legend(&self, area: &Area<'_>) -> Drawn {
        let mut right = RIGHT;
        for series in &self.series {
            let width = series.name.len() as i32 * 7;
            let left = right - width;
            text(area, series.name, (left, 40), 13, FontStyle::Normal, INK, HPos::Left)?;
            let line = vec![(left - 24, 47), (left - 6, 47)];
            area.draw(&PathElement::new(line, series.colour.stroke_width(series.width + 1)))?;
            right = left - 42;
        }
        Ok(())
    }

    fn phases(&self, area: &Area<'_>) -> Drawn {
        for (index, window) in self.result.windows.iter().enumerate() {
            let (left, right) = (self.column(window.start_ns as f64 / 1e9), self.column(window.end_ns as f64 / 1e9));
            area.draw(&Rectangle::new([(left, BAND_TOP), (right, TOP - 4)], BAND[index % 2].filled()))?;
            let name = if window.measured { window.name.clone() } else { format!("({})", window.name) };
            if name.len() as i32 * 7 <= right - left {
                let colour = if window.measured { INK } else { FAINT };
                text(area, &name, ((left + right) / 2, BAND_TOP + 4), 12, FontStyle::Normal, colour, HPos::Center)?;
            }
        }
        Ok(())
    }

    /// First the shades, below everything; then the names, above everything.
    fn faults(&self, area: &Area<'_>, names: bool) -> Drawn {
        // How far each row of names is filled.
        let mut rows: Vec<i32> = Vec::new();
        for fault in &self.result.measured.faults {
            let span = &fault.span;
            let left = self.column(span.start_ns as f64 / 1e9);
            let right = self.column(span.end_ns as f64 / 1e9).max(left + 2);
            if !names {
                area.draw(&Rectangle::new([(left, TOP), (right, BOTTOM)], FAULT.mix(0.12).filled()))?;
                area.draw(&PathElement::new(vec![(left, TOP), (left, BOTTOM)], FAULT.mix(0.7).stroke_width(1)))?;
                continue;
            }
            let width = span.label.len() as i32 * 6 + 10;
            let at = (left + 5).min(RIGHT - width);
            let row = match rows.iter().position(|filled| *filled <= at) {
                Some(row) => row,
                None => {
                    rows.push(0);
                    rows.len() - 1
                }
            };
            rows[row] = at + width;
            text(area, &span.label, (at, TOP + 5 + row as i32 * 14), 11, FontStyle::Normal, FAULT, HPos::Left)?;
        }
        Ok(())
    }

    fn grid(&self, area: &Area<'_>) -> Drawn {
        for (at, label) in &self.ticks {
            let row = self.y.row(*at);
            area.draw(&PathElement::new(vec![(LEFT, row), (RIGHT, row)], GRID.stroke_width(1)))?;
            text(area, label, (LEFT - 8, row - 7), 12, FontStyle::Normal, FAINT, HPos::Right)?;
        }
        if self.y.log {
            for exponent in self.y.low as i32..self.y.high as i32 {
                for digit in 2..10 {
                    let row = self.y.row(f64::from(exponent) + libm::log10(f64::from(digit)));
                    area.draw(&PathElement::new(vec![(LEFT, row), (LEFT + 4, row)], GREY.stroke_width(1)))?;
                }
            }
        }
        if let Some((unit, ticks)) = &self.right {
            for (at, label) in ticks {
                text(area, label, (RIGHT + 8, self.y.row(*at) - 7), 12, FontStyle::Normal, FAINT, HPos::Left)?;
            }
            text(area, unit, (WIDTH - 10, TOP - 22), 12, FontStyle::Normal, FAINT, HPos::Right)?;
        }
        text(area, self.unit, (LEFT - 64, TOP - 22), 12, FontStyle::Normal, FAINT, HPos::Left)?;
        let (begin, end) = (self.begin_s(), self.end_s());
        let step = nice((end - begin) / 10.0);
        let mut tick = (begin / step).ceil() * step;
        while tick <= end + step / 1_000.0 {
            let column = self.column(tick);
            area.draw(&PathElement::new(vec![(column, BOTTOM), (column, BOTTOM + 5)], GREY.stroke_width(1)))?;
            text(area, &short(tick), (column, BOTTOM + 9), 12, FontStyle::Normal, FAINT, HPos::Center)?;
            tick += step;
        }
        let axis = vec![(LEFT, TOP), (LEFT, BOTTOM), (RIGHT, BOTTOM)];
        area.draw(&PathElement::new(axis, GREY.stroke_width(1)))?;
        let middle = ((LEFT + RIGHT) / 2, BOTTOM + 29);
        text(area, "time since the start, s (simulated)", middle, 12, FontStyle::Normal, FAINT, HPos::Center)
    }
}

fn text(
    area: &Area<'_>,
    words: &str,
    at: (i32, i32),
    size: i32,
    style: FontStyle,
    colour: RGBColor,
    anchor: HPos,
) -> Drawn {
    let font = ("sans-serif", size).into_font().style(style);
    let style = TextStyle::from(font).color(&colour).pos(Pos::new(anchor, VPos::Top));
    area.draw(&Text::new(words.to_owned(), at, style))
}

/// The smallest of 1, 2, 2.5, 5 times a power of ten that is not below `step`.
fn nice(step: f64) -> f64 {
    let power = libm::pow(10.0, libm::floor(libm::log10(step.max(1e-9))));
    [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|digit| digit * power)
        .find(|nice| *nice >= step * 0.999_999)
        .unwrap_or(step)
}

/// A number on an axis: no more digits than it has.
fn short(number: f64) -> String {
    let text = format!("{number:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() { "0".to_owned() } else { text.to_owned() }
}
