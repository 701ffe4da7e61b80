//! Tables for people: columns as wide as their widest cell.

/// Rows of cells; a cell may hold several lines.
#[derive(Debug, Default)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<Vec<String>>>,
}

const GAP: &str = "  ";

impl Table {
    /// An empty table with these columns.
    pub fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    /// Adds a row of cells, each with its lines.
    pub fn row(&mut self, cells: Vec<Vec<String>>) {
        debug_assert_eq!(cells.len(), self.header.len(), "a cell for each column");
        self.rows.push(cells);
    }

    /// The lines of the table: header, rule, rows, rule.
    pub fn lines(&self) -> Vec<String> {
        let widths = self.widths();
        let header: Vec<&str> = self.header.clone();
        let rule = "-".repeat(widths.iter().sum::<usize>() + GAP.len() * (widths.len() - 1));
        let mut lines = vec![join(&header, &widths), rule.clone()];
        for row in &self.rows {
            let height = row.iter().map(Vec::len).max().unwrap_or(0).max(1);
            for line in 0..height {
                let cells: Vec<&str> =
                    row.iter().map(|cell| cell.get(line).map_or("", String::as_str)).collect();
                lines.push(join(&cells, &widths));
            }
        }
        lines.push(rule);
        lines
    }

    fn widths(&self) -> Vec<usize> {
        let width = |text: &str| text.chars().count();
        let mut widths: Vec<usize> = self.header.iter().map(|title| width(title)).collect();
        for row in &self.rows {
            for (column, cell) in row.iter().enumerate() {
                let widest = cell.iter().map(|line| width(line)).max().unwrap_or(0);
                widths[column] = widths[column].max(widest);
            }
        }
        widths
    }
}

fn join(cells: &[&str], widths: &[usize]) -> String {
    let padded: Vec<String> =
        cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
    padded.join(GAP).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_cells_take_several_lines() {
        let mut table = Table::new(&["ID", "Paths"]);
        let cell = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        table.row(vec![cell(&["abcd"]), cell(&["/a", "/bcdefgh"])]);
        table.row(vec![cell(&["é"]), cell(&[])]);
        let expected =
            ["ID    Paths", "--------------", "abcd  /a", "      /bcdefgh", "é", "--------------"];
        assert_eq!(table.lines(), expected);
    }
}
