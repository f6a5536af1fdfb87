//! Cells as JSON with gaps where an age belongs: made once for an object, filled in whenever its row is sent.

use super::human;
use api_schema::codec;
use api_schema::row::Cell;

/// Begins a gap; the time follows in [`TIME_BYTES`] bytes, in microseconds since the epoch, the lowest byte first. No
/// JSON has this byte: in a string it is escaped.
const GAP: u8 = 0;
const TIME_BYTES: usize = size_of::<i64>();

/// Appends the cells as a JSON array with gaps.
///
/// # Errors
/// If a cell is no JSON, which a value always is.
pub fn write(cells: &[Cell], out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    out.push(b'[');
    for (i, cell) in cells.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        match cell {
            Cell::Value(value) => codec::write(out, value)?,
            Cell::Since { before, then_unix_us, after } => {
                // What comes after the gap stands in the same string.
                serde_json::to_writer(&mut *out, before)?;
                out.pop();
                out.push(GAP);
                out.extend_from_slice(&then_unix_us.to_le_bytes());
                let start = out.len();
                serde_json::to_writer(&mut *out, after)?;
                out.remove(start);
            }
        }
    }
    out.push(b']');
    Ok(())
}

/// Appends the JSON, each gap filled with how long ago its time is.
pub fn fill(mut outline: &[u8], now_unix_us: i64, out: &mut Vec<u8>) {
    while let Some(gap) = outline.iter().position(|byte| *byte == GAP) {
        let Some((then, rest)) = outline[gap + 1..].split_first_chunk::<TIME_BYTES>() else { break };
        out.extend_from_slice(&outline[..gap]);
        let seconds = now_unix_us.saturating_sub(i64::from_le_bytes(*then)) / 1_000_000;
        out.extend_from_slice(human(seconds).as_bytes());
        outline = rest;
    }
    out.extend_from_slice(outline);
}
