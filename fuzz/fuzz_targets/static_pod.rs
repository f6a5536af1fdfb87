#![no_main]

mainstay_fuzz::target!("static_pod");
