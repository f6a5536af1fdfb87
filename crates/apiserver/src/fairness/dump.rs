//! `/debug/api_priority_and_fairness/…`: levels, queues and waiting requests as tables that people read.

use super::Fairness;
use crate::body::{self, Body};
use crate::query::Query;
use http::{Response, StatusCode};
use std::fmt::Write as _;

/// Where the tables are.
const PREFIX: &str = "/debug/api_priority_and_fairness/";
/// Least width of a column.
const COLUMN_MIN: usize = 8;
/// Stands where an exempt level has nothing to show.
const NONE: &str = "<none>";

/// The table at `path`, if there is one.
pub(crate) fn serve(fairness: &Fairness, path: &str, query: &Query) -> Option<Response<Body>> {
    let rows = match path.strip_prefix(PREFIX)? {
        "dump_priority_levels" => levels(fairness),
        "dump_queues" => queues(fairness),
        "dump_requests" => requests(fairness, !query.get("includeRequestDetails").is_empty()),
        _ => return None,
    };
    Some(body::text(StatusCode::OK, table(&rows)))
}

fn header(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

fn levels(fairness: &Fairness) -> Vec<Vec<String>> {
    let names = ["PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests", "ExecutingRequests"];
    let state = fairness.state.lock();
    let busy = state.system.queues();
    let row = |level: &flow::system::LevelView| {
        let active = busy.iter().filter(|(name, _, queue)| *name == level.name && queue.waiting > 0).count();
        let idle = level.waiting == 0 && level.executing == 0;
        vec![
            level.name.clone(),
            active.to_string(),
            idle.to_string(),
            level.quiescing.to_string(),
            level.waiting.to_string(),
            level.executing.to_string(),
        ]
    };
    std::iter::once(header(&names)).chain(state.system.levels().iter().map(row)).collect()
}

fn queues(fairness: &Fairness) -> Vec<Vec<String>> {
    let names = [
        "PriorityLevelName",
        "Index",
        "PendingRequests",
        "ExecutingRequests",
        "SeatsInUse",
        "NextDispatchR",
        "InitialSeatsSum",
        "MaxSeatsSum",
        "TotalWorkSum",
    ];
    let state = fairness.state.lock();
    let mut rows = vec![header(&names)];
    for level in state.system.levels().iter().filter(|l| l.exempt) {
        let mut row = vec![NONE.to_owned(); names.len()];
        row[0].clone_from(&level.name);
        rows.push(row);
    }
    rows.extend(state.system.queues().iter().map(|(name, index, queue)| {
        vec![
            (*name).to_owned(),
            index.to_string(),
            queue.waiting.to_string(),
            queue.executing.to_string(),
            queue.seats.to_string(),
            format!("{:.8}ss", queue.next_r),
            queue.initial_seats.to_string(),
            queue.seats_max.to_string(),
            format!("{:.8}ss", queue.work),
        ]
    }));
    rows
}

fn requests(fairness: &Fairness, details: bool) -> Vec<Vec<String>> {
    let mut names = header(&[
        "PriorityLevelName",
        "FlowSchemaName",
        "QueueIndex",
        "RequestIndexInQueue",
        "FlowDistingsher",
        "ArriveTime",
        "InitialSeats",
        "FinalSeats",
        "AdditionalLatency",
    ]);
    if details {
        let more = "UserName Verb APIPath Namespace Name APIVersion Resource SubResource";
        names.extend(header(&more.split(' ').collect::<Vec<_>>()));
    }
    let state = fairness.state.lock();
    let mut rows = vec![names];
    for (level, queue, place, id, _, work) in state.system.waiting() {
        let Some(waiter) = state.waiters.get(&id) else { continue };
        let info = &waiter.info;
        let mut row = vec![
            level.to_owned(),
            waiter.schema.clone(),
            queue.to_string(),
            place.to_string(),
            waiter.distinguisher.clone(),
            waiter.arrived.to_string(),
            work.initial_seats.to_string(),
            work.final_seats.to_string(),
            go_duration(work.extra_ns),
        ];
        if details {
            let version = match info.api_group.as_str() {
                "" => info.api_version.clone(),
                group => format!("{group}/{}", info.api_version),
            };
            let of = [&waiter.user, &info.verb, &info.path, &info.namespace, &info.name, &version];
            row.extend(of.into_iter().chain([&info.resource, &info.subresource]).cloned());
        }
        rows.push(row);
    }
    rows
}

/// Milliseconds as Go writes them.
fn go_duration(ns: u64) -> String {
    if ns == 0 { "0s".into() } else { format!("{}ms", ns as f64 / 1e6) }
}

/// Columns in line, with a comma after each but the last.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let widest = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        (widest.unwrap_or(0) + 2).max(COLUMN_MIN)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        for (i, cell) in row.iter().enumerate() {
            let last = i + 1 == row.len();
            let (text, width) = if last { (cell.clone(), 0) } else { (format!("{cell},"), widths[i]) };
            // Writing to a string cannot fail.
            write!(out, "{text:<width$}").unwrap_or_default();
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_in_line() {
        let rows = [header(&["Name", "X"]), header(&["a-longer-name", "1"])];
        assert_eq!(table(&rows), "Name,          X\na-longer-name, 1\n");
    }
}
