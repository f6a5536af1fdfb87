#![no_main]

mainstay_fuzz::target!("kind_update");
