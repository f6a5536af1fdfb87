#![no_main]

mainstay_fuzz::target!("log_line");
