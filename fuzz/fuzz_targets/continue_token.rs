#![no_main]

mainstay_fuzz::target!("continue_token");
