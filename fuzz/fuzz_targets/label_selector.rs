#![no_main]

mainstay_fuzz::target!("label_selector");
