#![no_main]

mainstay_fuzz::target!("headers");
