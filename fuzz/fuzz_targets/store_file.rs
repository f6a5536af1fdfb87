#![no_main]

mainstay_fuzz::target!("store_file");
