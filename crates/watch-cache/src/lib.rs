//! Snapshots, the revision ring and fan-out of shared encoded events. Knows no HTTP.
