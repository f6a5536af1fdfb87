#![no_main]

mainstay_fuzz::target!("pull_secret");
