//! Values by row: dots, bars and intervals over one or several axes side by side.

use crate::{
    axis::{Axis, Scale},
    font,
    frame::{self, Entry, MARGIN, TEXT, WIDTH, X_AXIS, quiet, text, x_axis},
    picture::{Anchor, Area, Ink, Label, Picture, Sign},
};

const ROW: f64 = 24.0;
const GROUP: f64 = 26.0;
const PANEL_TITLE: f64 = 24.0;
const PANEL_GAP: f64 = 30.0;
const BLOCK_GAP: f64 = 22.0;
const BAR: f64 = 14.0;
/// The most that row labels take.
const LABELS: f64 = 300.0;

/// A chart of values by row.
#[derive(Clone, Debug, Default)]
pub struct Dots {
    /// What is shown.
    pub title: String,
    /// What a reader has to know, in a line or two.
    pub note: String,
    /// What signs and colours stand for.
    pub legend: Vec<Entry>,
    /// Parts with axes of their own, one above the other.
    pub blocks: Vec<Block>,
}

/// Rows over panels.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// Axes side by side.
    pub panels: Vec<Panel>,
    /// Rows, in groups.
    pub groups: Vec<Group>,
}

/// One axis.
#[derive(Clone, Debug, Default)]
pub struct Panel {
    /// What it shows; may be empty.
    pub title: String,
    /// The axis.
    pub scale: Scale,
}

/// Rows under a heading, which may be empty.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// The heading.
    pub label: String,
    /// The rows.
    pub rows: Vec<Row>,
}

/// A row: the marks in each panel.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// What it is about.
    pub label: String,
    /// For each panel its marks.
    pub cells: Vec<Vec<Mark>>,
}

/// A value.
#[derive(Clone, Debug)]
pub struct Mark {
    /// Chooses the colour.
    pub series: u8,
    /// Chooses the shape.
    pub sign: Sign,
    /// Where it is.
    pub value: f64,
    /// Where it may be.
    pub interval: Option<[f64; 2]>,
    /// Beside the mark; may be empty.
    pub text: String,
    /// What a page shows beyond the text; the text if empty.
    pub tip: String,
    /// An estimate and no measurement.
    pub is_hollow: bool,
    /// A bar from the beginning of the axis, and no sign.
    pub is_bar: bool,
}

impl Mark {
    /// A measured value.
    pub fn new(series: u8, sign: Sign, value: f64, text: &str) -> Self {
        Self {
            series,
            sign,
            value,
            interval: None,
            text: text.to_owned(),
            tip: String::new(),
            is_hollow: false,
            is_bar: false,
        }
    }
}

impl Dots {
    /// The chart as a picture.
    pub fn draw(&self) -> Picture {
        let heights: Vec<f64> = self.blocks.iter().map(Block::height).collect();
        let gaps = BLOCK_GAP * heights.len().saturating_sub(1) as f64;
        let content = heights.iter().sum::<f64>() + gaps;
        let (mut picture, mut top) = frame::open(&self.title, &self.note, &self.legend, content);
        let groups = || self.blocks.iter().flat_map(|block| &block.groups);
        let rows = groups().flat_map(|group| &group.rows);
        let rows = rows.map(|row| font::width(&row.label, TEXT, false));
        // Headings stand in the column of labels too, not on the grid.
        let heads = groups().map(|group| font::width(&group.label, TEXT, true));
        let labels = rows.chain(heads).fold(40.0, f64::max);
        for (block, height) in self.blocks.iter().zip(heights) {
            block.draw(&mut picture, top, labels.min(LABELS) + 12.0);
            top += height + BLOCK_GAP;
        }
        picture
    }
}

impl Block {
    /// Height of the titles of the panels.
    fn head(&self) -> f64 {
        let has_title = self.panels.iter().any(|panel| !panel.title.is_empty());
        if has_title { PANEL_TITLE } else { 0.0 }
    }

    fn rows_height(&self) -> f64 {
        let groups = self.groups.iter();
        groups
            .map(|group| group.head() + ROW * group.rows.len() as f64)
            .sum::<f64>()
            + 6.0
    }

    fn height(&self) -> f64 {
        self.head() + self.rows_height() + X_AXIS
    }

    fn draw(&self, picture: &mut Picture, top: f64, labels: f64) {
        let title = self.head();
        let y = top + title;
        let height = self.rows_height();
        let count = self.panels.len().max(1) as f64;
        let left = MARGIN + labels;
        let width = (WIDTH - MARGIN - left - PANEL_GAP * (count - 1.0)) / count;
        for (i, panel) in self.panels.iter().enumerate() {
            let x = left + (width + PANEL_GAP) * i as f64;
            let area = Area {
                x,
                y,
                width,
                height,
            };
            picture.text(Label {
                is_bold: true,
                ..text(&panel.title, x, top + title / 2.0 - 2.0, Anchor::Start)
            });
            self.draw_panel(picture, panel, i, area);
        }
        let mut y = y + 3.0;
        for group in &self.groups {
            if group.head() > 0.0 {
                picture.text(Label {
                    is_bold: true,
                    ..text(&group.label, MARGIN, y + GROUP / 2.0, Anchor::Start)
                });
                y += GROUP;
            }
            for row in &group.rows {
                let label = font::shorten(&row.label, TEXT, false, LABELS);
                picture.text(text(&label, left - 12.0, y + ROW / 2.0, Anchor::End));
                y += ROW;
            }
        }
    }

    /// The marks of a panel with their rows' middles, in pixels from the top of the rows.
    fn marks(&self, panel: usize) -> Vec<(f64, &Row, &Mark)> {
        let mut y = 3.0;
        let mut marks = Vec::new();
        for group in &self.groups {
            y += group.head();
            for row in &group.rows {
                let cell = row.cells.get(panel).map_or(&[][..], Vec::as_slice);
                let step = dodge(cell);
                let middle = y + ROW / 2.0;
                let first = middle - step * (cell.len().max(1) - 1) as f64 / 2.0;
                marks.extend(
                    cell.iter()
                        .enumerate()
                        .map(|(i, mark)| (first + step * i as f64, row, mark)),
                );
                y += ROW;
            }
        }
        marks
    }

    fn draw_panel(&self, picture: &mut Picture, panel: &Panel, index: usize, area: Area) {
        let marks = self.marks(index);
        let reach = |mark: &Mark| {
            let [low, high] = mark.interval.unwrap_or([mark.value; 2]);
            // The figure of a bar stands behind it and its interval.
            let end = if mark.is_bar { 1.15 } else { 1.0 };
            [low, mark.value, end * high.max(mark.value)]
        };
        let values = marks.iter().flat_map(|(_, _, mark)| reach(mark));
        let ticks = (area.width / 75.0).clamp(2.0, 9.0) as usize;
        let axis = panel.scale.axis(values, ticks);
        x_axis(picture, &axis, &panel.scale.title, area);
        for (y, row, mark) in marks {
            let cell = &row.cells[index];
            draw_mark(picture, &axis, area, (area.y + y, row, mark), cell);
        }
    }
}

/// How far the marks of a cell lie below one another, if their intervals would cover each other.
fn dodge(cell: &[Mark]) -> f64 {
    let crosses = |(a, b): (&Mark, &Mark)| {
        let both = a.interval.zip(b.interval);
        both.is_some_and(|(a, b)| a[0] <= b[1] && b[0] <= a[1])
    };
    let mut pairs = cell
        .iter()
        .enumerate()
        .flat_map(|(i, a)| cell[i + 1..].iter().map(move |b| (a, b)));
    if pairs.any(crosses) {
        (ROW - 12.0) / (cell.len() - 1) as f64
    } else {
        0.0
    }
}

impl Group {
    fn head(&self) -> f64 {
        if self.label.is_empty() { 0.0 } else { GROUP }
    }
}

fn draw_mark(
    picture: &mut Picture,
    axis: &Axis,
    area: Area,
    (y, row, mark): (f64, &Row, &Mark),
    cell: &[Mark],
) {
    let at = |value: f64| area.x + area.width * axis.at(value);
    let (x, series) = (at(mark.value), mark.series);
    let words = if mark.tip.is_empty() {
        &mark.text
    } else {
        &mark.tip
    };
    let tip = format!("{}: {words}", row.label);
    if mark.is_bar {
        let bar = Area {
            x: area.x,
            y: y - BAR / 2.0,
            width: (x - area.x).max(1.0),
            height: BAR,
        };
        picture.rectangle(bar, Ink::Series(series), &tip);
    }
    let reach = |mark: &Mark| {
        let x = at(mark.value);
        let [low, high] = mark.interval.map_or([x, x], |interval| interval.map(at));
        [low.min(x - 4.0), high.max(x + 4.0)]
    };
    let [low, high] = mark.interval.map_or([x, x], |interval| interval.map(at));
    if mark.interval.is_some() {
        let ink = if mark.is_bar {
            Ink::Rule
        } else {
            Ink::Series(series)
        };
        picture.line(&[(low, y), (high, y)], 2.0, ink);
    }
    if !mark.is_bar {
        picture.sign(mark.sign, (x, y), series, mark.is_hollow, &tip);
    }
    let width = font::width(&mark.text, TEXT - 1.0, false);
    let [left, right] = reach(mark);
    let (left, right) = (left - 8.0, right + 8.0);
    let is_inside = right + width <= area.x + area.width + PANEL_GAP / 2.0;
    // Beside another mark there may be no room; the tooltip and the table have the value.
    let is_free = |from: f64, to: f64| {
        let others = cell.iter().filter(|other| !std::ptr::eq(*other, mark));
        let places = others.map(reach);
        cell.len() == 1
            || (from >= area.x
                && places
                    .into_iter()
                    .all(|[low, high]| to < low || high < from))
    };
    let (x, anchor) = if is_inside && is_free(right, right + width) {
        (right, Anchor::Start)
    } else if is_free(left - width, left) {
        (left, Anchor::End)
    } else {
        return;
    };
    picture.text(Label {
        size: TEXT - 1.0,
        ..quiet(&mark.text, x, y, anchor)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(values: &[f64]) -> Dots {
        let row = |value: &f64| Row {
            label: format!("row of {value}"),
            cells: vec![
                vec![Mark {
                    interval: Some([value * 0.9, value * 1.1]),
                    ..Mark::new(1, Sign::Circle, *value, &format!("{value} units"))
                }],
                vec![Mark {
                    is_bar: true,
                    ..Mark::new(2, Sign::Circle, *value, "bar")
                }],
            ],
        };
        let panel = |scale| Panel {
            title: "Panel".to_owned(),
            scale,
        };
        let panels = vec![
            panel(Scale::log("units")),
            panel(Scale::linear("units").from_zero()),
        ];
        let group = Group {
            label: "Group".to_owned(),
            rows: values.iter().map(row).collect(),
        };
        Dots {
            title: "Title".to_owned(),
            note: "A note.".to_owned(),
            legend: vec![Entry::hollow(0, Sign::Diamond, "estimated")],
            blocks: vec![Block {
                panels,
                groups: vec![group],
            }],
        }
    }

    #[test]
    fn no_text_lies_on_another() {
        for values in [vec![], vec![1.0], vec![1.0, 2.5, 900.0], vec![1e-9, 1e9]] {
            let picture = chart(&values).draw();
            assert_eq!(picture.overlaps(), [""; 0], "{values:?}");
        }
    }

    #[test]
    fn the_figure_of_the_longest_bar_stands_behind_its_interval() {
        let mut chart = chart(&[472.0]);
        let block = &mut chart.blocks[0];
        block.panels.remove(0);
        let cells = &mut block.groups[0].rows[0].cells;
        cells.remove(0);
        cells[0][0].interval = Some([425.0, 498.0]);
        cells[0][0].text = "472 k tokens/s".to_owned();
        let svg = chart.draw().svg("");
        let line = svg.lines().find(|line| line.contains(">472 k tokens/s<"));
        let line = line.expect("a label");
        assert!(line.contains("text-anchor=\"start\""), "{line}");
    }

    #[test]
    fn a_picture_is_a_png_and_always_the_same() {
        let picture = chart(&[1.0, 2.0]).draw();
        let png = picture.png().unwrap();
        assert!(png.starts_with(b"\x89PNG"));
        assert_eq!(png, chart(&[1.0, 2.0]).draw().png().unwrap());
        assert_ne!(png, chart(&[1.0, 2.1]).draw().png().unwrap());
    }

    #[test]
    fn the_svg_names_its_values() {
        let svg = chart(&[2.5]).draw().svg("Two panels & a reference");
        assert!(
            svg.contains("<title>row of 2.5: 2.5 units</title>"),
            "{svg}"
        );
        assert!(svg.contains("aria-label=\"Two panels &amp; a reference\""));
    }
}
