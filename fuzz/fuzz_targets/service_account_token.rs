#![no_main]

mainstay_fuzz::target!("service_account_token");
