//! How wide a request is, from what it asks and what the caches know.

use super::config::Schema;
use crate::query::Query;
use crate::request_info::RequestInfo;
use crate::server::Inner;
use flow::{Work, estimate};

/// Estimates a request that `schema` has taken.
pub(super) fn work(server: &Inner, info: &RequestInfo, query: &Query, schema: &Schema) -> Work {
    let one = Work::seats(1);
    if !info.is_resource {
        return one;
    }
    let seats_max = schema.seats_max.unwrap_or(estimate::SEATS_MAX);
    match info.verb.as_str() {
        "list" => list(server, info, query, seats_max),
        // A watch is as wide as the list that it begins with.
        "watch" if query.flag("sendInitialEvents") => list(server, info, query, seats_max),
        "create" if info.subresource == "token" => one,
        "create" | "update" | "patch" | "delete" => {
            let Some(cache) = server.registry.cache_of(&info.api_group, &info.resource) else { return one };
            let watchers = u32::try_from(cache.stats().watches).unwrap_or(u32::MAX);
            schema.metrics.watchers.observe(f64::from(watchers));
            estimate::change(watchers, seats_max)
        }
        _ => one,
    }
}

fn list(server: &Inner, info: &RequestInfo, query: &Query, seats_max: u32) -> Work {
    if !info.name.is_empty() {
        return Work::seats(1);
    }
    // What somebody else serves costs us little.
    let Some(cache) = server.registry.cache_of(&info.api_group, &info.resource) else { return Work::seats(1) };
    let stored = cache.stats().objects as u64;
    let limit = query.get("limit").parse().unwrap_or(0);
    let (revision, matching) = (query.get("resourceVersion"), query.get("resourceVersionMatch"));
    let consistent = revision.is_empty() || !query.get("continue").is_empty();
    let exact = (limit > 0 && revision != "0") || !matches!(matching, "" | "NotOlderThan");
    let from_cache = info.verb == "watch" || !(consistent || exact);
    let selects = !query.get("labelSelector").is_empty() || !query.get("fieldSelector").is_empty();
    estimate::list(estimate::List { stored, limit, from_cache, selects }, seats_max)
}
