#![no_main]

mainstay_fuzz::target!("request_url");
