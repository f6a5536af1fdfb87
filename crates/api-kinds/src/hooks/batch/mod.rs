//! Kinds of the group batch.

use api_schema::row::Hooks;

mod defaults;

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "CronJob" => &const { Hooks { default: Some(defaults::cron_job), ..Hooks::NONE } },
        "Job" => &const { Hooks { default: Some(defaults::job), ..Hooks::NONE } },
        _ => &Hooks::NONE,
    }
}
