#![no_main]

mainstay_fuzz::target!("managed_fields");
