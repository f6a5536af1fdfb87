#![no_main]

mainstay_fuzz::target!("custom_schema");
