#![no_main]

mainstay_fuzz::target!("dns_request");
