#![no_main]

mainstay_fuzz::target!("token_claims");
