#![no_main]

mainstay_fuzz::target!("json_patch");
