#![no_main]

mainstay_fuzz::target!("field_selector");
