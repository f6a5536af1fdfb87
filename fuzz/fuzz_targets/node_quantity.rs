#![no_main]

mainstay_fuzz::target!("node_quantity");
