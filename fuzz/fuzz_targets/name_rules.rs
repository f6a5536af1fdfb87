#![no_main]

mainstay_fuzz::target!("name_rules");
