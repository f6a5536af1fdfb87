#![no_main]

mainstay_fuzz::target!("signing_request");
