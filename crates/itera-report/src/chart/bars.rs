//! Pictures of horizontal bars: every label is a line of text, and a picture is as high as its rows.

use plotters::style::RGBColor;

use super::{
    axis::Axis,
    canvas::{Anchor, Area, Canvas, Sign, Text},
    font,
    frame::{self, MARGIN, TICK},
    legend::{self, Entry},
    palette::{FRAME, GRID, INK, WHITE, ink_on},
};

const LABEL: f64 = 14.0;
/// Labels take at most this share of a panel.
const LABEL_SHARE: f64 = 0.45;
const VALUE: f64 = 13.5;
const ROW: f64 = 27.0;
const BAR: f64 = 19.0;
const HEAD: f64 = 29.0;
const GAP: f64 = 28.0;
/// Room of a sign beside a text.
const SIGN: f64 = 9.0;

/// A picture of one or more panels, in rows of `columns`.
#[derive(Clone, Debug)]
pub(crate) struct BarChart {
    pub(crate) title: String,
    pub(crate) legend: Vec<Entry>,
    pub(crate) columns: usize,
    pub(crate) panels: Vec<Panel>,
}

/// Bars on one axis.
#[derive(Clone, Debug)]
pub(crate) struct Panel {
    /// Empty for none.
    pub(crate) title: String,
    /// What the axis counts, with its unit.
    pub(crate) axis: String,
    /// Equal ratios in place of equal steps; such bars start at the axis' low end.
    pub(crate) is_log: bool,
    /// The value that the axis reaches at least.
    pub(crate) reach: Option<f64>,
    pub(crate) groups: Vec<Group>,
}

/// Bars under one heading.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// Empty for none.
    pub(crate) label: String,
    pub(crate) bars: Vec<Bar>,
}

/// A bar with its value in words.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) color: RGBColor,
    /// None for a figure that there is not; `text` then says so.
    pub(crate) value: Option<f64>,
    pub(crate) interval: Option<[f64; 2]>,
    pub(crate) marks: Vec<(Sign, RGBColor, f64)>,
    pub(crate) text: String,
}

impl BarChart {
    /// The picture as shapes.
    pub(crate) fn draw(&self) -> Canvas {
        let columns = self.columns.max(1);
        let width = frame::column_width(columns, GAP);
        let rows: Vec<&[Panel]> = self.panels.chunks(columns).collect();
        let row_height = |row: &[Panel]| row.iter().map(Panel::height).fold(0.0, f64::max);
        let heights: f64 = rows.iter().map(|row| row_height(row)).sum();
        let between = GAP * rows.len().saturating_sub(1) as f64;
        let (mut canvas, mut top) = frame::open(&self.title, &self.legend, heights + between);
        for row in rows {
            for (i, panel) in row.iter().enumerate() {
                let x = MARGIN + (width + GAP) * i as f64;
                panel.draw(&mut canvas, x, top, width);
            }
            top += row_height(row) + GAP;
        }
        canvas
    }
}

impl Panel {
    fn bars(&self) -> impl Iterator<Item = &Bar> {
        self.groups.iter().flat_map(|group| &group.bars)
    }

    fn rows_height(&self) -> f64 {
        let heads = self.groups.iter().filter(|group| !group.label.is_empty());
        ROW * self.bars().count() as f64 + HEAD * heads.count() as f64
    }

    fn title_height(&self) -> f64 {
        if self.title.is_empty() {
            0.0
        } else {
            frame::panel_title_height() + 12.0
        }
    }

    fn height(&self) -> f64 {
        self.title_height() + self.rows_height() + 2.0 * TICK + 14.0
    }

    /// The axis over every value, interval and mark.
    fn axis(&self, width: f64) -> Axis {
        let of_bar = |bar: &Bar| {
            let marks = bar.marks.iter().map(|(_, _, value)| *value);
            let interval = bar.interval.into_iter().flatten();
            marks.chain(interval).chain(bar.value).collect::<Vec<_>>()
        };
        let values: Vec<f64> = self.bars().flat_map(of_bar).chain(self.reach).collect();
        let high = values.iter().copied().fold(0.0, f64::max);
        if self.is_log && high > 0.0 {
            let positive = values.iter().copied().filter(|&value| value > 0.0);
            // A bar that starts at its own value would have no length.
            return Axis::logarithmic(positive.fold(high, f64::min) * 0.7, high);
        }
        Axis::linear(0.0, high, (width / 75.0) as usize)
    }

    fn draw(&self, canvas: &mut Canvas, x: f64, y: f64, width: f64) {
        frame::panel_title(canvas, &self.title, x, y);
        let most = LABEL_SHARE * width;
        let labels = font::widest(self.bars().map(|bar| bar.label.as_str()), LABEL).min(most);
        let values = font::widest(self.bars().map(|bar| bar.text.as_str()), VALUE);
        let left = x + labels + 10.0;
        let plot = Area {
            x: left,
            y: y + self.title_height(),
            width: (x + width - left - values - 14.0).max(60.0),
            height: self.rows_height(),
        };
        let axis = self.axis(plot.width);
        draw_axis(canvas, &axis, &plot, &self.axis);
        let place = self.value_place(&axis, &plot);
        let mut top = plot.y;
        for group in &self.groups {
            if !group.label.is_empty() {
                draw_head(canvas, &group.label, x, top, width);
                top += HEAD;
            }
            for bar in &group.bars {
                let label = font::shorten(&bar.label, LABEL, labels);
                canvas.text(label_text(label, plot.x - 8.0, top + ROW / 2.0));
                bar.draw(canvas, &axis, &plot, top + ROW / 2.0, place);
                canvas.line(vec![(plot.x, top), (plot.x, top + ROW)], 1.0, FRAME);
                top += ROW;
            }
        }
    }

    /// Values stand within the bars if all of them fit there, else beside them.
    fn value_place(&self, axis: &Axis, plot: &Area) -> ValuePlace {
        let fits = |bar: &Bar| {
            let free = bar.marks.iter().map(|(_, _, value)| *value);
            let free = free
                .chain(bar.interval.map(|[low, _]| low))
                .chain(bar.value);
            let end = free.fold(f64::INFINITY, f64::min);
            let width = font::width(&bar.text, VALUE);
            bar.value.is_some() && axis.at(end) * plot.width > width + 2.0 * SIGN
        };
        if self.bars().all(fits) {
            ValuePlace::Inside
        } else {
            ValuePlace::Beside
        }
    }
}

/// Where the values of a panel stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ValuePlace {
    Inside,
    Beside,
}

impl Bar {
    fn draw(&self, canvas: &mut Canvas, axis: &Axis, plot: &Area, y: f64, place: ValuePlace) {
        let at = |value: f64| plot.x + axis.at(value) * plot.width;
        let end = self.value.map_or(plot.x, at);
        let rectangle = Area {
            x: plot.x,
            y: y - BAR / 2.0,
            width: (end - plot.x).max(0.0),
            height: BAR,
        };
        canvas.rectangle(rectangle, self.color);
        if let Some([low, high]) = self.interval {
            legend::whisker(canvas, at(low), at(high), y, INK);
        }
        for &(sign, color, value) in &self.marks {
            canvas.sign(sign, (at(value), y), color);
        }
        let whisker = self.interval.map_or(end, |[_, high]| at(high));
        let text = |x: f64, color: RGBColor| Text {
            text: self.text.clone(),
            x,
            y,
            size: VALUE,
            bold: true,
            color,
            anchor: Anchor::Left,
        };
        match place {
            ValuePlace::Inside => canvas.text(text(plot.x + 7.0, ink_on(self.color))),
            ValuePlace::Beside => {
                let text = text(self.beside(end.max(whisker), at), INK);
                // Grid lines stop at the text.
                canvas.rectangle(text.area(), WHITE);
                canvas.text(text);
            }
        }
    }

    /// The first place right of the bar where the value meets no mark.
    fn beside(&self, end: f64, at: impl Fn(f64) -> f64) -> f64 {
        let width = font::width(&self.text, VALUE);
        let mut marks: Vec<f64> = self.marks.iter().map(|(_, _, value)| at(*value)).collect();
        marks.sort_by(f64::total_cmp);
        let mut x = end + 8.0;
        for mark in marks {
            if mark + SIGN > x && mark - SIGN < x + width {
                x = mark + SIGN + 2.0;
            }
        }
        x
    }
}

/// Grid, ticks and what the axis counts.
fn draw_axis(canvas: &mut Canvas, axis: &Axis, plot: &Area, title: &str) {
    let y = plot.bottom() + TICK / 2.0 + 6.0;
    let labels = axis.labels();
    let widest = font::widest(labels.iter().map(String::as_str), TICK);
    let distance = plot.width / axis.ticks.len().saturating_sub(1).max(1) as f64;
    let every = ((widest + 10.0) / distance).ceil().max(1.0) as usize;
    for (i, (tick, text)) in axis.ticks.iter().zip(labels).enumerate() {
        let x = plot.x + axis.at(*tick) * plot.width;
        canvas.line(vec![(x, plot.y), (x, plot.bottom())], 1.0, GRID);
        if i % every == 0 {
            canvas.text(frame::tick(text, x, y, Anchor::Center));
        }
    }
    let below = y + TICK + 7.0;
    canvas.text(frame::axis_title(title, plot.x, below, Anchor::Left));
}

/// The name of a bar, left of it.
fn label_text(text: String, x: f64, y: f64) -> Text {
    Text {
        text,
        x,
        y,
        size: LABEL,
        bold: false,
        color: INK,
        anchor: Anchor::Right,
    }
}

/// The heading of a group, over the grid.
fn draw_head(canvas: &mut Canvas, label: &str, x: f64, top: f64, width: f64) {
    let ground = Area {
        x,
        y: top - 1.0,
        width,
        height: HEAD,
    };
    canvas.rectangle(ground, WHITE);
    canvas.text(Text {
        text: font::shorten(label, LABEL, width),
        x,
        y: top + HEAD / 2.0 + 2.0,
        size: LABEL,
        bold: true,
        color: INK,
        anchor: Anchor::Left,
    });
}
