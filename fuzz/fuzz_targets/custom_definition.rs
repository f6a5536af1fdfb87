#![no_main]

mainstay_fuzz::target!("custom_definition");
