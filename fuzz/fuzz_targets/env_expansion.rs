#![no_main]

mainstay_fuzz::target!("env_expansion");
