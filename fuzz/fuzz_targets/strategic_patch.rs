#![no_main]

mainstay_fuzz::target!("strategic_patch");
