#![no_main]

mainstay_fuzz::target!("stored_value");
