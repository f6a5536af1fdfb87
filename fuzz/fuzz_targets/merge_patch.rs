#![no_main]

mainstay_fuzz::target!("merge_patch");
