#![no_main]

mainstay_fuzz::target!("resolv_conf");
