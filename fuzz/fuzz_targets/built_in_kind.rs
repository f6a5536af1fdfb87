#![no_main]

mainstay_fuzz::target!("built_in_kind");
