#![no_main]

mainstay_fuzz::target!("yaml_object");
