//! Text in aligned columns.

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// Lines of cells under heads, two spaces between columns, none at the end of a line.
pub fn table<const N: usize>(heads: [(&str, Align); N], rows: &[[String; N]]) -> String {
    let widths: [usize; N] = std::array::from_fn(|i| {
        let cells = rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count());
        cells.chain(heads.get(i).map(|(head, _)| head.len())).max().unwrap_or_default()
    });
    let mut out = String::new();
    let mut line = |cells: [&str; N]| {
        let mut text = String::new();
        for ((cell, width), (_, align)) in cells.into_iter().zip(widths).zip(heads) {
            match align {
                Align::Left => text.push_str(&format!("{cell:<width$}  ")),
                Align::Right => text.push_str(&format!("{cell:>width$}  ")),
            }
        }
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(heads.map(|(head, _)| head));
    rows.iter().for_each(|row| line(row.each_ref().map(String::as_str)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_in_letters() {
        let rows = [["zürich".to_owned(), "7".to_owned()], ["b".to_owned(), "1234".to_owned()]];
        assert_eq!(
            table([("NODE", Align::Left), ("N", Align::Right)], &rows),
            "NODE       N\nzürich     7\nb       1234\n"
        );
    }
}
