#![no_main]

mainstay_fuzz::target!("server_side_apply");
